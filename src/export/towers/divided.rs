//! Divided space-time attention: every patch attends to its group and to the class token, the class token to all tokens.
//!
//! Not for the maps before and after it. Invariant: groups are frames (space) or places (time), and the class token's
//! key and value stand first in each.

use crate::export::graph::{Graph, Value};
use crate::export::layers::{concat, linear_part, reshape, slice, transpose};
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
    heads: i64,
    head_dim: i64,
    /// Which tokens stand in each group, the class token first: `[F, 1 + P]`.
    space: Value,
    /// The same, `[P, 1 + F]`.
    time: Value,
}

impl Divided {
    /// Index tables for `tokens` (`[B, 1 + F * patches, width]`).
    pub fn new(g: &mut Graph, tokens: &Value, patches: usize, width: usize, heads: usize) -> Self {
        let count = g.op("Shape", &[tokens], &[("start", Attribute::Int(1)), ("end", Attribute::Int(2))]);
        let (axis, one) = (g.ints(&[0]), g.int(1));
        let count = g.op("Squeeze", &[&count, &axis], &[]);
        let index = g.op("Range", &[&one, &count, &one], &[]);
        let by_frame = reshape(g, &index, &[-1, patches as i64]);
        let by_place = transpose(g, &by_frame, &[1, 0]);
        // A column of zeros in front: the class token is token 0.
        let front = g.ints(&[0, 1, 0, 0]);
        let space = g.op("Pad", &[&by_frame, &front], &[]);
        let time = g.op("Pad", &[&by_place, &front], &[]);
        let (heads, head_dim) = (heads as i64, (width / heads) as i64);
        Self { patches: patches as i64, heads, head_dim, space, time }
    }

    /// Attention over `x` (`[B, N, width]`) by the packed maps named `qkv`: `[B, N, width]`, before the output's map.
    pub fn attend(&self, g: &mut Graph, axis: Axis, qkv: &str, x: &Value) -> Value {
        let [q, k, v] = [0, 1, 2].map(|part| self.map(g, qkv, part, x));
        let class = slice(g, &q, 1, 0..1);
        let class = self.attend_class(g, &class, &k, &v);
        let patches = self.attend_patches(g, axis, &q, &k, &v);
        concat(g, 1, &[&class, &patches])
    }

    /// The class token's part of [`attend`](Self::attend) alone: `[B, 1, width]`.
    pub fn attend_class_only(&self, g: &mut Graph, qkv: &str, x: &Value) -> Value {
        let class = slice(g, x, 1, 0..1);
        let q = self.map(g, qkv, 0, &class);
        let [k, v] = [1, 2].map(|part| self.map(g, qkv, part, x));
        self.attend_class(g, &q, &k, &v)
    }

    /// Queries, keys or values (part 0, 1 or 2). Three maps cost what one costs, and need no splitting.
    fn map(&self, g: &mut Graph, qkv: &str, part: usize, x: &Value) -> Value {
        let width = (self.heads * self.head_dim) as usize;
        linear_part(g, qkv, part * width..(part + 1) * width, x)
    }

    /// The class token's attention to all tokens: `q` is `[B, 1, width]`, `k` and `v` are `[B, N, width]`.
    ///
    /// Each head's part of `q` gets a row of its own, zero elsewhere: two products then serve all heads, and the keys and
    /// values of 785 tokens need not be rearranged for one query.
    fn attend_class(&self, g: &mut Graph, q: &Value, k: &Value, v: &Value) -> Value {
        let (heads, head_dim) = (self.heads as usize, self.head_dim as usize);
        let own = |i: usize| f32::from(u8::from(i % (heads * head_dim) / head_dim == i / (heads * head_dim)));
        let mask: Vec<f32> = (0..heads * heads * head_dim).map(own).collect();
        let mask = g.floats("heads", &[heads, heads * head_dim], &mask);
        let q = self.scaled(g, q);
        let q = g.op("Mul", &[&q, &mask], &[]);
        let k = transpose(g, k, &[0, 2, 1]);
        let scores = g.op("MatMul", &[&q, &k], &[]);
        let shares = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let mixed = g.op("MatMul", &[&shares, v], &[]);
        let mixed = g.op("Mul", &[&mixed, &mask], &[]);
        let axis = g.ints(&[1]);
        g.op("ReduceSum", &[&mixed, &axis], &[("keepdims", Attribute::Int(1))])
    }

    /// The patches' attention: `[B, F * P, width]`, frame-major.
    fn attend_patches(&self, g: &mut Graph, axis: Axis, q: &Value, k: &Value, v: &Value) -> Value {
        let (patches, heads, head_dim) = (self.patches, self.heads, self.head_dim);
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
        let shares = g.op("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let mixed = g.op("MatMul", &[&shares, &v], &[]);
        let mixed = transpose(g, &mixed, &together);
        reshape(g, &mixed, &[0, -1, heads * head_dim])
    }

    fn scaled(&self, g: &mut Graph, q: &Value) -> Value {
        let scale = g.float((self.head_dim as f32).powf(-0.5));
        g.op("Mul", &[q, &scale], &[])
    }
}
