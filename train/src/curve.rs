//! `nuwa-train curve`: what the logs of trainings tell, as a picture.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use nuwa_data::pending::PendingFile;
use plotters::coord::Shift;
use plotters::prelude::{
    BLUE, ChartBuilder, DrawingArea, IntoDrawingArea as _, IntoFont as _, LineSeries, SVGBackend,
    WHITE,
};
use serde_json::Value;

use crate::cli::Misuse;
use crate::log::{LOG, UPDATES};

/// Points of a line: as many as can be told apart. Each is the mean of what was logged around it.
const POINTS: usize = 300;
/// Size of one plot in pixels.
const PLOT: (u32, u32) = (720, 260);

/// Arguments of `curve`.
#[derive(Debug, Args)]
pub(crate) struct CurveArgs {
    /// Folders of runs, or their logs (`log.jsonl`); one plot for each, and for each stage of a
    /// one-shot run.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The picture, an SVG.
    #[arg(long)]
    out: PathBuf,
    /// What is drawn: any number of the logs.
    #[arg(long, default_value = "loss")]
    value: String,
}

/// One plot: what it is of, and a number over the updates.
#[derive(Debug, Clone, PartialEq)]
struct Curve {
    title: String,
    points: Vec<(f64, f64)>,
}

/// Draws the logs that the arguments name.
///
/// # Errors
/// When a log cannot be read or has no such number; when the picture cannot be written.
pub(crate) fn run(args: &CurveArgs) -> anyhow::Result<()> {
    if args.out.extension().is_none_or(|ending| ending != "svg") {
        return Err(Misuse(format!("{} does not end in .svg", args.out.display())).into());
    }
    let mut curves = Vec::new();
    for run in &args.runs {
        curves.extend(read(run, &args.value)?);
    }
    let picture = draw(&curves, &args.value).context("cannot draw the picture")?;
    let mut file = PendingFile::create(&args.out)?;
    file.write_all(picture.as_bytes())
        .with_context(|| format!("write {}", args.out.display()))?;
    Ok(file.commit()?)
}

/// Reads the curves of a log, one for each stage that it names.
fn read(run: &Path, value: &str) -> anyhow::Result<Vec<Curve>> {
    let path = if run.is_dir() {
        run.join(LOG)
    } else {
        run.to_owned()
    };
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let whole = fs::canonicalize(&path)?;
    // A log that was kept under another name is called by it, others by the folder of their run.
    let name = match path.file_name() == Some(LOG.as_ref()) {
        true => whole.parent().and_then(Path::file_name),
        false => whole.file_stem(),
    };
    let name = name.unwrap_or_default().to_string_lossy();
    let mut curves: Vec<(Option<u64>, Curve)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line)
            .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        let (Some(updates), Some(found)) = (line[UPDATES].as_f64(), line[value].as_f64()) else {
            continue;
        };
        let stage = line["stage"].as_f64().map(|stage| stage as u64);
        if curves.last().is_none_or(|(last, _)| *last != stage) {
            let title = match stage {
                Some(stage) => format!("{name}, stage {stage}"),
                None => name.to_string(),
            };
            curves.push((
                stage,
                Curve {
                    title,
                    points: Vec::new(),
                },
            ));
        }
        let (_, curve) = curves.last_mut().expect("just pushed");
        curve.points.push((updates, found));
    }
    ensure!(
        !curves.is_empty(),
        "{} tells nothing of {value:?}",
        path.display()
    );
    Ok(curves
        .into_iter()
        .map(|(_, curve)| curve.thinned())
        .collect())
}

impl Curve {
    fn thinned(self) -> Self {
        let each = self.points.len().div_ceil(POINTS);
        let mean = |points: &[(f64, f64)]| {
            let n = points.len() as f64;
            let sum = points
                .iter()
                .fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
            (sum.0 / n, sum.1 / n)
        };
        Self {
            points: self.points.chunks(each).map(mean).collect(),
            ..self
        }
    }

    /// Gives first and last update and least and greatest number, never the same.
    fn ranges(&self) -> [(f64, f64); 2] {
        let range = |number: fn(&(f64, f64)) -> f64| {
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for at in self.points.iter().map(number) {
                (low, high) = (low.min(at), high.max(at));
            }
            let room = if low == high { 1.0 } else { 0.0 };
            (low - room, high + room)
        };
        [range(|at| at.0), range(|at| at.1)]
    }
}

fn draw(curves: &[Curve], value: &str) -> anyhow::Result<String> {
    let mut picture = String::new();
    {
        let (w, h) = (PLOT.0, PLOT.1 * curves.len() as u32);
        let area = SVGBackend::with_string(&mut picture, (w, h)).into_drawing_area();
        // The errors of this library may not cross threads.
        let drawn = draw_on(&area, curves, value).map_err(|error| error.to_string());
        if let Err(error) = drawn {
            bail!("{error}");
        }
    }
    Ok(picture)
}

fn draw_on(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    curves: &[Curve],
    value: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    for (plot, curve) in area.split_evenly((curves.len(), 1)).iter().zip(curves) {
        let [x, y] = curve.ranges();
        let mut chart = ChartBuilder::on(plot)
            .caption(&curve.title, ("sans-serif", 16).into_font())
            .margin(8)
            // Half a number stands out beyond the axis.
            .margin_right(28)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(1)
            .x_desc("updates")
            .y_desc(value)
            .x_label_formatter(&|at| format!("{at:.0}"));
        mesh.draw()?;
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), &BLUE))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_becomes_one_plot_for_each_stage_and_long_ones_means() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("night");
        fs::create_dir(&run).expect("a folder");
        let line = |at: usize, stage: usize| {
            let loss = 2.0 / stage as f64 + (at % 2) as f64;
            format!("{{\"updates\":{at},\"stage\":{stage}.0,\"loss\":{loss}}}\n")
        };
        let text: String = (0..10).map(|at| line(at, 1)).collect();
        let text = text + &(10..1210).map(|at| line(at, 2)).collect::<String>();
        fs::write(run.join(LOG), text).expect("written");

        let [first, second] =
            <[Curve; 2]>::try_from(read(&run, "loss").expect("read")).expect("two");
        assert_eq!(
            [&*first.title, &*second.title],
            ["night, stage 1", "night, stage 2"]
        );
        assert_eq!(first.points[..2], [(0.0, 2.0), (1.0, 3.0)]);
        assert_eq!((second.points.len(), second.points[0]), (300, (11.5, 1.5)));
        let picture = draw(&[first, second], "loss").expect("drawn");
        assert!(picture.starts_with("<svg") && picture.contains("night, stage 2"));
        assert!(
            picture.matches("#0000FF").count() >= 2,
            "a line in each plot"
        );

        let kept = folder.path().join("dusk-1.jsonl");
        fs::copy(run.join(LOG), &kept).expect("copied");
        assert_eq!(
            read(&kept, "loss").expect("read")[0].title,
            "dusk-1, stage 1"
        );
        assert!(read(&run, "gradient_norm").is_err());
        assert!(read(&folder.path().join("day"), "loss").is_err());
    }
}
