//! From the raw proposals of a detector to a submission: suppression of overlaps, clipping, the two tracks of MQ.
//!
//! One file for each way of doing it, one line for each in [`POSTPROCESSORS`]. Works on anybody's proposals. Not for
//! scores: those are [`mq`](super::mq)'s. A clip's outcome depends on its own proposals alone.

pub mod actionformer;
mod files;
pub mod opentad;
pub mod vsgn;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::mq::{Annotations, ClipDetections, Predicted, Submission};
use super::{Compat, Coverage, Window};

pub use files::{BACKGROUND, Proposals, read_classes, submission_json};

/// All ways of post-processing, in the order in which they are listed to people.
pub const POSTPROCESSORS: &[Postprocessor] =
    &[vsgn::POSTPROCESSOR, actionformer::POSTPROCESSOR, opentad::POSTPROCESSOR];

/// A way of post-processing.
#[derive(Debug, Clone, Copy)]
pub struct Postprocessor {
    /// Short name, as typed.
    pub name: &'static str,
    /// One line for people: what it does.
    pub about: &'static str,
    /// What `fixed` does otherwise than `as-released`, in words; `None` where nothing of the original needs fixing.
    pub fixes: Option<&'static str>,
    /// The numbers that its authors use.
    pub defaults: Settings,
    /// Makes both tracks of one clip.
    pub tracks: fn(&[Proposal], &Clip, &Settings) -> Tracks,
}

/// The numbers of a post-processing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Width of the Gaussian by which overlapping proposals lose score: `exp(-iou^2 / sigma)`.
    pub sigma: f64,
    /// Proposals whose score falls below this are dropped.
    pub min_score: f64,
    /// How many proposals of a clip are kept.
    pub most: usize,
    /// Suppress across classes and move each window to the score-weighted mean of those that overlap it by at least
    /// this; `None` suppresses within classes. ActionFormer only.
    pub voting: Option<f64>,
    /// Whether faults of the original are reproduced.
    pub compat: Compat,
}

/// A proposed moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// When, in seconds of the clip.
    pub window: Window,
    /// How sure the model is.
    pub score: f64,
    /// What: the number of a class, 0 for background.
    pub class: usize,
}

/// What is known of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// How long it is.
    pub duration_sec: f64,
    /// Classes that are annotated in it, to which the retrieval track is restricted; `None` in the test split, where
    /// they are not known.
    pub asked: Option<Vec<usize>>,
}

/// Both tracks of a clip.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracks {
    /// Of which mAP is computed.
    pub detected: Vec<Proposal>,
    /// Of which recall is computed.
    pub retrieved: Vec<Proposal>,
}

impl Clip {
    /// Whether the retrieval track may hold a class.
    fn asks(&self, class: usize) -> bool {
        self.asked.as_ref().is_none_or(|asked| asked.contains(&class))
    }
}

/// Processes all annotated clips, in parallel. A clip without proposals gets empty tracks, as in the original, and is
/// counted.
pub fn postprocess(
    postprocessor: &Postprocessor,
    proposals: &Proposals,
    annotations: &Annotations,
    settings: &Settings,
) -> (Submission, Coverage) {
    let coverage = files::coverage(proposals, annotations);
    let tracks: Vec<Tracks> = annotations
        .clips
        .par_iter()
        .map(|clip| {
            let classes = clip.moments.iter().filter_map(|moment| proposals.class(&moment.label)).collect();
            let asked = (!clip.moments.is_empty()).then_some(classes);
            let context = Clip { duration_sec: clip.duration_sec, asked };
            (postprocessor.tracks)(proposals.of_clip(&clip.clip_uid), &context, settings)
        })
        .collect();
    let mut submission = Submission::default();
    for (clip, tracks) in annotations.clips.iter().zip(tracks) {
        let entry = |track: Vec<Proposal>| ClipDetections {
            clip_uid: clip.clip_uid.clone(),
            detections: track.into_iter().map(|proposal| predicted(proposals, &proposal)).collect(),
        };
        submission.detected.push(entry(tracks.detected));
        submission.retrieved.push(entry(tracks.retrieved));
    }
    (submission, coverage)
}

fn predicted(proposals: &Proposals, proposal: &Proposal) -> Predicted {
    let label = proposals.classes[proposal.class].clone();
    Predicted { label, score: proposal.score, segment: proposal.window }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_everything_is_described() {
        let names: BTreeSet<_> = POSTPROCESSORS.iter().map(|postprocessor| postprocessor.name).collect();
        assert_eq!(names.len(), POSTPROCESSORS.len());
        assert!(POSTPROCESSORS.iter().all(|p| !p.about.is_empty() && p.defaults.most > 0 && p.defaults.sigma > 0.0));
    }
}
