//! The text side of SnAG: tokens, embedded, and a background token in front of them.
//!
//! Not for what makes tokens. They have no positions.

use tch::nn::{self, Module};
use tch::{Kind, Tensor};

use super::attention::{WordAttention, Words};
use super::layers::point;
use super::settings::Settings;

#[derive(Debug)]
pub(super) struct TextNet {
    embedding: nn::Conv1D,
    pool: WordAttention,
}

impl TextNet {
    pub fn new(path: &nn::Path, token_dim: i64, settings: &Settings) -> Self {
        let width = settings.text_embed_dim;
        let pool = WordAttention::new(&(path / "attn_pool" / "attn"), [width; 3], settings.num_heads);
        Self { embedding: point(path / "embd_fc" / "conv", token_dim, width), pool }
    }

    /// `tokens`: `[N, token_dim, n]`; `mask`: which of them are there, `[N, n]`, boolean; the first always is.
    pub fn forward(&self, tokens: &Tensor, mask: &Tensor) -> Words {
        let embedded = self.embedding.forward(tokens);
        let there = mask.unsqueeze(1);
        let count = there.sum_dim_intlist([2_i64].as_slice(), true, embedded.kind());
        let mean = (&embedded * there).sum_dim_intlist([2_i64].as_slice(), true, None::<Kind>) / count;
        let mask = Tensor::cat(&[&mask.narrow(1, 0, 1), mask], 1).unsqueeze(1).unsqueeze(1);
        let with_mean = Words { values: Tensor::cat(&[&mean, &embedded], 2), mask };
        // The mean attends to itself and to all tokens; what it finds is the background token.
        let background = self.pool.forward(&self.pool.queries(&mean), &with_mean);
        Words { values: Tensor::cat(&[&background, &embedded], 2), mask: with_mean.mask }
    }
}
