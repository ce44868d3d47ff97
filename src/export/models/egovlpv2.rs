//! EgoVLPv2 (ICCV 2023, arXiv 2307.05463): two towers whose upper halves attend to one another when they are fused.
//!
//! Not for the towers themselves. Invariant: names and shapes are those of `facebookresearch/EgoVLPv2`'s state dict. Dual
//! and fused mode differ in more than cross-attention: each has a class token and a final norm of its own.

use crate::export::ExportError;
use crate::export::graph::{Graph, Value};
use crate::export::layers::{additive_mask, first};
use crate::export::model::{Cost, GraphPlan, Model, Plan, Scale};
use crate::export::onnx::DataType;
use crate::export::pixels;
use crate::export::signature::{dims, text_inputs};
use crate::export::sizes::{Layout, Sizes};
use crate::export::towers::divided::Divided;
use crate::export::towers::heads::{AnswerHead, FusionHeads, Projection};
use crate::export::towers::roberta::Roberta;
use crate::export::towers::video::{Text, TooFewRows, VideoTower, Wanted};

/// EgoVLPv2.
pub const MODEL: Model = Model {
    name: "egovlpv2",
    about: "EgoVLPv2 (ICCV 2023, github.com/facebookresearch/EgoVLPv2)",
    marks: &["video_model.cls_token", "text_model.encoder.layer.0.attention.self.query.weight"],
    // A buffer: 0, 1, 2, ...
    ignored: &["text_model.embeddings.position_ids"],
    read,
    sized,
};

/// Epsilon of the video tower's norms.
const EPS: f32 = 1e-5;
/// Epsilon of the top-level norm, which ends the fused video tower.
const FUSED_EPS: f32 = 1e-6;

#[derive(Debug, Clone)]
struct EgoVlpV2 {
    video: VideoTower,
    text: Roberta,
    projection: Projection,
    heads: FusionHeads,
    /// Only checkpoints that were fine-tuned on EgoTaskQA have it.
    answers: Option<AnswerHead>,
}

fn read(sizes: &Sizes, head_size: usize) -> Result<Plan, ExportError> {
    let video = VideoTower::read(sizes, head_size, EPS, TooFewRows::Interpolate)?;
    let text = Roberta::read(sizes, head_size)?;
    let (projection, heads) = (Projection::read(sizes)?, heads(&text));
    if (video.width, video.depth, video.fused_from) != (text.width, text.depth, text.fused_from) {
        let why = format!(
            "the video tower has width {}, {} blocks, fused from {}; the text tower {}, {}, {}",
            video.width, video.depth, video.fused_from, text.width, text.depth, text.fused_from
        );
        return Err(sizes.fault(why));
    }
    Ok(EgoVlpV2 { video, text, projection, heads, answers: AnswerHead::read(sizes)? }.plan())
}

fn sized(scale: Scale) -> Plan {
    let (width, hidden, inner) = match scale {
        Scale::Full => (768, 3072, 4096),
        Scale::Tiny => (32, 64, 16),
    };
    let heads_of = width / if scale == Scale::Full { 64 } else { 16 };
    let (depth, fused_from, too_few_rows, eps) = (12, 6, TooFewRows::Interpolate, EPS);
    let video = VideoTower {
        width,
        depth,
        heads: heads_of,
        hidden,
        patch: 16,
        side: 14,
        rows: 4,
        too_few_rows,
        eps,
        fused_from,
    };
    let (vocabulary, positions, types) = (50265, 514, 1);
    let text = Roberta { vocabulary, positions, types, width, depth, heads: heads_of, hidden, fused_from };
    let heads = heads(&text);
    EgoVlpV2 { video, text, projection: Projection::Mlp { inner, dim: inner }, heads, answers: None }.plan()
}

fn heads(text: &Roberta) -> FusionHeads {
    FusionHeads { width: text.width, vocabulary: text.vocabulary }
}

/// Both towers' states between two layers.
struct Fused {
    video: Value,
    text: Value,
}

impl EgoVlpV2 {
    fn plan(self) -> Plan {
        let mut layout = Layout::default();
        let width = self.video.width;
        self.video.layout(&mut layout);
        self.text.layout(&mut layout);
        self.projection.layout(&mut layout, width);
        self.heads.layout(&mut layout);
        if let Some(answers) = self.answers {
            answers.layout(&mut layout, width);
        }
        layout.table("cls_token", &[1, 1, width]);
        layout.norm("norm", width);
        let costs = self.costs();
        let graph = |name, about, build: fn(&Self, &mut Graph)| {
            let (model, vocabulary, frames) = (self.clone(), self.text.vocabulary, 4);
            let tokens = self.video.tokens(frames);
            let build = Box::new(move |g: &mut Graph| build(&model, g));
            GraphPlan { name, about, build, frames: frames as u32, tokens, vocabulary, pad: 1 }
        };
        let graphs = vec![
            graph("video", "clips to class tokens and embeddings (dual mode)", Self::dual_video),
            graph(
                "video_plain",
                "the same for frames of the tower's own size, as EPIC-KITCHENS has them",
                Self::plain_video,
            ),
            graph("text", "sentences to embeddings and tokens (dual mode)", Self::dual_text),
            graph("fused", "clip and sentence pairs to fused features, match and masked words", Self::whole),
            graph("lower_video", "the unfused half of the video tower: once per window", Self::lower_video),
            graph("lower_text", "the unfused half of the text tower: once per sentence", Self::lower_text),
            graph("upper", "the fused half of both towers: once per pair", Self::upper),
            graph("qfvs_released", "shots as the QFVS code runs them: 8 of 12 blocks, no text", Self::qfvs_released),
        ];
        Plan { layout, graphs, costs, frame_side: pixels::frame_side(self.video.image()) }
    }

    fn dual_video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.image());
        self.dual_of(g, &pixels);
    }

    fn plain_video(&self, g: &mut Graph) {
        let pixels = pixels::input_of(g, self.video.image(), self.video.image());
        self.dual_of(g, &pixels);
    }

    fn dual_of(&self, g: &mut Graph, pixels: &pixels::Pixels) {
        let class = self.video.dual(g, pixels);
        let embedding = self.projection.video(g, &class);
        g.output("class", &class, &dims(&["B"], &[self.video.width]));
        g.output("embedding", &embedding, &dims(&["B"], &[self.projection.dim()]));
    }

    fn dual_text(&self, g: &mut Graph) {
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let x = self.text.embed(g, &ids);
        let hidden = (0..self.text.depth).fold(x, |x, i| self.text.layer(g, i, &x, &mask, None));
        let class = first(g, &hidden);
        let pooled = self.projection.text(g, &class);
        g.output("pooled", &pooled, &dims(&["B"], &[self.projection.dim()]));
        g.output("hidden", &hidden, &dims(&["B", "L"], &[self.text.width]));
        if g.variant.debug {
            let all = self.projection.text(g, &hidden);
            g.probe("text.tokens_projected", &all, 3);
        }
    }

    fn whole(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.image());
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let video = self.lower_of_video(g, &pixels);
        let text = self.lower_of_text(g, &ids, &mask);
        let out = self.upper_of(g, &video, &text, &mask);
        let words = self.heads.words(g, &out.text);
        g.output("mlm_logits", &words, &dims(&["B", "L"], &[self.text.vocabulary]));
    }

    fn lower_video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.image());
        let tokens = self.lower_of_video(g, &pixels);
        let class = first(g, &tokens);
        g.output("video_tokens", &tokens, &dims(&["B", "N"], &[self.video.width]));
        // By which QFVS's shots are cut into segments.
        g.output("class", &class, &dims(&["B"], &[self.video.width]));
    }

    /// QFVS's configuration names the number of blocks twice, and the second time it is 2: what is meant to be the first
    /// 12 - 6 blocks becomes all but the last 4, and the fused ones become none.
    fn qfvs_released(&self, g: &mut Graph) {
        let (width, last) = (self.video.width, self.video.depth.saturating_sub(5));
        let pixels = pixels::input_of(g, self.video.image(), self.video.image());
        let tokens = self.video.embed(g, &pixels.values, &pixels.shape, "cls_token");
        let divided = self.divided(g, &tokens);
        let out = (0..=last).fold(tokens, |x, i| {
            let wanted = if i == last && !g.variant.debug { Wanted::Class } else { Wanted::All };
            self.video.block(g, &divided, i, &x, None, wanted)
        });
        let class = first(g, &out);
        let normal = self.video.class(g, "norm", FUSED_EPS, &out);
        let transformed = FusionHeads::video_transform(g, &normal);
        g.output("class", &class, &dims(&["B"], &[width]));
        g.output("video_transform", &transformed, &dims(&["B"], &[width]));
    }

    fn lower_text(&self, g: &mut Graph) {
        let [ids, mask] = text_inputs(g);
        let mask = additive_mask(g, &mask);
        let tokens = self.lower_of_text(g, &ids, &mask);
        g.output("text_tokens", &tokens, &dims(&["B", "L"], &[self.text.width]));
    }

    fn upper(&self, g: &mut Graph) {
        let width = self.video.width;
        let video = g.input("video_tokens", DataType::Float, &dims(&["B", "N"], &[width]));
        let text = g.input("text_tokens", DataType::Float, &dims(&["B", "L"], &[width]));
        let mask = g.input("mask", DataType::Int64, &dims(&["B", "L"], &[]));
        let (video, text, mask) = (g.own(&video), g.own(&text), additive_mask(g, &mask));
        self.upper_of(g, &video, &text, &mask);
    }

    /// Video tokens that have not met a text yet, led by the top-level class token.
    fn lower_of_video(&self, g: &mut Graph, pixels: &pixels::Pixels) -> Value {
        let tokens = self.video.embed(g, &pixels.values, &pixels.shape, "cls_token");
        let divided = self.divided(g, &tokens);
        let blocks = 0..self.video.fused_from;
        blocks.fold(tokens, |x, i| self.video.block(g, &divided, i, &x, None, Wanted::All))
    }

    fn lower_of_text(&self, g: &mut Graph, ids: &Value, mask: &Value) -> Value {
        let x = self.text.embed(g, ids);
        (0..self.text.fused_from).fold(x, |x, i| self.text.layer(g, i, &x, mask, None))
    }

    /// The fused layers in step, each of both towers' layers reading the other tower's state before it; then the outputs.
    fn upper_of(&self, g: &mut Graph, video: &Value, text: &Value, mask: &Value) -> Fused {
        let divided = self.divided(g, video);
        let state = Fused { video: video.clone(), text: text.clone() };
        let out = (self.video.fused_from..self.video.depth).fold(state, |Fused { video, text }, i| Fused {
            text: self.text.layer(g, i, &text, mask, Some(&video)),
            video: {
                let wanted = self.video.wanted(g, i);
                self.video.block(g, &divided, i, &video, Some(&Text { tokens: &text, mask }), wanted)
            },
        });
        let class = self.video.class(g, "norm", FUSED_EPS, &out.video);
        let matching = self.heads.matching(g, &class, &out.text);
        let width = self.video.width;
        g.output("class", &class, &dims(&["B"], &[width]));
        g.output("text", &out.text, &dims(&["B", "L"], &[width]));
        g.output("video_transform", &matching.video, &dims(&["B"], &[width]));
        g.output("match_logits", &matching.logits, &dims(&["B"], &[2]));
        if let Some(AnswerHead { answers }) = self.answers {
            let logits = AnswerHead::answers(g, &class);
            g.output("answer_logits", &logits, &dims(&["B"], &[answers]));
        }
        out
    }

    fn divided(&self, g: &mut Graph, tokens: &Value) -> Divided {
        Divided::new(g, tokens, self.video.patches(), self.video.width, self.video.heads)
    }

    fn costs(&self) -> Vec<Cost> {
        let (video, text, width, length) = (&self.video, &self.text, self.video.width, 30);
        let (depth, half) = (video.depth, video.fused_from);
        let matched = self.heads.macs(length).0;
        let lower_video = |frames| video.embed_macs(frames) + video.macs(0..half, frames, 0);
        let lower_text = text.macs(0..half, length, 0);
        let upper = |frames| {
            video.macs(half..depth, frames, length) + text.macs(half..depth, length, video.tokens(frames)) + matched
        };
        let dual = |frames| lower_video(frames) + video.macs(half..depth, frames, 0) + self.projection.macs(width);
        let cost = |what: &str, macs| Cost { what: what.to_owned(), macs };
        vec![
            cost("dual video, 4 frames", dual(4)),
            cost("dual video, 16 frames", dual(16)),
            cost("dual text, 30 tokens", text.macs(0..depth, length, 0) + self.projection.macs(width)),
            cost("fused, 4 frames and 30 tokens", lower_video(4) + lower_text + upper(4)),
            cost("split: lower video half, 4 frames (once per window)", lower_video(4)),
            cost("split: lower text half, 30 tokens (once per sentence)", lower_text),
            cost("split: upper half (once per pair)", upper(4)),
            cost("masked words, 30 tokens", self.heads.macs(length).1),
            cost(
                "a training pair as the paper counts it: dual, masked words, match; linear maps alone",
                self.paper_macs(),
            ),
        ]
    }

    /// The paper's 300.16 GMACs per instance (section 4): three forward passes of 4 frames and 30 tokens, counted as
    /// profilers do, which see linear maps and convolutions and not the products inside attention.
    fn paper_macs(&self) -> u64 {
        let (video, text, depth, length, frames) = (&self.video, &self.text, self.video.depth, 30, 4);
        let (half, tokens) = (video.fused_from, video.tokens(frames));
        let dual = video.map_macs(0..depth, frames, 0) + text.map_macs(0..depth, length, 0);
        let fused = video.map_macs(0..half, frames, 0)
            + video.map_macs(half..depth, frames, length)
            + text.map_macs(0..half, length, 0)
            + text.map_macs(half..depth, length, tokens);
        let (matched, words) = self.heads.macs(length);
        3 * video.embed_macs(frames) + dual + 2 * self.projection.macs(video.width) + 2 * fused + matched + words
    }
}
