//! ActionFormer's own evaluator, for comparison with numbers that were computed by it.
//!
//! `libs/utils/metrics.py` of [ActionFormer](https://github.com/happyharrycn/actionformer_release). Not Ego4D's: recall
//! counts overlaps of at least the threshold, among detections by score, and is a mean over labels; truths that are
//! very short or listed twice are dropped. Average precision is computed alike.

use std::collections::HashMap;

use super::{Detection, Moment, Window};
use crate::metric::rank;

/// Overlaps at which precision and recall are counted: `numpy.linspace(0.1, 0.5, 5)`, whose third number is the next
/// one above 0.3. An overlap of exactly 0.3 is a hit by Ego4D's evaluator and none by this one.
pub const THRESHOLDS: [f64; 5] = [0.1, 0.2, 0.1 + 0.2, 0.4, 0.5];
/// How many detections may hit, as multiples of the number of truths.
pub const MULTIPLES: [usize; 2] = [1, 5];
/// Truths shorter than this, and those that differ by no more than this from an earlier one, are dropped.
const TOLERANCE_SEC: f64 = 1e-3;

/// The truths that it keeps, in order: `remove_duplicate_annotations`.
pub fn without_duplicates(truths: &[Moment]) -> Vec<Moment> {
    let mut kept: Vec<Moment> = Vec::with_capacity(truths.len());
    let mut of_clip: HashMap<(usize, usize), Vec<Window>> = HashMap::new();
    for truth in truths {
        let earlier = of_clip.entry((truth.clip, truth.label)).or_default();
        let is_listed = earlier.iter().any(|other| is_same(truth.window, *other));
        if truth.window.length_sec() >= TOLERANCE_SEC && !is_listed {
            earlier.push(truth.window);
            kept.push(*truth);
        }
    }
    kept
}

fn is_same(a: Window, b: Window) -> bool {
    (a.start_sec - b.start_sec).abs() <= TOLERANCE_SEC && (a.end_sec - b.end_sec).abs() <= TOLERANCE_SEC
}

/// Recall by label, threshold ([`THRESHOLDS`]) and multiple ([`MULTIPLES`]): `compute_topkx_recall_detection`.
/// A label without truths has NaN. `truths` should be [`without_duplicates`].
pub fn recall(truths: &[Moment], detections: &[Detection], num_labels: usize) -> Vec<[[f64; 2]; 5]> {
    let mut wanted: HashMap<(usize, usize), Vec<Window>> = HashMap::new();
    for truth in truths {
        wanted.entry((truth.label, truth.clip)).or_default().push(truth.window);
    }
    let mut listed: HashMap<(usize, usize), Vec<&Detection>> = HashMap::new();
    for detection in detections {
        listed.entry((detection.moment.label, detection.moment.clip)).or_default().push(detection);
    }
    let mut counts = vec![(0_usize, [[0_usize; 2]; 5]); num_labels];
    for (key, truths) in &wanted {
        let (total, hits) = &mut counts[key.0];
        *total += truths.len();
        let best = listed.get(key).map(|listed| by_score(listed)).unwrap_or_default();
        truths.iter().for_each(|truth| count(hits, *truth, &best, truths.len()));
    }
    counts.iter().map(|(total, hits)| hits.map(|row| row.map(|hits| hits as f64 / *total as f64))).collect()
}

fn by_score(listed: &[&Detection]) -> Vec<Window> {
    let order = rank::order(listed.len(), |place| listed[place].score);
    order.into_iter().map(|place| listed[place].moment.window).collect()
}

fn count(hits: &mut [[usize; 2]; 5], truth: Window, best: &[Window], num_truths: usize) {
    for (row, threshold) in hits.iter_mut().zip(THRESHOLDS) {
        let first = best.iter().position(|window| window.iou_by_union(truth) >= threshold);
        for (hits, multiple) in row.iter_mut().zip(MULTIPLES) {
            *hits += usize::from(first.is_some_and(|place| place < multiple * num_truths));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(label: usize, start: f64, end: f64) -> Moment {
        Moment { clip: 0, label, window: Window::new(start, end) }
    }

    #[test]
    fn an_overlap_of_exactly_three_tenths_is_a_hit_by_the_other_evaluator_only() {
        let (truth, detection) = (moment(0, 200.0, 260.0), moment(0, 200.0, 218.0));
        assert_eq!(detection.window.iou_by_union(truth.window), 0.3);
        let found = recall(&[truth], &[Detection { moment: detection, score: 1.0 }], 1)[0];
        assert_eq!(found, [[1.0; 2], [1.0; 2], [0.0; 2], [0.0; 2], [0.0; 2]]);
        assert_eq!(THRESHOLDS[2], 0.300_000_000_000_000_04);
    }

    #[test]
    fn truths_that_are_short_or_listed_twice_are_dropped() {
        let kept = [moment(0, 1.0, 2.0), moment(1, 1.0, 2.0), moment(0, 1.0, 2.002)];
        let dropped = [moment(0, 5.0, 5.0), moment(0, 5.0, 5.0009), moment(0, 1.0009, 2.0009), moment(0, 3.0, 2.0)];
        let truths: Vec<Moment> = kept.iter().chain(&dropped).copied().collect();
        assert_eq!(without_duplicates(&truths), kept);
    }

    #[test]
    fn recall_is_by_score_counts_the_threshold_itself_and_is_by_label() {
        let detection = |moment, score| Detection { moment, score };
        let listed = [detection(moment(0, 90.0, 99.0), 0.1), detection(moment(0, 0.0, 5.0), 0.9)];
        let found = recall(&[moment(0, 0.0, 10.0), moment(1, 0.0, 1.0)], &listed, 2);
        assert_eq!(found, [[[1.0; 2]; 5], [[0.0; 2]; 5]]);
    }
}
