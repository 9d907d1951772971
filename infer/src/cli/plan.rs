//! `plan`: what a painting will take, without painting it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use nuwa_data::out::PictureFormat;
use nuwa_model::device;
use nuwa_model::render::PoolKind;
use serde::Serialize;

use super::args::{PlanArgs, PlanTask};
use super::film::asked_to_animate;
use super::means::is_cpu;
use super::paint::{Asked, asked_to_outpaint, asked_to_paint};
use super::{events, load_to_paint};
use crate::pace::Pace;
use crate::painting;
use crate::plan::{Bytes, Plan};

/// A plan with what was measured, for programs.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename = "plan")]
struct Answer {
    #[serde(flatten)]
    plan: Plan,
    /// What the batches compute on.
    device_name: String,
    /// Each output with the most bytes it takes.
    outputs: Vec<(PathBuf, u64)>,
    encode_s: f64,
    paint_s: f64,
    decode_s: f64,
    tokens_per_s: f64,
}

pub(super) fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    let (asked, brush, common) = match &args.task {
        PlanTask::Paint(args) => (asked_to_paint(args)?, &args.brush, &args.common),
        PlanTask::Outpaint(args) => (asked_to_outpaint(args)?, &args.brush, &args.common),
        PlanTask::Animate(args) => (asked_to_animate(args)?, &args.brush, &args.common),
    };
    let run = load_to_paint(common, brush.precision, brush.renderer)?;
    let subject = asked.marked(&run)?;
    let (layout, tokens) = &subject;
    let plan = asked.choose(&run, &subject, brush.route.kind(), brush, common)?;
    let is_cpu = is_cpu(common)?;
    let session = painting::session(&run, &asked.request, *layout, brush.n as usize);
    let session = session.with_pool(plan.pool);
    let route = layout.route(tokens, plan.route)?;
    let pace = Pace::measure(&run, &session, &route, &plan, is_cpu);
    let [encode_s, paint_s, decode_s] = plan.seconds(&pace);
    let n_tokens = plan.n_open * run.renderer_config.tokens_per_patch();
    let answer = Answer {
        outputs: outputs(&asked, &plan)?,
        plan,
        device_name: device::description(&common.device.open()?),
        encode_s,
        paint_s,
        decode_s,
        tokens_per_s: n_tokens as f64 / paint_s,
    };
    match common.json {
        true => events::say(&answer),
        false => print(&answer, is_cpu),
    }
    Ok(())
}

/// Gives what every output takes at most, the painted pixels that all share not counted.
fn outputs(asked: &Asked, plan: &Plan) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let size = plan.size;
    let picture = |path: &PathBuf| {
        let format = PictureFormat::of(path).with_context(|| format!("{}", path.display()))?;
        let bytes = format.bytes_needed(size.w, size.h, asked.request.frames);
        Ok((path.clone(), bytes.saturating_sub(plan.disk.spool)))
    };
    let mut found: Vec<_> = asked
        .outputs
        .pixels
        .iter()
        .map(picture)
        .collect::<anyhow::Result<_>>()?;
    if let Some(path) = &asked.outputs.tokens {
        let files = [&asked.picture, &asked.mask].into_iter().flatten();
        let kept: usize = files.map(|file| file.bytes.len()).sum();
        found.push((path.clone(), plan.disk.tokens + kept as u64));
    }
    Ok(found)
}

fn print(answer: &Answer, is_cpu: bool) {
    let plan = &answer.plan;
    say!(
        "size        {} in {} × {} patches of {}",
        plan.size,
        plan.grid.w,
        plan.grid.h,
        plan.patch
    );
    say!(
        "patches     {} to paint, {} known",
        plan.n_open,
        plan.n_known
    );
    say!(
        "route       --route {}, {} levels, {} batches with --parallel {}",
        plan.route,
        plan.n_levels,
        plan.waves.len(),
        plan.parallel
    );
    let kept = match plan.pool {
        PoolKind::KeyValues => "keys and values",
        PoolKind::States => "states",
    };
    say!(
        "pool        {} caches of {kept} at most, {}; {} caches with --parallel 1",
        plan.peak_pool,
        Bytes(plan.device.pool),
        plan.least_pool
    );
    say!(
        "windows     {} of {} × {} tokens, {} at once",
        plan.n_windows,
        plan.window[1],
        plan.window[0],
        plan.n_together
    );
    print_host(answer, is_cpu);
    let encoding = match plan.n_encoded {
        0 => String::new(),
        _ => format!("encoding {}, ", seconds(answer.encode_s)),
    };
    say!(
        "time        {encoding}painting {} ({:.0} tokens/s), decoding {}",
        seconds(answer.paint_s),
        answer.tokens_per_s,
        seconds(answer.decode_s)
    );
}

fn print_host(answer: &Answer, is_cpu: bool) {
    let Plan {
        device, host, disk, ..
    } = &answer.plan;
    say!(
        "device      {} on {}: weights {}, with pool and batch {}, or windows {}",
        Bytes(device.total()),
        answer.device_name,
        Bytes(device.weights),
        Bytes(device.pool + device.wave),
        Bytes(device.windows)
    );
    say!(
        "host        {}{}: tokens {}, route {}, pixels {}",
        Bytes(host.total()),
        if is_cpu { " more" } else { "" },
        Bytes(host.tokens),
        Bytes(host.route),
        Bytes(host.bands)
    );
    say!(
        "disk        {} while decoding, {} of tokens",
        Bytes(disk.spool),
        Bytes(disk.tokens)
    );
    for (path, bytes) in &answer.outputs {
        say!(
            "            {} at most in {}",
            Bytes(*bytes),
            path.display()
        );
    }
}

/// A length of time, to the second where that says enough.
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    humantime::format_duration(Duration::from_secs(seconds as u64)).to_string()
}
