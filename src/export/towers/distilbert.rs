//! The text tower of EgoVLP and of some of LaViLa's models: DistilBERT, as in transformers 4.2.
//!
//! Not for tokenizing. Invariant: norms come after the residual sums, with epsilon 1e-12.

use crate::arch::TextConfig;
use crate::arch::distilbert::{LAYER_NORM_EPS, layer_name};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{additive_mask, attention, layer_norm, linear, lookup, mlp};
use crate::export::onnx::Attribute;
use crate::export::weights::Weight;

/// A DistilBERT of these sizes.
#[derive(Debug, Clone)]
pub struct DistilBert {
    /// What the names of its tensors begin with.
    pub tower: &'static str,
    /// Its sizes.
    pub config: TextConfig,
}

impl DistilBert {
    /// The last hidden state `[B, L, D]` of `ids` and `mask` `[B, L]`.
    pub fn forward(&self, g: &mut Graph, ids: &Value, mask: &Value) -> Value {
        let mask = additive_mask(g, mask);
        let embedded = self.embed(g, ids);
        g.probe("text.embedded", &embedded, 3);
        (0..self.config.depth).fold(embedded, |x, i| {
            let out = g.scope(&format!("text{i}"), |g| self.layer(g, i, &x, &mask));
            g.probe(&format!("text.layer{i}"), &out, 3);
            out
        })
    }

    fn embed(&self, g: &mut Graph, ids: &Value) -> Value {
        let tower = self.tower;
        let words = lookup(g, &format!("{tower}.embeddings.word_embeddings.weight"), ids);
        let positional_embedding = g.weight(Weight::plain(&format!("{tower}.embeddings.position_embeddings.weight")));
        let count = g.op("Shape", &[ids], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
        let (start, axis) = (g.ints(&[0]), g.ints(&[0]));
        let positional_embedding = g.op("Slice", &[&positional_embedding, &start, &count, &axis], &[]);
        let sum = g.op("Add", &[&words, &positional_embedding], &[]);
        layer_norm(g, &format!("{tower}.embeddings.LayerNorm"), LAYER_NORM_EPS, &sum)
    }

    fn layer(&self, g: &mut Graph, i: usize, x: &Value, mask: &Value) -> Value {
        let (name, num_heads) = (layer_name(self.tower, i), self.config.num_heads);
        let [q, k, v] = ["q_lin", "k_lin", "v_lin"].map(|map| linear(g, &format!("{name}.attention.{map}"), x));
        let context = attention(g, [&q, &k, &v], num_heads, self.config.embed_dim / num_heads, Some(mask));
        let context = linear(g, &format!("{name}.attention.out_lin"), &context);
        let sum = g.op("Add", &[x, &context], &[]);
        let x = layer_norm(g, &format!("{name}.sa_layer_norm"), LAYER_NORM_EPS, &sum);
        let inner = mlp(g, &format!("{name}.ffn.lin1"), &format!("{name}.ffn.lin2"), &x);
        let sum = g.op("Add", &[&x, &inner], &[]);
        layer_norm(g, &format!("{name}.output_layer_norm"), LAYER_NORM_EPS, &sum)
    }

    /// Multiply-accumulates for a text of `length` tokens.
    pub fn macs(&self, length: usize) -> u64 {
        let TextConfig { embed_dim: dim, mlp_dim, depth, .. } = self.config;
        (depth * length * (4 * dim * dim + 2 * dim * mlp_dim + 2 * length * dim)) as u64
    }
}
