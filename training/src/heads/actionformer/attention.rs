//! Attention of every step to its neighbours within a window, or to all of the clip, after depthwise convolutions of queries, keys
//! and values.
//!
//! `LocalMaskedMHCA` and `MaskedMHCA` of the original.

use tch::Tensor;
use tch::nn;

use super::layers::{MaskedConv, NORM_EPS, POINT, THREE, conv};
use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv, Dropout, WindowAttention, attention, pointwise};

/// Depthwise convolution, norm and projection of the queries, the keys or the values.
#[derive(Debug)]
struct Projection {
    depthwise: MaskedConv,
    norm: ChannelNorm,
    point: nn::Conv1D,
}

impl Projection {
    fn new(path: &nn::Path, name: &str, embed_dim: i64, stride: i64) -> Self {
        let depthwise = Conv { stride, groups: embed_dim, ..THREE };
        Self {
            depthwise: MaskedConv::new(&(path / format!("{name}_conv")), embed_dim, embed_dim, depthwise, 0.0),
            norm: ChannelNorm::new(&(path / format!("{name}_norm")), embed_dim, NORM_EPS),
            point: conv(path / name, embed_dim, embed_dim, POINT, 0.0),
        }
    }

    /// The original's convolution is zero outside of the mask. Here it is not: such keys and values count for nothing, and what such
    /// queries collect never leaves the block.
    fn forward(&self, x: &Tensor) -> Tensor {
        pointwise(&self.point, &self.norm.forward(&self.depthwise.unmasked(x)))
    }
}

/// Attention that divides the length by its stride.
#[derive(Debug)]
pub(super) struct Attention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: nn::Conv1D,
    /// `None` where all of the clip is within.
    windowed: Option<WindowAttention>,
    num_heads: i64,
    dropout: Dropout,
}

impl Attention {
    /// Within a `window`, or over the whole clip.
    pub fn new(path: &nn::Path, settings: &Settings, stride: i64, window: Option<i64>) -> Self {
        let projection = |name| Projection::new(path, name, settings.embed_dim, stride);
        Self {
            query: projection("query"),
            key: projection("key"),
            value: projection("value"),
            output: conv(path / "proj", settings.embed_dim, settings.embed_dim, POINT, 0.0),
            windowed: window.map(|window| WindowAttention::new(window, settings.num_heads, path.device())),
            num_heads: settings.num_heads,
            dropout: Dropout { probability: settings.dropout },
        }
    }

    /// `x`: `[B, C, stride * T]`; `mask`: that of the output, `[B, 1, T]`; gives `[B, C, T]`, of no meaning outside of the mask. `T` is a
    /// multiple of the window less one, where there is a window.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|part| part.forward(x));
        let context = match &self.windowed {
            Some(windowed) => windowed.forward(&query, &key, &value, mask),
            None => self.over_clip([&query, &key, &value], mask),
        };
        self.dropout.forward(&pointwise(&self.output, &context), train)
    }

    /// Of every query to all keys within the mask, of which each clip has one at least.
    fn over_clip(&self, parts: [&Tensor; 3], mask: &Tensor) -> Tensor {
        let [query, key, value] = parts.map(|part| part.transpose(1, 2));
        attention([&query, &key, &value], self.num_heads, Some(&mask.unsqueeze(1)), 0.0).transpose(1, 2)
    }
}
