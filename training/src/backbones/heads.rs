//! What stands above the towers: projectors into the shared space, video-text matching, masked language modelling,
//! answers.
//!
//! Not for towers. Invariant: names are those of the original state dicts, whose numbers count the ReLUs between the
//! maps.

use egofx::arch::{MLM_LAYER_NORM_EPS, Projector, TextConfig};
use tch::Tensor;
use tch::nn::{self, Module};

use super::blocks::class_token;
use crate::nn::{WeightInit, layer_norm, linear, linear_no_bias};

/// Of the answer head.
const ANSWER_DROPOUT: f64 = 0.2;

/// From a tower's class token to the space that both modalities share.
#[derive(Debug)]
pub(super) enum Projection {
    /// One map, behind a ReLU for texts.
    Linear { map: nn::Linear, is_text: bool },
    /// Three maps with ReLU between.
    Mlp { maps: [nn::Linear; 3] },
    /// Nothing.
    Identity,
}

impl Projection {
    /// Of a video's class token, at `vid_proj`.
    pub fn video(path: &nn::Path, embed_dim: usize, projector: Projector) -> Self {
        Self::new(&(path / "vid_proj"), embed_dim, projector, false)
    }

    /// Of a text's, at `txt_proj`.
    pub fn text(path: &nn::Path, embed_dim: usize, projector: Projector) -> Self {
        Self::new(&(path / "txt_proj"), embed_dim, projector, true)
    }

    fn new(path: &nn::Path, embed_dim: usize, projector: Projector, is_text: bool) -> Self {
        let (embed_dim, init) = (embed_dim as i64, WeightInit::PyTorch);
        match projector {
            Projector::Full { dim, hidden_dim } => {
                let (dim, hidden) = (dim as i64, hidden_dim.unwrap_or(dim) as i64);
                // Drawn in this order.
                let [second, third] =
                    [(2, hidden), (4, dim)].map(|(i, outputs)| linear(path / i, hidden, outputs, init));
                Self::Mlp { maps: [linear_no_bias(path / 0, embed_dim, hidden, init), second, third] }
            }
            Projector::Small { dim } => {
                Self::Linear { map: linear(path / i64::from(is_text), embed_dim, dim as i64, init), is_text }
            }
            Projector::None => Self::Identity,
        }
    }

    /// `[.., D]` to `[.., dim]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Linear { map, is_text: true } => map.forward(&x.relu()),
            Self::Linear { map, .. } => map.forward(x),
            Self::Mlp { maps: [a, b, c] } => c.forward(&b.forward(&a.forward(x).relu()).relu()),
            Self::Identity => x.shallow_clone(),
        }
    }
}

/// EgoVLPv2's heads on the fused towers.
#[derive(Debug)]
pub(super) struct FusionHeads {
    text_transform: nn::Linear,
    video_transform: nn::Linear,
    text_pooler: nn::Linear,
    video_pooler: nn::Linear,
    itm_score: nn::Linear,
    dense: nn::Linear,
    norm: nn::LayerNorm,
    decoder: nn::Linear,
    bias: Tensor,
}

impl FusionHeads {
    /// First weights are normal with `text.initializer_range`.
    pub fn new(path: &nn::Path, text: &TextConfig) -> Self {
        let (dim, vocab_size) = (text.embed_dim as i64, text.vocab_size as i64);
        let normal = WeightInit::Normal(text.initializer_range);
        let map = |path: nn::Path| linear(path, dim, dim, normal);
        let (score, transform) = (path / "mlm_score", path / "mlm_score" / "transform");
        Self {
            text_transform: map(path / "cross_modal_text_transform"),
            video_transform: map(path / "cross_modal_video_transform"),
            text_pooler: map(path / "cross_modal_text_pooler" / "dense"),
            video_pooler: map(path / "cross_modal_video_pooler" / "dense"),
            itm_score: linear(path / "itm_score" / "fc", 2 * dim, 2, normal),
            dense: map(&transform / "dense"),
            norm: layer_norm(&transform / "LayerNorm", dim, MLM_LAYER_NORM_EPS),
            decoder: linear_no_bias(&score / "decoder", dim, vocab_size, normal),
            bias: score.zeros("bias", &[vocab_size]),
        }
    }

    /// Video-text matching: logits `[B, 2]` (no match, match) of a fused video's class token `[B, D]` and a text `[B,
    /// L, D]`.
    pub fn vtm(&self, class: &Tensor, text: &Tensor) -> Tensor {
        let text = self.text_pooler.forward(&self.text_transform.forward(&class_token(text))).tanh();
        let video = self.video_pooler.forward(&self.video_transform.forward(class)).tanh();
        self.itm_score.forward(&Tensor::cat(&[text, video], -1))
    }

    /// Masked language modelling: logits `[B, L, V]` of the token at each position of a fused text `[B, L, D]`.
    pub fn mlm(&self, text: &Tensor) -> Tensor {
        let x = self.dense.forward(&self.text_transform.forward(text)).gelu("none");
        self.norm.forward(&x).linear(&self.decoder.ws, Some(&self.bias))
    }
}

/// EgoTaskQA's head on a fused class token.
#[derive(Debug)]
pub(super) struct AnswerHead {
    enter: nn::Linear,
    leave: nn::Linear,
}

impl AnswerHead {
    pub fn new(path: &nn::Path, embed_dim: usize, answers: i64) -> Self {
        Self {
            enter: linear(path / "projector_1", embed_dim as i64, answers, WeightInit::PyTorch),
            leave: linear(path / "projector_2", answers, answers, WeightInit::PyTorch),
        }
    }

    /// Logits `[B, A]` of a class token `[B, D]`.
    pub fn forward(&self, class: &Tensor, train: bool) -> Tensor {
        self.leave.forward(&self.enter.forward(class).relu().dropout(ANSWER_DROPOUT, train))
    }
}
