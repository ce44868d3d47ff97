//! Losses over classes.
//!
//! Not for who of them is right; see `egofx::metric`. Labels are numbers of classes, 64-bit integers.

use egofx::compat::Compat;
use tch::{Kind, Reduction, Tensor};

/// The mean cross-entropy of logits `[n, C]` with labels `[n]`: whether a pair matches (C = 2, 1 is a match), whether
/// an object changes its state (OSCC, C = 2), which answer is right (EgoTaskQA).
pub fn classification(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_for_logits(labels)
}

/// The loss of PNR: which of the sampled frames shows the change. Logits `[n, 16]`, labels `[n]`, `changes` `[n]` is 1
/// where there is a change and 0 where there is none, in the kind of the logits.
///
/// The original takes the mean of `changes` times a cross-entropy that is the mean over the batch already: clips
/// without a change, whose label means nothing, count in the latter. `fixed` multiplies clip by clip before the mean.
pub fn key_frame(logits: &Tensor, labels: &Tensor, changes: &Tensor, compat: Compat) -> Tensor {
    let reduction = match compat {
        Compat::AsReleased => Reduction::Mean,
        Compat::Fixed => Reduction::None,
    };
    let entropy = logits.cross_entropy_loss::<Tensor>(labels, None, reduction, -100, 0.0);
    (changes * entropy).mean(None::<Kind>)
}
