//! Spans out of VSLNet's logits, by what `egofx::heads::vslnet` makes of their probabilities.

use egofx::heads::vslnet::{self, Span};
use ndarray::Array2;
use tch::{Kind, Tensor};

use crate::tensors::matrix;

/// Softmax of `[B, L]`, row by row.
pub(super) fn probabilities(logits: &Tensor) -> Array2<f32> {
    matrix(&logits.softmax(1, Kind::Float))
}

/// The likeliest spans of each row of the logits `[B, L]`; `lengths` are the positions of each clip.
pub fn top_spans(start_logits: &Tensor, end_logits: &Tensor, lengths: &[usize]) -> Vec<Vec<Span>> {
    let [starts, ends] = [start_logits, end_logits].map(probabilities);
    vslnet::top_spans(starts.view(), ends.view(), lengths)
}
