//! Inputs and outputs of a graph: name, element type, shape.

use serde::{Deserialize, Serialize};

/// A tensor that goes in or comes out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// The graph's name for it.
    pub name: String,
    /// Element type.
    pub dtype: Element,
    /// Its dimensions.
    pub shape: Vec<Dim>,
}

/// A dimension.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Always this long.
    Fixed(u64),
    /// As long as the caller likes; equal names are equally long.
    Named(String),
}

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 0 to 255: pixels.
    Uint8,
    /// Tokens and masks.
    Int64,
    /// Everything else.
    Float32,
}
