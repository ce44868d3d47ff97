//! The loss of the summary head: how far the scores of the shots are from what each of the three prompts asks for.
//!
//! Not for choosing shots. Invariant: places without a shot count for nothing.

use tch::{Kind, Reduction, Tensor};

use super::mask::is_shot;

/// Scores (logits) and labels (0 or 1) of one prompt, both `[B, S, L]`.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'t> {
    /// What the head gives.
    pub scores: &'t Tensor,
    /// What it should give: for a concept alone, the shots tagged with it; for the pair, those of the oracle summary.
    pub labels: &'t Tensor,
}

/// The loss of a batch for one prompt, a scalar: of each sample the binary cross-entropy, mean over the shots that
/// `seg_len` `[B, S]` says are there; summed over the batch. The loss of the head is the sum over its three prompts.
pub fn loss(Scored { scores, labels }: Scored, seg_len: &Tensor) -> Tensor {
    let is_shot = is_shot(seg_len, scores.size()[2]).to_kind(Kind::Float);
    // In single precision whatever the scores are: a mean over thousands of shots.
    let (scores, labels) = (scores.to_kind(Kind::Float), labels.to_kind(Kind::Float));
    let each = scores.binary_cross_entropy_with_logits(&labels, None::<&Tensor>, None::<&Tensor>, Reduction::None);
    let over_shots = |values: Tensor| values.flatten(1, 2).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
    // A sample without shots costs nothing instead of 0/0.
    (over_shots(each * &is_shot) / over_shots(is_shot).clamp_min(1.0)).sum(Kind::Float)
}
