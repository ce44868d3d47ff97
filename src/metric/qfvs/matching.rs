//! The best assignment of a summary's shots to the true ones.
//!
//! Not for files. Overlaps of concepts are fractions of small whole numbers; they are compared as whole numbers over
//! their common denominator, so that the assignment is the best one exactly and not up to rounding.

use ndarray::Array2;
use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::{MetricError, ShotTags};
use crate::metric::rank;

/// The share of a video's shots that make a summary, as the released code has it.
const SUMMARY_SHARE: f64 = 0.02;

/// How a summary fits the true one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SemanticMatch {
    /// Total overlap over the number of shots of the summary.
    pub precision: f64,
    /// Total overlap over the number of true shots.
    pub recall: f64,
}

impl SemanticMatch {
    /// Harmonic mean; NaN (0/0) where nothing matches.
    pub fn f1(&self) -> f64 {
        2.0 * self.precision * self.recall / (self.precision + self.recall)
    }
}

/// Concepts that both shots show, and that at least one of them shows.
fn counts(a: &[bool], b: &[bool]) -> (usize, usize) {
    let pairs = || a.iter().zip(b);
    (pairs().filter(|(a, b)| **a && **b).count(), pairs().filter(|(a, b)| **a || **b).count())
}

/// Concepts that both shots show over concepts that at least one of them shows; 0 if neither shows any.
pub fn semantic_iou(a: &[bool], b: &[bool]) -> f64 {
    let (both, any) = counts(a, b);
    if any == 0 { 0.0 } else { both as f64 / any as f64 }
}

/// Matches the shots of a summary with the true ones, each with at most one, so that the total overlap is greatest:
/// `calculate_semantic_matching`. Shots count from 0.
///
/// # Errors
///
/// A shot that is not tagged; shots with more concepts than can be compared exactly (the official tags have 48).
pub fn semantic_match(tags: &ShotTags, machine: &[usize], truth: &[usize]) -> Result<SemanticMatch, MetricError> {
    if let Some(&found) = machine.iter().chain(truth).find(|&&shot| shot >= tags.len()) {
        return Err(MetricError::OutOfRange { what: "shot", found, end: tags.len() });
    }
    let overlaps = Array2::from_shape_fn((machine.len(), truth.len()), |(row, column)| {
        counts(&tags[machine[row]], &tags[truth[column]])
    });
    let total = greatest_total(overlaps)?;
    Ok(SemanticMatch { precision: total / machine.len() as f64, recall: total / truth.len() as f64 })
}

/// The greatest sum of overlaps of an assignment. The solver wants no more rows than columns.
fn greatest_total(overlaps: Array2<(usize, usize)>) -> Result<f64, MetricError> {
    let overlaps = if overlaps.nrows() > overlaps.ncols() { overlaps.reversed_axes() } else { overlaps };
    if overlaps.is_empty() {
        return Ok(0.0);
    }
    let denominator = common_denominator(overlaps.iter().map(|(_, any)| *any))?;
    let weight = |(both, any): (usize, usize)| if any == 0 { 0 } else { both as i128 * (denominator / any as i128) };
    let (rows, columns) = overlaps.dim();
    let weights = Matrix::from_fn(rows, columns, |(row, column)| weight(overlaps[(row, column)]));
    let (_, columns) = kuhn_munkres(&weights);
    let chosen = columns.iter().enumerate().map(|(row, column)| overlaps[(row, *column)]);
    Ok(chosen.filter(|(_, any)| *any > 0).map(|(both, any)| both as f64 / any as f64).sum())
}

/// The least common multiple, with room for a sum of a thousand overlaps.
fn common_denominator(numbers: impl Iterator<Item = usize> + Clone) -> Result<i128, MetricError> {
    let most = numbers.clone().max().unwrap_or_default();
    let multiple = |denominator: i128, number: usize| {
        let number = number as i128;
        denominator.checked_mul(number / greatest_common_divisor(denominator, number))
    };
    let denominator = numbers.filter(|number| *number > 0).try_fold(1, multiple);
    let fits = |denominator: &i128| denominator.checked_mul(1 << 20).is_some();
    denominator.filter(fits).ok_or(MetricError::TooManyConcepts { concepts: most })
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The shots with the highest scores, best first: 2 % of all, truncated; the first of equal scores.
pub fn summary_of(scores: &[f64]) -> Vec<usize> {
    let length = (scores.len() as f64 * SUMMARY_SHARE) as usize;
    let mut order = rank::order(scores.len(), |shot| scores[shot]);
    order.truncate(length);
    order
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::super::samples;
    use super::*;

    fn tags(value: &Value) -> ShotTags {
        let rows = value.as_array().unwrap().iter();
        rows.map(|row| samples::indices(row).into_iter().map(|tag| tag > 0).collect()).collect()
    }

    #[test]
    fn matchings_are_the_original_ones() {
        let file = samples::json("qfvs.json");
        for case in file["metric_cases"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let tags = tags(case.get("tags").unwrap_or(&file["tags"]));
            let (machine, truth) = (samples::indices(&case["machine"]), samples::indices(&case["gt"]));
            if let Some(expected) = case.get("iou_matrix") {
                let expected = samples::matrix(expected);
                let found = |(row, column): (usize, usize)| semantic_iou(&tags[machine[row]], &tags[truth[column]]);
                assert_eq!(Array2::from_shape_fn(expected.dim(), found), expected, "{name}");
            }
            let found = semantic_match(&tags, &machine, &truth).unwrap();
            samples::close(found.precision, &case["precision"], name);
            samples::close(found.recall, &case["recall"], name);
            samples::close(found.f1(), &case["f1"], name);
        }
    }

    /// Every assignment, for comparison.
    fn by_trial(overlaps: &Array2<f64>, row: usize, taken: u32) -> f64 {
        if row == overlaps.nrows() {
            return 0.0;
        }
        let skipped = by_trial(overlaps, row + 1, taken);
        let free = (0..overlaps.ncols()).filter(|column| taken & (1 << column) == 0);
        free.map(|column| overlaps[(row, column)] + by_trial(overlaps, row + 1, taken | 1 << column))
            .fold(skipped, f64::max)
    }

    #[test]
    fn no_assignment_is_better() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for trial in 0..200 {
            let tags: ShotTags = (0..12).map(|_| (0..9).map(|_| random(3) == 0).collect()).collect();
            let (rows, columns) = (1 + random(5) as usize, 1 + random(5) as usize);
            let (machine, truth) = ((0..rows).collect::<Vec<_>>(), (6..6 + columns).collect::<Vec<_>>());
            let overlaps = Array2::from_shape_fn((rows, columns), |(a, b)| semantic_iou(&tags[a], &tags[6 + b]));
            let found = semantic_match(&tags, &machine, &truth).unwrap().precision * rows as f64;
            let best = by_trial(&overlaps, 0, 0);
            assert!((found - best).abs() < 1e-12, "trial {trial}: {found} instead of {best}");
        }
    }

    #[test]
    fn all_unions_of_the_official_48_concepts_have_a_common_denominator() {
        assert_eq!(common_denominator(1..49).unwrap(), 442_720_643_463_713_815_200);
        assert!(matches!(common_denominator(1..200), Err(MetricError::TooManyConcepts { concepts: 199 })));
    }

    #[test]
    fn a_shot_without_tags_is_refused() {
        let error = semantic_match(&vec![vec![true]], &[0], &[1]).unwrap_err();
        assert_eq!(error.to_string(), "shot 1 is out of range, expected less than 1");
    }
}
