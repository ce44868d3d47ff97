//! EgoVLPv2's text tower: RoBERTa (Liu et al., 2019), its upper layers with cross-attention to a video's tokens.
//!
//! Not for tokenizing. Invariant: cross-attention asks with self-attention's output before residual and norm, as the
//! code does (the paper's equation 3 has it after).

use egofx::arch::TextConfig;
use egofx::arch::roberta::{LAYER_NORM_EPS, PAD_ID};
use tch::nn::{self, Init, Module};
use tch::{Kind, Tensor};

use super::blocks::{Fusion, Shared, run_one};
use crate::nn::{Embedding, Mlp, WeightInit, attention, attn_weights, layer_norm, linear};

#[derive(Debug)]
pub(super) struct Roberta {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    norm: nn::LayerNorm,
    layers: Vec<Shared<Layer>>,
    dropout: f64,
}

impl Roberta {
    /// Its last layers have cross-attention, as `fusion` says. First weights are normal with the standard deviation
    /// `initializer_range`.
    pub fn new(path: &nn::Path, config: &TextConfig, fusion: Fusion) -> Self {
        let (embeddings, dim, std) = (path / "embeddings", config.embed_dim as i64, config.initializer_range);
        let [vocab_size, positions, types] =
            [config.vocab_size, config.max_position_embeddings, config.type_vocab_size].map(|size| size as i64);
        let table = |name: &str, rows, pad| Embedding::new(&(&embeddings / name), [rows, dim], std, pad);
        let gate_init = |i| fusion.gate_init_of(i, config.depth);
        let layer = |i| Shared::new(Layer::new(&(path / "encoder" / "layer" / i), config, gate_init(i)));
        Self {
            word_embeddings: table("word_embeddings", vocab_size, Some(PAD_ID)),
            position_embeddings: table("position_embeddings", positions, Some(PAD_ID)),
            token_type_embeddings: table("token_type_embeddings", types, None),
            norm: layer_norm(&embeddings / "LayerNorm", dim, LAYER_NORM_EPS),
            layers: (0..config.depth).map(layer).collect(),
            dropout: config.dropout,
        }
    }

    pub fn layers(&self) -> &[Shared<Layer>] {
        &self.layers
    }

    /// Embedded tokens `[B, L, D]` of `ids` `[B, L]`.
    pub fn embed(&self, ids: &Tensor, train: bool) -> Tensor {
        let sum = self.word_embeddings.rows(ids)
            + self.token_type_embeddings.first(1)
            + self.position_embeddings.rows(&position_ids(ids));
        self.norm.forward(&sum).dropout(self.dropout, train)
    }

    /// Layer `i` on `x` `[B, L, D]` without cross-attention; `mask` `[B, 1, 1, L]` is true for tokens that are no
    /// padding.
    pub fn forward_unimodal(&self, i: usize, x: &Tensor, mask: &Tensor, train: bool, recompute: bool) -> Tensor {
        let layer = self.layers[i].clone();
        run_one(recompute, &[x, mask], move |x| layer.with(|layer| layer.forward(&x[0], &x[1], None, train)))
    }
}

/// 2, 3, ... for tokens, 1 for padding: the count of tokens so far, behind the padding's own id
/// (`create_position_ids_from_input_ids` of transformers).
fn position_ids(ids: &Tensor) -> Tensor {
    let is_token = ids.ne(PAD_ID).to_kind(Kind::Int64);
    is_token.cumsum(1, Kind::Int64) * is_token + PAD_ID
}

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    self_attn: Attention,
    attention_norm: nn::LayerNorm,
    /// With its factor `[1]`.
    cross_attn: Option<(Attention, Tensor)>,
    mlp: Mlp,
    norm: nn::LayerNorm,
    dropout: f64,
}

impl Layer {
    fn new(path: &nn::Path, config: &TextConfig, gate_init: Option<f64>) -> Self {
        let [dim, mlp_dim] = [config.embed_dim, config.mlp_dim].map(|size| size as i64);
        let (self_attn, output, init) =
            (path / "attention", path / "output", WeightInit::Normal(config.initializer_range));
        let cross_attn = |gate_init| {
            let cross_attn = Attention::new(&(path / "crossattention_t2i"), config);
            (cross_attn, path.var("alpha_t2i", &[1], Init::Const(gate_init)))
        };
        Self {
            attention_norm: layer_norm(&self_attn / "output" / "LayerNorm", dim, LAYER_NORM_EPS),
            self_attn: Attention::new(&self_attn, config),
            cross_attn: gate_init.map(cross_attn),
            mlp: Mlp::new([path / "intermediate" / "dense", &output / "dense"], [dim, mlp_dim], init),
            norm: layer_norm(&output / "LayerNorm", dim, LAYER_NORM_EPS),
            dropout: config.dropout,
        }
    }

    /// `x` `[B, L, D]` after the layer, with cross-attention to `video` `[B, N, D]`, the output of the block before, if
    /// there is one.
    pub fn forward(&self, x: &Tensor, mask: &Tensor, video: Option<&Tensor>, train: bool) -> Tensor {
        let context = self.self_attn.forward(x, x, Some(mask), train);
        let sum = match (&self.cross_attn, video) {
            (Some((cross_attn, alpha)), Some(video)) => {
                x + &context + alpha * cross_attn.forward(&context, video, None, train)
            }
            _ => x + &context,
        };
        let x = self.attention_norm.forward(&sum);
        self.norm.forward(&(&x + self.mlp.forward(&x).dropout(self.dropout, train)))
    }

    /// The weights of the cross-attention of each token of `x` to each token of `video`, `[B, num_heads, L, N]`; `None`
    /// in a layer without cross-attention.
    pub fn cross_attn_weights(&self, x: &Tensor, mask: &Tensor, video: &Tensor) -> Option<Tensor> {
        let (cross_attn, _) = self.cross_attn.as_ref()?;
        Some(cross_attn.weights(&self.self_attn.forward(x, x, Some(mask), false), video))
    }
}

/// Attention with its four linear maps.
#[derive(Debug)]
struct Attention {
    /// Of queries, keys and values.
    maps: [nn::Linear; 3],
    out: nn::Linear,
    num_heads: i64,
    dropout: f64,
}

impl Attention {
    fn new(path: &nn::Path, config: &TextConfig) -> Self {
        let (own, dim) = (path / "self", config.embed_dim as i64);
        let map = |path: nn::Path| linear(path, dim, dim, WeightInit::Normal(config.initializer_range));
        Self {
            maps: ["query", "key", "value"].map(|name| map(&own / name)),
            out: map(path / "output" / "dense"),
            num_heads: config.num_heads as i64,
            dropout: config.dropout,
        }
    }

    /// Of `query` `[B, L, D]` to `key_value` `[B, M, D]`: `[B, L, D]`.
    fn forward(&self, query: &Tensor, key_value: &Tensor, mask: Option<&Tensor>, train: bool) -> Tensor {
        let [q, k, v] = [(0, query), (1, key_value), (2, key_value)].map(|(i, x)| self.maps[i].forward(x));
        let dropout = if train { self.dropout } else { 0.0 };
        self.out.forward(&attention([&q, &k, &v], self.num_heads, mask, dropout)).dropout(self.dropout, train)
    }

    /// Its weights `[B, num_heads, L, M]`.
    fn weights(&self, query: &Tensor, key: &Tensor) -> Tensor {
        attn_weights([&self.maps[0].forward(query), &self.maps[1].forward(key)], self.num_heads)
    }
}
