//! EgoVLPv2 (Pramanick et al., 2023): two towers whose upper halves attend to one another when they are fused, and the
//! same with answers behind it.
//!
//! Not for losses. Invariant: names are those of the original state dict. Alone and fused differ in more than
//! cross-attention: each mode has a class token and a last norm of its own.

use tch::Tensor;
use tch::nn::{self, Module};

use super::divided::Wanted;
use super::error::{BackboneError, check_frames, check_text};
use super::heads::{AnswerHead, FusionHeads, Projection};
use super::layers::{Fusion, Shared, first, keys_that_count, norm, run};
use super::roberta::{Layer, Roberta};
use super::settings::{EgoVlpV2Settings, positive};
use super::video::{Block, Scene, VideoTower, Words};

/// Of the video tower's norms.
pub(super) const EPS: f64 = 1e-5;
/// Of the norm that ends the fused video tower.
const FUSED_EPS: f64 = 1e-6;

/// A text that has met no video.
#[derive(Debug)]
pub struct Text {
    /// `[B, L, W]`, the last hidden state.
    pub tokens: Tensor,
    /// `[B, D]`, its embedding.
    pub pooled: Tensor,
}

/// A clip and a text that have met.
#[derive(Debug)]
pub struct Fused {
    /// `[B, W]`, the clip's class token after the last norm.
    pub class: Tensor,
    /// `[B, L, W]`, the text.
    pub tokens: Tensor,
}

/// EgoVLPv2.
#[derive(Debug)]
pub struct EgoVlpV2 {
    pub(super) video_model: VideoTower,
    pub(super) text_model: Roberta,
    video_projection: Projection,
    text_projection: Projection,
    heads: FusionHeads,
    /// The class token of fused clips, `[1, 1, W]`.
    pub(super) class: Tensor,
    pub(super) norm: nn::LayerNorm,
    pub(super) settings: EgoVlpV2Settings,
    pub(super) recompute: bool,
}

impl EgoVlpV2 {
    /// A network with fresh weights at `path`; with `recompute`, training keeps only the inputs of blocks and computes
    /// what is in them again in the backward pass.
    ///
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn new(path: &nn::Path, settings: &EgoVlpV2Settings, recompute: bool) -> Result<Self, BackboneError> {
        settings.check()?;
        let (width, projector) = (settings.video.width, settings.projector);
        let fusion = Fusion { layers: settings.fused, gate: settings.gate };
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), &settings.video, EPS, fusion),
            text_model: Roberta::new(&(path / "text_model"), &settings.text, fusion),
            video_projection: Projection::video(path, width, projector),
            text_projection: Projection::text(path, width, projector),
            heads: FusionHeads::new(path, &settings.text),
            class: path.zeros("cls_token", &[1, 1, width]),
            norm: norm(path / "norm", width, FUSED_EPS),
            settings: settings.clone(),
            recompute,
        })
    }

    /// Whether the network takes `frames`: exactly as many as the temporal table has rows.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        let rows = self.settings.video.frames;
        check_frames(frames, self.settings.video.image, |count| count == rows, &rows.to_string())
    }

    /// Whether the network takes `ids` and `mask`; ids themselves are not looked at.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_text(&self, ids: &Tensor, mask: &Tensor) -> Result<(), BackboneError> {
        check_text(ids, mask, self.settings.text.positions - 2)
    }

    /// Texts that meet no video, from `ids` and `mask` `[B, L]`.
    pub fn text(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Text {
        let mask = keys_that_count(mask);
        let layers = 0..self.text_model.layers().len();
        let tokens = self.lower_text(ids, &mask, layers, train);
        let pooled = self.text_projection.forward(&first(&tokens));
        Text { tokens, pooled }
    }

    /// Embeddings `[B, D]` of clips that meet no text, from `frames` `[B, F, 3, image, image]`.
    pub fn video(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_projection.forward(&self.video_class(frames, train))
    }

    /// Class tokens `[B, W]` of clips that meet no text, after the video tower's own norm.
    pub fn video_class(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_model.class(frames, self.recompute && train)
    }

    /// The embedded tokens of clips that meet no text and those after each block, `[B, 1 + F * P, W]`.
    pub fn video_states(&self, frames: &Tensor) -> Vec<Tensor> {
        self.video_model.states(frames)
    }

    /// Clips and texts that meet, row by row.
    pub fn fused(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Fused {
        let mask = keys_that_count(mask);
        let mut video = self.lower_video(frames, train);
        let mut text = self.lower_text(ids, &mask, 0..self.unfused(), train);
        for i in self.unfused()..self.video_model.blocks().len() {
            [video, text] = self.step(i, [&video, &text, &mask], self.video_model.patches(), None, train);
        }
        Fused { class: self.norm.forward(&first(&video)), tokens: text }
    }

    /// Logits `[B, 2]`: no match, match.
    pub fn matching(&self, fused: &Fused) -> Tensor {
        self.heads.matching(&fused.class, &fused.tokens)
    }

    /// Logits `[B, L, V]` of the word behind each token.
    pub fn words(&self, fused: &Fused) -> Tensor {
        self.heads.words(&fused.tokens)
    }

    /// How much each word looks at each video token, one `[B, heads, L, 1 + F * P]` per fused layer; rows sum to 1.
    pub fn attention(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor) -> Vec<Tensor> {
        let mask = keys_that_count(mask);
        let mut video = self.lower_video(frames, false);
        let mut text = self.lower_text(ids, &mask, 0..self.unfused(), false);
        let mut looks = Vec::new();
        for i in self.unfused()..self.video_model.blocks().len() {
            looks.extend(self.text_model.layers()[i].with(|layer| layer.looks(&text, &mask, &video)));
            [video, text] = self.step(i, [&video, &text, &mask], self.video_model.patches(), None, false);
        }
        looks
    }

    /// Blocks and layers below those that are fused.
    pub(super) fn unfused(&self) -> usize {
        self.video_model.blocks().len() - self.settings.fused as usize
    }

    /// Tokens of clips before they meet a text, led by the class token of fused clips.
    pub(super) fn lower_video(&self, frames: &Tensor, train: bool) -> Tensor {
        let tokens = self.video_model.embed(frames, &self.class, None);
        let recompute = self.recompute && train;
        (0..self.unfused()).fold(tokens, |x, i| self.video_model.alone(i, &x, Wanted::All, recompute))
    }

    /// Tokens of texts after `layers` that meet no video.
    pub(super) fn lower_text(
        &self,
        ids: &Tensor,
        mask: &Tensor,
        layers: std::ops::Range<usize>,
        train: bool,
    ) -> Tensor {
        let tokens = self.text_model.embed(ids, train);
        layers.fold(tokens, |x, i| self.text_model.alone(i, &x, mask, train, self.recompute && train))
    }

    /// Fused block and layer `i` on video, text and its mask, each reading what the other tower was before it. Frames
    /// have `patches` patches; `keys` `[B, N]` is added to the scores of video tokens in space attention.
    pub(super) fn step(
        &self,
        i: usize,
        state: [&Tensor; 3],
        patches: i64,
        keys: Option<&Tensor>,
        train: bool,
    ) -> [Tensor; 2] {
        let pair = Pair { block: self.video_model.blocks()[i].clone(), layer: self.text_model.layers()[i].clone() };
        let wanted = self.video_model.wanted(i);
        let inputs: Vec<&Tensor> = state.into_iter().chain(keys).collect();
        let mut out = run(self.recompute && train, &inputs, move |inputs| {
            let scene = Scene { patches, words: None, keys: inputs.get(3), wanted };
            pair.forward([&inputs[0], &inputs[1], &inputs[2]], scene, train)
        });
        let (text, video) = (out.remove(1), out.remove(0));
        [video, text]
    }
}

/// A fused block and layer.
struct Pair {
    block: Shared<Block>,
    layer: Shared<Layer>,
}

impl Pair {
    fn forward(&self, [video, text, mask]: [&Tensor; 3], scene: Scene, train: bool) -> Vec<Tensor> {
        let scene = Scene { words: Some(Words { tokens: text, mask }), ..scene };
        let next_video = self.block.with(|block| block.forward(video, &scene));
        let next_text = self.layer.with(|layer| layer.forward(text, mask, Some(video), train));
        vec![next_video, next_text]
    }
}

/// EgoVLPv2 with EgoTaskQA's answers behind the fused class token.
#[derive(Debug)]
pub struct EgoVlpV2Answers {
    /// What is below the answers.
    pub model: EgoVlpV2,
    head: AnswerHead,
}

impl EgoVlpV2Answers {
    /// A network with fresh weights at `path`; see [`EgoVlpV2::new`].
    ///
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn new(
        path: &nn::Path,
        settings: &EgoVlpV2Settings,
        answers: i64,
        recompute: bool,
    ) -> Result<Self, BackboneError> {
        positive([("answers", answers)])?;
        let head = AnswerHead::new(path, settings.video.width, answers);
        Ok(Self { model: EgoVlpV2::new(path, settings, recompute)?, head })
    }

    /// Logits `[B, A]` of the answers to questions about clips.
    pub fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.head.forward(&self.model.fused(frames, ids, mask, train).class, train)
    }
}
