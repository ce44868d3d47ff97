//! EgoVLPv2's text tower: RoBERTa, its upper layers with cross-attention to video tokens.
//!
//! Not for tokenizing. Invariant: cross-attention asks with the output of self-attention before residual and norm, as the
//! code does (the paper's equation 3 has it after).

use std::ops::Range;

use crate::export::ExportError;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{attention, layer_norm, linear, lookup, mlp};
use crate::export::onnx::{Attribute, DataType};
use crate::export::sizes::{Layout, Sizes};
use crate::export::weights::Weight;

/// Epsilon of every LayerNorm.
const EPS: f32 = 1e-5;
/// The token that fills up; positions are counted without it.
const PAD: i64 = 1;

/// A RoBERTa of some size.
#[derive(Debug, Clone)]
pub struct Roberta {
    /// Words of the vocabulary.
    pub vocabulary: usize,
    /// Rows of the position table: two more than the longest text.
    pub positions: usize,
    /// Rows of the type table; only the first is used.
    pub types: usize,
    /// Length of a token.
    pub width: usize,
    /// Layers.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of a feed-forward part's inner state.
    pub hidden: usize,
    /// The first layer with cross-attention.
    pub fused_from: usize,
}

impl Roberta {
    /// Reads the sizes off the tensors under `text_model.`.
    pub fn read(sizes: &Sizes, head_dim: usize) -> Result<Self, ExportError> {
        let [vocabulary, width] = sizes.shape("text_model.embeddings.word_embeddings.weight")?;
        let [positions, _] = sizes.shape("text_model.embeddings.position_embeddings.weight")?;
        let [types, _] = sizes.shape("text_model.embeddings.token_type_embeddings.weight")?;
        let [hidden, _] = sizes.shape("text_model.encoder.layer.0.intermediate.dense.weight")?;
        let depth = sizes.count(|i| format!("{}.output.dense.weight", layer(i)));
        let gated = |i: &usize| sizes.tensors.contains_key(&format!("{}.alpha_t2i", layer(*i)));
        let fused_from = (0..depth).find(gated).unwrap_or(depth);
        let heads = sizes.heads(width, head_dim)?;
        Ok(Self { vocabulary, positions, types, width, depth, heads, hidden, fused_from })
    }

    /// Every tensor of the tower.
    pub fn layout(&self, layout: &mut Layout) {
        let width = self.width;
        layout.table("text_model.embeddings.word_embeddings.weight", &[self.vocabulary, width]);
        layout.table("text_model.embeddings.position_embeddings.weight", &[self.positions, width]);
        layout.table("text_model.embeddings.token_type_embeddings.weight", &[self.types, width]);
        layout.norm("text_model.embeddings.LayerNorm", width);
        (0..self.depth).for_each(|i| self.layer_layout(layout, i));
    }

    fn layer_layout(&self, layout: &mut Layout, i: usize) {
        let (name, width) = (layer(i), self.width);
        for map in ["self.query", "self.key", "self.value", "output.dense"] {
            layout.linear(&format!("{name}.attention.{map}"), width, width);
        }
        layout.norm(&format!("{name}.attention.output.LayerNorm"), width);
        layout.linear(&format!("{name}.intermediate.dense"), self.hidden, width);
        layout.linear(&format!("{name}.output.dense"), width, self.hidden);
        layout.norm(&format!("{name}.output.LayerNorm"), width);
        if i >= self.fused_from {
            for map in ["self.query", "self.key", "self.value", "output.dense"] {
                layout.linear(&format!("{name}.crossattention_t2i.{map}"), width, width);
            }
            layout.gate(&format!("{name}.alpha_t2i"));
        }
    }

    /// Embedded tokens `[B, L, width]` of `ids` (`[B, L]`).
    pub fn embed(&self, g: &mut Graph, ids: &Value) -> Value {
        let words = lookup(g, "text_model.embeddings.word_embeddings.weight", ids);
        let zero = g.int(0);
        let kind = lookup(g, "text_model.embeddings.token_type_embeddings.weight", &zero);
        let positions = position_ids(g, ids);
        let places = lookup(g, "text_model.embeddings.position_embeddings.weight", &positions);
        let sum = g.op("Add", &[&words, &kind], &[]);
        let sum = g.op("Add", &[&sum, &places], &[]);
        let embedded = layer_norm(g, "text_model.embeddings.LayerNorm", EPS, &sum);
        g.probe("text.embedded", &embedded, 3);
        embedded
    }

    /// Layer `i` on tokens `x`, with cross-attention to `video` (`[B, N, width]`, of the layer before) if there is one.
    pub fn layer(&self, g: &mut Graph, i: usize, x: &Value, mask: &Value, video: Option<&Value>) -> Value {
        let name = layer(i);
        g.scope(&format!("text{i}"), |g| {
            let mixed = self.attend(g, &format!("{name}.attention"), x, x, Some(mask));
            g.probe(&format!("text.layer{i}.selfattn"), &mixed, 3);
            let sum = g.op("Add", &[x, &mixed], &[]);
            let sum = video.map_or(sum.clone(), |video| {
                let found = self.attend(g, &format!("{name}.crossattention_t2i"), &mixed, video, None);
                g.probe(&format!("text.layer{i}.crossattn"), &found, 3);
                let gate = g.weight(Weight::plain(&format!("{name}.alpha_t2i")));
                let found = g.op("Mul", &[&gate, &found], &[]);
                g.op("Add", &[&sum, &found], &[])
            });
            let x = layer_norm(g, &format!("{name}.attention.output.LayerNorm"), EPS, &sum);
            let inner = mlp(g, &format!("{name}.intermediate.dense"), &format!("{name}.output.dense"), &x);
            let sum = g.op("Add", &[&x, &inner], &[]);
            let out = layer_norm(g, &format!("{name}.output.LayerNorm"), EPS, &sum);
            g.probe(&format!("text.layer{i}"), &out, 3);
            out
        })
    }

    fn attend(&self, g: &mut Graph, name: &str, of: &Value, to: &Value, mask: Option<&Value>) -> Value {
        let q = linear(g, &format!("{name}.self.query"), of);
        let [k, v] = ["key", "value"].map(|map| linear(g, &format!("{name}.self.{map}"), to));
        let mixed = attention(g, [&q, &k, &v], self.heads, self.width / self.heads, mask);
        linear(g, &format!("{name}.output.dense"), &mixed)
    }

    /// Multiply-accumulates of the linear maps of `layers` for a text of `length` tokens beside `video` tokens (0: no
    /// cross-attention).
    pub fn map_macs(&self, layers: Range<usize>, length: usize, video: usize) -> u64 {
        let map = self.width * self.width;
        let cross = if video == 0 { 0 } else { 2 * map * (length + video) };
        (layers.len() * (length * (4 * map + 2 * self.width * self.hidden) + cross)) as u64
    }

    /// Multiply-accumulates of `layers`, attention included.
    pub fn macs(&self, layers: Range<usize>, length: usize, video: usize) -> u64 {
        let attention = 2 * self.width * length * (length + video);
        self.map_macs(layers.clone(), length, video) + (layers.len() * attention) as u64
    }
}

/// 2, 3, ... for words, 1 for padding: the count of words so far, after the padding's own id.
fn position_ids(g: &mut Graph, ids: &Value) -> Value {
    let (pad, axis) = (g.int(PAD), g.int(1));
    let padding = g.op("Equal", &[ids, &pad], &[]);
    let words = g.op("Not", &[&padding], &[]);
    let words = g.op("Cast", &[&words], &[("to", Attribute::Int(DataType::Int64 as i64))]);
    let count = g.op("CumSum", &[&words, &axis], &[]);
    let count = g.op("Mul", &[&count, &words], &[]);
    g.op("Add", &[&count, &pad], &[])
}

fn layer(i: usize) -> String {
    format!("text_model.encoder.layer.{i}")
}
