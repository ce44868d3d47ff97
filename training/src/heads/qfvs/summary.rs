//! From scores of the places of segments to scores of shots, by what `egofx::heads::summariser` makes of them.

use egofx::heads::summariser;
use tch::Tensor;

use crate::tensors::matrix;

/// The scores of a video's shots in order of time: those of `scores` `[S, L]` that `seg_len` `[S]` says are there.
pub fn in_order(scores: &Tensor, seg_len: &Tensor) -> Vec<f64> {
    let lengths: Vec<i64> = seg_len.iter::<i64>().map(Iterator::collect).unwrap_or_default();
    summariser::in_order(matrix(scores).view(), &lengths)
}
