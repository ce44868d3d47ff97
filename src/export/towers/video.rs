//! The space-time video tower of Frozen in Time, EgoVLP and EgoVLPv2: patches of all frames as tokens after one class
//! token, attention over time and over space in turn.
//!
//! Not for what is done with its class token. Invariant: tokens are frame-major, the class token first, and a residual
//! starts at the block's input, not at the output of its time attention (unlike TimeSformer).

use std::ops::Range;

use super::divided::{Axis, Divided};
use crate::export::ExportError;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{self, concat, layer_norm, linear, linear_part, reshape, slice, transpose};
use crate::export::pixels::Pixels;
use crate::export::sizes::{Layout, Sizes};
use crate::export::weights::Weight;

/// How a temporal table serves windows of more frames than it has rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooFewRows {
    /// Further frames have no temporal embedding (EgoVLP).
    Zeros,
    /// The table is stretched, linearly between its ends (EgoVLPv2).
    Interpolate,
}

/// A video tower: its sizes and its quirks.
#[derive(Debug, Clone)]
pub struct VideoTower {
    /// Length of a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Length of an MLP's inner state.
    pub hidden: usize,
    /// Pixels of a patch's side.
    pub patch: usize,
    /// Patches of a frame's side.
    pub side: usize,
    /// Rows of the temporal table.
    pub rows: usize,
    /// What happens when there are more frames than rows.
    pub too_few_rows: TooFewRows,
    /// Epsilon of every LayerNorm in the tower.
    pub eps: f32,
    /// The first block with cross-attention; `depth` if there is none.
    pub fused_from: usize,
}

/// The text that a fused block attends to.
pub struct Text<'v> {
    /// `[B, L, width]`, of the layer before.
    pub tokens: &'v Value,
    /// 0, or a very low number where a token is padding: `[B, 1, 1, L]`.
    pub mask: &'v Value,
}

/// The part of a block that is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All tokens.
    All,
    /// The class token: nothing reads the others after the last block.
    Class,
}

impl VideoTower {
    /// Reads the sizes off the tensors under `video_model.`.
    pub fn read(sizes: &Sizes, head_dim: usize, eps: f32, too_few_rows: TooFewRows) -> Result<Self, ExportError> {
        let [width, _, patch, _] = sizes.shape("video_model.patch_embed.proj.weight")?;
        let [_, places, _] = sizes.shape("video_model.pos_embed")?;
        let [_, rows, _] = sizes.shape("video_model.temporal_embed")?;
        let [hidden, _] = sizes.shape("video_model.blocks.0.mlp.fc1.weight")?;
        let depth = sizes.count(|i| format!("video_model.blocks.{i}.norm1.weight"));
        let gated = |i: &usize| sizes.tensors.contains_key(&format!("video_model.blocks.{i}.attn.alpha_i2t"));
        let fused_from = (0..depth).find(gated).unwrap_or(depth);
        let side = (places - 1).isqrt();
        if side * side + 1 != places {
            let why = format!("video_model.pos_embed has {places} rows, 1 + a square number was expected");
            return Err(sizes.fault(why));
        }
        let heads = sizes.heads(width, head_dim)?;
        Ok(Self { width, depth, heads, hidden, patch, side, rows, too_few_rows, eps, fused_from })
    }

    /// Pixels of a frame's side, as the patches take it.
    pub fn image(&self) -> usize {
        self.patch * self.side
    }

    /// Patches of a frame.
    pub fn patches(&self) -> usize {
        self.side * self.side
    }

    /// Tokens of a window of `frames` frames.
    pub fn tokens(&self, frames: usize) -> usize {
        1 + frames * self.patches()
    }

    /// Every tensor of the tower.
    pub fn layout(&self, layout: &mut Layout) {
        let width = self.width;
        layout.table("video_model.cls_token", &[1, 1, width]);
        layout.table("video_model.pos_embed", &[1, self.patches() + 1, width]);
        layout.table("video_model.temporal_embed", &[1, self.rows, width]);
        layout.tensor("video_model.patch_embed.proj.weight", &[width, 3, self.patch, self.patch]);
        layout.bias("video_model.patch_embed.proj", width);
        (0..self.depth).for_each(|i| self.block_layout(layout, i));
        layout.norm("video_model.norm", width);
    }

    fn block_layout(&self, layout: &mut Layout, i: usize) {
        let (block, width) = (block(i), self.width);
        for norm in ["norm1", "norm2", "norm3"] {
            layout.norm(&format!("{block}.{norm}"), width);
        }
        for attention in ["attn", "timeattn"] {
            layout.linear(&format!("{block}.{attention}.qkv"), 3 * width, width);
            layout.linear(&format!("{block}.{attention}.proj"), width, width);
        }
        layout.linear(&format!("{block}.mlp.fc1"), self.hidden, width);
        layout.linear(&format!("{block}.mlp.fc2"), width, self.hidden);
        if i >= self.fused_from {
            layout.linear(&format!("{block}.attn.qkv_text_i2t"), 2 * width, width);
            layout.linear(&format!("{block}.attn.qkv_i2t"), width, width);
            layout.linear(&format!("{block}.attn.proj_i2t"), width, width);
            layout.gate(&format!("{block}.attn.alpha_i2t"));
            layout.norm(&format!("{block}.attn.norm_i2t_i"), width);
        }
    }

    /// Tokens `[B, 1 + F * P, width]` of normalised `pixels` (`[B * F, 3, image, image]`), with `class` the name of the class
    /// token; `shape` holds B and F.
    pub fn embed(&self, g: &mut Graph, pixels: &Value, shape: &[Value; 2], class: &str) -> Value {
        g.scope("embed", |g| {
            let patches = self.patches_of(g, pixels);
            let width = self.width as i64;
            let positions = g.weight(Weight::plain("video_model.pos_embed"));
            let (first, others) = (slice(g, &positions, 1, 0..1), slice(g, &positions, 1, 1..i64::MAX));
            let times = self.temporal_table(g, &shape[1]);
            let axis = g.ints(&[1]);
            let times = g.op("Unsqueeze", &[&times, &axis], &[]);
            let marks = g.op("Add", &[&times, &others], &[]);
            let marks = reshape(g, &marks, &[1, -1, width]);
            let each = g.ints(&[-1, width]);
            let clips = concat(g, 0, &[&shape[0], &each]);
            let tokens = g.op("Reshape", &[&patches, &clips], &[]);
            let tokens = g.op("Add", &[&tokens, &marks], &[]);
            let class = g.weight(Weight::plain(class));
            let class = g.op("Add", &[&class, &first], &[]);
            let each = g.ints(&[1, width]);
            let each = concat(g, 0, &[&shape[0], &each]);
            let class = g.op("Expand", &[&class, &each], &[]);
            let tokens = concat(g, 1, &[&class, &tokens]);
            g.probe("video.embedded", &tokens, 3);
            tokens
        })
    }

    /// Patches `[B * F * P, width]`: the convolution of non-overlapping patches is one matrix product.
    fn patches_of(&self, g: &mut Graph, pixels: &Value) -> Value {
        let (side, patch) = (self.side as i64, self.patch as i64);
        let cut = reshape(g, pixels, &[-1, 3, side, patch, side, patch]);
        let cut = transpose(g, &cut, &[0, 2, 4, 1, 3, 5]);
        let rows = reshape(g, &cut, &[-1, 3 * patch * patch]);
        let matrix = g.weight(Weight::plain("video_model.patch_embed.proj.weight").transposed());
        let bias = g.weight(Weight::plain("video_model.patch_embed.proj.bias"));
        let patches = g.op("MatMul", &[&rows, &matrix], &[]);
        g.op("Add", &[&patches, &bias], &[])
    }

    /// The temporal table `[F, width]`: row i is that of i itself, or of the place that i has on a table stretched to F rows.
    ///
    /// Both cases are one product: row i of the first factor weighs table row j with `max(0, 1 - |u_i - j|)`, the linear
    /// interpolation at `u_i`, which is 1 where `u_i = j` and 0 beyond the table's end.
    fn temporal_table(&self, g: &mut Graph, frames: &Value) -> Value {
        let table = g.weight(Weight::plain("video_model.temporal_embed"));
        let table = reshape(g, &table, &[-1, self.width as i64]);
        let table = g.single(&table);
        let axis = g.ints(&[0]);
        let (zero, one) = (g.int(0), g.int(1));
        let count = g.op("Squeeze", &[frames, &axis], &[]);
        let frame = g.op("Range", &[&zero, &count, &one], &[]);
        let frame = g.single(&frame);
        let frame = reshape(g, &frame, &[-1, 1]);
        let place = match self.too_few_rows {
            TooFewRows::Zeros => frame,
            TooFewRows::Interpolate => self.stretched(g, &frame, &count),
        };
        let rows: Vec<f32> = (0..self.rows).map(|j| j as f32).collect();
        let rows = g.singles("rows", &[1, self.rows], &rows);
        let apart = g.op("Sub", &[&place, &rows], &[]);
        let apart = g.op("Abs", &[&apart], &[]);
        let unit = g.singles("unit", &[], &[1.0]);
        let share = g.op("Sub", &[&unit, &apart], &[]);
        let share = g.op("Relu", &[&share], &[]);
        let table = g.op("MatMul", &[&share, &table], &[]);
        g.own(&table)
    }

    /// `frame * (rows - 1) / (F - 1)` where there are more frames than rows, else `frame`.
    fn stretched(&self, g: &mut Graph, frame: &Value, count: &Value) -> Value {
        let rows = g.int(self.rows as i64);
        let longer = g.op("Max", &[count, &rows], &[]);
        let one = g.int(1);
        let last = g.op("Sub", &[&longer, &one], &[]);
        let last = g.single(&last);
        let last_row = g.singles("last row", &[], &[self.rows as f32 - 1.0]);
        let place = g.op("Mul", &[frame, &last_row], &[]);
        let stretched = g.op("Div", &[&place, &last], &[]);
        let more = g.op("Greater", &[count, &rows], &[]);
        g.op("Where", &[&more, &stretched, frame], &[])
    }

    /// The class token `[B, width]` of windows that meet no text.
    pub fn dual(&self, g: &mut Graph, pixels: &Pixels) -> Value {
        let tokens = self.embed(g, &pixels.values, &pixels.shape, "video_model.cls_token");
        let divided = Divided::new(g, &tokens, self.patches(), self.width, self.heads);
        let out = (0..self.depth).fold(tokens, |x, i| {
            let wanted = self.wanted(g, i);
            self.block(g, &divided, i, &x, None, wanted)
        });
        self.class(g, "video_model.norm", self.eps, &out)
    }

    /// Which of block `i`'s tokens something reads.
    pub fn wanted(&self, g: &Graph, i: usize) -> Wanted {
        if i + 1 == self.depth && !g.variant.debug { Wanted::Class } else { Wanted::All }
    }

    /// Multiply-accumulates of the linear maps of `blocks` for windows of `frames` frames beside `text` tokens (0: no
    /// cross-attention), all tokens computed in all blocks.
    pub fn map_macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let (tokens, map) = (self.tokens(frames), self.width * self.width);
        let cross = if text == 0 { 0 } else { 2 * map * (tokens + text) };
        (blocks.len() * (tokens * (8 * map + 2 * self.width * self.hidden) + cross)) as u64
    }

    /// Multiply-accumulates of `blocks` as the graphs compute them: after the last block only the class token.
    pub fn macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let skipped = if blocks.end == self.depth { self.skipped_macs(frames, text) } else { 0 };
        self.map_macs(blocks.clone(), frames, text) + self.attention_macs(blocks, frames, text) - skipped
    }

    fn attention_macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let (tokens, patches) = (self.tokens(frames), self.patches());
        let pairs = frames * patches * (frames + 1) + frames * patches * (patches + 1) + 2 * tokens + tokens * text;
        (blocks.len() * 2 * self.width * pairs) as u64
    }

    /// What the last block would cost for tokens other than the class token, beyond their keys and values.
    fn skipped_macs(&self, frames: usize, text: usize) -> u64 {
        let (others, width, map) = (self.tokens(frames) - 1, self.width, self.width * self.width);
        let own = 2 * map + 2 * width * self.hidden + 2 * width * (self.patches() + 1);
        let cross = if text == 0 { 0 } else { 2 * map + 2 * width * text };
        (others * (own + cross)) as u64
    }

    /// Multiply-accumulates of cutting `frames` frames into tokens.
    pub fn embed_macs(&self, frames: usize) -> u64 {
        (frames * self.patches() * 3 * self.patch * self.patch * self.width) as u64
    }

    /// Block `i` on tokens `x`, with cross-attention to `text` if there is one.
    pub fn block(
        &self,
        g: &mut Graph,
        divided: &Divided,
        i: usize,
        x: &Value,
        text: Option<&Text>,
        wanted: Wanted,
    ) -> Value {
        let name = block(i);
        g.scope(&format!("video{i}"), |g| {
            let time = layer_norm(g, &format!("{name}.norm3"), self.eps, x);
            let time = divided.attend(g, Axis::Time, &format!("{name}.timeattn.qkv"), &time);
            let time = linear(g, &format!("{name}.timeattn.proj"), &time);
            g.probe(&format!("video.block{i}.timeattn"), &time, 3);
            let r = g.op("Add", &[x, &time], &[]);
            let space = self.space(g, divided, i, &r, wanted);
            let space = text.map_or(space.clone(), |text| self.cross(g, i, &space, text));
            g.probe(&format!("video.block{i}.attn"), &space, 3);
            let x = if wanted == Wanted::Class { slice(g, x, 1, 0..1) } else { x.clone() };
            let y = g.op("Add", &[&x, &space], &[]);
            let inner = layer_norm(g, &format!("{name}.norm2"), self.eps, &y);
            let inner = layers::mlp(g, &format!("{name}.mlp.fc1"), &format!("{name}.mlp.fc2"), &inner);
            g.probe(&format!("video.block{i}.mlp"), &inner, 3);
            let out = g.op("Add", &[&y, &inner], &[]);
            g.probe(&format!("video.block{i}"), &out, 3);
            out
        })
    }

    /// Space attention of block `i`, of all tokens or of the class token alone.
    fn space(&self, g: &mut Graph, divided: &Divided, i: usize, r: &Value, wanted: Wanted) -> Value {
        let name = block(i);
        let x = layer_norm(g, &format!("{name}.norm1"), self.eps, r);
        let qkv = format!("{name}.attn.qkv");
        let mixed = match wanted {
            Wanted::All => divided.attend(g, Axis::Space, &qkv, &x),
            Wanted::Class => divided.attend_class_only(g, &qkv, &x),
        };
        linear(g, &format!("{name}.attn.proj"), &mixed)
    }

    /// Space attention's output `s` with what its tokens found in the text (EgoVLPv2; the query has no residual).
    fn cross(&self, g: &mut Graph, i: usize, s: &Value, text: &Text) -> Value {
        let (name, width, heads) = (block(i), self.width, self.heads);
        let q = layer_norm(g, &format!("{name}.attn.norm_i2t_i"), self.eps, s);
        let q = linear(g, &format!("{name}.attn.qkv_i2t"), &q);
        let kv = format!("{name}.attn.qkv_text_i2t");
        let [k, v] = [0..width, width..2 * width].map(|rows| linear_part(g, &kv, rows, text.tokens));
        let found = layers::attention(g, [&q, &k, &v], heads, width / heads, Some(text.mask));
        let found = linear(g, &format!("{name}.attn.proj_i2t"), &found);
        g.probe(&format!("video.block{i}.crossattn"), &found, 3);
        let gate = g.weight(Weight::plain(&format!("{name}.attn.alpha_i2t")));
        let found = g.op("Mul", &[&gate, &found], &[]);
        g.op("Add", &[s, &found], &[])
    }

    /// The class token `[B, width]` of `x` after the norm named `key`.
    pub fn class(&self, g: &mut Graph, key: &str, eps: f32, x: &Value) -> Value {
        if g.variant.debug {
            let all = layer_norm(g, key, eps, x);
            g.probe("video.norm", &all, 3);
        }
        let class = layers::first(g, x);
        layer_norm(g, key, eps, &class)
    }
}

fn block(i: usize) -> String {
    format!("video_model.blocks.{i}")
}
