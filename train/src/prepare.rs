//! `nuwa-train prepare`: datasets from what people have.

mod arguments;

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use nuwa_data::DataError;
use nuwa_data::prepare::{
    Folder, LABELS, Lhqc, Lhqv, Outcome, PeppaPig, Progress, Rqf, Shards, Sizes, Synthetic, Watch,
};

pub(crate) use self::arguments::PixelSize;
pub use self::arguments::PrepareArgs;
use self::arguments::{LhqcArgs, LhqvArgs, OutArgs};
use crate::cli::Misuse;
use crate::run_folder::stop_flag;

/// Makes the dataset that the arguments ask for; interrupted, it ends after the item at hand.
///
/// # Errors
/// When there is nothing to prepare, the folder holds another dataset, or the disk refuses.
pub fn run(args: PrepareArgs) -> anyhow::Result<()> {
    match args {
        PrepareArgs::Synthetic(args) => {
            let PixelSize(w, h) = args.size;
            let source = Synthetic {
                n: args.count,
                w,
                h,
                frames: args.frames.into(),
                seed: args.seed,
                test: args.test.unwrap_or(args.count / 20),
            };
            finish(&args.out, |watch| source.prepare(&args.out.out, watch))
        }
        PrepareArgs::Folder(args) => {
            let source = Folder {
                folder: args.folder,
                captions: args.captions,
                size: args.size.map(|PixelSize(w, h)| (w, h)),
                frames: args.frames.into(),
                sizes: args.sizes.sizes(Sizes::all_train()),
                origin: args.origin.origin(),
            };
            finish(&args.out, |watch| source.prepare(&args.out.out, watch))
        }
        PrepareArgs::Shards(args) => {
            let source = Shards {
                path: args.path,
                size: args.size.map(|PixelSize(w, h)| (w, h)),
                sizes: args.sizes.sizes(Sizes::all_train()),
                origin: args.origin.origin(),
            };
            finish(&args.out, |watch| source.prepare(&args.out.out, watch))
        }
        PrepareArgs::Rqf(args) => {
            let source = Rqf {
                picture: args.picture,
                px: args.px as usize,
                n: args.count as usize,
                origin: args.origin.origin(),
            };
            finish(&args.out, |watch| source.prepare(&args.out.out, watch))
        }
        PrepareArgs::Lhqc(args) => lhqc(args),
        PrepareArgs::Lhqv(args) => lhqv(args),
        PrepareArgs::Peppapig(args) => {
            let source = PeppaPig {
                folder: args.folder,
                size: (args.size.0, args.size.1),
                frames: args.frames.into(),
                sizes: args.sizes.sizes(PeppaPig::sizes(0)),
                origin: args.origin.origin(),
            };
            finish(&args.out, |watch| source.prepare(&args.out.out, watch))
        }
    }
}

fn lhqc(args: LhqcArgs) -> anyhow::Result<()> {
    let source = Lhqc {
        folder: args.folder,
        captions: args.captions,
        size: Some((args.size.0, args.size.1)),
        sizes: args.sizes.sizes(Lhqc::sizes(0)),
        test_list: args.test_list,
        origin: args.origin.origin(),
    };
    finish(&args.out, |watch| source.prepare(&args.out.out, watch))
}

fn lhqv(args: LhqvArgs) -> anyhow::Result<()> {
    let labels = match args.labels.is_empty() {
        true => LABELS.map(str::to_owned).to_vec(),
        false => args.labels,
    };
    let source = Lhqv {
        folder: args.folder,
        detections: args.detections,
        labels,
        size: (args.size.0, args.size.1),
        frames: args.frames.into(),
        sizes: args.sizes.sizes(Lhqv::sizes(0)),
        origin: args.origin.origin(),
    };
    finish(&args.out, |watch| source.prepare(&args.out.out, watch))
}

/// Runs a preparation with a progress bar and an ear for interrupts, and prints what came of it.
fn finish(
    args: &OutArgs,
    prepare: impl FnOnce(Watch<'_>) -> Result<Outcome, DataError>,
) -> anyhow::Result<()> {
    let stop = stop_flag();
    let bar = if args.quiet {
        ProgressBar::hidden()
    } else {
        bar()
    };
    let report = |Progress { done, items }| {
        bar.set_length(items as u64);
        bar.set_position(done as u64);
    };
    let outcome = prepare(Watch {
        report: &report,
        stop: &stop,
    })
    .map_err(|error| match error {
        DataError::NoFrameSize { .. } => Misuse(format!("{error} (--size)")).into(),
        error => anyhow::Error::from(error),
    })?;
    bar.finish_and_clear();
    say!("{}", summary(&outcome, &args.out));
    Ok(())
}

fn bar() -> ProgressBar {
    let template = "[{bar:30}] {pos} of {len}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a fixed template");
    ProgressBar::new(0).with_style(style)
}

fn summary(outcome: &Outcome, out: &Path) -> String {
    let Outcome {
        train,
        test,
        skipped,
        stopped,
    } = outcome;
    let ending = match stopped {
        true => "stopped early, the same command goes on",
        false => "done",
    };
    format!(
        "{}: {ending}; {train} to learn from, {test} to measure with, {skipped} left out",
        out.display()
    )
}
