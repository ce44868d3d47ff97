//! EgoVLP's text tower: DistilBERT (Sanh et al., 2019), as in transformers 4.2.
//!
//! Not for tokenizing. Invariant: norms come after the residual sums, with an epsilon of 1e-12.

use egofx::arch::TextConfig;
use egofx::arch::distilbert::{LAYER_NORM_EPS, PAD_ID};
use tch::Tensor;
use tch::nn::{self, Module};

use super::blocks::{Shared, run_one};
use crate::nn::{Embedding, Mlp, WeightInit, attention, key_mask, layer_norm, linear};

#[derive(Debug)]
pub(super) struct DistilBert {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    norm: nn::LayerNorm,
    layers: Vec<Shared<Layer>>,
    dropout: f64,
}

impl DistilBert {
    pub fn new(path: &nn::Path, config: &TextConfig) -> Self {
        let (embeddings, dim, std) = (path / "embeddings", config.embed_dim as i64, config.initializer_range);
        let (vocab_size, positions) = (config.vocab_size as i64, config.max_position_embeddings as i64);
        let table = |name: &str, rows, pad| Embedding::new(&(&embeddings / name), [rows, dim], std, pad);
        let layer = |i| Shared::new(Layer::new(&(path / "transformer" / "layer" / i), config));
        Self {
            word_embeddings: table("word_embeddings", vocab_size, Some(PAD_ID)),
            position_embeddings: table("position_embeddings", positions, None),
            norm: layer_norm(&embeddings / "LayerNorm", dim, LAYER_NORM_EPS),
            layers: (0..config.depth).map(layer).collect(),
            dropout: config.dropout,
        }
    }

    /// The last hidden state `[B, L, D]` of `ids` and `mask` `[B, L]`.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor, train: bool, recompute: bool) -> Tensor {
        let mask = key_mask(mask);
        let layer = |x: Tensor, layer: &Shared<Layer>| {
            let layer = layer.clone();
            run_one(recompute, &[&x, &mask], move |x| layer.with(|layer| layer.forward(&x[0], &x[1], train)))
        };
        self.layers.iter().fold(self.embed(ids, train), layer)
    }

    fn embed(&self, ids: &Tensor, train: bool) -> Tensor {
        let sum = self.word_embeddings.rows(ids) + self.position_embeddings.first(ids.size()[1]);
        self.norm.forward(&sum).dropout(self.dropout, train)
    }
}

#[derive(Debug)]
struct Layer {
    /// Of queries, keys and values.
    maps: [nn::Linear; 3],
    out: nn::Linear,
    attention_norm: nn::LayerNorm,
    mlp: Mlp,
    norm: nn::LayerNorm,
    num_heads: i64,
    dropout: f64,
}

impl Layer {
    fn new(path: &nn::Path, config: &TextConfig) -> Self {
        let [dim, mlp_dim] = [config.embed_dim, config.mlp_dim].map(|size| size as i64);
        let (self_attn, ffn, init) = (path / "attention", path / "ffn", WeightInit::Normal(config.initializer_range));
        let map = |name: &str| linear(&self_attn / name, dim, dim, init);
        Self {
            maps: ["q_lin", "k_lin", "v_lin"].map(map),
            out: map("out_lin"),
            attention_norm: layer_norm(path / "sa_layer_norm", dim, LAYER_NORM_EPS),
            mlp: Mlp::new([&ffn / "lin1", &ffn / "lin2"], [dim, mlp_dim], init),
            norm: layer_norm(path / "output_layer_norm", dim, LAYER_NORM_EPS),
            num_heads: config.num_heads as i64,
            dropout: config.dropout,
        }
    }

    /// `x` `[B, L, D]` after the layer; `mask` is a [`key_mask`].
    fn forward(&self, x: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        let [q, k, v] = [0, 1, 2].map(|i| self.maps[i].forward(x));
        let dropout = if train { self.dropout } else { 0.0 };
        let context = self.out.forward(&attention([&q, &k, &v], self.num_heads, Some(mask), dropout));
        let x = self.attention_norm.forward(&(x + context));
        self.norm.forward(&(&x + self.mlp.forward(&x).dropout(self.dropout, train)))
    }
}
