//! CLIP's text tower, the one of most of LaViLa's models.
//!
//! Not for tokenizing. Invariant: a token sees only those before it, so that nothing behind the end mark counts.

use crate::arch::clip::{LAYER_NORM_EPS, layer_name};
use crate::arch::{Activation, TextConfig};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{activated, attention, layer_norm, linear, lookup, packed_rows_of};
use crate::export::onnx::Attribute;
use crate::export::weights::Weight;

/// A CLIP text tower of these sizes.
#[derive(Debug, Clone)]
pub struct ClipText(pub TextConfig);

impl ClipText {
    /// The state `[B, L, D]` behind the last norm, of `ids` `[B, L]`.
    pub fn forward(&self, g: &mut Graph, ids: &Value) -> Value {
        let (embedded, mask) = (self.embed(g, ids), causal_mask(g, ids));
        g.probe("text.embedded", &embedded, 3);
        let out = (0..self.0.depth).fold(embedded, |x, i| {
            let out = g.scope(&format!("text{i}"), |g| self.layer(g, i, &x, &mask));
            g.probe(&format!("text.layer{i}"), &out, 3);
            out
        });
        let out = layer_norm(g, "ln_final", LAYER_NORM_EPS, &out);
        g.probe("text.ln_final", &out, 3);
        out
    }

    fn embed(&self, g: &mut Graph, ids: &Value) -> Value {
        let words = lookup(g, "token_embedding.weight", ids);
        let positional_embedding = g.weight(Weight::plain("positional_embedding"));
        let count = length(g, ids);
        let (start, axis) = (g.ints(&[0]), g.ints(&[0]));
        let positional_embedding = g.op("Slice", &[&positional_embedding, &start, &count, &axis], &[]);
        g.op("Add", &[&words, &positional_embedding], &[])
    }

    fn layer(&self, g: &mut Graph, i: usize, x: &Value, mask: &Value) -> Value {
        let (name, &TextConfig { embed_dim: dim, num_heads, .. }) = (layer_name(i), &self.0);
        let normal = layer_norm(g, &format!("{name}.ln_1"), LAYER_NORM_EPS, x);
        let packed = [format!("{name}.attn.in_proj_weight"), format!("{name}.attn.in_proj_bias")];
        let packed = [packed[0].as_str(), packed[1].as_str()];
        let [q, k, v] = [0, 1, 2].map(|part| packed_rows_of(g, packed, part * dim..(part + 1) * dim, &normal));
        let context = attention(g, [&q, &k, &v], num_heads, dim / num_heads, Some(mask));
        let context = linear(g, &format!("{name}.attn.out_proj"), &context);
        let x = g.op("Add", &[x, &context], &[]);
        let inner = layer_norm(g, &format!("{name}.ln_2"), LAYER_NORM_EPS, &x);
        let inner = linear(g, &format!("{name}.mlp.c_fc"), &inner);
        let inner = activated(g, Activation::QuickGelu, &inner);
        let inner = linear(g, &format!("{name}.mlp.c_proj"), &inner);
        g.op("Add", &[&x, &inner], &[])
    }

    /// Multiply-accumulates for a text of `length` tokens.
    pub fn macs(&self, length: usize) -> u64 {
        let TextConfig { embed_dim: dim, mlp_dim, depth, .. } = self.0;
        (depth * length * (4 * dim * dim + 2 * dim * mlp_dim + 2 * length * dim)) as u64
    }
}

/// The token `[B, D]` of `hidden` `[B, L, D]` at the highest id, the first of them: the end mark, or where it was cut off the
/// start mark. What `mask` leaves out does not count.
pub fn at_end_mark(g: &mut Graph, hidden: &Value, ids: &Value, mask: &Value) -> Value {
    let words = g.op("Mul", &[ids, mask], &[]);
    // Not all of ONNX Runtime's providers look for the largest integer; floats hold these exactly.
    let words = g.single(&words);
    let place = g.op("ArgMax", &[&words], &[("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(1))]);
    g.op("GatherND", &[hidden, &place], &[("batch_dims", Attribute::Int(1))])
}

/// `[L, L]`, added to scores: the lowest finite number where a token would see a later one.
fn causal_mask(g: &mut Graph, ids: &Value) -> Value {
    let (zero, one, axis) = (g.int(0), g.int(1), g.ints(&[0]));
    let count = length(g, ids);
    let count = g.op("Squeeze", &[&count, &axis], &[]);
    let place = g.op("Range", &[&zero, &count, &one], &[]);
    let (row, column) = (g.ints(&[1]), g.ints(&[0]));
    let [own, other] = [&row, &column].map(|axis| g.op("Unsqueeze", &[&place, axis], &[]));
    let later = g.op("Greater", &[&other, &own], &[]);
    let later = g.op("Cast", &[&later], &[("to", Attribute::Int(g.float_type() as i64))]);
    let lowest = g.lowest();
    g.op("Mul", &[&later, &lowest], &[])
}

/// L of `[B, L]`, as `[1]`.
fn length(g: &mut Graph, ids: &Value) -> Value {
    g.op("Shape", &[ids], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))])
}
