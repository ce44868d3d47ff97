//! What stands above the towers: projections into the shared space, matching, masked words, answers.
//!
//! Not for towers. Invariant: names are those of the original state dicts, whose numbers count the ReLUs between the
//! maps.

use tch::Tensor;
use tch::nn::{self, Module};

use super::layers::{First, first, linear, matrix, norm};
use super::settings::{Projector, TextSettings};

/// Of the masked-word head's norm: transformers' default, not RoBERTa's.
const WORDS_EPS: f64 = 1e-12;
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
    pub fn video(path: &nn::Path, width: i64, projector: Projector) -> Self {
        Self::new(&(path / "vid_proj"), width, projector, false)
    }

    /// Of a text's, at `txt_proj`.
    pub fn text(path: &nn::Path, width: i64, projector: Projector) -> Self {
        Self::new(&(path / "txt_proj"), width, projector, true)
    }

    fn new(path: &nn::Path, width: i64, projector: Projector, is_text: bool) -> Self {
        let uniform = First::Uniform;
        match projector {
            Projector::Full { width: inner } => {
                let [second, third] = [2, 4].map(|i| linear(path / i, inner, inner, uniform));
                Self::Mlp { maps: [matrix(path / 0, width, inner, uniform), second, third] }
            }
            Projector::Small { width: dim } => {
                Self::Linear { map: linear(path / i64::from(is_text), width, dim, uniform), is_text }
            }
            Projector::None => Self::Identity,
        }
    }

    /// `[.., W]` to `[.., D]`.
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
    matching: nn::Linear,
    dense: nn::Linear,
    norm: nn::LayerNorm,
    decoder: nn::Linear,
    bias: Tensor,
}

impl FusionHeads {
    pub fn new(path: &nn::Path, text: &TextSettings) -> Self {
        let TextSettings { width, vocabulary, initializer_range, .. } = *text;
        let normal = First::Normal(initializer_range);
        let map = |path: nn::Path| linear(path, width, width, normal);
        let (score, transform) = (path / "mlm_score", path / "mlm_score" / "transform");
        Self {
            text_transform: map(path / "cross_modal_text_transform"),
            video_transform: map(path / "cross_modal_video_transform"),
            text_pooler: map(path / "cross_modal_text_pooler" / "dense"),
            video_pooler: map(path / "cross_modal_video_pooler" / "dense"),
            matching: linear(path / "itm_score" / "fc", 2 * width, 2, normal),
            dense: map(&transform / "dense"),
            norm: norm(&transform / "LayerNorm", width, WORDS_EPS),
            decoder: matrix(&score / "decoder", width, vocabulary, normal),
            bias: score.zeros("bias", &[vocabulary]),
        }
    }

    /// Logits `[B, 2]` of no match and match of a fused video's class token `[B, W]` and a text `[B, L, W]`.
    pub fn matching(&self, class: &Tensor, text: &Tensor) -> Tensor {
        let text = self.text_pooler.forward(&self.text_transform.forward(&first(text))).tanh();
        let video = self.video_pooler.forward(&self.video_transform.forward(class)).tanh();
        self.matching.forward(&Tensor::cat(&[text, video], -1))
    }

    /// Logits `[B, L, V]` of the word behind each token of a fused text.
    pub fn words(&self, text: &Tensor) -> Tensor {
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
    pub fn new(path: &nn::Path, width: i64, answers: i64) -> Self {
        Self {
            enter: linear(path / "projector_1", width, answers, First::Uniform),
            leave: linear(path / "projector_2", answers, answers, First::Uniform),
        }
    }

    /// Logits `[B, A]` of a class token `[B, W]`.
    pub fn forward(&self, class: &Tensor, train: bool) -> Tensor {
        self.leave.forward(&self.enter.forward(class).relu().dropout(ANSWER_DROPOUT, train))
    }
}
