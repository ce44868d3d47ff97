//! EgoVLP's text tower: DistilBERT, as in transformers 4.2.
//!
//! Not for tokenizing. Invariant: norms come after the residual sums, with epsilon 1e-12.

use crate::export::ExportError;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{additive_mask, attention, layer_norm, linear, lookup, mlp};
use crate::export::onnx::Attribute;
use crate::export::sizes::{Layout, Sizes};
use crate::export::weights::Weight;

/// Epsilon of every LayerNorm.
const EPS: f32 = 1e-12;

/// A DistilBERT of some size.
#[derive(Debug, Clone)]
pub struct DistilBert {
    /// Words of the vocabulary.
    pub vocabulary: usize,
    /// Most tokens of a text.
    pub positions: usize,
    /// Length of a token.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of a feed-forward part's inner state.
    pub hidden: usize,
}

impl DistilBert {
    /// Reads the sizes off the tensors under `text_model.`.
    pub fn read(sizes: &Sizes, head_dim: usize) -> Result<Self, ExportError> {
        let [vocabulary, width] = sizes.shape("text_model.embeddings.word_embeddings.weight")?;
        let [positions, _] = sizes.shape("text_model.embeddings.position_embeddings.weight")?;
        let [hidden, _] = sizes.shape("text_model.transformer.layer.0.ffn.lin1.weight")?;
        let depth = sizes.count(|i| format!("{}.sa_layer_norm.weight", layer(i)));
        Ok(Self { vocabulary, positions, width, depth, heads: sizes.heads(width, head_dim)?, hidden })
    }

    /// Every tensor of the tower.
    pub fn layout(&self, layout: &mut Layout) {
        let width = self.width;
        layout.table("text_model.embeddings.word_embeddings.weight", &[self.vocabulary, width]);
        layout.table("text_model.embeddings.position_embeddings.weight", &[self.positions, width]);
        layout.norm("text_model.embeddings.LayerNorm", width);
        for layer in (0..self.depth).map(layer) {
            for map in ["q_lin", "k_lin", "v_lin", "out_lin"] {
                layout.linear(&format!("{layer}.attention.{map}"), width, width);
            }
            layout.norm(&format!("{layer}.sa_layer_norm"), width);
            layout.linear(&format!("{layer}.ffn.lin1"), self.hidden, width);
            layout.linear(&format!("{layer}.ffn.lin2"), width, self.hidden);
            layout.norm(&format!("{layer}.output_layer_norm"), width);
        }
    }

    /// The last hidden state `[B, L, width]` of `ids` and `mask` (`[B, L]`).
    pub fn forward(&self, g: &mut Graph, ids: &Value, mask: &Value) -> Value {
        let mask = additive_mask(g, mask);
        let embedded = self.embed(g, ids);
        g.probe("text.embedded", &embedded, 3);
        (0..self.depth).fold(embedded, |x, i| {
            let out = g.scope(&format!("text{i}"), |g| self.layer(g, i, &x, &mask));
            g.probe(&format!("text.layer{i}"), &out, 3);
            out
        })
    }

    fn embed(&self, g: &mut Graph, ids: &Value) -> Value {
        let words = lookup(g, "text_model.embeddings.word_embeddings.weight", ids);
        let places = g.weight(Weight::plain("text_model.embeddings.position_embeddings.weight"));
        let count = g.op("Shape", &[ids], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
        let (start, axis) = (g.ints(&[0]), g.ints(&[0]));
        let places = g.op("Slice", &[&places, &start, &count, &axis], &[]);
        let sum = g.op("Add", &[&words, &places], &[]);
        layer_norm(g, "text_model.embeddings.LayerNorm", EPS, &sum)
    }

    fn layer(&self, g: &mut Graph, i: usize, x: &Value, mask: &Value) -> Value {
        let name = layer(i);
        let [q, k, v] = ["q_lin", "k_lin", "v_lin"].map(|map| linear(g, &format!("{name}.attention.{map}"), x));
        let mixed = attention(g, [&q, &k, &v], self.heads, self.width / self.heads, Some(mask));
        let mixed = linear(g, &format!("{name}.attention.out_lin"), &mixed);
        let sum = g.op("Add", &[x, &mixed], &[]);
        let x = layer_norm(g, &format!("{name}.sa_layer_norm"), EPS, &sum);
        let inner = mlp(g, &format!("{name}.ffn.lin1"), &format!("{name}.ffn.lin2"), &x);
        let sum = g.op("Add", &[&x, &inner], &[]);
        layer_norm(g, &format!("{name}.output_layer_norm"), EPS, &sum)
    }

    /// Multiply-accumulates for a text of `length` tokens.
    pub fn macs(&self, length: usize) -> u64 {
        let per_token = 4 * self.width * self.width + 2 * self.width * self.hidden + 2 * length * self.width;
        (self.depth * length * per_token) as u64
    }
}

fn layer(i: usize) -> String {
    format!("text_model.transformer.layer.{i}")
}
