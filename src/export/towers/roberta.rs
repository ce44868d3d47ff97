//! EgoVLPv2's text tower: RoBERTa, its upper layers with cross-attention to video tokens.
//!
//! Not for tokenizing. Invariant: cross-attention asks with the output of self-attention before residual and norm, as
//! the code does (the paper's equation 3 has it after).

use std::ops::Range;

use crate::arch::TextConfig;
use crate::arch::roberta::{LAYER_NORM_EPS, PAD_ID, layer_name};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{attention, layer_norm, linear, lookup, mlp};
use crate::export::onnx::{Attribute, DataType};
use crate::export::weights::Weight;

/// A RoBERTa.
#[derive(Debug, Clone)]
pub struct Roberta {
    /// Its sizes.
    pub config: TextConfig,
    /// The first layer with cross-attention; `depth` if there is none.
    pub first_fused: usize,
}

impl Roberta {
    /// Embedded tokens `[B, L, D]` of `ids` `[B, L]`.
    pub fn embed(&self, g: &mut Graph, ids: &Value) -> Value {
        let words = lookup(g, "text_model.embeddings.word_embeddings.weight", ids);
        let zero = g.int(0);
        let kind = lookup(g, "text_model.embeddings.token_type_embeddings.weight", &zero);
        let positions = position_ids(g, ids);
        let positional_embedding = lookup(g, "text_model.embeddings.position_embeddings.weight", &positions);
        let sum = g.op("Add", &[&words, &kind], &[]);
        let sum = g.op("Add", &[&sum, &positional_embedding], &[]);
        let embedded = layer_norm(g, "text_model.embeddings.LayerNorm", LAYER_NORM_EPS, &sum);
        g.probe("text.embedded", &embedded, 3);
        embedded
    }

    /// Layer `i` on tokens `x` `[B, L, D]`, with cross-attention to `video` `[B, N, D]`, the output of the block
    /// before, if there is one.
    pub fn layer(&self, g: &mut Graph, i: usize, x: &Value, mask: &Value, video: Option<&Value>) -> Value {
        let name = layer_name(i);
        g.scope(&format!("text{i}"), |g| {
            let context = self.attend(g, &format!("{name}.attention"), x, x, Some(mask));
            g.probe(&format!("text.layer{i}.selfattn"), &context, 3);
            let sum = g.op("Add", &[x, &context], &[]);
            let sum = video.map_or(sum.clone(), |video| {
                let cross = self.attend(g, &format!("{name}.crossattention_t2i"), &context, video, None);
                g.probe(&format!("text.layer{i}.crossattn"), &cross, 3);
                let alpha = g.weight(Weight::plain(&format!("{name}.alpha_t2i")));
                let cross = g.op("Mul", &[&alpha, &cross], &[]);
                g.op("Add", &[&sum, &cross], &[])
            });
            let x = layer_norm(g, &format!("{name}.attention.output.LayerNorm"), LAYER_NORM_EPS, &sum);
            let inner = mlp(g, &format!("{name}.intermediate.dense"), &format!("{name}.output.dense"), &x);
            let sum = g.op("Add", &[&x, &inner], &[]);
            let out = layer_norm(g, &format!("{name}.output.LayerNorm"), LAYER_NORM_EPS, &sum);
            g.probe(&format!("text.layer{i}"), &out, 3);
            out
        })
    }

    fn attend(&self, g: &mut Graph, name: &str, of: &Value, to: &Value, mask: Option<&Value>) -> Value {
        let q = linear(g, &format!("{name}.self.query"), of);
        let [k, v] = ["key", "value"].map(|map| linear(g, &format!("{name}.self.{map}"), to));
        let num_heads = self.config.num_heads;
        let context = attention(g, [&q, &k, &v], num_heads, self.config.embed_dim / num_heads, mask);
        linear(g, &format!("{name}.output.dense"), &context)
    }

    /// Multiply-accumulates of the linear maps of `layers` for a text of `length` tokens beside `video` tokens (0: no
    /// cross-attention).
    pub fn map_macs(&self, layers: Range<usize>, length: usize, video: usize) -> u64 {
        let TextConfig { embed_dim, mlp_dim, .. } = self.config;
        let map = embed_dim * embed_dim;
        let cross = if video == 0 { 0 } else { 2 * map * (length + video) };
        (layers.len() * (length * (4 * map + 2 * embed_dim * mlp_dim) + cross)) as u64
    }

    /// Multiply-accumulates of `layers`, attention included.
    pub fn macs(&self, layers: Range<usize>, length: usize, video: usize) -> u64 {
        let attention = 2 * self.config.embed_dim * length * (length + video);
        self.map_macs(layers.clone(), length, video) + (layers.len() * attention) as u64
    }
}

/// 2, 3, ... for words, 1 for padding: the count of words so far, after the padding's own id.
fn position_ids(g: &mut Graph, ids: &Value) -> Value {
    let (pad, axis) = (g.int(PAD_ID), g.int(1));
    let padding = g.op("Equal", &[ids, &pad], &[]);
    let words = g.op("Not", &[&padding], &[]);
    let words = g.op("Cast", &[&words], &[("to", Attribute::Int(DataType::Int64 as i64))]);
    let count = g.op("CumSum", &[&words, &axis], &[]);
    let count = g.op("Mul", &[&count, &words], &[]);
    g.op("Add", &[&count, &pad], &[])
}
