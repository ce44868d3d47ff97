//! VSGN's: fusion of scores, hard suppression within classes, Gaussian suppression across them, and the retrieval
//! track.
//!
//! After `Infer.py`, `generate_detection.py` and `generate_retrieval.py` of
//! [Ego4D's episodic memory](https://github.com/EGO4D/episodic-memory). Not for the network. As released, the Gaussian
//! suppression ends when one proposal is left, so that the last one is never given.

use ndarray::{ArrayView1, ArrayView2};

use super::{Clip, Compat, Postprocessor, Proposal, Settings, Tracks};
use crate::metric::{Window, rank};

/// Overlap above which a proposal of the same class is dropped, before anything else.
pub const HARD_THRESHOLD: f64 = 0.4;
/// Class probabilities that are not above this make no proposal.
pub const LEAST_PROBABILITY: f64 = 5e-9;

/// Its entry among the ways of post-processing.
pub const POSTPROCESSOR: Postprocessor = Postprocessor {
    name: "vsgn",
    about: "Gaussian suppression across classes; retrieval unsuppressed",
    fixes: Some("the last proposal of a clip is given, too"),
    defaults: Settings { sigma: 0.46, min_score: 0.0, most: 200, voting: None, compat: Compat::AsReleased },
    tracks,
};

/// What the network gives for a clip.
#[derive(Debug, Clone, Copy)]
pub struct NetworkOutput<'o> {
    /// Adjusted windows `[anchors, 2]` in cells of the feature grid.
    pub boxes: ArrayView2<'o, f64>,
    /// Class probabilities `[anchors, classes]`; class 0 is background.
    pub probabilities: ArrayView2<'o, f64>,
    /// How likely a moment starts in each cell of the grid.
    pub starts: ArrayView1<'o, f64>,
    /// How likely one ends.
    pub ends: ArrayView1<'o, f64>,
    /// How many cells of the grid hold the clip; the rest is padding.
    pub num_cells: usize,
    /// First cell of an enlarged copy of the clip that reaches to the grid's end, where the clip was stitched to itself.
    pub copy_from: Option<usize>,
    /// Cells a second.
    pub fps: f64,
}

impl NetworkOutput<'_> {
    /// A window of the grid as one of the clip: what starts behind the clip is of its enlarged copy, and shrinks back.
    fn within_clip(&self, start: f64, end: f64) -> Window {
        let (num_cells, last) = (self.num_cells as f64, self.num_cells.saturating_sub(1) as f64);
        let back = |place: f64| match self.copy_from {
            Some(first) if start >= num_cells => {
                (place - first as f64) / self.starts.len().saturating_sub(first).max(1) as f64 * num_cells
            }
            _ => place,
        };
        Window::new(back(start).clamp(0.0, last), back(end).clamp(0.0, last))
    }
}

/// The proposals of a clip, class by class, best first: class probability times the likelihoods of start and end at the
/// window's ends, of which none overlaps a better one of its class by more than [`HARD_THRESHOLD`].
pub fn proposals(output: &NetworkOutput) -> Vec<Proposal> {
    let last = output.starts.len().saturating_sub(1) as f64;
    let place = |value: f64| value.clamp(0.0, last);
    // The mean of the cells on both sides of a position.
    let at =
        |curve: ArrayView1<f64>, place: f64| f64::midpoint(curve[place.ceil() as usize], curve[place.floor() as usize]);
    let mut fused = Vec::with_capacity(output.boxes.nrows());
    for ends in output.boxes.outer_iter() {
        let (start, end) = (place(ends[0]), place(ends[1]));
        let likelihood = at(output.starts, start) * at(output.ends, end);
        fused.push((output.within_clip(start, end), likelihood));
    }
    let mut kept = Vec::new();
    for class in 1..output.probabilities.ncols() {
        let column = output.probabilities.column(class);
        let likely = fused.iter().zip(column).filter(|(_, probability)| **probability > LEAST_PROBABILITY);
        let of_class = likely.map(|(&(window, likelihood), probability)| (window, probability * likelihood));
        for (window, score) in hard_nms(&of_class.collect::<Vec<_>>(), HARD_THRESHOLD) {
            let window = Window::new(window.start_sec / output.fps, window.end_sec / output.fps);
            kept.push(Proposal { window, score, class });
        }
    }
    kept
}

/// Windows with scores, best first, without those that overlap a better one by more than the threshold. An overlap of
/// 0/0 (two empty windows) drops the worse one, as in the original.
pub fn hard_nms(windows: &[(Window, f64)], threshold: f64) -> Vec<(Window, f64)> {
    let mut order = rank::order(windows.len(), |place| windows[place].1);
    let mut kept = Vec::new();
    while let Some(&best) = order.first() {
        kept.push(windows[best]);
        order.remove(0);
        order.retain(|place| windows[best].0.iou_by_union(windows[*place].0) <= threshold);
    }
    kept
}

/// Gaussian suppression: takes the best proposal, lowers the scores of all that overlap it, and so on. Proposals of
/// class 0 are dropped when they come up. Gives at most `settings.most`; as released the last one left is not among
/// them.
pub fn soft_nms(proposals: &[Proposal], settings: &Settings) -> Vec<Proposal> {
    let order = rank::order(proposals.len(), |place| proposals[place].score);
    let mut left: Vec<Proposal> = order.into_iter().map(|place| proposals[place]).collect();
    let least = if settings.compat == Compat::AsReleased { 1 } else { 0 };
    let mut given = Vec::new();
    while left.len() > least && given.len() < settings.most {
        let Some(place) = rank::argmax(left.iter().map(|proposal| proposal.score)) else { break };
        let best = left.remove(place);
        // A score of 0 ends it: every other is 0, too.
        if best.score <= 0.0 {
            break;
        }
        if best.class == 0 {
            continue;
        }
        for other in &mut left {
            let iou = overlap(best.window, other.window);
            if iou > 0.0 {
                other.score *= (-(iou * iou) / settings.sigma).exp();
            }
        }
        if best.score >= settings.min_score {
            given.push(best);
        }
    }
    given
}

/// `IOU` of the original: windows that do not touch have none, others go by their hull.
fn overlap(a: Window, b: Window) -> f64 {
    if b.start_sec > a.end_sec || a.start_sec > b.end_sec {
        return 0.0;
    }
    let hull_sec = a.end_sec.max(b.end_sec) - a.start_sec.min(b.start_sec);
    (a.end_sec.min(b.end_sec) - a.start_sec.max(b.start_sec)) / hull_sec
}

/// Both tracks. The second is every proposal of an annotated class, unsuppressed; in the test split of any class.
fn tracks(proposals: &[Proposal], clip: &Clip, settings: &Settings) -> Tracks {
    let asked = proposals.iter().filter(|proposal| clip.asks(proposal.class) && proposal.class > 0);
    let asked: Vec<&Proposal> = asked.collect();
    let order = rank::order(asked.len(), |place| asked[place].score);
    let best = order.into_iter().take(settings.most).map(|place| *asked[place]);
    Tracks {
        detected: soft_nms(proposals, settings).iter().map(|proposal| as_written(proposal, clip)).collect(),
        retrieved: best.map(|proposal| as_written(&proposal, clip)).collect(),
    }
}

/// Within the clip, times to tenths of a second and scores to millionths.
fn as_written(proposal: &Proposal, clip: &Clip) -> Proposal {
    let Window { start_sec, end_sec } = proposal.window;
    let start_sec = if start_sec > 0.0 { rounded(start_sec, 1) } else { 0.0 };
    // The duration is a number of Python's own, which rounds its exact decimal value; all others are numpy's.
    let end_sec = if end_sec < clip.duration_sec { rounded(end_sec, 1) } else { rounded_exactly(clip.duration_sec) };
    Proposal { window: Window::new(start_sec, end_sec), score: rounded(proposal.score, 6), ..*proposal }
}

/// numpy's rounding: half to even, of the scaled value.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round_ties_even() / scale
}

/// Python's rounding to one digit: half to even, of the exact decimal value.
fn rounded_exactly(value: f64) -> f64 {
    format!("{value:.1}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use serde_json::Value;

    use super::super::super::samples;
    use super::super::{Proposals, postprocess, submission_json};
    use super::*;
    use crate::metric::mq::Annotations;

    const RELEASED: Settings = POSTPROCESSOR.defaults;
    const FIXED: Settings = Settings { compat: Compat::Fixed, ..RELEASED };

    fn rows(value: &Value) -> Vec<Proposal> {
        let row = |row: &Value| {
            let numbers = samples::numbers(row);
            let window = Window::new(numbers[0], numbers[1]);
            Proposal { window, score: numbers[2], class: numbers[3] as usize }
        };
        value.as_array().unwrap().iter().map(row).collect()
    }

    #[test]
    fn gaussian_suppression_is_the_original_one() {
        let case = &samples::json("mq/expected.json")["soft_nms"];
        let input = rows(&case["input"]);
        for (most, name) in [(200, "output_num_prop_200"), (2, "output_num_prop_2")] {
            let found = soft_nms(&input, &Settings { most, ..RELEASED });
            let expected = rows(&case[name]);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found.score - expected.score).abs() < 1e-9, "{found:?} {expected:?}");
                assert_eq!((found.window, found.class), (expected.window, expected.class));
            }
        }
    }

    #[test]
    fn the_last_proposal_is_never_given_as_released() {
        let one = [Proposal { window: Window::new(0.0, 1.0), score: 0.9, class: 3 }];
        assert_eq!(soft_nms(&one, &RELEASED), []);
        assert_eq!(soft_nms(&one, &FIXED), one);
        let two = [one[0], Proposal { window: Window::new(5.0, 6.0), score: 0.5, class: 2 }];
        assert_eq!((soft_nms(&two, &RELEASED).len(), soft_nms(&two, &FIXED).len()), (1, 2));
    }

    #[test]
    fn background_is_dropped_when_it_comes_up_and_lowers_nothing() {
        let proposal = |score, class| Proposal { window: Window::new(0.0, 1.0), score, class };
        assert_eq!(soft_nms(&[proposal(0.9, 0), proposal(0.8, 2)], &FIXED), [proposal(0.8, 2)]);
    }

    #[test]
    fn submissions_are_the_original_ones() {
        let annotations = Annotations::read(&samples::path("mq/moments_val.json"), None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (clip, rows) in samples::json("mq/proposals.json")["clips"].as_object().unwrap() {
            let line = |row: &Value| samples::numbers(row).iter().map(f64::to_string).collect::<Vec<_>>().join(",");
            let lines: Vec<String> = rows.as_array().unwrap().iter().map(line).collect();
            let text = format!("xmin,xmax,score,label\n{}\n", lines.join("\n"));
            std::fs::write(folder.path().join(format!("{clip}.csv")), text).unwrap();
        }
        let classes = samples::path("mq/moment_classes_idx.json");
        let proposals = Proposals::read(folder.path(), Some(&classes)).unwrap();
        let (submission, coverage) = postprocess(&POSTPROCESSOR, &proposals, &annotations, &RELEASED);
        assert!(coverage.is_complete(), "{coverage}");
        let found = submission_json(&submission);
        let expected = samples::json("mq/submission_expected.json");
        for track in ["detect_results", "retrieve_results"] {
            for (clip, expected) in expected[track].as_object().unwrap() {
                assert_eq!(&found[track][clip], expected, "{track} of {clip}");
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn rounding_is_half_to_even_by_numpy_and_exact_by_python() {
        assert_eq!((rounded(0.25, 1), rounded(0.35, 1), rounded(0.15, 1)), (0.2, 0.4, 0.2));
        assert_eq!((rounded_exactly(0.25), rounded_exactly(0.35), rounded_exactly(0.15)), (0.2, 0.3, 0.1));
        assert_eq!(rounded(1.234_567_5, 6), 1.234_568);
    }

    #[test]
    fn scores_are_probabilities_times_the_curves_at_both_ends() {
        let (starts, ends) = (array![0.0, 0.2, 0.4, 0.6, 0.0, 0.0], array![1.0, 0.8, 0.6, 0.4, 0.3, 0.2]);
        let boxes = array![[1.0, 2.5], [-5.0, 9.0], [1.0, 2.6]];
        let probabilities = array![[0.1, 0.9, 0.0], [0.1, 0.5, 0.4], [0.2, 0.8, 1e-9]];
        let output = NetworkOutput {
            boxes: boxes.view(),
            probabilities: probabilities.view(),
            starts: starts.view(),
            ends: ends.view(),
            num_cells: 5,
            copy_from: None,
            fps: 2.0,
        };
        let found = proposals(&output);
        // The third is dropped for its overlap with the first; what is as likely as 1e-9 is no proposal at all.
        assert_eq!(found.len(), 3, "{found:?}");
        let first = found[0];
        assert_eq!((first.window, first.class), (Window::new(0.5, 1.25), 1));
        assert!((first.score - 0.9 * 0.2 * f64::midpoint(0.6, 0.4)).abs() < 1e-12);
        assert_eq!((found[1].window, found[1].score), (Window::new(0.0, 2.0), 0.0), "cut to the last cell of the clip");
        assert_eq!((found[2].class, found[2].window), (2, Window::new(0.0, 2.0)));
    }

    #[test]
    fn proposals_in_the_copy_of_a_stitched_clip_shrink_back_onto_it() {
        let curve = ndarray::Array1::ones(10);
        let (boxes, probabilities) = (array![[6.0, 9.0], [1.0, 2.0]], array![[0.1, 0.9], [0.9, 0.1]]);
        let output = NetworkOutput {
            boxes: boxes.view(),
            probabilities: probabilities.view(),
            starts: curve.view(),
            ends: curve.view(),
            num_cells: 3,
            copy_from: Some(4),
            fps: 1.0,
        };
        let windows: Vec<Window> = proposals(&output).iter().map(|found| found.window).collect();
        assert_eq!(windows, [Window::new(1.0, 2.0)], "cells 6 to 9 of a copy in 4 to 9");
        let unstitched = proposals(&NetworkOutput { copy_from: None, ..output });
        assert_eq!(unstitched[0].window, Window::new(2.0, 2.0), "cut to the last cell");
    }

    #[test]
    fn hard_suppression_keeps_an_overlap_of_exactly_the_threshold() {
        let windows = [(Window::new(0.0, 10.0), 0.9), (Window::new(0.0, 4.0), 0.8), (Window::new(0.0, 4.1), 0.7)];
        assert_eq!(hard_nms(&windows, 0.4), windows[..2]);
        let empty = [(Window::new(1.0, 1.0), 0.9), (Window::new(1.0, 1.0), 0.8)];
        assert_eq!(hard_nms(&empty, 0.4), empty[..1]);
    }
}
