//! Names of scores, and which of two is the better.
//!
//! Not for computing them: `egofx::metric` does that, under the names that `egofx eval` prints.

/// The name of the loss among the scores.
pub const LOSS: &str = "loss";

/// Whether the lower of two scores of that name is the better: losses, and PNR's error in seconds.
pub fn lower_is_better(name: &str) -> bool {
    name.contains(LOSS) || name == KEYFRAME_DISTANCE
}

/// The name of PNR's error, as `egofx eval` has it.
pub const KEYFRAME_DISTANCE: &str = "keyframe distance";
