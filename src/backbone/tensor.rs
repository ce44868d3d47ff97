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

/// The dimension of the frames of a window.
const FRAMES: &str = "F";

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

impl Dim {
    /// How long it is in windows of `frames` frames: fixed, `F`, or `a+b*F`; `None` where that does not tell.
    pub fn length(&self, frames: Option<u32>) -> Option<usize> {
        let name = match self {
            Self::Fixed(length) => return usize::try_from(*length).ok(),
            Self::Named(name) => name,
        };
        let frames = usize::try_from(frames?).ok()?;
        if name == FRAMES {
            return Some(frames);
        }
        let (first, each) = name.strip_suffix(FRAMES)?.strip_suffix('*')?.split_once('+')?;
        let (first, each): (usize, usize) = (first.parse().ok()?, each.parse().ok()?);
        each.checked_mul(frames)?.checked_add(first)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_fixed_or_follows_from_the_frames() {
        let of = |name: &str, frames| Dim::Named(name.into()).length(frames);
        assert_eq!((Dim::Fixed(7).length(None), Dim::Fixed(7).length(Some(4))), (Some(7), Some(7)));
        assert_eq!((of("F", Some(4)), of("1+49*F", Some(4)), of("1+49*F", Some(16))), (Some(4), Some(197), Some(785)));
        assert_eq!((of("F", None), of("1+49*F", None)), (None, None));
        for name in ["B", "N", "L", "", "*F", "+*F", "1+F", "1+49*B", "1+x*F", "1+-4*F", "1+99999999999999999999*F"] {
            assert_eq!(of(name, Some(4)), None, "{name}");
        }
        assert_eq!(of(&format!("1+{}*F", usize::MAX), Some(4)), None);
    }
}
