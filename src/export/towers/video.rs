//! The space-time video tower of Frozen in Time, EgoVLP, EgoVLPv2 and LaViLa: patches of all frames as tokens after one class
//! token, attention over time and over space in turn.
//!
//! Not for what is done with its class token. Invariant: tokens are frame-major, the class token first, and a residual
//! starts at the block's input, not at the output of its time attention (unlike TimeSformer).

use std::ops::Range;

use super::divided::{Axis, Divided};
use crate::arch::{TemporalRule, VideoConfig, VideoForm};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{self, concat, layer_norm, linear, linear_rows_of, reshape, slice, transpose};
use crate::export::pixels::Pixels;
use crate::export::weights::Weight;

/// A video tower.
#[derive(Debug, Clone)]
pub struct VideoTower {
    /// Its sizes.
    pub config: VideoConfig,
    /// Its names, and what its sizes do not tell.
    pub form: VideoForm,
    /// The first block with cross-attention; `depth` if there is none.
    pub first_fused: usize,
}

/// The text that a fused block attends to.
pub struct Text<'v> {
    /// `[B, L, D]`, the output of the layer before.
    pub tokens: &'v Value,
    /// `[B, 1, 1, L]`, added to scores: 0, or the lowest finite value where a token is padding.
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
    /// A tower without cross-attention.
    pub fn unfused(config: &VideoConfig, form: VideoForm) -> Self {
        Self { config: config.clone(), form, first_fused: config.depth }
    }

    /// The name of a tensor or layer of the tower.
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.form.name)
    }

    /// Tokens `[B, 1 + F * P, D]` of normalised `pixels` `[B * F, 3, image_size, image_size]`; `class` is the name of
    /// the class token, `shape` holds B and F.
    pub fn embed(&self, g: &mut Graph, pixels: &Value, shape: &[Value; 2], class: &str) -> Value {
        g.scope("embed", |g| {
            let patches = self.patches_of(g, pixels);
            let dim = self.config.embed_dim as i64;
            let positional_embedding = g.weight(Weight::plain(&self.key("pos_embed")));
            let (first, others) =
                (slice(g, &positional_embedding, 1, 0..1), slice(g, &positional_embedding, 1, 1..i64::MAX));
            let temporal_embedding = self.temporal_embed(g, &shape[1]);
            let axis = g.ints(&[1]);
            let temporal_embedding = g.op("Unsqueeze", &[&temporal_embedding, &axis], &[]);
            // [F, 1, D] + [1, P, D], then frame-major like the tokens.
            let embed = g.op("Add", &[&temporal_embedding, &others], &[]);
            let embed = reshape(g, &embed, &[1, -1, dim]);
            let each = g.ints(&[-1, dim]);
            let clips = concat(g, 0, &[&shape[0], &each]);
            let tokens = g.op("Reshape", &[&patches, &clips], &[]);
            let tokens = g.op("Add", &[&tokens, &embed], &[]);
            let class = g.weight(Weight::plain(class));
            let class = g.op("Add", &[&class, &first], &[]);
            let each = g.ints(&[1, dim]);
            let each = concat(g, 0, &[&shape[0], &each]);
            let class = g.op("Expand", &[&class, &each], &[]);
            let tokens = concat(g, 1, &[&class, &tokens]);
            let tokens = self.pre_normed(g, tokens);
            g.probe("video.embedded", &tokens, 3);
            tokens
        })
    }

    /// Patches `[B * F * P, D]`: the convolution of non-overlapping patches is one matrix product.
    fn patches_of(&self, g: &mut Graph, pixels: &Value) -> Value {
        let (grid, patch) = (self.config.grid_size() as i64, self.config.patch_size as i64);
        let cut = reshape(g, pixels, &[-1, 3, grid, patch, grid, patch]);
        let cut = transpose(g, &cut, &[0, 2, 4, 1, 3, 5]);
        let rows = reshape(g, &cut, &[-1, 3 * patch * patch]);
        let matrix = g.weight(Weight::plain(&self.key("patch_embed.proj.weight")).transposed());
        let patches = g.op("MatMul", &[&rows, &matrix], &[]);
        if g.variant.debug && self.form.pre_norm_eps.is_some() {
            let maps = reshape(g, &patches, &[-1, grid, grid, self.config.embed_dim as i64]);
            let maps = transpose(g, &maps, &[0, 3, 1, 2]);
            g.probe("video.patch_conv", &maps, 4);
        }
        if self.form.pre_norm_eps.is_some() {
            return patches;
        }
        let bias = g.weight(Weight::plain(&self.key("patch_embed.proj.bias")));
        g.op("Add", &[&patches, &bias], &[])
    }

    /// Tokens behind the LayerNorm that CLIP has before its first block.
    fn pre_normed(&self, g: &mut Graph, tokens: Value) -> Value {
        let Some(eps) = self.form.pre_norm_eps else { return tokens };
        g.probe("video.before_ln_pre", &tokens, 3);
        layer_norm(g, &self.key("ln_pre"), eps, &tokens)
    }

    /// The temporal embeddings `[F, D]` of F frames: row i is the table's row i, or its value at `u_i` where it is
    /// resized to F rows.
    ///
    /// Both cases are one product: row i of the first factor weighs table row j with `max(0, 1 - |u_i - j|)`, the
    /// linear interpolation at `u_i`, which is 1 where `u_i = j` and 0 beyond the table's end.
    fn temporal_embed(&self, g: &mut Graph, frames: &Value) -> Value {
        let table = g.weight(Weight::plain(&self.key("temporal_embed")));
        let table = reshape(g, &table, &[-1, self.config.embed_dim as i64]);
        let table = g.single(&table);
        let axis = g.ints(&[0]);
        let (zero, one) = (g.int(0), g.int(1));
        let count = g.op("Squeeze", &[frames, &axis], &[]);
        let frame = g.op("Range", &[&zero, &count, &one], &[]);
        let frame = g.single(&frame);
        let frame = reshape(g, &frame, &[-1, 1]);
        let u = match self.form.temporal {
            TemporalRule::ZeroPad => frame,
            TemporalRule::Interpolate => self.interpolated(g, &frame, &count),
            TemporalRule::InterpolateHalfPixel => self.interpolated_half_pixel(g, &frame, &count),
        };
        let num_rows = self.config.num_frames;
        let rows: Vec<f32> = (0..num_rows).map(|j| j as f32).collect();
        let rows = g.singles("rows", &[1, num_rows], &rows);
        let distance = g.op("Sub", &[&u, &rows], &[]);
        let distance = g.op("Abs", &[&distance], &[]);
        let unit = g.singles("unit", &[], &[1.0]);
        let weights = g.op("Sub", &[&unit, &distance], &[]);
        let weights = g.op("Relu", &[&weights], &[]);
        let embed = g.op("MatMul", &[&weights, &table], &[]);
        g.own(&embed)
    }

    /// `u = frame * (rows - 1) / (F - 1)` (`align_corners=True`) where there are more frames than rows, else `frame`.
    fn interpolated(&self, g: &mut Graph, frame: &Value, count: &Value) -> Value {
        let rows = g.int(self.config.num_frames as i64);
        let longer = g.op("Max", &[count, &rows], &[]);
        let one = g.int(1);
        let last = g.op("Sub", &[&longer, &one], &[]);
        let last = g.single(&last);
        let last_row = g.singles("last row", &[], &[self.config.num_frames as f32 - 1.0]);
        let u = g.op("Mul", &[frame, &last_row], &[]);
        let u = g.op("Div", &[&u, &last], &[]);
        let more = g.op("Greater", &[count, &rows], &[]);
        g.op("Where", &[&more, &u, frame], &[])
    }

    /// `u = (frame + 1/2) * rows / F - 1/2`, within the table (`align_corners=False`), where there are more frames than
    /// rows, else `frame`.
    fn interpolated_half_pixel(&self, g: &mut Graph, frame: &Value, count: &Value) -> Value {
        let rows = g.int(self.config.num_frames as i64);
        let longer = g.op("Max", &[count, &rows], &[]);
        let longer = g.single(&longer);
        let (half, rows) = (g.singles("half", &[], &[0.5]), g.single(&rows));
        let scale = g.op("Div", &[&rows, &longer], &[]);
        let u = g.op("Add", &[frame, &half], &[]);
        let u = g.op("Mul", &[&u, &scale], &[]);
        let u = g.op("Sub", &[&u, &half], &[]);
        let (first, last) =
            (g.singles("first row", &[], &[0.0]), g.singles("last row", &[], &[self.config.num_frames as f32 - 1.0]));
        // With as many rows as frames or more this is the frame itself, rows beyond the last frame's being unused.
        let u = g.op("Max", &[&u, &first], &[]);
        g.op("Min", &[&u, &last], &[])
    }

    /// The class token `[B, D]` of windows in dual mode.
    pub fn dual(&self, g: &mut Graph, pixels: &Pixels) -> Value {
        let out = self.blocks(g, pixels, Self::wanted);
        self.class(g, &self.key("norm"), self.form.layer_norm_eps, &out)
    }

    /// All tokens `[B, 1 + F * P, D]` of windows in dual mode, behind the last norm.
    pub fn tokens(&self, g: &mut Graph, pixels: &Pixels) -> Value {
        let out = self.blocks(g, pixels, |_, _, _| Wanted::All);
        layer_norm(g, &self.key("norm"), self.form.layer_norm_eps, &out)
    }

    /// What the blocks make of windows in dual mode, each of the tokens that `wanted` says.
    fn blocks(&self, g: &mut Graph, pixels: &Pixels, wanted: fn(&Self, &Graph, usize) -> Wanted) -> Value {
        let tokens = self.embed(g, &pixels.values, &pixels.shape, &self.key("cls_token"));
        let divided = Divided::new(g, &tokens, &self.config);
        (0..self.config.depth).fold(tokens, |x, i| {
            let wanted = wanted(self, g, i);
            self.block(g, &divided, i, &x, None, wanted)
        })
    }

    /// Which of block `i`'s tokens something reads.
    pub fn wanted(&self, g: &Graph, i: usize) -> Wanted {
        if i + 1 == self.config.depth && !g.variant.debug { Wanted::Class } else { Wanted::All }
    }

    /// Multiply-accumulates of the linear maps of `blocks` for windows of `frames` frames beside `text` tokens (0: no
    /// cross-attention), all tokens computed in all blocks.
    pub fn map_macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let VideoConfig { embed_dim, mlp_dim, .. } = self.config;
        let (tokens, map) = (self.config.num_tokens(frames), embed_dim * embed_dim);
        let cross = if text == 0 { 0 } else { 2 * map * (tokens + text) };
        (blocks.len() * (tokens * (8 * map + 2 * embed_dim * mlp_dim) + cross)) as u64
    }

    /// Multiply-accumulates of `blocks` as the graphs compute them: after the last block only the class token.
    pub fn macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let skipped = if blocks.end == self.config.depth { self.skipped_macs(frames, text) } else { 0 };
        self.map_macs(blocks.clone(), frames, text) + self.attention_macs(blocks, frames, text) - skipped
    }

    /// Multiply-accumulates of [`tokens`](Self::tokens).
    pub fn token_macs(&self, frames: usize) -> u64 {
        let blocks = 0..self.config.depth;
        self.embed_macs(frames) + self.map_macs(blocks.clone(), frames, 0) + self.attention_macs(blocks, frames, 0)
    }

    /// Multiply-accumulates of the [first part](Self::attended) of a block.
    pub fn attended_macs(&self, frames: usize) -> u64 {
        let (tokens, dim) = (self.config.num_tokens(frames), self.config.embed_dim);
        (8 * tokens * dim * dim) as u64 + self.attention_macs(0..1, frames, 0)
    }

    fn attention_macs(&self, blocks: Range<usize>, frames: usize, text: usize) -> u64 {
        let (tokens, patches) = (self.config.num_tokens(frames), self.config.num_patches());
        let pairs = frames * patches * (frames + 1) + frames * patches * (patches + 1) + 2 * tokens + tokens * text;
        (blocks.len() * 2 * self.config.embed_dim * pairs) as u64
    }

    /// What the last block would cost for tokens other than the class token, beyond their keys and values.
    fn skipped_macs(&self, frames: usize, text: usize) -> u64 {
        let VideoConfig { embed_dim: dim, mlp_dim, .. } = self.config;
        let others = self.config.num_tokens(frames) - 1;
        let own = 2 * dim * dim + 2 * dim * mlp_dim + 2 * dim * (self.config.num_patches() + 1);
        let cross = if text == 0 { 0 } else { 2 * dim * dim + 2 * dim * text };
        (others * (own + cross)) as u64
    }

    /// Multiply-accumulates of cutting `frames` frames into tokens.
    pub fn embed_macs(&self, frames: usize) -> u64 {
        let VideoConfig { patch_size, embed_dim, .. } = self.config;
        (frames * self.config.num_patches() * 3 * patch_size * patch_size * embed_dim) as u64
    }

    /// Block `i` on tokens `x` `[B, N, D]`, with cross-attention to `text` if there is one.
    pub fn block(
        &self,
        g: &mut Graph,
        divided: &Divided,
        i: usize,
        x: &Value,
        text: Option<&Text>,
        wanted: Wanted,
    ) -> Value {
        let space = self.attended(g, divided, i, x, wanted);
        self.rest(g, i, [x, &space], text, wanted)
    }

    /// The first part of [`block`](Self::block) `i`, which needs no text: its attention over time, then over space.
    pub fn attended(&self, g: &mut Graph, divided: &Divided, i: usize, x: &Value, wanted: Wanted) -> Value {
        let name = self.form.block_name(i);
        g.scope(&format!("video{i}"), |g| {
            let time = layer_norm(g, &format!("{name}.norm3"), self.form.layer_norm_eps, x);
            let time = divided.attend(g, Axis::Time, &format!("{name}.timeattn.qkv"), &time);
            let time = linear(g, &format!("{name}.timeattn.proj"), &time);
            g.probe(&format!("video.block{i}.timeattn"), &time, 3);
            let time = self.gated(g, i, time);
            let r = g.op("Add", &[x, &time], &[]);
            self.space(g, divided, i, &r, wanted)
        })
    }

    /// What attention over time gave, times block `i`'s `tanh(alpha)` if it has one.
    fn gated(&self, g: &mut Graph, i: usize, time: Value) -> Value {
        if !self.form.is_gated {
            return time;
        }
        let alpha = g.weight(Weight::plain(&format!("{}.alpha_timeattn", self.form.block_name(i))));
        let gate = g.op("Tanh", &[&alpha], &[]);
        g.op("Mul", &[&gate, &time], &[])
    }

    /// What [`block`](Self::block) `i` makes of its input `x` and of `space`, what its [attention](Self::attended) gave.
    pub fn rest(&self, g: &mut Graph, i: usize, [x, space]: [&Value; 2], text: Option<&Text>, wanted: Wanted) -> Value {
        let name = self.form.block_name(i);
        g.scope(&format!("video{i}"), |g| {
            let space = text.map_or(space.clone(), |text| self.cross(g, i, space, text));
            g.probe(&format!("video.block{i}.attn"), &space, 3);
            let x = if wanted == Wanted::Class { slice(g, x, 1, 0..1) } else { x.clone() };
            let y = g.op("Add", &[&x, &space], &[]);
            let inner = layer_norm(g, &format!("{name}.norm2"), self.form.layer_norm_eps, &y);
            let inner = linear(g, &format!("{name}.mlp.fc1"), &inner);
            let inner = layers::activated(g, self.form.activation, &inner);
            g.probe(&format!("video.block{i}.mlp_act"), &inner, 3);
            let inner = linear(g, &format!("{name}.mlp.fc2"), &inner);
            g.probe(&format!("video.block{i}.mlp"), &inner, 3);
            let out = g.op("Add", &[&y, &inner], &[]);
            g.probe(&format!("video.block{i}"), &out, 3);
            out
        })
    }

    /// Space attention of block `i`, of all tokens or of the class token alone.
    fn space(&self, g: &mut Graph, divided: &Divided, i: usize, r: &Value, wanted: Wanted) -> Value {
        let name = self.form.block_name(i);
        let x = layer_norm(g, &format!("{name}.norm1"), self.form.layer_norm_eps, r);
        let qkv = format!("{name}.attn.qkv");
        let context = match wanted {
            Wanted::All => divided.attend(g, Axis::Space, &qkv, &x),
            Wanted::Class => divided.attend_class_only(g, &qkv, &x),
        };
        linear(g, &format!("{name}.attn.proj"), &context)
    }

    /// `s + alpha * cross_attn(norm(s), text)`, `s` the output of space attention without residual, as the code of
    /// EgoVLPv2 has it (the paper's equation 2 has the residual).
    fn cross(&self, g: &mut Graph, i: usize, s: &Value, text: &Text) -> Value {
        let (name, dim, num_heads) = (self.form.block_name(i), self.config.embed_dim, self.config.num_heads);
        let q = layer_norm(g, &format!("{name}.attn.norm_i2t_i"), self.form.layer_norm_eps, s);
        let q = linear(g, &format!("{name}.attn.qkv_i2t"), &q);
        let kv = format!("{name}.attn.qkv_text_i2t");
        let [k, v] = [0..dim, dim..2 * dim].map(|rows| linear_rows_of(g, &kv, rows, text.tokens));
        let cross = layers::attention(g, [&q, &k, &v], num_heads, dim / num_heads, Some(text.mask));
        let cross = linear(g, &format!("{name}.attn.proj_i2t"), &cross);
        g.probe(&format!("video.block{i}.crossattn"), &cross, 3);
        let alpha = g.weight(Weight::plain(&format!("{name}.attn.alpha_i2t")));
        let cross = g.op("Mul", &[&alpha, &cross], &[]);
        g.op("Add", &[s, &cross], &[])
    }

    /// The class token `[B, D]` of `x` `[B, N, D]` after the LayerNorm named `key`.
    pub fn class(&self, g: &mut Graph, key: &str, eps: f64, x: &Value) -> Value {
        if g.variant.debug {
            let all = layer_norm(g, key, eps, x);
            g.probe("video.norm", &all, 3);
        }
        let class = layers::first(g, x);
        layer_norm(g, key, eps, &class)
    }
}
