//! VSLNet for natural language queries (Zhang et al., 2020), as Ego4D, EgoVLP and EgoVLPv2 train it.
//!
//! Not for reading features or for training. Invariant: evaluated, a clip's outputs do not depend on its batch beyond
//! rounding, as long as the batch pads it to the same length.

pub mod decode;
mod encoder;
mod error;
mod fusion;
pub mod head;
pub mod labels;
mod layers;
pub mod loss;
mod onnx;
mod predictor;
mod settings;

use egofx::compat::Compat;
use egofx::export::Graph;
use tch::nn::{self, Module};
use tch::{Kind, Tensor};

use crate::nn::{PointwiseLinear, WeightInit, linear};
use encoder::Encoder;
use fusion::{CqAttention, CqConcat};
use layers::Mask;
use predictor::Predictor;

pub use error::VslnetError;
pub use settings::{Dims, PredictorKind, Settings};

/// A batch that fits the head; see [`Vslnet::input`].
#[derive(Debug)]
pub struct Input {
    video: Tensor,
    query: Tensor,
    video_mask: Mask,
    query_mask: Mask,
}

impl Input {
    /// `[B, L]`, 1 at positions that are there and 0 at padding.
    pub fn video_mask(&self) -> &Tensor {
        &self.video_mask.valid
    }
}

/// What the head says of a batch; all `[B, L]`, differentiable.
#[derive(Debug)]
pub struct Output {
    /// How much of a highlight each position is, in 0..1; 0 at padding.
    pub highlights: Tensor,
    /// Logits of the start; -1e30 and less at padding.
    pub start_logits: Tensor,
    /// Logits of the end, likewise.
    pub end_logits: Tensor,
}

/// What the head makes of a batch on its way to [`Output`]; `[B, L, C]`, those of the query `[B, Q, C]`.
#[derive(Debug)]
pub struct Stages {
    /// The video, projected.
    pub video_affine: Tensor,
    /// The query, projected.
    pub query_affine: Tensor,
    /// The video with its positions.
    pub video_plus_pos: Tensor,
    /// The video after the encoder's convolutions.
    pub video_conv_block: Tensor,
    /// The video after the encoder.
    pub video_encoded: Tensor,
    /// The query after the encoder.
    pub query_encoded: Tensor,
    /// The video that knows of the query; the encoded video in the small head.
    pub cq_attention: Tensor,
    /// The same with the pooled query.
    pub cq_concat: Tensor,
    /// The same by its highlight scores.
    pub gated: Tensor,
    /// The result.
    pub output: Output,
}

/// The head.
#[derive(Debug)]
pub struct Vslnet {
    dims: Dims,
    settings: Settings,
    compat: Compat,
    video_affine: PointwiseLinear,
    query_affine: nn::Linear,
    encoder: Encoder,
    cq_attention: Option<CqAttention>,
    cq_concat: CqConcat,
    highlight: PointwiseLinear,
    predictor: Predictor,
}

impl Vslnet {
    /// A head with fresh weights at `path`: linear maps and convolutions uniform after Glorot, their biases zero,
    /// positions normal, recurrent networks as PyTorch's own.
    ///
    /// # Errors
    /// [`VslnetError::Setting`] for settings that no network has.
    pub fn new(path: &nn::Path, dims: Dims, settings: &Settings, compat: Compat) -> Result<Self, VslnetError> {
        error::check_settings(dims, settings)?;
        let embed_dim = settings.embed_dim;
        let attention = || CqAttention::new(&(path / "cq_attention"), settings);
        Ok(Self {
            dims,
            settings: settings.clone(),
            compat,
            query_affine: linear(path / "query_affine", dims.query, embed_dim, WeightInit::Xavier),
            video_affine: PointwiseLinear::new(&(path / "video_affine" / "linear" / "conv1d"), dims.video, embed_dim),
            encoder: Encoder::new(&(path / "feature_encoder"), settings),
            cq_attention: (!settings.small).then(attention),
            cq_concat: CqConcat::new(&(path / "cq_concat"), settings),
            highlight: PointwiseLinear::new(&(path / "highlight_layer" / "conv1d" / "conv1d"), embed_dim, 1),
            predictor: Predictor::new(&(path / "predictor"), settings),
        })
    }

    /// A batch of `video` `[B, L, D]` and `query` `[B, Q, E]` in single precision, with their masks `[B, L]` and
    /// `[B, Q]` of ones, and zeros at padding.
    ///
    /// # Errors
    /// [`VslnetError::Shape`] and [`VslnetError::Length`] for tensors that do not fit each other or the head.
    pub fn input(
        &self,
        video: Tensor,
        video_mask: &Tensor,
        query: Tensor,
        query_mask: &Tensor,
    ) -> Result<Input, VslnetError> {
        let most = self.settings.max_position_embeddings;
        let batch = video.size().first().copied().unwrap_or(0);
        error::check_shapes("video", &video, video_mask, [batch, most, self.dims.video])?;
        error::check_shapes("query", &query, query_mask, [batch, most, self.dims.query])?;
        let [video_mask, query_mask] = [video_mask, query_mask].map(|mask| Mask::new(mask.to_kind(Kind::Float)));
        Ok(Input { video, query, video_mask, query_mask })
    }

    /// What the head says of `input`, in training with dropout.
    pub fn forward(&self, input: &Input, train: bool) -> Output {
        self.stages(input, train).output
    }

    /// [`Self::forward`], step by step.
    pub fn stages(&self, input: &Input, train: bool) -> Stages {
        let (video_mask, query_mask) = (&input.video_mask, &input.query_mask);
        let video_affine = self.video_affine.forward(&self.settings.dropout().forward(&input.video, train));
        let query_affine = self.query_affine.forward(&input.query);
        let query_encoded = self.encoder.forward(&query_affine, query_mask, train).encoded;
        let video = self.encoder.forward(&video_affine, video_mask, train);
        let cq_attention = match &self.cq_attention {
            Some(attention) => attention.forward(&video.encoded, &query_encoded, [video_mask, query_mask], train),
            None => video.encoded.shallow_clone(),
        };
        let cq_concat = self.cq_concat.forward(&cq_attention, &query_encoded, query_mask);
        let highlights = (self.highlight.forward(&cq_concat).squeeze_dim(2) + &video_mask.bias).sigmoid();
        let gated = &cq_concat * highlights.unsqueeze(2);
        let predicted = self.predicted(&video.encoded, &gated);
        let [start_logits, end_logits] = self.predictor.forward(predicted, video_mask, train);
        Stages {
            video_affine,
            query_affine,
            video_plus_pos: video.positioned,
            video_conv_block: video.convolved,
            video_encoded: video.encoded,
            query_encoded,
            cq_attention,
            cq_concat,
            gated,
            output: Output { highlights, start_logits, end_logits },
        }
    }

    /// What the ends are predicted from. EgoVLPv2's small head predicts from the gated features and then overwrites
    /// that by what it predicts from the encoded video, so that a query changes its ends only where features are fused
    /// with it.
    fn predicted<'t>(&self, encoded: &'t Tensor, gated: &'t Tensor) -> &'t Tensor {
        if self.settings.small && self.compat == Compat::AsReleased { encoded } else { gated }
    }
}

/// The network as a graph for `dims`, which is computed as [`Vslnet::forward`] does without training; see `onnx`.
pub fn graph(dims: Dims, settings: &Settings, compat: Compat) -> impl Fn(&mut Graph) + use<> {
    let settings = settings.clone();
    move |g| onnx::build(g, dims, &settings, compat)
}

/// Whether the optimiser takes weight decay off the weight called `name`.
pub fn decays(name: &str) -> bool {
    !["bias", "layer_norm", "LayerNorm"].iter().any(|part| name.contains(part))
}
