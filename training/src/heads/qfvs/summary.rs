//! From scores of the places of segments to scores of shots.
//!
//! Not for summaries, see [`tasks::qfvs`](crate::tasks::qfvs). Invariant: a place without a shot has no score.

use tch::{Kind, Tensor};

use super::mask::is_shot;

/// The scores of a video's shots in order of time: those of `scores` `[S, L]` that `seg_len` `[S]` says are there.
pub fn in_order(scores: &Tensor, seg_len: &Tensor) -> Vec<f64> {
    let is_shot = is_shot(seg_len, scores.size()[1]);
    let scores = scores.masked_select(&is_shot).to_kind(Kind::Double).contiguous();
    let mut values = vec![0.0; scores.numel()];
    scores.copy_data(&mut values, scores.numel());
    values
}
