//! VSLNet's feature encoder: positions, four convolution blocks, one attention block.
//!
//! Not for what joins video and query; see `fusion`. Invariant: padding is masked as a key of attention and nowhere
//! else, as in the original: up to twelve positions before it see it through the convolutions.

use tch::Tensor;
use tch::nn::{self, Init};

use super::layers::{KERNEL, Mask, norm};
use super::settings::Settings;
use crate::nn::{DepthwiseConv, Dropout, PointwiseLinear};

/// Convolution blocks of an encoder.
pub(super) const BLOCKS: i64 = 4;

/// The encoder; one instance may encode several sequences.
#[derive(Debug)]
pub(super) struct Encoder {
    /// `[positions, C]`.
    positions: Tensor,
    convolutions: Vec<ConvBlock>,
    attention: Attention,
}

/// What an [`Encoder`] makes of a sequence, step by step; all `[B, L, C]`.
#[derive(Debug)]
pub(super) struct Encoded {
    pub positioned: Tensor,
    pub convolved: Tensor,
    pub encoded: Tensor,
}

impl Encoder {
    pub fn new(path: &nn::Path, settings: &Settings) -> Self {
        let table = path / "pos_embedding" / "position_embeddings";
        let dims = [settings.max_position_embeddings, settings.embed_dim];
        let convolutions = path / "conv_block";
        Self {
            positions: table.var("weight", &dims, Init::Randn { mean: 0.0, stdev: 1.0 }),
            convolutions: (0..BLOCKS).map(|block| ConvBlock::new(&convolutions, block, settings)).collect(),
            attention: Attention::new(&(path / "attention_block"), settings),
        }
    }

    /// `x` `[B, L, C]` encoded, L at most the positions of the table.
    pub fn forward(&self, x: &Tensor, mask: &Mask, train: bool) -> Encoded {
        let positioned = x + self.positions.narrow(0, 0, x.size()[1]);
        let start = positioned.shallow_clone();
        let convolved = self.convolutions.iter().fold(start, |x, block| block.forward(&x, train));
        let encoded = self.attention.forward(&convolved, mask, train);
        Encoded { positioned, convolved, encoded }
    }
}

/// Layer norm, depthwise and pointwise convolution, ReLU, dropout, residual.
#[derive(Debug)]
struct ConvBlock {
    norm: nn::LayerNorm,
    depthwise: DepthwiseConv,
    pointwise: PointwiseLinear,
    dropout: Dropout,
}

impl ConvBlock {
    fn new(path: &nn::Path, block: i64, settings: &Settings) -> Self {
        let (embed_dim, layers) = (settings.embed_dim, path / "depthwise_separable_conv" / block);
        Self {
            norm: norm(path / "layer_norms" / block, embed_dim),
            depthwise: DepthwiseConv::new(&(&layers / 0), embed_dim, KERNEL),
            pointwise: PointwiseLinear::new(&(&layers / 1), embed_dim, embed_dim),
            dropout: settings.dropout(),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let out = self.pointwise.forward(&self.depthwise.forward(&x.apply(&self.norm))).relu();
        self.dropout.add(x, &out, train)
    }
}

/// Attention of several heads with two residuals. There is no feed-forward part, and no projection of the joined heads
/// before the first residual.
#[derive(Debug)]
struct Attention {
    norms: [nn::LayerNorm; 2],
    query: PointwiseLinear,
    key: PointwiseLinear,
    value: PointwiseLinear,
    out: PointwiseLinear,
    num_heads: i64,
    dropout: Dropout,
}

impl Attention {
    fn new(path: &nn::Path, settings: &Settings) -> Self {
        let embed_dim = settings.embed_dim;
        let linear = |name: &str| PointwiseLinear::new(&(path / name / "conv1d"), embed_dim, embed_dim);
        Self {
            norms: ["layer_norm1", "layer_norm2"].map(|name| norm(path / name, embed_dim)),
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            out: linear("out_layer"),
            num_heads: settings.num_heads,
            dropout: settings.dropout(),
        }
    }

    fn forward(&self, x: &Tensor, mask: &Mask, train: bool) -> Tensor {
        let normed = self.dropout.forward(&x.apply(&self.norms[0]), train);
        let attended = self.attend(&normed, &mask.of_heads(self.num_heads), train);
        let residual = self.dropout.add(x, &attended, train);
        let normed = self.dropout.forward(&residual.apply(&self.norms[1]), train);
        self.dropout.add(&residual, &self.out.forward(&normed), train)
    }

    /// Attention of `x` `[B, L, C]` to itself; `bias` `[B * heads, 1, L]` is added to the scores of keys.
    fn attend(&self, x: &Tensor, bias: &Tensor, train: bool) -> Tensor {
        let [query, key, value] = [&self.query, &self.key, &self.value].map(|linear| self.split(&linear.forward(x)));
        let scale = (query.size()[2] as f64).sqrt().recip();
        let scores = bias.baddbmm(&query, &key.transpose(1, 2), 1.0, scale);
        let weights = self.dropout.forward(&scores.softmax(-1, None), train);
        self.join(&weights.bmm(&value))
    }

    /// `[B, L, C]` to `[B * heads, L, C / heads]`.
    fn split(&self, x: &Tensor) -> Tensor {
        let (batch, length) = (x.size()[0], x.size()[1]);
        let heads = x.view([batch, length, self.num_heads, -1]).transpose(1, 2);
        heads.reshape([batch * self.num_heads, length, -1])
    }

    /// The reverse of [`Self::split`].
    fn join(&self, x: &Tensor) -> Tensor {
        let (length, head_dim) = (x.size()[1], x.size()[2]);
        x.view([-1, self.num_heads, length, head_dim]).transpose(1, 2).reshape([-1, length, self.num_heads * head_dim])
    }
}
