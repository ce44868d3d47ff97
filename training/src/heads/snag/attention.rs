//! What SnAG attends with: depthwise projections of a clip, attention within a window, attention to the words of a query.
//!
//! Not for residuals and norms before it, which the blocks have.

use tch::Tensor;
use tch::nn;

use super::layers::{MaskedConv, THREE, norm, point};
use super::settings::Settings;
use crate::nn::{ChannelNorm, Conv, Dropout, WindowAttention, attention, pointwise};

/// Depthwise convolution and norm of what a clip is projected from, then a pointwise layer.
#[derive(Debug)]
struct Projection {
    depthwise: MaskedConv,
    norm: ChannelNorm,
    point: nn::Conv1D,
}

impl Projection {
    /// `short` and `long` are the two names of the part: `q` and `query`. The pointwise layer lies below `inner`.
    fn new(path: &nn::Path, inner: &str, [short, long]: [&str; 2], channels: i64, stride: i64) -> Self {
        let depthwise = Conv { stride, groups: channels, ..THREE };
        Self {
            depthwise: MaskedConv::new(&(path / format!("{short}_conv")), channels, channels, depthwise),
            norm: norm(&(path / format!("{short}_norm")), channels),
            point: point(path / inner / long, channels, channels),
        }
    }

    fn forward(&self, masked: &Tensor) -> Tensor {
        pointwise(&self.point, &self.norm.forward(&self.depthwise.of_masked(masked)))
    }
}

/// Attention of the steps of a clip to their neighbours, which divides the length by its stride.
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
        let channels = settings.embed_dim;
        let projection = |names| Projection::new(path, "attn", names, channels, stride);
        Self {
            query: projection(["q", "query"]),
            key: projection(["k", "key"]),
            value: projection(["v", "value"]),
            output: point(path / "attn" / "proj", channels, channels),
            windowed: WindowAttention::new(settings.window, settings.num_heads, path.device()),
            dropout: Dropout { probability: settings.dropout },
        }
    }

    /// Of `x` with `mask`; `out_mask` is that of the result. Outside of it the result is the bias of its projection.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, out_mask: &Tensor, train: bool) -> Tensor {
        let masked = x * mask;
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|part| part.forward(&masked));
        let context = self.windowed.forward(&query, &key, &value, out_mask) * out_mask;
        self.dropout.forward(&pointwise(&self.output, &context), train)
    }
}

/// The words of queries, with the background token in front.
#[derive(Debug)]
pub struct Words {
    /// `[N, C, n + 1]`.
    pub values: Tensor,
    /// Which of them are there, `[N, 1, 1, n + 1]`, boolean.
    pub mask: Tensor,
}

/// Linear maps around attention over all words: queries of one width, words of another.
#[derive(Debug)]
pub(super) struct WordAttention {
    query: nn::Conv1D,
    key: nn::Conv1D,
    value: nn::Conv1D,
    output: nn::Conv1D,
    num_heads: i64,
}

impl WordAttention {
    /// Of queries of `width`, words of `word_width`, to results of `outputs`.
    pub fn new(path: &nn::Path, [width, word_width, outputs]: [i64; 3], num_heads: i64) -> Self {
        Self {
            query: point(path / "query", width, width),
            key: point(path / "key", word_width, width),
            value: point(path / "value", word_width, width),
            output: point(path / "proj", width, outputs),
            num_heads,
        }
    }

    /// Queries as rows `[N, L, width]`, not yet attended with, of `x` `[N, width, L]`.
    pub fn queries(&self, x: &Tensor) -> Tensor {
        pointwise(&self.query, x).transpose(1, 2)
    }

    /// Of those queries to `words`: `[N, outputs, L]`.
    pub fn forward(&self, queries: &Tensor, words: &Words) -> Tensor {
        let [key, value] = [&self.key, &self.value].map(|part| pointwise(part, &words.values).transpose(1, 2));
        let context = attention([queries, &key, &value], self.num_heads, Some(&words.mask), 0.0);
        pointwise(&self.output, &context.transpose(1, 2))
    }
}

/// Attention of the steps of a clip to the words of a query.
#[derive(Debug)]
pub(super) struct CrossAttention {
    depthwise: MaskedConv,
    norm: ChannelNorm,
    words: WordAttention,
}

impl CrossAttention {
    /// To results of twice the width of the clip.
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        let channels = settings.embed_dim;
        let depthwise = Conv { groups: channels, ..THREE };
        let widths = [channels, settings.text_embed_dim, 2 * channels];
        Self {
            depthwise: MaskedConv::new(&(path / "q_conv"), channels, channels, depthwise),
            norm: norm(&(path / "q_norm"), channels),
            words: WordAttention::new(&(path / "xattn"), widths, settings.num_heads),
        }
    }

    /// Queries of clips, as rows.
    pub fn queries(&self, x: &Tensor, mask: &Tensor) -> Tensor {
        self.words.queries(&self.norm.forward(&self.depthwise.forward(x, mask)))
    }

    /// What those queries find among `words`.
    pub fn forward(&self, queries: &Tensor, words: &Words) -> Tensor {
        self.words.forward(queries, words)
    }
}
