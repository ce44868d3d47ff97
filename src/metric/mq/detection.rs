//! Average precision of detections, by label and overlap.
//!
//! `compute_average_precision_detection` of ActivityNet's evaluator, which Ego4D and ActionFormer took over. Not for
//! recall. Every detection is a hit or a false alarm, and a truth is hit once.

use std::collections::HashMap;

use rayon::prelude::*;

use super::{Compat, Detection, Moment, comparable};
use crate::metric::rank;

/// Average precision of one label at each threshold.
pub type AveragePrecision = Vec<f64>;

/// Average precision of labels `0..num_labels` at `thresholds`. A label that has truths and no detections gets 0, one
/// without truths NaN.
///
/// Detections go by descending score, those of equal scores in their given order. Each takes the free truth of its clip
/// and label with the greatest overlap, if that is at least the threshold. An overlap of 0/0 is never below a
/// threshold: as released it is a hit.
pub fn average_precision(
    truths: &[Moment],
    detections: &[Detection],
    num_labels: usize,
    thresholds: &[f64],
    compat: Compat,
) -> Vec<AveragePrecision> {
    let mut by_label: Vec<(Vec<&Moment>, Vec<&Detection>)> = vec![Default::default(); num_labels];
    truths.iter().for_each(|truth| by_label[truth.label].0.push(truth));
    detections.iter().for_each(|detection| by_label[detection.moment.label].1.push(detection));
    let of_label = |(truths, detections): &(Vec<&Moment>, Vec<&Detection>)| match truths.len() {
        0 => vec![f64::NAN; thresholds.len()],
        _ => of_one_label(truths, detections, thresholds, compat),
    };
    by_label.par_iter().map(of_label).collect()
}

fn of_one_label(truths: &[&Moment], detections: &[&Detection], thresholds: &[f64], compat: Compat) -> AveragePrecision {
    let mut in_clip: HashMap<usize, Vec<usize>> = HashMap::new();
    truths.iter().enumerate().for_each(|(number, truth)| in_clip.entry(truth.clip).or_default().push(number));
    let mut taken = vec![vec![false; truths.len()]; thresholds.len()];
    let mut hits = vec![Vec::with_capacity(detections.len()); thresholds.len()];
    for place in rank::order(detections.len(), |place| detections[place].score) {
        let detection = detections[place];
        let candidates = in_clip.get(&detection.moment.clip).map(Vec::as_slice).unwrap_or_default();
        let overlaps = by_overlap(truths, candidates, detection, compat);
        for ((threshold, taken), hits) in thresholds.iter().zip(&mut taken).zip(&mut hits) {
            hits.push(takes_one(&overlaps, *threshold, taken));
        }
    }
    hits.iter().map(|hits| interpolated(hits, truths.len())).collect()
}

/// Truths with their overlaps, greatest first. NaN stands first: ascending sorts put it last, and the original reverses
/// one.
fn by_overlap(truths: &[&Moment], candidates: &[usize], detection: &Detection, compat: Compat) -> Vec<(usize, f64)> {
    let iou = |&number: &usize| {
        let iou = detection.moment.window.iou_by_union(truths[number].window);
        (number, comparable(iou, compat))
    };
    let mut overlaps: Vec<(usize, f64)> = candidates.iter().map(iou).collect();
    let key = |iou: f64| if iou.is_nan() { f64::INFINITY } else { iou };
    overlaps.sort_by(|a, b| key(b.1).total_cmp(&key(a.1)));
    overlaps
}

/// Takes the first free truth, unless an overlap below the threshold comes before it.
fn takes_one(overlaps: &[(usize, f64)], threshold: f64, taken: &mut [bool]) -> bool {
    for &(number, iou) in overlaps {
        if iou < threshold {
            return false;
        }
        if !taken[number] {
            taken[number] = true;
            return true;
        }
    }
    false
}

/// The area below the envelope of precision over recall, as VOC 2011 defines it.
fn interpolated(hits: &[bool], num_truths: usize) -> f64 {
    let mut found = 0.0;
    let mut steps = Vec::new();
    for (place, _) in hits.iter().enumerate().filter(|(_, hit)| **hit) {
        found += 1.0;
        steps.push(found / (place + 1) as f64);
    }
    // Recall grows at hits only. Precision falls between them, so that the envelope at a hit is the greatest of this
    // and all later hits.
    let mut envelope = 0.0_f64;
    let mut area = 0.0;
    for (number, precision) in steps.iter().enumerate().rev() {
        envelope = envelope.max(*precision);
        let recall = |hits: usize| hits as f64 / num_truths as f64;
        area += (recall(number + 1) - recall(number)) * envelope;
    }
    area
}

#[cfg(test)]
mod tests {
    use super::super::super::Window;
    use super::*;

    fn moment(clip: usize, start: f64, end: f64) -> Moment {
        Moment { clip, label: 0, window: Window::new(start, end) }
    }

    fn precision(truths: &[Moment], detections: &[(Moment, f64)], compat: Compat) -> f64 {
        let detections: Vec<_> = detections.iter().map(|&(moment, score)| Detection { moment, score }).collect();
        average_precision(truths, &detections, 1, &[0.5], compat)[0][0]
    }

    #[test]
    fn an_overlap_of_exactly_the_threshold_is_a_hit() {
        let truth = moment(0, 0.0, 10.0);
        assert_eq!(precision(&[truth], &[(moment(0, 0.0, 5.0), 1.0)], Compat::AsReleased), 1.0);
        assert_eq!(precision(&[truth], &[(moment(0, 0.0, 4.999), 1.0)], Compat::AsReleased), 0.0);
    }

    #[test]
    fn a_truth_is_hit_once_and_another_clip_is_a_false_alarm() {
        let truths = [moment(0, 0.0, 10.0), moment(1, 0.0, 10.0)];
        let twice = [(moment(0, 0.0, 10.0), 0.9), (moment(0, 0.0, 10.0), 0.8), (moment(1, 0.0, 10.0), 0.7)];
        assert!((precision(&truths, &twice, Compat::AsReleased) - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-12);
        let elsewhere = [(moment(7, 0.0, 10.0), 0.9), (moment(1, 0.0, 10.0), 0.7)];
        assert_eq!(precision(&truths, &elsewhere, Compat::AsReleased), 0.25);
    }

    #[test]
    fn a_zero_length_truth_is_hit_by_a_zero_length_detection_as_released_only() {
        let (truth, other) = (moment(0, 50.0, 50.0), moment(0, 70.0, 70.0));
        for detection in [truth, other] {
            assert_eq!(precision(&[truth], &[(detection, 1.0)], Compat::AsReleased), 1.0, "0/0 is not below 0.5");
            assert_eq!(precision(&[truth], &[(detection, 1.0)], Compat::Fixed), 0.0);
        }
    }

    #[test]
    fn equal_scores_go_in_the_order_of_the_file() {
        let truth = moment(0, 0.0, 10.0);
        let (hit, miss) = ((truth, 0.8), (moment(0, 90.0, 99.0), 0.8));
        assert_eq!(precision(&[truth], &[hit, miss], Compat::AsReleased), 1.0);
        assert_eq!(precision(&[truth], &[miss, hit], Compat::AsReleased), 0.5);
    }

    #[test]
    fn labels_without_detections_are_zero_and_without_truths_undefined() {
        let truth = Moment { label: 1, ..moment(0, 0.0, 1.0) };
        let found = average_precision(&[truth], &[], 2, &[0.5], Compat::AsReleased);
        assert!(found[0][0].is_nan() && found[1][0] == 0.0);
    }
}
