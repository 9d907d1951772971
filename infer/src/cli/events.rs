//! What `--json` tells programs: one object per line on standard output, told apart by its `event`.
//!
//! | event | when | fields |
//! | --- | --- | --- |
//! | `start` | before any work | `task`, `width`, `height` in pixels, `seed`, `route`, `device`, `patches` of the whole, `open` of them not painted yet, `levels` |
//! | `patches` | after every batch | `done` of the `of` patches that this run paints, `level`, caches in the `pool`, `tokens_per_s`, `eta_s`, `rss_bytes` |
//! | `written` | a file is complete | `path` |
//! | `measured` | by `reconstruct` | `psnr_db`, `codes_used` of `codes` |
//! | `caption` | by `captions`, for each | `caption`, `found` |
//! | `attribute` | by `captions` | `attribute`, `right` of the `of` captions, `values` it has |
//! | `done` | last, when all went well | `seconds` since the start of the program, `peak_rss_bytes` |
//!
//! Unknown numbers are null. Errors stay on standard error and show in the exit code.

use std::io::Write;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Instant;

use nuwa_model::device;
use serde::Serialize;

use super::args::Common;
use crate::painting::Painting;
use crate::task::{RouteKind, TaskKind};

/// When the program was first asked for the time: at its start.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Event<'a> {
    /// Work begins.
    Start {
        task: TaskKind,
        width: usize,
        height: usize,
        seed: u64,
        route: RouteKind,
        device: String,
        patches: usize,
        open: usize,
        levels: usize,
    },
    /// A batch of patches is painted.
    Patches {
        done: usize,
        of: usize,
        level: usize,
        pool: usize,
        tokens_per_s: f64,
        eta_s: Option<f64>,
        rss_bytes: Option<u64>,
    },
    /// A file is complete.
    Written { path: &'a Path },
    /// A caption was painted, and this was seen in it.
    Caption { caption: &'a str, found: &'a str },
    /// How often an attribute of the captions was seen.
    Attribute {
        attribute: &'a str,
        right: usize,
        of: usize,
        values: usize,
    },
    /// A round trip was measured.
    Measured {
        psnr_db: f64,
        codes_used: usize,
        codes: usize,
    },
    /// All is done.
    Done {
        seconds: f64,
        peak_rss_bytes: Option<u64>,
    },
}

/// Starts the clock of the program.
pub(super) fn begin() {
    LazyLock::force(&BEGUN);
}

/// Tells an event to whoever reads; painting goes on when nobody does.
pub(super) fn say(event: &impl Serialize) {
    let line = serde_json::to_string(event).expect("plain numbers and text");
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Tells that work on a painting begins, if programs listen.
pub(super) fn say_start(painting: &Painting, common: &Common) -> anyhow::Result<()> {
    if common.json {
        let request = &painting.header.request;
        say(&Event::Start {
            task: request.task,
            width: request.size.w,
            height: request.size.h,
            seed: request.seed,
            route: request.route,
            device: device::description(&common.device.open()?),
            patches: painting.route.steps().len(),
            open: painting.n_open(),
            levels: painting.route.n_levels(),
        });
    }
    Ok(())
}

/// Tells that all is done, if programs listen.
pub(super) fn say_done(common: &Common) {
    if !common.json {
        return;
    }
    let seconds = BEGUN.elapsed().as_secs_f64();
    let peak_rss_bytes = device::peak_resident_bytes();
    say(&Event::Done {
        seconds,
        peak_rss_bytes,
    });
}
