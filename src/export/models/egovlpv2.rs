//! EgoVLPv2's graphs: each tower alone (dual mode), and both towers fused, whole or in halves.
//!
//! Its tensors are those of [`EgoVlpV2Config`]. Dual and fused mode differ in more than cross-attention: each has a
//! class token and a final norm of its own.

use crate::arch::{EgoVlpV2Config, roberta::PAD_ID};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{additive_mask, first, slice};
use crate::export::model::{Cost, Exported, GraphPlan, TokenPlan};
use crate::export::onnx::DataType;
use crate::export::pixels::{self, Frames};
use crate::export::signature::{dims, text_inputs};
use crate::export::tokens;
use crate::export::towers::divided::Divided;
use crate::export::towers::heads::{AnswerHead, FusionHeads, Projection};
use crate::export::towers::roberta::Roberta;
use crate::export::towers::video::{Text, VideoTower, Wanted};

/// EgoVLPv2's parts.
#[derive(Debug, Clone)]
struct EgoVlpV2 {
    video: VideoTower,
    text: Roberta,
    projection: Projection,
    heads: FusionHeads,
    /// Only checkpoints that were fine-tuned on EgoTaskQA have it.
    answers: Option<AnswerHead>,
}

/// Both towers' states between two layers.
struct Fused {
    video: Value,
    text: Value,
}

/// What the lower half of the video tower gives, whatever the text.
struct LowerVideo {
    /// `[B, N, D]` after the blocks below the fused ones, led by the top-level class token.
    tokens: Value,
    /// `[B, N, D]`: what the attention of the first fused block over time and space makes of them.
    attended: Value,
}

impl EgoVlpV2 {
    fn new(config: &EgoVlpV2Config) -> Self {
        let first_fused = config.first_fused();
        Self {
            video: VideoTower { config: config.video.clone(), form: EgoVlpV2Config::FORM, first_fused },
            text: Roberta { config: config.text.clone(), first_fused },
            projection: Projection { projector: config.projector, embed_dim: config.video.embed_dim },
            heads: FusionHeads(config.heads()),
            answers: config.answers.map(AnswerHead),
        }
    }

    fn dual_video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.config.image_size);
        self.dual_of(g, &pixels);
    }

    fn plain_video(&self, g: &mut Graph) {
        let pixels = pixels::input_of(g, self.video.config.image_size, self.video.config.image_size);
        self.dual_of(g, &pixels);
    }

    fn dual_of(&self, g: &mut Graph, pixels: &pixels::Pixels) {
        let class = self.video.dual(g, pixels);
        let embedding = self.projection.video(g, &class);
        g.output("class", &class, &dims(&["B"], &[self.video.config.embed_dim]));
        g.output("embedding", &embedding, &dims(&["B"], &[self.projection.dim()]));
    }

    fn dual_text(&self, g: &mut Graph) {
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let x = self.text.embed(g, &ids);
        let hidden = (0..self.text.config.depth).fold(x, |x, i| self.text.layer(g, i, &x, &mask, None));
        let class = first(g, &hidden);
        let pooled = self.projection.text(g, &class);
        g.output("pooled", &pooled, &dims(&["B"], &[self.projection.dim()]));
        g.output("hidden", &hidden, &dims(&["B", "L"], &[self.text.config.embed_dim]));
        if g.variant.debug {
            let all = self.projection.text(g, &hidden);
            g.probe("text.tokens_projected", &all, 3);
        }
    }

    fn whole(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.config.image_size);
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let video = self.lower_of_video(g, &pixels);
        let text = self.lower_of_text(g, &ids, &mask);
        let out = self.upper_of(g, &video, &text, &mask);
        let logits = self.heads.mlm(g, &out.text);
        g.output("mlm_logits", &logits, &dims(&["B", "L"], &[self.text.config.vocab_size]));
    }

    fn lower_video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.config.image_size);
        let LowerVideo { tokens, attended } = self.lower_of_video(g, &pixels);
        let class = first(g, &tokens);
        g.output("video_tokens", &tokens, &dims(&["B", "N"], &[self.video.config.embed_dim]));
        g.output("video_attended", &attended, &dims(&["B", "N"], &[self.video.config.embed_dim]));
        // By which QFVS's shots are cut into segments.
        g.output("class", &class, &dims(&["B"], &[self.video.config.embed_dim]));
    }

    /// QFVS's configuration names the number of blocks twice, and the second time it is 2: what is meant to be the
    /// first 12 - 6 blocks becomes all but the last 4, and the fused ones become none.
    fn qfvs_released(&self, g: &mut Graph) {
        let (dim, last) = (self.video.config.embed_dim, self.video.config.depth.saturating_sub(5));
        let pixels = pixels::input_of(g, self.video.config.image_size, self.video.config.image_size);
        let tokens = self.video.embed(g, &pixels.values, &pixels.shape, "cls_token");
        let divided = self.divided(g, &tokens);
        let out = (0..=last).fold(tokens, |x, i| {
            let wanted = if i == last && !g.variant.debug { Wanted::Class } else { Wanted::All };
            self.video.block(g, &divided, i, &x, None, wanted)
        });
        let class = first(g, &out);
        let normal = self.video.class(g, "norm", EgoVlpV2Config::FUSED_LAYER_NORM_EPS, &out);
        let transformed = FusionHeads::video_transform(g, &normal);
        g.output("class", &class, &dims(&["B"], &[dim]));
        g.output("video_transform", &transformed, &dims(&["B"], &[dim]));
    }

    fn lower_text(&self, g: &mut Graph) {
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let tokens = self.lower_of_text(g, &ids, &mask);
        g.output("text_tokens", &tokens, &dims(&["B", "L"], &[self.text.config.embed_dim]));
    }

    fn upper(&self, g: &mut Graph) {
        let dim = self.video.config.embed_dim;
        let [tokens, attended] = ["video_tokens", "video_attended"].map(|name| {
            let given = g.input(name, DataType::Float, &dims(&["B", "N"], &[dim]));
            g.own(&given)
        });
        let text = g.input("text_tokens", DataType::Float, &dims(&["B", "L"], &[dim]));
        let mask = g.input("mask", DataType::Int64, &dims(&["B", "L"], &[]));
        let (text, mask) = (g.own(&text), additive_mask(g, &mask));
        self.upper_of(g, &LowerVideo { tokens, attended }, &text, &mask);
    }

    fn lower_of_video(&self, g: &mut Graph, pixels: &pixels::Pixels) -> LowerVideo {
        let tokens = self.video.embed(g, &pixels.values, &pixels.shape, "cls_token");
        let divided = self.divided(g, &tokens);
        let blocks = 0..self.video.first_fused;
        let tokens = blocks.fold(tokens, |x, i| self.video.block(g, &divided, i, &x, None, Wanted::All));
        let attended = self.video.attended(g, &divided, self.video.first_fused, &tokens, Wanted::All);
        LowerVideo { tokens, attended }
    }

    /// `[B, L, D]` after the layers below the fused ones.
    fn lower_of_text(&self, g: &mut Graph, ids: &Value, mask: &Value) -> Value {
        let x = self.text.embed(g, ids);
        (0..self.text.first_fused).fold(x, |x, i| self.text.layer(g, i, &x, mask, None))
    }

    /// The fused blocks and layers, each reading the other tower's state before it; then the outputs.
    fn upper_of(&self, g: &mut Graph, lower: &LowerVideo, text: &Value, mask: &Value) -> Fused {
        let divided = self.divided(g, &lower.tokens);
        let state = Fused { video: lower.tokens.clone(), text: text.clone() };
        let out = (self.video.first_fused..self.video.config.depth).fold(state, |Fused { video, text }, i| Fused {
            text: self.text.layer(g, i, &text, mask, Some(&video)),
            video: {
                let (wanted, text) = (self.video.wanted(g, i), Text { tokens: &text, mask });
                let attended = match wanted {
                    _ if i > self.video.first_fused => self.video.attended(g, &divided, i, &video, wanted),
                    Wanted::All => lower.attended.clone(),
                    Wanted::Class => slice(g, &lower.attended, 1, 0..1),
                };
                self.video.rest(g, i, [&video, &attended], Some(&text), wanted)
            },
        });
        let class = self.video.class(g, "norm", EgoVlpV2Config::FUSED_LAYER_NORM_EPS, &out.video);
        let vtm = self.heads.vtm(g, &class, &out.text);
        let dim = self.video.config.embed_dim;
        g.output("class", &class, &dims(&["B"], &[dim]));
        g.output("text", &out.text, &dims(&["B", "L"], &[dim]));
        g.output("video_transform", &vtm.video, &dims(&["B"], &[dim]));
        g.output("match_logits", &vtm.logits, &dims(&["B"], &[2]));
        if let Some(head) = self.answers {
            let logits = AnswerHead::forward(g, &class);
            g.output("answer_logits", &logits, &dims(&["B"], &[head.0.num_answers]));
        }
        out
    }

    fn divided(&self, g: &mut Graph, tokens: &Value) -> Divided {
        Divided::new(g, tokens, &self.video.config)
    }

    /// The paper's 300.16 GMACs per instance (section 4): three forward passes of 4 frames and 30 tokens, counted as
    /// profilers do, which see linear maps and convolutions and not the products inside attention.
    fn paper_macs(&self) -> u64 {
        let (video, text, depth, length, frames) = (&self.video, &self.text, self.video.config.depth, 30, 4);
        let (half, tokens) = (video.first_fused, video.config.num_tokens(frames));
        let dual = video.map_macs(0..depth, frames, 0) + text.map_macs(0..depth, length, 0);
        let fused = video.map_macs(0..half, frames, 0)
            + video.map_macs(half..depth, frames, length)
            + text.map_macs(0..half, length, 0)
            + text.map_macs(half..depth, length, tokens);
        let (vtm, mlm) = self.heads.macs(length);
        3 * video.embed_macs(frames) + dual + 2 * self.projection.macs() + 2 * fused + vtm + mlm
    }
}

impl Exported for EgoVlpV2Config {
    fn frame_side(&self) -> usize {
        pixels::frame_side(self.video.image_size)
    }

    fn graphs(&self) -> Vec<GraphPlan> {
        let graph = |name, about, build: fn(&EgoVlpV2, &mut Graph)| {
            let (model, frames) = (EgoVlpV2::new(self), 4);
            let (num_tokens, vocab_size) = (self.video.num_tokens(frames), self.text.vocab_size);
            let build = Box::new(move |g: &mut Graph| build(&model, g));
            GraphPlan { name, about, build, frames: frames as u32, num_tokens, vocab_size, pad_id: PAD_ID }
        };
        vec![
            graph("video", "clips to class tokens and embeddings (dual mode)", EgoVlpV2::dual_video),
            graph(
                "video_plain",
                "the same for frames of the tower's own size, as EPIC-KITCHENS has them",
                EgoVlpV2::plain_video,
            ),
            graph("text", "sentences to embeddings and tokens (dual mode)", EgoVlpV2::dual_text),
            graph("fused", "clip and sentence pairs to fused features, match and masked words", EgoVlpV2::whole),
            graph("lower_video", "the unfused half of the video tower: once per window", EgoVlpV2::lower_video),
            graph("lower_text", "the unfused half of the text tower: once per sentence", EgoVlpV2::lower_text),
            graph("upper", "the fused half of both towers: once per pair", EgoVlpV2::upper),
            graph(
                "qfvs_released",
                "shots as the QFVS code runs them: 8 of 12 blocks, no text",
                EgoVlpV2::qfvs_released,
            ),
        ]
    }

    fn tokens(&self) -> Option<TokenPlan> {
        Some(tokens::plan(EgoVlpV2::new(self).video, Frames::resized_to(self.video.image_size)))
    }

    fn costs(&self) -> Vec<Cost> {
        let model = EgoVlpV2::new(self);
        let (EgoVlpV2 { video, text, projection, heads, .. }, length) = (&model, 30);
        let (depth, half) = (self.video.depth, video.first_fused);
        let (vtm, mlm) = heads.macs(length);
        let half_video = |frames| video.embed_macs(frames) + video.macs(0..half, frames, 0);
        let lower_video = |frames| half_video(frames) + video.attended_macs(frames);
        let lower_text = text.macs(0..half, length, 0);
        let upper = |frames| {
            video.macs(half..depth, frames, length)
                + text.macs(half..depth, length, self.video.num_tokens(frames))
                + vtm
                - video.attended_macs(frames)
        };
        let dual = |frames| half_video(frames) + video.macs(half..depth, frames, 0) + projection.macs();
        let cost = |what: &str, macs| Cost { what: what.to_owned(), macs };
        vec![
            cost("dual video, 4 frames", dual(4)),
            cost("dual video, 16 frames", dual(16)),
            cost("dual text, 30 tokens", text.macs(0..depth, length, 0) + projection.macs()),
            cost("fused, 4 frames and 30 tokens", lower_video(4) + lower_text + upper(4)),
            cost("split: lower video half, 4 frames (once per window)", lower_video(4)),
            cost("split: lower text half, 30 tokens (once per sentence)", lower_text),
            cost("split: upper half (once per pair)", upper(4)),
            cost("masked words, 30 tokens", mlm),
            cost(
                "a training pair as the paper counts it: dual, masked words, match; linear maps alone",
                model.paper_macs(),
            ),
        ]
    }
}
