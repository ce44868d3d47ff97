//! A picture of how a head was trained: its metrics by epoch, one panel for each family of them.
//!
//! Reads `metrics.jsonl`, a line for each time that something was measured. Not for judging: nothing is smoothed but
//! what has more points than the picture has places. Invariant: the same metrics give the same bytes.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use serde::Deserialize;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// A file could not be read or written.
    #[error("cannot {what} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A line of the metrics is none.
    #[error("{}: line {line}: expected epoch, split and metrics: {cause}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Not one finite number was measured.
    #[error("there is no number to draw in {runs} runs")]
    Nothing {
        /// How many runs were given.
        runs: usize,
    },
    /// The drawing library refused.
    #[error("cannot draw the curves: {0}")]
    Draw(String),
}

/// A point of a curve: an epoch, parts of epochs included, and a value.
pub type Point = (f64, f64);

/// The metrics of one run, one seed for instance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// By name and split, in the order in which they were measured.
    pub series: BTreeMap<(String, String), Vec<Point>>,
}

/// What a line of `metrics.jsonl` is read for.
#[derive(Deserialize)]
struct Measured {
    epoch: f64,
    split: String,
    /// JSON has no NaN: a number that is none is null.
    metrics: BTreeMap<String, Option<f64>>,
}

impl Run {
    /// Reads `metrics.jsonl`. Numbers that are not finite are left out.
    ///
    /// # Errors
    /// [`CurvesError::Io`], [`CurvesError::Line`].
    pub fn read(path: &Path) -> Result<Self, CurvesError> {
        let io = |cause| CurvesError::Io { what: "read", path: path.to_owned(), cause };
        let text = fs::read_to_string(path).map_err(io)?;
        let mut run = Self::default();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
            let wrong = |cause| CurvesError::Line { path: path.to_owned(), line, cause };
            let measured: Measured = serde_json::from_str(text).map_err(wrong)?;
            for (metric, value) in measured.metrics {
                let series = run.series.entry((metric, measured.split.clone())).or_default();
                series.extend(value.filter(|value| value.is_finite()).map(|value| (measured.epoch, value)));
            }
        }
        Ok(run)
    }
}

/// Metrics that share a panel: what their names contain, and how the panel's axis is called. The last takes all others.
const FAMILIES: [(&str, &str); 4] = [("loss", "loss"), ("lr", "learning rate"), ("norm", "norm"), ("", "score")];

/// Colours that the colour-blind can tell apart (Okabe and Ito, 2008), without yellow, which is faint on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
const GRID: RGBColor = RGBColor(225, 225, 225);

const WIDTH: u32 = 960;
const PANEL_HEIGHT: u32 = 340;
/// Width of the column with the names of the curves.
const LEGEND_WIDTH: u32 = 200;
const LEGEND_LINE: i32 = 22;
const FONT: &str = "sans-serif";
/// The most points of a curve.
const PLACES: usize = 400;

/// A metric of a split, over all runs.
struct Curve {
    label: String,
    runs: Vec<Vec<Point>>,
    mean: Vec<Point>,
}

struct Panel {
    name: &'static str,
    curves: Vec<Curve>,
}

/// Draws the metrics of `runs` of the same recipe into the SVG at `path`: each run as a thin line, their mean, over the
/// epochs that all of them have, as a bold one.
///
/// # Errors
/// [`CurvesError::Nothing`], [`CurvesError::Draw`], [`CurvesError::Io`].
pub fn draw(runs: &[Run], path: &Path) -> Result<(), CurvesError> {
    let svg = svg(runs)?;
    fs::write(path, svg).map_err(|cause| CurvesError::Io { what: "write", path: path.to_owned(), cause })
}

fn svg(runs: &[Run]) -> Result<String, CurvesError> {
    let panels = panels(runs);
    if panels.is_empty() {
        return Err(CurvesError::Nothing { runs: runs.len() });
    }
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, PANEL_HEIGHT * panels.len() as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(refused)?;
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(&panels) {
        draw_panel(area, panel)?;
    }
    root.present().map_err(refused)?;
    drop(root);
    Ok(svg)
}

fn refused(error: impl std::fmt::Display) -> CurvesError {
    CurvesError::Draw(error.to_string())
}

fn panels(runs: &[Run]) -> Vec<Panel> {
    let mut panels: Vec<Panel> = FAMILIES.iter().map(|(_, name)| Panel { name, curves: Vec::new() }).collect();
    let mut names: Vec<&(String, String)> = runs.iter().flat_map(|run| run.series.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let of_runs: Vec<&[Point]> = runs.iter().filter_map(|run| run.series.get(name)).map(Vec::as_slice).collect();
        let (metric, split) = name;
        let family = FAMILIES.iter().position(|(part, _)| metric.contains(part));
        let mean = thinned(&mean(&of_runs));
        let runs: Vec<Vec<Point>> = of_runs.into_iter().map(thinned).filter(|points| !points.is_empty()).collect();
        if let Some(panel) = family.and_then(|family| panels.get_mut(family)).filter(|_| !runs.is_empty()) {
            panel.curves.push(Curve { label: format!("{split} {metric}"), runs, mean });
        }
    }
    panels.retain(|panel| !panel.curves.is_empty());
    panels
}

/// The mean of runs, over the epochs at which each of them has a value.
fn mean(runs: &[&[Point]]) -> Vec<Point> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let by_epoch = |run: &&[Point]| run.iter().map(|&(epoch, value)| (epoch.to_bits(), value)).collect();
    let others: Vec<HashMap<u64, f64>> = others.iter().map(by_epoch).collect();
    let shared = first.iter().filter_map(|&(epoch, value)| {
        let values: Option<Vec<f64>> = others.iter().map(|run| run.get(&epoch.to_bits()).copied()).collect();
        Some((epoch, (value + values?.iter().sum::<f64>()) / runs.len() as f64))
    });
    shared.collect()
}

/// Means of neighbours, where there are more points than [`PLACES`].
fn thinned(points: &[Point]) -> Vec<Point> {
    let neighbours = points.len().div_ceil(PLACES).max(1);
    let mean = |chunk: &[Point]| {
        let (epochs, values) = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (epochs / chunk.len() as f64, values / chunk.len() as f64)
    };
    points.chunks(neighbours).map(mean).collect()
}

/// From the least to the greatest value, and a little more.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let greatest = values.fold(f64::NEG_INFINITY, f64::max);
    let margin = match greatest - least {
        0.0 if least == 0.0 => 0.5,
        0.0 => least.abs() / 2.0,
        height => 0.04 * height,
    };
    least - margin..greatest + margin
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type SvgError = DrawingAreaErrorKind<std::io::Error>;

fn draw_panel(area: &Area, panel: &Panel) -> Result<(), CurvesError> {
    let (left, right) = area.split_horizontally(WIDTH - LEGEND_WIDTH);
    let points = panel.curves.iter().flat_map(|curve| curve.runs.iter().flatten());
    let (epochs, values) = (range(points.clone().map(|point| point.0)), range(points.map(|point| point.1)));
    let small = values.end.abs().max(values.start.abs()) < 0.01;
    let mut chart = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d(epochs, values)
        .map_err(refused)?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(RGBColor(120, 120, 120))
        .x_desc("epoch")
        .y_desc(panel.name)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .y_label_formatter(&|value| if small { format!("{value:.1e}") } else { trimmed(*value) })
        .x_label_formatter(&|epoch| trimmed(*epoch))
        .draw()
        .map_err(refused)?;
    for (curve, colour) in panel.curves.iter().zip(COLOURS.iter().cycle()) {
        draw_curve(&mut chart, curve, *colour).map_err(refused)?;
    }
    draw_legend(&right, panel)
}

fn draw_curve(chart: &mut Chart, curve: &Curve, colour: RGBColor) -> Result<(), SvgError> {
    if curve.runs.len() > 1 {
        for run in &curve.runs {
            chart.draw_series(LineSeries::new(run.iter().copied(), colour.mix(0.4).stroke_width(1)))?;
        }
    }
    chart.draw_series(LineSeries::new(curve.mean.iter().copied(), colour.stroke_width(3)))?;
    // A line of one point is not to be seen.
    if let &[point] = curve.mean.as_slice() {
        chart.draw_series([Circle::new(point, 4, colour.filled())])?;
    }
    Ok(())
}

/// The names of curves beside them, where they hide nothing.
fn draw_legend(area: &Area, panel: &Panel) -> Result<(), CurvesError> {
    for (at, (curve, colour)) in (0..).zip(panel.curves.iter().zip(COLOURS.iter().cycle())) {
        let y = 24 + at * LEGEND_LINE;
        area.draw(&PathElement::new(vec![(4, y), (28, y)], colour.stroke_width(3))).map_err(refused)?;
        let runs = if curve.runs.len() > 1 { format!(" ({} runs)", curve.runs.len()) } else { String::new() };
        let text = format!("{}{runs}", curve.label);
        area.draw(&Text::new(text, (36, y - 7), (FONT, 14))).map_err(refused)?;
    }
    Ok(())
}

/// At most three digits behind the point, and no zeros at the end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Run, CurvesError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        Run::read(&path)
    }

    fn line(epoch: f64, split: &str, metrics: &str) -> String {
        format!("{{\"epoch\": {epoch}, \"step\": 5, \"split\": \"{split}\", \"metrics\": {{{metrics}}}}}\n")
    }

    /// A falling loss in both splits and rising scores, a little else for each seed.
    fn sample(seed: u32) -> Run {
        let mut text = String::new();
        for step in 0..1000 {
            let epoch = f64::from(step) / 100.0;
            let wave = (f64::from(seed * 7 + step) * 1.7).sin();
            text += &line(epoch, "train", &format!("\"loss\": {}, \"lr\": {}", 3.0 / (1.0 + epoch) + 0.2 * wave, 1e-4));
            if step % 50 == 0 {
                let score = 1.0 - 1.0 / (1.0 + epoch) + 0.03 * wave;
                let metrics =
                    format!("\"loss\": {}, \"R1@0.3\": {score}, \"R1@0.5\": {}", 3.4 / (1.0 + epoch), 0.7 * score);
                text += &line(epoch, "val", &metrics);
            }
        }
        run(&text).unwrap()
    }

    #[test]
    fn metrics_are_read_by_name_and_split_and_only_as_far_as_they_are_numbers() {
        let text = line(0.5, "train", "\"loss\": 2.0, \"lr\": 0.1") + "\n" + &line(1.0, "train", "\"loss\": null");
        let found = run(&text).unwrap();
        let key = |metric: &str| (metric.to_owned(), "train".to_owned());
        assert_eq!(found.series[&key("loss")], [(0.5, 2.0)]);
        assert_eq!(found.series[&key("lr")], [(0.5, 0.1)]);
        let error = run(&(line(1.0, "val", "") + "{}")).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 2: expected epoch, split and metrics"), "{error}");
    }

    #[test]
    fn a_mean_is_over_what_all_runs_have() {
        let [one, two] = [vec![(0.5, 1.0), (1.0, 2.0), (1.5, 9.0)], vec![(0.5, 3.0), (1.0, 5.0)]];
        assert_eq!(mean(&[&one, &two]), [(0.5, 2.0), (1.0, 3.5)]);
        assert_eq!(mean(&[&one]), one);
        assert_eq!(mean(&[]), []);
    }

    #[test]
    fn many_points_become_means_of_neighbours() {
        let points: Vec<Point> = (0..2 * PLACES).map(|at| (at as f64, f64::from(at as u32 % 2))).collect();
        let found = thinned(&points);
        assert_eq!(found.len(), PLACES);
        assert!(found.iter().all(|point| point.1 == 0.5) && found[1].0 == 2.5);
        assert_eq!(thinned(&points[..PLACES]), points[..PLACES]);
    }

    #[test]
    fn each_family_has_a_panel_with_a_thin_line_for_each_run_and_a_bold_mean() {
        let runs = [sample(1), sample(2), sample(3)];
        let names: Vec<&str> = panels(&runs).iter().map(|panel| panel.name).collect();
        assert_eq!(names, ["loss", "learning rate", "score"]);
        let found = svg(&runs).unwrap();
        for text in ["epoch", "loss", "learning rate", "score", "train loss (3 runs)", "val R1@0.3 (3 runs)"] {
            assert!(found.contains(&format!("{text}\n</text>")), "{text}");
        }
        let lines =
            |width: &str| found.lines().filter(|line| line.contains("polyline") && line.contains(width)).count();
        // Five curves and their five samples beside them.
        assert_eq!((lines("opacity=\"0.4\" stroke=\"#0072B2\""), lines("stroke-width=\"3\"")), (9, 10));
        assert_eq!(found, svg(&runs).unwrap());
        assert!(found.len() < 200_000, "{}", found.len());
        let alone = svg(&runs[..1]).unwrap();
        assert!(!alone.contains("opacity=\"0.4\"") && !alone.contains("runs)"));
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_one_point_is_not() {
        assert!(matches!(svg(&[Run::default()]), Err(CurvesError::Nothing { runs: 1 })));
        assert!(matches!(svg(&[run(&line(1.0, "val", "\"loss\": null")).unwrap()]), Err(CurvesError::Nothing { .. })));
        assert!(svg(&[run(&line(1.0, "val", "\"loss\": 0.0")).unwrap()]).unwrap().contains("<circle"));
    }

    #[test]
    fn constants_have_room_above_and_below() {
        assert_eq!(range([0.5, 0.5].into_iter()), 0.25..0.75);
        assert_eq!(range([0.0].into_iter()), -0.5..0.5);
        assert_eq!(range([0.0, 100.0, 50.0].into_iter()), -4.0..104.0);
    }

    #[test]
    fn the_picture_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        draw(&[sample(1), sample(2), sample(3)], &path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("<svg"));
        let error = draw(&[sample(1)], &folder.path().join("absent/curves.svg")).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
    }
}
