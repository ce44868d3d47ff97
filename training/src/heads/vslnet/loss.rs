//! VSLNet's losses.
//!
//! Not for labels; see `labels`. Invariant: padding weighs nothing.

use tch::{Reduction, Tensor};

use super::{Input, Output};

/// What the highlight loss weighs in the total.
const LAMBDA: f64 = 5.0;

/// What a batch should come to, on the device of its outputs.
#[derive(Debug)]
pub struct Targets {
    /// `[B]`, 64-bit integers: the first position.
    pub starts: Tensor,
    /// `[B]`, 64-bit integers: the last position.
    pub ends: Tensor,
    /// `[B, L]`, single precision: 1 at highlighted positions, else 0.
    pub highlights: Tensor,
}

/// Scalars, differentiable.
#[derive(Debug)]
pub struct Losses {
    /// Of start and end.
    pub localisation: Tensor,
    /// Of the highlight scores.
    pub highlight: Tensor,
    /// The one that is minimised.
    pub total: Tensor,
}

/// The losses of `output`, the head's of `input`: localisation + 5 highlight.
pub fn losses(output: &Output, targets: &Targets, input: &Input) -> Losses {
    let localisation = localisation(output, targets);
    let highlight = highlight(output, targets, input);
    let total = &localisation + &highlight * LAMBDA;
    Losses { localisation, highlight, total }
}

/// Cross-entropy of the start plus that of the end, each a mean over the batch.
fn localisation(output: &Output, targets: &Targets) -> Tensor {
    let loss = |logits: &Tensor, labels: &Tensor| logits.cross_entropy_for_logits(labels);
    loss(&output.start_logits, &targets.starts) + loss(&output.end_logits, &targets.ends)
}

/// Binary cross-entropy, where highlighted positions weigh twice: Σ mask · w · BCE / (Σ mask + 1e-12).
fn highlight(output: &Output, targets: &Targets, input: &Input) -> Tensor {
    let mask = input.video_mask();
    let weights = (&targets.highlights + 1.0) * mask;
    // libtorch's function ends the process at NaN instead of giving NaN, which the caller is to report.
    let scores = output.highlights.nan_to_num(0.5, None, None);
    let sum = scores.binary_cross_entropy(&targets.highlights, Some(&weights), Reduction::Sum);
    (sum + (&output.highlights * 0.0).sum(None)) / (mask.sum(None) + 1e-12)
}
