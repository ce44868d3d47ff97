//! Recall of retrieved moments among the first k times n detections.
//!
//! `get_retrieval_performance.py`. Not ActionFormer's recall of the same name. Every truth counts once, whatever its
//! label: the mean is over truths, not over labels.

use std::collections::HashMap;

use super::{Detection, Moment, RECALL_MULTIPLES, RECALL_THRESHOLDS, Window};

/// The share of truths that are retrieved, by threshold ([`RECALL_THRESHOLDS`], rows) and multiple
/// ([`RECALL_MULTIPLES`], columns); NaN without truths.
///
/// For the n truths of a clip and label, the first k times n detections of that clip and label count, in the order of
/// the file, whatever their scores. A truth is retrieved if one of them overlaps by strictly more than the threshold;
/// 0/0 is not more than anything.
pub fn recall(truths: &[Moment], retrieved: &[Detection]) -> [[f64; 5]; 3] {
    let mut wanted: HashMap<(usize, usize), Vec<Window>> = HashMap::new();
    for truth in truths {
        wanted.entry((truth.clip, truth.label)).or_default().push(truth.window);
    }
    let mut listed: HashMap<(usize, usize), Vec<Window>> = HashMap::new();
    for Detection { moment, .. } in retrieved.iter().filter(|detection| is_wanted(&wanted, detection)) {
        listed.entry((moment.clip, moment.label)).or_default().push(moment.window);
    }
    let mut hits = [[0_usize; 5]; 3];
    for (key, truths) in &wanted {
        let first = listed.get(key).map(Vec::as_slice).unwrap_or_default();
        truths.iter().for_each(|truth| count(&mut hits, *truth, first, truths.len()));
    }
    hits.map(|row| row.map(|hits| hits as f64 / truths.len() as f64))
}

fn is_wanted(wanted: &HashMap<(usize, usize), Vec<Window>>, detection: &Detection) -> bool {
    wanted.contains_key(&(detection.moment.clip, detection.moment.label))
}

fn count(hits: &mut [[usize; 5]; 3], truth: Window, listed: &[Window], num_truths: usize) {
    for (row, threshold) in hits.iter_mut().zip(RECALL_THRESHOLDS) {
        let first = listed.iter().position(|window| window.iou_by_hull(truth) > threshold);
        for (hits, multiple) in row.iter_mut().zip(RECALL_MULTIPLES) {
            *hits += usize::from(first.is_some_and(|place| place < multiple * num_truths));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(start: f64, end: f64) -> Moment {
        Moment { clip: 0, label: 0, window: Window::new(start, end) }
    }

    fn of(truths: &[Moment], listed: &[Moment]) -> [[f64; 5]; 3] {
        let listed: Vec<_> = listed.iter().map(|&moment| Detection { moment, score: 0.0 }).collect();
        recall(truths, &listed)
    }

    #[test]
    fn an_overlap_of_exactly_the_threshold_is_a_miss() {
        assert_eq!(of(&[moment(0.0, 10.0)], &[moment(0.0, 5.0)]), [[1.0; 5], [0.0; 5], [0.0; 5]]);
    }

    #[test]
    fn the_order_of_the_file_counts_and_not_the_scores() {
        let (hit, miss) = (moment(0.0, 10.0), moment(90.0, 99.0));
        let scored = |moment, score| Detection { moment, score };
        let found = recall(&[hit], &[scored(miss, 0.1), scored(hit, 0.9)]);
        assert_eq!(found, [[0.0, 1.0, 1.0, 1.0, 1.0]; 3]);
    }

    #[test]
    fn a_zero_length_truth_is_missed_even_by_itself() {
        assert_eq!(of(&[moment(50.0, 50.0)], &[moment(50.0, 50.0)]), [[0.0; 5]; 3]);
    }

    #[test]
    fn two_truths_look_at_twice_as_many_detections_and_may_share_one() {
        let truths = [moment(0.0, 10.0), moment(0.0, 9.9)];
        assert_eq!(of(&truths, &[moment(90.0, 99.0), moment(0.0, 10.0)])[0], [1.0; 5]);
    }
}
