//! Inputs and outputs of a graph: name, element type, shape.

use serde::{Deserialize, Serialize};

/// Token ids of a text graph, `int64` `[B, L]`.
pub(super) const IDS: &str = "ids";
/// 1 where a token stands and 0 on padding, `int64` `[B, L]`.
pub(super) const MASK: &str = "mask";
/// What the names of masks end with where a graph has several.
pub(super) const MASKS: &str = "_mask";
/// What the lower half of the video tower hands to the upper one.
pub(super) const VIDEO_TOKENS: &str = "video_tokens";
/// What the attention of the upper half's first block, which needs no text, made of them.
pub(super) const VIDEO_ATTENDED: &str = "video_attended";
/// What the lower half of the text tower hands to the upper one.
pub(super) const TEXT_TOKENS: &str = "text_tokens";

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
