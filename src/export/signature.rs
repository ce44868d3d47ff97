//! Inputs and outputs that graphs of several models share.
//!
//! Not for frames (`pixels`). Invariant: an input of one name has one meaning in all graphs.

use super::graph::{Graph, Value};
use super::onnx::{DataType, Dim};

/// A shape: dimensions that callers choose, then ones that the model fixes.
pub fn dims(named: &[&str], fixed: &[usize]) -> Vec<Dim> {
    let named = named.iter().map(|name| Dim::Named((*name).to_owned()));
    named.chain(fixed.iter().map(|&n| Dim::Fixed(n as u64))).collect()
}

/// `ids` and `mask`, `int64` `[B, L]`: a batch of tokenized sentences, the mask 0 where one is filled up.
pub fn text_inputs(g: &mut Graph) -> [Value; 2] {
    ["ids", "mask"].map(|name| g.input(name, DataType::Int64, &dims(&["B", "L"], &[])))
}
