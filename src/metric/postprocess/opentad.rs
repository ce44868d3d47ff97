//! OpenTAD's: what was cut to the clip and rounded is suppressed within classes, by a wider Gaussian than ActionFormer's.
//!
//! After the evaluation of its sliding windows ([OpenTAD](https://github.com/sming256/OpenTAD)), which writes times in hundredths of
//! a second and scores in ten-thousandths, and reads them again before it suppresses. Not for the network. Suppression itself is
//! ActionFormer's.

use super::actionformer::within_classes;
use super::{Clip, Compat, Postprocessor, Proposal, Settings, Tracks};
use crate::metric::Window;

/// Parts of a second that times are rounded to.
const PARTS_OF_SECOND: f64 = 100.0;
/// Parts of one that scores are rounded to.
const PARTS_OF_SCORE: f64 = 10_000.0;

/// Its entry among the ways of post-processing.
pub const POSTPROCESSOR: Postprocessor = Postprocessor {
    name: "opentad",
    about: "Gaussian suppression within classes, after cutting to the clip and rounding",
    fixes: None,
    defaults: Settings { sigma: 2.0, min_score: 0.001, most: 2000, voting: None, compat: Compat::AsReleased },
    tracks,
};

/// A proposal as it is suppressed: within the clip, in round numbers.
fn rounded(proposal: &Proposal, duration_sec: f64) -> Proposal {
    let time = |sec: f64| to_parts(sec.max(0.0).min(duration_sec), PARTS_OF_SECOND);
    let Window { start_sec, end_sec } = proposal.window;
    let score = to_parts(proposal.score, PARTS_OF_SCORE);
    Proposal { window: Window::new(time(start_sec), time(end_sec)), score, ..*proposal }
}

fn to_parts(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

/// Detections in round numbers; the second track is those of the annotated classes.
fn tracks(proposals: &[Proposal], clip: &Clip, settings: &Settings) -> Tracks {
    let foreground = proposals.iter().filter(|proposal| proposal.class > 0);
    let candidates: Vec<Proposal> = foreground.map(|proposal| rounded(proposal, clip.duration_sec)).collect();
    let kept = within_classes(&candidates, settings);
    let detected: Vec<Proposal> = kept.iter().map(|proposal| rounded(proposal, clip.duration_sec)).collect();
    let retrieved = detected.iter().filter(|proposal| clip.asks(proposal.class)).copied().collect();
    Tracks { detected, retrieved }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(start: f64, end: f64, score: f64, class: usize) -> Proposal {
        Proposal { window: Window::new(start, end), score, class }
    }

    #[test]
    fn proposals_are_cut_and_rounded_before_they_are_suppressed() {
        let clip = Clip { duration_sec: 10.0, asked: Some(vec![2]) };
        let proposals = [
            proposal(-3.0, 5.004, 0.80004, 1),
            // Equal to the first once both begin with the clip, so that its score falls by exp(-1 / 2).
            proposal(-9.0, 5.003, 0.5, 1),
            proposal(5.0, 99.0, 0.4, 2),
            proposal(1.0, 2.0, 0.9, 0),
        ];
        let found = tracks(&proposals, &clip, &POSTPROCESSOR.defaults);
        let lowered = to_parts(0.5 * (-0.5_f64).exp(), PARTS_OF_SCORE);
        let expected = [proposal(0.0, 5.0, 0.8, 1), proposal(5.0, 10.0, 0.4, 2), proposal(0.0, 5.0, lowered, 1)];
        assert_eq!(found.detected, expected);
        assert_eq!(found.retrieved, expected[1..2]);
    }
}
