//! Attention of every step to its neighbours within a window, after depthwise convolutions of queries, keys and values.
//!
//! `LocalMaskedMHCA` of the original. Not for attention over whole clips.

use tch::Tensor;
use tch::nn;

use super::layers::{MaskedConv, POINT, THREE, channel_norm, conv};
use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv, Dropout, WindowAttention, pointwise};

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
            norm: channel_norm(&(path / format!("{name}_norm")), embed_dim),
            point: conv(path / name, embed_dim, embed_dim, POINT, 0.0),
        }
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        pointwise(&self.point, &self.norm.forward(&self.depthwise.forward(x, mask)))
    }
}

/// Local attention that divides the length by its stride.
#[derive(Debug)]
pub(super) struct LocalAttention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: nn::Conv1D,
    windowed: WindowAttention,
    dropout: Dropout,
}

impl LocalAttention {
    pub fn new(path: &nn::Path, settings: &Settings, stride: i64) -> Self {
        let projection = |name| Projection::new(path, name, settings.embed_dim, stride);
        Self {
            query: projection("query"),
            key: projection("key"),
            value: projection("value"),
            output: conv(path / "proj", settings.embed_dim, settings.embed_dim, POINT, 0.0),
            windowed: WindowAttention::new(settings.window, settings.num_heads, path.device()),
            dropout: Dropout { probability: settings.dropout },
        }
    }

    /// `x`: `[B, C, stride * T]`; `mask`: that of the output, `[B, 1, T]`; gives `[B, C, T]`. `T` is a multiple of the
    /// window less one.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|part| part.forward(x, mask));
        let context = self.windowed.forward(&query, &key, &value, mask);
        // What queries outside the mask collect never leaves: the projection is pointwise, and the mask follows.
        self.dropout.forward(&pointwise(&self.output, &context), train) * mask
    }
}
