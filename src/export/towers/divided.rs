//! Divided space-time attention: every patch attends to its group and to the class token, the class token to all
//! tokens.
//!
//! Not for the maps before and after it. Invariant: groups are frames (space) or places (time), and the class token's
//! key and value stand first in each.

use crate::arch::VideoConfig;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{concat, linear_rows_of, reshape, slice, transpose};
use crate::export::onnx::Attribute;

/// What makes a group of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// The patches of one frame.
    Space,
    /// The patches of one place, in all frames.
    Time,
}

/// Attention in groups, for windows of one graph.
pub struct Divided {
    patches: i64,
    num_heads: i64,
    head_dim: i64,
    /// Which tokens stand in each group, the class token first: `[F, 1 + P]`.
    space: Value,
    /// The same, `[P, 1 + F]`.
    time: Value,
}

impl Divided {
    /// Index tables for `tokens` `[B, 1 + F * P, D]` of a tower.
    pub fn new(g: &mut Graph, tokens: &Value, config: &VideoConfig) -> Self {
        let patches = config.num_patches() as i64;
        let count = g.op("Shape", &[tokens], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
        let (axis, one) = (g.ints(&[0]), g.int(1));
        let count = g.op("Squeeze", &[&count, &axis], &[]);
        let index = g.op("Range", &[&one, &count, &one], &[]);
        let by_frame = reshape(g, &index, &[-1, patches]);
        let by_place = transpose(g, &by_frame, &[1, 0]);
        // A column of zeros in front: the class token is token 0.
        let front = g.ints(&[0, 1, 0, 0]);
        let space = g.op("Pad", &[&by_frame, &front], &[]);
        let time = g.op("Pad", &[&by_place, &front], &[]);
        let (num_heads, head_dim) = (config.num_heads as i64, (config.embed_dim / config.num_heads) as i64);
        Self { patches, num_heads, head_dim, space, time }
    }

    /// Attention over `x` `[B, N, D]` by the packed maps named `qkv`: `[B, N, D]`, before the output's map.
    pub fn attend(&self, g: &mut Graph, axis: Axis, qkv: &str, x: &Value) -> Value {
        let [q, k, v] = [0, 1, 2].map(|part| self.map(g, qkv, part, x));
        let class = slice(g, &q, 1, 0..1);
        let class = self.attend_class(g, &class, &k, &v);
        let patches = self.attend_patches(g, axis, &q, &k, &v);
        concat(g, 1, &[&class, &patches])
    }

    /// The class token's part of [`attend`](Self::attend) alone: `[B, 1, D]`.
    pub fn attend_class_only(&self, g: &mut Graph, qkv: &str, x: &Value) -> Value {
        let class = slice(g, x, 1, 0..1);
        let q = self.map(g, qkv, 0, &class);
        let [k, v] = [1, 2].map(|part| self.map(g, qkv, part, x));
        self.attend_class(g, &q, &k, &v)
    }

    /// Queries, keys or values (part 0, 1 or 2). Three maps cost what one costs, and need no splitting.
    fn map(&self, g: &mut Graph, qkv: &str, part: usize, x: &Value) -> Value {
        let dim = (self.num_heads * self.head_dim) as usize;
        linear_rows_of(g, qkv, part * dim..(part + 1) * dim, x)
    }

    /// The class token's attention to all tokens: `q` is `[B, 1, D]`, `k` and `v` are `[B, N, D]`.
    ///
    /// Each head's part of `q` gets a row of its own, zero elsewhere: two products then serve all heads, and the keys
    /// and values of 785 tokens need not be rearranged for one query.
    fn attend_class(&self, g: &mut Graph, q: &Value, k: &Value, v: &Value) -> Value {
        let (heads, head_dim) = (self.num_heads as usize, self.head_dim as usize);
        let own = |i: usize| f32::from(u8::from(i % (heads * head_dim) / head_dim == i / (heads * head_dim)));
        let mask: Vec<f32> = (0..heads * heads * head_dim).map(own).collect();
        let mask = g.floats("heads", &[heads, heads * head_dim], &mask);
        let q = self.scaled(g, q);
        let q = g.op("Mul", &[&q, &mask], &[]);
        let k = transpose(g, k, &[0, 2, 1]);
        let scores = g.op("MatMul", &[&q, &k], &[]);
        let attn_weights = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let context = g.op("MatMul", &[&attn_weights, v], &[]);
        let context = g.op("Mul", &[&context, &mask], &[]);
        let axis = g.ints(&[1]);
        g.op("ReduceSum", &[&context, &axis], &[("keepdims", Attribute::Int(1))])
    }

    /// The patches' attention: `[B, F * P, D]`, frame-major.
    fn attend_patches(&self, g: &mut Graph, axis: Axis, q: &Value, k: &Value, v: &Value) -> Value {
        let (patches, heads, head_dim) = (self.patches, self.num_heads, self.head_dim);
        let q = self.scaled(g, q);
        let q = slice(g, &q, 1, 1..i64::MAX);
        let q = reshape(g, &q, &[0, -1, patches, heads, head_dim]);
        // [B, F, P, heads, d] to [B, group, heads, member, d], and the way back.
        let (index, apart, together) = match axis {
            Axis::Space => (&self.space, [0, 1, 3, 2, 4], [0, 1, 3, 2, 4]),
            Axis::Time => (&self.time, [0, 2, 3, 1, 4], [0, 3, 1, 2, 4]),
        };
        let q = transpose(g, &q, &apart);
        let [k, v] = [k, v].map(|x| {
            let grouped = g.op("Gather", &[x, index], &[("axis", Attribute::Int(1))]);
            reshape(g, &grouped, &[0, 0, 0, heads, head_dim])
        });
        let (k, v) = (transpose(g, &k, &[0, 1, 3, 4, 2]), transpose(g, &v, &[0, 1, 3, 2, 4]));
        let scores = g.op("MatMul", &[&q, &k], &[]);
        let attn_weights = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let context = g.op("MatMul", &[&attn_weights, &v], &[]);
        let context = transpose(g, &context, &together);
        reshape(g, &context, &[0, -1, heads * head_dim])
    }

    fn scaled(&self, g: &mut Graph, q: &Value) -> Value {
        let scale = g.float((self.head_dim as f32).powf(-0.5));
        g.op("Mul", &[q, &scale], &[])
    }
}
