//! The curves: in the terminal, and as SVG.

use std::path::{Path, PathBuf};

use posthaste_core::{Error, ErrorKind, Result};
use posthaste_sim::{Axis, Chart, Line, plot, svg};

use super::play::{Point, Report, Series};
use super::show;
use crate::cli::print;

/// The charts of a report: over the loads, and over time where something went wrong.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let mut charts = Vec::new();
    let more_than_one = |of: &Series| of.points.len() > 1;
    if report.sweep.iter().any(more_than_one) {
        charts.push(over_loads(&report.sweep));
    }
    if let Some(first) = report.recoveries.first() {
        let times = (0..first.points.len()).map(|place| over_time(&report.recoveries, place));
        charts.extend(times);
    }
    charts
}

fn over_loads(series: &[Series]) -> Chart {
    let line = |of: &Series| Line {
        name: of.name.clone(),
        points: of.points.iter().map(|it| (it.load, it.goodput)).collect(),
    };
    Chart {
        title: "goodput by offered load".to_owned(),
        x: axis("offered load ÷ capacity", true),
        y: axis("goodput ÷ capacity", false),
        lines: series.iter().map(line).collect(),
        bands: Vec::new(),
    }
}

fn over_time(series: &[Series], place: usize) -> Chart {
    let points = |of: &Series| of.points.get(place).map(over_seconds).unwrap_or_default();
    let line = |of: &Series| Line {
        name: of.name.clone(),
        points: points(of),
    };
    let first = &series[0];
    let bands = first.triggers.iter().map(|(kind, factor, at, lasts)| {
        let from = at.as_secs_f64();
        let what = format!("{} {factor}", kind.word());
        (from, from + lasts.as_secs_f64(), what)
    });
    let load = first.points.get(place).map_or(0.0, |point| point.load);
    Chart {
        title: format!(
            "goodput over time at load {load}: {}",
            show::triggers(first)
        ),
        x: axis("seconds", false),
        y: axis("goodput ÷ capacity", false),
        lines: series.iter().map(line).collect(),
        bands: bands.collect(),
    }
}

/// Half seconds, so that chance does not hide the course.
fn over_seconds(point: &Point) -> Vec<(f64, f64)> {
    const TOGETHER: u32 = 5;
    let halves = point.moments.chunks_exact(TOGETHER as usize);
    halves
        .map(|half| {
            let goodput: f64 = half.iter().map(|moment| moment.goodput).sum();
            (half[0].at.as_secs_f64(), goodput / f64::from(TOGETHER))
        })
        .collect()
}

fn axis(label: &str, logarithmic: bool) -> Axis {
    Axis {
        label: label.to_owned(),
        logarithmic,
    }
}

/// Prints the charts.
pub(super) fn on_the_terminal(charts: &[Chart]) {
    let ascii = !speaks_utf8();
    for chart in charts {
        print::line(&plot(chart, ascii));
    }
}

/// Whether the terminal's words are UTF-8: the first of the variables that is set decides.
fn speaks_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    let locale = locale.unwrap_or_default().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Writes the charts: the first to `path`, others beside it with a number.
///
/// # Errors
/// `Io` where they can't be written, `Invalid` where there is nothing to draw.
pub(super) fn to_files(charts: &[Chart], path: &Path) -> Result<()> {
    if charts.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "one load makes no curve")
            .next("give several, such as --load 0.5..10, or a --trigger"));
    }
    for (place, chart) in charts.iter().enumerate() {
        let path = numbered(path, place);
        std::fs::write(&path, svg(chart)).map_err(|error| {
            Error::new(ErrorKind::Io, format!("{}: {error}", path.display()))
                .next("choose a place that can be written")
        })?;
        print::note(&format!("written: {}", path.display()));
    }
    Ok(())
}

fn numbered(path: &Path, place: usize) -> PathBuf {
    if place == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let end = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{}.{end}", place + 1))
}
