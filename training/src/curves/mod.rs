//! The curves of a training: its metrics by epoch, as an SVG.
//!
//! Reads `metrics.jsonl`, a line for each time that something was measured. The score that picks the checkpoint and the loss
//! come first and large, every other metric has a small panel of its own: a name above a panel needs no legend, and as many
//! metrics as there are fit. Train is solid and validation dashed in one colour. The best epoch is marked in all panels, and
//! the values of the validation there are written out. Nothing is smoothed but what has more points than there are places.
//! Invariant: the same metrics give the same bytes.

pub mod lr_find;
mod panels;
mod svg;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use egofx::durable;
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

/// Draws the metrics of `runs` of the same experiment into the SVG at `path`. `select` is the score that picks the best epoch.
/// Of several runs each is a thin line, and their mean, over the epochs that all of them have, a bold one.
///
/// # Errors
/// [`CurvesError::Nothing`], [`CurvesError::Io`].
pub fn draw(runs: &[Run], select: &str, path: &Path) -> Result<(), CurvesError> {
    let panels = panels::of(runs, select);
    if panels.all.is_empty() {
        return Err(CurvesError::Nothing { runs: runs.len() });
    }
    durable::write_bytes(path, svg::of(&panels).as_bytes()).map_err(|cause| CurvesError::Io {
        what: "write",
        path: path.to_owned(),
        cause,
    })
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

    /// The bytes of the picture.
    fn drawn(runs: &[Run], select: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curves.svg");
        draw(runs, select, &path).unwrap();
        fs::read_to_string(path).unwrap()
    }

    fn count(svg: &str, part: &str) -> usize {
        svg.matches(part).count()
    }

    #[test]
    fn train_is_solid_and_validation_dashed_in_one_colour_and_the_best_epoch_is_marked() {
        let svg = drawn(&[sample(1)], "R1@0.3");
        assert!(svg.starts_with("<svg"));
        let losses: Vec<&str> =
            svg.lines().filter(|line| line.starts_with("<polyline") && line.contains("stroke=\"#d55e00\"")).collect();
        assert_eq!((losses.len(), losses[0].contains("dasharray"), losses[1].contains("dasharray")), (2, false, true));
        // Loss, rate and two scores have a line at the best epoch, and those that were validated a dot and their value.
        assert_eq!((count(&svg, "stroke-dasharray=\"2 3\""), count(&svg, "stroke=\"white\"/>")), (4, 3));
        assert!(svg.contains(">best R1@0.3: 0.9"), "{svg}");
        assert_eq!(svg, drawn(&[sample(1)], "R1@0.3"));
        assert!(!svg.contains("stroke-opacity") && svg.len() < 60_000, "{}", svg.len());
    }

    #[test]
    fn several_runs_are_thin_lines_under_their_mean() {
        let svg = drawn(&[sample(1), sample(2), sample(3)], "loss");
        assert_eq!(count(&svg, "stroke-opacity=\"0.45\""), 3 * 5);
        assert!(svg.contains("one of 3 runs; bold: their mean") && svg.contains("(of the mean)"), "{svg}");
    }

    /// Twenty-one scores, as moment queries have them, some of them with names that are too long.
    #[test]
    fn every_metric_has_a_panel_within_the_picture_however_many_there_are() {
        let names: Vec<String> =
            (0..21).map(|at| format!("recall at {at}x of class-agnostic windows, IoU>0.{at}")).collect();
        let metrics =
            |epoch: f64| names.iter().map(|name| format!("\"{name}\": {}", epoch / 9.0)).collect::<Vec<_>>().join(",");
        let text: String = (1..=8).map(|epoch| line(f64::from(epoch), "val", &metrics(f64::from(epoch)))).collect();
        let svg = drawn(&[run(&text).unwrap()], &names[3]);
        assert_eq!(count(&svg, "<title>"), 21);
        assert!(names.iter().all(|name| svg.contains(&format!("<title>{}</title>", name.replace('>', "&gt;")))));
        let number = |line: &str, key: &str| -> f64 {
            line.split(&format!(" {key}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let height = number(&svg, "height");
        for text in svg.lines().filter(|line| line.starts_with("<text")) {
            let words = text.split('>').nth(1).unwrap().split('<').next().unwrap().chars().count() as f64;
            let (x, y, width) = (number(text, "x"), number(text, "y"), 0.6 * words * number(text, "font-size"));
            let left = if text.contains("\"end\"") { x - width } else { x };
            let right = if text.contains("\"end\"") { x } else { x + width };
            assert!(left >= 0.0 && right <= 1080.0 && y > 0.0 && y < height, "{text}");
        }
    }

    #[test]
    fn nothing_to_draw_is_an_error_and_one_point_is_not() {
        let nowhere = Path::new("Cargo.toml/curves.svg");
        let nothing = |run: Run| draw(&[run], "loss", nowhere).unwrap_err().to_string();
        assert_eq!(nothing(Run::default()), "there is no number to draw in 1 runs");
        assert_eq!(nothing(run(&line(1.0, "val", "\"loss\": null")).unwrap()), "there is no number to draw in 1 runs");
        assert!(nothing(sample(1)).starts_with("cannot write Cargo.toml/curves.svg"));
        assert!(drawn(&[run(&line(1.0, "val", "\"loss\": 0.0")).unwrap()], "loss").contains("<circle"));
    }
}
