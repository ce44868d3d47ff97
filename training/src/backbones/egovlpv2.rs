//! EgoVLPv2 (Pramanick et al., 2023): two towers whose upper halves attend to one another when they are fused, and the
//! same with answers behind it.
//!
//! Not for losses. Invariant: names are those of the original state dict. Dual and fused mode differ in more than
//! cross-attention: each mode has a class token and a last norm of its own.

use egofx::arch::{Architecture, ConfigError, EgoVlpV2Config};
use tch::Tensor;
use tch::nn::{self, Module};

use super::blocks::{Fusion, Shared, class_token, run};
use super::divided::Wanted;
use super::error::{BackboneError, check_frames, check_text};
use super::heads::{AnswerHead, FusionHeads, Projection};
use super::roberta::{Layer, Roberta};
use super::video::{Block, BlockInput, TextInput, VideoTower};
use crate::nn::{key_mask, layer_norm};

/// Of the video tower's norms.
pub(super) const EPS: f64 = EgoVlpV2Config::VIDEO_LAYER_NORM_EPS;

/// A text in dual mode.
#[derive(Debug)]
pub struct Text {
    /// `[B, L, D]`, the last hidden state.
    pub tokens: Tensor,
    /// `[B, projection_dim]`, its embedding.
    pub pooled: Tensor,
}

/// A clip and a text in fused mode.
#[derive(Debug)]
pub struct Fused {
    /// `[B, D]`, the clip's class token after the last norm.
    pub class: Tensor,
    /// `[B, L, D]`, the text.
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
    /// Of fused clips, `[1, 1, D]`.
    pub(super) cls_token: Tensor,
    pub(super) norm: nn::LayerNorm,
    pub(super) config: EgoVlpV2Config,
    pub(super) recompute: bool,
}

impl EgoVlpV2 {
    /// A network with fresh weights at `path`; with `recompute`, training keeps only the inputs of blocks and computes
    /// what is in them again in the backward pass.
    ///
    /// # Errors
    /// [`BackboneError::Config`] for sizes that no network has.
    pub fn new(path: &nn::Path, config: &EgoVlpV2Config, recompute: bool) -> Result<Self, BackboneError> {
        config.check()?;
        let (embed_dim, projector) = (config.video.embed_dim, config.projector);
        let fusion = Fusion { num_layers: config.num_fused_layers, gate_init: config.cross_attn_gate_init };
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), &config.video, EPS, fusion),
            text_model: Roberta::new(&(path / "text_model"), &config.text, fusion),
            video_projection: Projection::video(path, embed_dim, projector),
            text_projection: Projection::text(path, embed_dim, projector),
            heads: FusionHeads::new(path, &config.text),
            cls_token: path.zeros("cls_token", &[1, 1, embed_dim as i64]),
            norm: layer_norm(path / "norm", embed_dim as i64, EgoVlpV2Config::FUSED_LAYER_NORM_EPS),
            config: config.clone(),
            recompute,
        })
    }

    /// Whether the network takes `frames`: exactly as many as the temporal table has rows.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        let rows = self.config.video.num_frames as i64;
        check_frames(frames, self.config.video.image_size, |count| count == rows, &rows.to_string())
    }

    /// Whether the network takes `ids` and `mask`; ids themselves are not looked at.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_text(&self, ids: &Tensor, mask: &Tensor) -> Result<(), BackboneError> {
        check_text(ids, mask, self.config.text.max_position_embeddings - 2)
    }

    /// Texts in dual mode, from `ids` and `mask` `[B, L]`.
    pub fn text(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Text {
        let mask = key_mask(mask);
        let layers = 0..self.text_model.layers().len();
        let tokens = self.lower_text(ids, &mask, layers, train);
        let pooled = self.text_projection.forward(&class_token(&tokens));
        Text { tokens, pooled }
    }

    /// Embeddings `[B, projection_dim]` of clips in dual mode, from `frames` `[B, F, 3, image_size, image_size]`.
    pub fn video(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_projection.forward(&self.video_class(frames, train))
    }

    /// Class tokens `[B, D]` of clips in dual mode, after the video tower's own norm.
    pub fn video_class(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_model.class(frames, self.recompute && train)
    }

    /// The embedded tokens of clips in dual mode and those after each block, `[B, 1 + F * P, D]`.
    pub fn video_states(&self, frames: &Tensor) -> Vec<Tensor> {
        self.video_model.states(frames)
    }

    /// Clips and texts in fused mode, row by row.
    pub fn fused(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Fused {
        let mask = key_mask(mask);
        let mut video = self.lower_video(frames, train);
        let mut text = self.lower_text(ids, &mask, 0..self.first_fused(), train);
        for i in self.first_fused()..self.video_model.blocks().len() {
            [video, text] = self.forward_fused(i, [&video, &text, &mask], self.video_model.num_patches(), None, train);
        }
        Fused { class: self.norm.forward(&class_token(&video)), tokens: text }
    }

    /// Video-text matching: logits `[B, 2]` (no match, match).
    pub fn vtm(&self, fused: &Fused) -> Tensor {
        self.heads.vtm(&fused.class, &fused.tokens)
    }

    /// Masked language modelling: logits `[B, L, V]` of the token at each position.
    pub fn mlm(&self, fused: &Fused) -> Tensor {
        self.heads.mlm(&fused.tokens)
    }

    /// The weights of the cross-attention of each text token to each video token, one `[B, num_heads, L, 1 + F * P]`
    /// per fused layer; rows sum to 1.
    pub fn cross_attn_weights(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor) -> Vec<Tensor> {
        let mask = key_mask(mask);
        let mut video = self.lower_video(frames, false);
        let mut text = self.lower_text(ids, &mask, 0..self.first_fused(), false);
        let mut weights = Vec::new();
        for i in self.first_fused()..self.video_model.blocks().len() {
            weights.extend(self.text_model.layers()[i].with(|layer| layer.cross_attn_weights(&text, &mask, &video)));
            [video, text] = self.forward_fused(i, [&video, &text, &mask], self.video_model.num_patches(), None, false);
        }
        weights
    }

    /// The first block and layer that is fused.
    pub(super) fn first_fused(&self) -> usize {
        self.config.first_fused()
    }

    /// Tokens `[B, N, D]` of clips after the blocks below the fused ones, led by the class token of fused clips.
    pub(super) fn lower_video(&self, frames: &Tensor, train: bool) -> Tensor {
        let tokens = self.video_model.embed(frames, &self.cls_token, None);
        let recompute = self.recompute && train;
        (0..self.first_fused()).fold(tokens, |x, i| self.video_model.forward_unimodal(i, &x, Wanted::All, recompute))
    }

    /// Tokens `[B, L, D]` of texts after `layers`, without cross-attention.
    pub(super) fn lower_text(
        &self,
        ids: &Tensor,
        mask: &Tensor,
        layers: std::ops::Range<usize>,
        train: bool,
    ) -> Tensor {
        let tokens = self.text_model.embed(ids, train);
        let recompute = self.recompute && train;
        layers.fold(tokens, |x, i| self.text_model.forward_unimodal(i, &x, mask, train, recompute))
    }

    /// Fused block and layer `i` on video `[B, N, D]`, text `[B, L, D]` and its mask, each reading the other tower's
    /// state before it; gives both. Frames have `num_patches` patches; `key_bias` `[B, N]` is added to the scores of
    /// video tokens in space attention.
    pub(super) fn forward_fused(
        &self,
        i: usize,
        state: [&Tensor; 3],
        num_patches: i64,
        key_bias: Option<&Tensor>,
        train: bool,
    ) -> [Tensor; 2] {
        let pair = Pair { block: self.video_model.blocks()[i].clone(), layer: self.text_model.layers()[i].clone() };
        let wanted = self.video_model.wanted(i);
        let inputs: Vec<&Tensor> = state.into_iter().chain(key_bias).collect();
        let mut out = run(self.recompute && train, &inputs, move |inputs| {
            let input = BlockInput { num_patches, text: None, key_bias: inputs.get(3), wanted };
            pair.forward([&inputs[0], &inputs[1], &inputs[2]], input, train)
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
    fn forward(&self, [video, text, mask]: [&Tensor; 3], input: BlockInput, train: bool) -> Vec<Tensor> {
        let input = BlockInput { text: Some(TextInput { tokens: text, mask }), ..input };
        let next_video = self.block.with(|block| block.forward(video, &input));
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
    /// [`BackboneError::Config`] for sizes that no network has.
    pub fn new(path: &nn::Path, config: &EgoVlpV2Config, answers: i64, recompute: bool) -> Result<Self, BackboneError> {
        ConfigError::unless(answers > 0, "answers", answers as f64, "1 or more")?;
        let head = AnswerHead::new(path, config.video.embed_dim, answers);
        Ok(Self { model: EgoVlpV2::new(path, config, recompute)?, head })
    }

    /// Logits `[B, A]` of the answers to questions about clips.
    pub fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.head.forward(&self.model.fused(frames, ids, mask, train).class, train)
    }
}
