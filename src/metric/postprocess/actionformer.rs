//! ActionFormer's: Gaussian suppression within classes, or across them with voting.
//!
//! After `libs/utils/nms.py` and `nms_cpu.cpp` of [ActionFormer](https://github.com/happyharrycn/actionformer_release).
//! Not for the network. Arithmetic is in `f32`, in the order of the original, and so is the order in which proposals
//! that fell away are overwritten, which decides between equal scores.

use std::collections::BTreeMap;

use super::{Clip, Compat, Postprocessor, Proposal, Settings, Tracks};
use crate::metric::{Window, rank};

/// Added to lengths, so that no two overlap by 0/0.
const TINY: f32 = 1e-6;

/// Its entry among the ways of post-processing.
pub const POSTPROCESSOR: Postprocessor = Postprocessor {
    name: "actionformer",
    about: "Gaussian suppression within classes, or across them with voting",
    fixes: None,
    defaults: Settings { sigma: 0.9, min_score: 0.001, most: 2000, voting: None, compat: Compat::AsReleased },
    tracks,
};

/// The proposals that are left, as columns that are swapped and shortened together.
struct Left {
    segments: Vec<[f32; 2]>,
    scores: Vec<f32>,
    places: Vec<usize>,
}

impl Left {
    fn swap(&mut self, a: usize, b: usize) {
        self.segments.swap(a, b);
        self.scores.swap(a, b);
        self.places.swap(a, b);
    }

    /// The last one takes its place.
    fn drop(&mut self, place: usize) {
        self.segments.swap_remove(place);
        self.scores.swap_remove(place);
        self.places.swap_remove(place);
    }

    /// Lowers the scores of all behind `best`, and drops those that fall below the least.
    fn lower(&mut self, best: usize, sigma: f32, min_score: f32) {
        let taken = self.segments[best];
        let mut place = best + 1;
        while place < self.scores.len() {
            let iou = overlap(taken, self.segments[place], TINY);
            self.scores[place] *= (-(iou * iou) / sigma).exp();
            if self.scores[place] < min_score {
                self.drop(place);
            } else {
                place += 1;
            }
        }
    }
}

fn overlap(a: [f32; 2], b: [f32; 2], added: f32) -> f32 {
    let intersection = (a[1].min(b[1]) - a[0].max(b[0])).max(0.0);
    intersection / ((a[1] - a[0] + added) + (b[1] - b[0] + added) - intersection)
}

fn segment(window: Window) -> [f32; 2] {
    [window.start_sec as f32, window.end_sec as f32]
}

/// Gaussian suppression of one list: takes the best proposal, lowers all others by `exp(-iou^2 / sigma)`, and so on,
/// until none is left that reaches the least score. `softnms_1d_cpu`, method 2.
pub fn soft_nms(proposals: &[Proposal], settings: &Settings) -> Vec<Proposal> {
    let mut left = Left {
        segments: proposals.iter().map(|proposal| segment(proposal.window)).collect(),
        scores: proposals.iter().map(|proposal| proposal.score as f32).collect(),
        places: (0..proposals.len()).collect(),
    };
    let mut taken = 0;
    // What is taken is never lowered again, so that nothing beyond those that are given need be taken.
    while taken < left.scores.len().min(settings.most) {
        let best = (taken..left.scores.len())
            .fold(taken, |best, place| if left.scores[best] < left.scores[place] { place } else { best });
        left.swap(taken, best);
        left.lower(taken, settings.sigma as f32, settings.min_score as f32);
        taken += 1;
    }
    let given = left.places.iter().zip(&left.scores).take(settings.most);
    given.map(|(place, score)| Proposal { score: f64::from(*score), ..proposals[*place] }).collect()
}

/// Within each class; then the best of all.
pub fn within_classes(proposals: &[Proposal], settings: &Settings) -> Vec<Proposal> {
    let mut by_class: BTreeMap<usize, Vec<Proposal>> = BTreeMap::new();
    proposals.iter().for_each(|proposal| by_class.entry(proposal.class).or_default().push(*proposal));
    let kept: Vec<Proposal> = by_class.values().flat_map(|proposals| soft_nms(proposals, settings)).collect();
    best(&kept, settings.most)
}

/// Across classes; every window that is left then moves to the mean of all proposed ones that overlap it by at least
/// `voting`, by their scores (`seg_voting`). A window that is empty stays where it is.
pub fn across_classes(proposals: &[Proposal], settings: &Settings, voting: f64) -> Vec<Proposal> {
    let mut kept = soft_nms(proposals, settings);
    for proposal in &mut kept {
        proposal.window = voted(proposal.window, proposals, voting as f32);
    }
    best(&kept, settings.most)
}

fn voted(window: Window, all: &[Proposal], threshold: f32) -> Window {
    let weighted = all.iter().map(|voter| (segment(voter.window), voter.score as f32));
    let voters: Vec<([f32; 2], f32)> =
        weighted.filter(|(voter, _)| overlap(segment(window), *voter, 0.0) >= threshold).collect();
    let total: f32 = voters.iter().map(|(_, score)| score).sum();
    if total <= 0.0 {
        return window;
    }
    let mean = |end: usize| voters.iter().map(|(voter, score)| score / total * voter[end]).sum::<f32>();
    Window::new(f64::from(mean(0)), f64::from(mean(1)))
}

fn best(proposals: &[Proposal], most: usize) -> Vec<Proposal> {
    let order = rank::order(proposals.len(), |place| proposals[place].score);
    order.into_iter().take(most).map(|place| proposals[place]).collect()
}

/// Detections within the clip; the second track is those of the annotated classes.
fn tracks(proposals: &[Proposal], clip: &Clip, settings: &Settings) -> Tracks {
    let foreground: Vec<Proposal> = proposals.iter().filter(|proposal| proposal.class > 0).copied().collect();
    let kept = match settings.voting {
        Some(threshold) => across_classes(&foreground, settings, threshold),
        None => within_classes(&foreground, settings),
    };
    let cut = |sec: f64| sec.max(0.0).min(clip.duration_sec);
    let within = |proposal: &Proposal| {
        let window = Window::new(cut(proposal.window.start_sec), cut(proposal.window.end_sec));
        Proposal { window, ..*proposal }
    };
    let detected: Vec<Proposal> = kept.iter().map(within).collect();
    let retrieved = detected.iter().filter(|proposal| clip.asks(proposal.class)).copied().collect();
    Tracks { detected, retrieved }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::super::samples;
    use super::*;

    /// Of the fixture, which is in `f32`.
    const TOLERANCE: f64 = 1e-6;

    fn input(case: &Value) -> (Vec<Proposal>, Settings) {
        let (scores, classes) = (samples::numbers(&case["scores"]), samples::indices(&case["classes"]));
        let windows = case["segments"].as_array().unwrap().iter().map(samples::numbers);
        let columns = windows.zip(scores).zip(classes);
        let proposals = columns.map(|((window, score), class)| Proposal {
            window: Window::new(window[0], window[1]),
            score,
            class,
        });
        let settings = Settings {
            sigma: samples::number(&case["sigma"]),
            min_score: samples::number(&case["min_score"]),
            ..POSTPROCESSOR.defaults
        };
        (proposals.collect(), settings)
    }

    #[track_caller]
    fn check(found: &[Proposal], expected: &Value) {
        assert_eq!(found.iter().map(|p| p.class).collect::<Vec<_>>(), samples::indices(&expected["classes"]));
        for (place, proposal) in found.iter().enumerate() {
            samples::within(proposal.score, &expected["scores"][place], TOLERANCE, "score");
            samples::within(proposal.window.start_sec, &expected["segments"][place][0], TOLERANCE, "start");
            samples::within(proposal.window.end_sec, &expected["segments"][place][1], TOLERANCE, "end");
        }
    }

    #[test]
    fn suppression_within_and_across_classes_is_the_original_one() {
        let case = samples::json("postprocess/actionformer_soft_nms.json");
        let (proposals, settings) = input(&case);
        check(&within_classes(&proposals, &settings), &case["multiclass"]);
        check(&across_classes(&proposals, &settings, 0.95), &case["class_agnostic_with_voting_0p95"]);
    }

    #[test]
    fn what_falls_below_the_least_score_is_dropped_and_the_number_is_capped() {
        let proposal = |start: f64, score| Proposal { window: Window::new(start, start + 10.0), score, class: 1 };
        let proposals = [proposal(0.0, 0.9), proposal(0.1, 0.002), proposal(50.0, 0.5)];
        let settings = POSTPROCESSOR.defaults;
        let found = within_classes(&proposals, &settings);
        assert_eq!(found.iter().map(|p| p.window.start_sec).collect::<Vec<_>>(), [0.0, 50.0]);
        assert_eq!(within_classes(&proposals, &Settings { most: 1, ..settings }).len(), 1);
    }

    #[test]
    fn voting_moves_a_window_to_the_mean_of_its_voters() {
        let proposal = |start: f64, end: f64, score| Proposal { window: Window::new(start, end), score, class: 1 };
        let proposals = [proposal(0.0, 100.0, 0.75), proposal(1.0, 100.0, 0.25)];
        let found = across_classes(&proposals, &POSTPROCESSOR.defaults, 0.95);
        assert_eq!(found[0].window, Window::new(0.25, 100.0));
        let empty = proposal(3.0, 3.0, 0.5);
        assert_eq!(across_classes(&[empty], &POSTPROCESSOR.defaults, 0.95), [empty]);
    }

    #[test]
    fn tracks_are_within_the_clip_and_the_second_in_its_classes() {
        let proposal = |class| Proposal { window: Window::new(-1.0, 99.0), score: 0.5, class };
        let clip = Clip { duration_sec: 9.0, asked: Some(vec![2]) };
        let found = tracks(&[proposal(0), proposal(1), proposal(2)], &clip, &POSTPROCESSOR.defaults);
        assert_eq!(
            found.detected.iter().map(|p| (p.class, p.window)).collect::<Vec<_>>(),
            [(1, Window::new(0.0, 9.0)), (2, Window::new(0.0, 9.0)),]
        );
        assert_eq!(found.retrieved.len(), 1);
    }
}
