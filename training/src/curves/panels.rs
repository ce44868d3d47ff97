//! What the picture shows: a panel for each metric, in the order in which a person asks for them.
//!
//! Not for places or colours. Invariant: a panel has at least one point.

use std::collections::HashMap;

use super::{Point, Run};
use crate::scores::{LOSS, lower_is_better};

/// The most points of a line.
const PLACES: usize = 400;
/// The split of validations in `metrics.jsonl`.
const VALIDATION: &str = "val";

/// All panels.
pub(super) struct Panels {
    /// The first of them, as many as [`Panels::large`], are large.
    pub all: Vec<Panel>,
    /// How many are large: the selected score and the loss, as far as they were measured.
    pub large: usize,
    /// The best epoch, if the selected score was measured.
    pub best: Option<Best>,
    /// How many runs there are.
    pub runs: usize,
}

/// The epoch at which the selected score, the mean of all runs, is best.
pub(super) struct Best {
    pub select: String,
    pub epoch: f64,
    pub value: f64,
}

/// A metric.
pub(super) struct Panel {
    pub name: String,
    pub kind: Kind,
    /// Train before validation.
    pub lines: Vec<Line>,
}

/// What kind of number a metric is, which gives its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Loss,
    Score,
    /// The learning rate, norms.
    Step,
    /// Speed and memory.
    Machine,
}

/// A metric in one split.
pub(super) struct Line {
    pub is_validation: bool,
    /// The runs; a single one is in `mean` alone.
    pub runs: Vec<Vec<Point>>,
    pub mean: Vec<Point>,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            name if name.contains(LOSS) => Self::Loss,
            name if name == "lr" || name.starts_with("lr ") || name.contains("norm") || name == "skipped_steps" => {
                Self::Step
            }
            "samples_per_sec" | "waiting_share" | "memory_gib" | "cuda_peak_gib" => Self::Machine,
            _ => Self::Score,
        }
    }
}

impl Line {
    /// The value at an epoch.
    pub fn at(&self, epoch: f64) -> Option<f64> {
        self.mean.iter().find(|point| point.0 == epoch).map(|point| point.1)
    }

    /// All points, those of the runs included.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.runs.iter().flatten().chain(&self.mean).copied()
    }
}

/// The panels of `runs`, the selected score first, then the loss, the other losses, the other scores, what is of steps, and what
/// is of the machine.
pub(super) fn of(runs: &[Run], select: &str) -> Panels {
    let mut names: Vec<&str> = runs.iter().flat_map(|run| run.series.keys()).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: &str| (name != select, name != LOSS, Kind::of(name));
    names.sort_by_key(|name| place(name));
    let all: Vec<Panel> =
        names.into_iter().map(|name| panel(runs, name)).filter(|panel| !panel.lines.is_empty()).collect();
    let large = all.iter().filter(|panel| panel.name == select || panel.name == LOSS).count().max(1).min(all.len());
    Panels { best: best(&all, select), all, large, runs: runs.len() }
}

fn panel(runs: &[Run], name: &str) -> Panel {
    let mut splits: Vec<&str> =
        runs.iter().flat_map(|run| run.series.keys()).map(|(_, split)| split.as_str()).collect();
    splits.sort_unstable();
    splits.dedup();
    let lines = splits.into_iter().filter_map(|split| line(runs, name, split)).collect();
    Panel { name: name.to_owned(), kind: Kind::of(name), lines }
}

fn line(runs: &[Run], name: &str, split: &str) -> Option<Line> {
    let key = (name.to_owned(), split.to_owned());
    let of_runs: Vec<&[Point]> = runs.iter().filter_map(|run| run.series.get(&key)).map(Vec::as_slice).collect();
    let of_runs: Vec<&[Point]> = of_runs.into_iter().filter(|points| !points.is_empty()).collect();
    let mean = thinned(&mean(&of_runs));
    let runs = if of_runs.len() > 1 { of_runs.into_iter().map(thinned).collect() } else { vec![] };
    (!mean.is_empty() || !runs.is_empty()).then_some(Line { is_validation: split == VALIDATION, runs, mean })
}

fn best(panels: &[Panel], select: &str) -> Option<Best> {
    let panel = panels.iter().find(|panel| panel.name == select)?;
    let line = panel.lines.iter().find(|line| line.is_validation)?;
    let better = |one: Point, other: Point| if lower_is_better(select) { other.1 < one.1 } else { other.1 > one.1 };
    let (epoch, value) = line.mean.iter().copied().reduce(|one, other| if better(one, other) { other } else { one })?;
    Some(Best { select: select.to_owned(), epoch, value })
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn run(series: &[(&str, &str, &[f64])]) -> Run {
        let points = |values: &[f64]| values.iter().enumerate().map(|(at, value)| (at as f64 + 1.0, *value)).collect();
        let of =
            |(name, split, values): &(&str, &str, &[f64])| (((*name).to_owned(), (*split).to_owned()), points(values));
        Run { series: series.iter().map(of).collect() }
    }

    #[test]
    fn what_was_selected_comes_first_then_the_loss_then_the_rest_by_kind() {
        let run = run(&[
            ("lr", "train", &[1.0]),
            ("R@1", "val", &[0.1, 0.5, 0.4]),
            ("R@5", "val", &[0.2, 0.6, 0.7]),
            ("loss", "train", &[3.0, 2.0, 1.0]),
            ("loss", "val", &[3.0, 2.5, 2.6]),
            ("MLM loss", "train", &[1.0]),
            ("broken", "val", &[]),
        ]);
        let panels = of(std::slice::from_ref(&run), "R@5");
        let names: Vec<&str> = panels.all.iter().map(|panel| panel.name.as_str()).collect();
        assert_eq!((names, panels.large), (vec!["R@5", "loss", "MLM loss", "R@1", "lr"], 2));
        let splits: Vec<bool> = panels.all[1].lines.iter().map(|line| line.is_validation).collect();
        assert_eq!(splits, [false, true]);
        let of_best = |select: &str| of(std::slice::from_ref(&run), select).best.map(|best| (best.epoch, best.value));
        // The highest score, and the lowest loss.
        assert_eq!((of_best("R@1"), of_best("loss"), of_best("mAP")), (Some((2.0, 0.5)), Some((2.0, 2.5)), None));
        assert_eq!(panels.all[3].lines[0].at(3.0), Some(0.4));
    }
}
