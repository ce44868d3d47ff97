//! From scores to a summary as the benchmark's files have it.
//!
//! Not for scoring summaries, see `egofx::metric::qfvs`. Invariant: a place without a shot is in no summary.

use egofx::metric::qfvs::summary_of;
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

/// The summary of a video by the `scores` of all its shots: the best 2 %, truncated, best first and the first of equal
/// ones. Shots count from 1.
pub fn summary(scores: &[f64]) -> Vec<usize> {
    summary_of(scores).into_iter().map(|shot| shot + 1).collect()
}
