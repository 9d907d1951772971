//! `nuwa-train tokenize`: a dataset as stored tokens, so that the encoder runs once and not in every
//! epoch.
//!
//! Pictures are read ahead of the encoder and stored in the order of their list, so the last one in
//! the store says where an interrupted run goes on. What cannot be read is listed and left out.

mod arguments;
mod encoder;
mod folder;
mod plan;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use nuwa_data::dataset::Prefetch;
use nuwa_data::store::{StoreSpec, TokenStore, TokenWriter};
use nuwa_data::{DataError, Picture};
use nuwa_model::device;
use serde_json::{Map, Value, json};

pub use self::arguments::TokenizeArgs;
use self::encoder::{FrameEncoder, TextEncoder};
use self::folder::{SkipList, claim};
use self::plan::Plan;
pub(crate) use self::plan::{network_folder, vqgan_config};
use crate::log::Screen;
use crate::run_folder::stop_flag;
use crate::vqgan::codebook::CodeUsage;

/// Groups of pictures that may wait for the encoder.
const AHEAD: usize = 2;

/// What is read of an entry: the frames of its crops, or why there are none.
type Loaded = (usize, Result<Vec<Picture>, DataError>);

/// Makes the store that the arguments ask for, or goes on with it; interrupted, it ends after the
/// pictures at hand.
///
/// # Errors
/// When the arguments do not fit each other or the store that is there, the VQGAN or the list of
/// pictures cannot be read, no picture can be used, the disk refuses, or it was interrupted.
pub fn run(args: TokenizeArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let vqgan = network_folder(&args.vqgan, "vqgan");
    let config = vqgan_config(&vqgan)?;
    let plan = Arc::new(Plan::new(&args, &config)?);
    let device = args.device.open()?;
    let texts = TextEncoder::load(&args.text, &device)?;
    let frames = FrameEncoder::load(&vqgan, &plan, &device)?;
    let spec = StoreSpec {
        fingerprint: frames.fingerprint(),
        tokens: plan.grid,
        text: texts.spec(),
        crops: args.crops.into(),
    };
    claim(&args.out, &told(&plan, &spec, &texts))?;
    let stop = stop_flag();
    let mut job = Job {
        writer: TokenWriter::open(&args.out, &spec)?,
        plan,
        frames,
        texts,
        screen: Screen::new(args.quiet, &device::description(&device)),
    };
    let (done, skipped, waited) = job.run(&args.out, &stop)?;
    let n = job.plan.listing.entries.len();
    job.screen.close();
    job.writer.finish()?;
    if done < n {
        bail!(
            "{}: stopped after {done} of {n} pictures; the same command goes on",
            args.out.display()
        );
    }
    let summary = summary(&args.out, &spec.fingerprint, config.n_codes)?;
    say!(
        "{summary}, {skipped} left out, {:.1} s ({:.1} s waiting for files)",
        start.elapsed().as_secs_f64(),
        waited.as_secs_f64()
    );
    Ok(())
}

/// Gives everything that the contents of a store depend on.
fn told(plan: &Plan, spec: &StoreSpec, texts: &TextEncoder) -> Map<String, Value> {
    let framing = plan.cut.framing;
    let all = json!({
        "vqgan": spec.fingerprint,
        "data": plan.listing.digest,
        "split": plan.split,
        "crops": framing.crops,
        "size": format!("{}x{}", framing.w, framing.h),
        "frames": plan.cut.frames,
        "text": texts.name(),
        // A crop from the middle depends on no seed.
        "seed": (framing.crops > 1).then_some(framing.seed),
    });
    match all {
        Value::Object(all) => all,
        _ => unreachable!("it is written as an object"),
    }
}

/// Everything that is needed to fill a store.
struct Job {
    plan: Arc<Plan>,
    frames: FrameEncoder,
    texts: TextEncoder,
    writer: TokenWriter,
    screen: Screen,
}

impl Job {
    /// Stores what is not stored yet. Gives how many entries are done and how many were left out,
    /// those of earlier runs too, and how long files were waited for.
    fn run(&mut self, out: &Path, stop: &AtomicBool) -> anyhow::Result<(usize, usize, Duration)> {
        let entries = &self.plan.listing.entries;
        let n = entries.len();
        let last = self.writer.last_key();
        let mut done = entries.partition_point(|entry| last.is_some_and(|last| entry.key <= last));
        let passed = entries[..done].iter().map(|entry| entry.name.as_str());
        let passed: std::collections::HashSet<&str> = passed.collect();
        let mut skips = SkipList::open(out, |item| passed.contains(item))?;
        self.show(done);
        // All of the group in which it goes on is encoded again: batches stay the same.
        let groups = (done / self.plan.group) as u64..self.plan.n_groups() as u64;
        let groups = if done == n { 0..0 } else { groups };
        let plan = self.plan.clone();
        let load = move |group| {
            let load = |index| (index, plan.cut.read(&plan.listing.entries[index]));
            Ok(plan.entries(group as usize).map(load).collect())
        };
        let mut loaded: Prefetch<Vec<Loaded>> = Prefetch::new(groups, AHEAD, load);
        while !stop.load(Ordering::Relaxed)
            && let Some(group) = loaded.next()
        {
            let group = group?;
            let end = group.last().map_or(done, |(index, _)| index + 1);
            self.store(group, done, &mut skips)?;
            done = end;
            self.show(done);
        }
        Ok((done, skips.len(), loaded.waited()))
    }

    fn show(&mut self, done: usize) {
        let n = self.plan.listing.entries.len();
        let share = done as f64 / n.max(1) as f64;
        self.screen.show(share, format!("{done} of {n} pictures"));
    }

    /// Encodes a group and stores what comes at or after `from`.
    fn store(
        &mut self,
        group: Vec<Loaded>,
        from: usize,
        skips: &mut SkipList,
    ) -> anyhow::Result<()> {
        let (plan, entries) = (&self.plan, &self.plan.listing.entries);
        let usable = || {
            group
                .iter()
                .filter_map(|(i, it)| Some((*i, it.as_ref().ok()?)))
        };
        let frames: Vec<Picture> = usable().flat_map(|(_, frames)| frames).cloned().collect();
        let captions: Vec<_> = usable()
            .map(|(index, _)| entries[index].caption.as_deref())
            .collect();
        let tokens = self.frames.encode(&frames);
        let texts = self.texts.encode(&captions);
        let n_tokens = plan.grid.iter().product::<usize>();
        let mut pictures = tokens
            .chunks_exact(n_tokens * plan.cut.framing.crops)
            .zip(texts);
        for (index, loaded) in group {
            let entry = &entries[index];
            match loaded {
                Ok(_) => {
                    let (tokens, text) = pictures.next().expect("tokens of each picture");
                    let crops: Vec<&[u16]> = tokens.chunks_exact(n_tokens).collect();
                    if index >= from {
                        self.writer.append(entry.key, &crops, text.as_ref())?;
                    }
                }
                Err(error) if index >= from => {
                    let reason = format!("{:#}", anyhow::Error::new(error)).replace('\n', " ");
                    if skips.add(&entry.name, &reason)? {
                        self.screen
                            .warn(&format!("left out {}: {reason}", entry.name));
                    }
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Says what a finished store holds, all of which is read once.
fn summary(out: &Path, fingerprint: &str, codes: usize) -> anyhow::Result<String> {
    let store = TokenStore::open(out, fingerprint)?;
    let (records, spec) = (store.n_records(), store.spec());
    if records == 0 {
        bail!("{}: no picture could be used", out.display());
    }
    let mut usage = CodeUsage::new(codes);
    for record in 0..records {
        let tokens = store.sample(record)?.tokens;
        let tokens: Vec<i32> = tokens.into_iter().map(i32::from).collect();
        usage.count(&tokens);
    }
    Ok(format!(
        "{}: done; {} pictures, {records} crops, {} tokens, {} of {codes} codes in use \
         (perplexity {:.0})",
        out.display(),
        records / spec.crops,
        records * spec.n_tokens(),
        usage.n_used(),
        usage.perplexity(),
    ))
}
