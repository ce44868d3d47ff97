//! EgoVLP (Lin et al., 2022): two towers and a projection behind each, and its video tower as a classifier.
//!
//! Not for losses. Invariant: names are those of the original state dict, and a text's embedding does not depend on how
//! far its batch is padded, beyond rounding.

use egofx::arch::{Architecture, ConfigError, EgoVlpConfig, Projector, VideoConfig};
use tch::{Tensor, nn};

use super::blocks::{Fusion, class_token};
use super::distilbert::DistilBert;
use super::error::{BackboneError, check_frames, check_text};
use super::heads::Projection;
use super::video::VideoTower;

/// Of the video tower's norms.
const EPS: f64 = EgoVlpConfig::VIDEO_LAYER_NORM_EPS;

/// EgoVLP.
#[derive(Debug)]
pub struct EgoVlp {
    video_model: VideoTower,
    text_model: DistilBert,
    video_projection: Projection,
    text_projection: Projection,
    config: EgoVlpConfig,
    recompute: bool,
}

impl EgoVlp {
    /// A network with fresh weights at `path`; with `recompute`, training keeps only the inputs of blocks and computes
    /// what is in them again in the backward pass.
    ///
    /// # Errors
    /// [`BackboneError::Config`] for sizes that no network has.
    pub fn new(path: &nn::Path, config: &EgoVlpConfig, recompute: bool) -> Result<Self, BackboneError> {
        config.check()?;
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), &config.video, EPS, Fusion::NONE),
            text_model: DistilBert::new(&(path / "text_model"), &config.text),
            video_projection: Projection::video(path, config.video.embed_dim, config.projector()),
            text_projection: Projection::text(path, config.text.embed_dim, config.projector()),
            config: config.clone(),
            recompute,
        })
    }

    /// Whether [`video`](Self::video) takes `frames`: as many as the temporal table has rows, or fewer.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        check_clip(frames, &self.config.video)
    }

    /// Whether [`text`](Self::text) takes `ids` and `mask`; ids themselves are not looked at.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_text(&self, ids: &Tensor, mask: &Tensor) -> Result<(), BackboneError> {
        check_text(ids, mask, self.config.text.max_position_embeddings)
    }

    /// Embeddings `[B, projection_dim]` of texts, from `ids` and `mask` `[B, L]`.
    pub fn text(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text_projection.forward(&class_token(&self.text_hidden(ids, mask, train)))
    }

    /// The last hidden state `[B, L, D]` of texts.
    pub fn text_hidden(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text_model.forward(ids, mask, train, self.recompute && train)
    }

    /// Embeddings `[B, projection_dim]` of clips, from `frames` `[B, F, 3, image_size, image_size]`.
    pub fn video(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_projection.forward(&self.video_class(frames, train))
    }

    /// Class tokens `[B, D]` of clips, after the last norm.
    pub fn video_class(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_model.class(frames, self.recompute && train)
    }

    /// The embedded tokens of clips and those after each block, `[B, 1 + F * P, D]`.
    pub fn video_states(&self, frames: &Tensor) -> Vec<Tensor> {
        self.video_model.states(frames)
    }
}

/// EgoVLP's video tower with classes in place of the embedding: OSCC (2 classes) and PNR (16 frames of a clip).
#[derive(Debug)]
pub struct EgoVlpClasses {
    video_model: VideoTower,
    classes: Projection,
    config: VideoConfig,
    recompute: bool,
}

impl EgoVlpClasses {
    /// A network with fresh weights at `path`; see [`EgoVlp::new`]. The classifier has the projection's name,
    /// `vid_proj.0`.
    ///
    /// # Errors
    /// [`BackboneError::Config`] for sizes that no network has.
    pub fn new(path: &nn::Path, config: &VideoConfig, classes: i64, recompute: bool) -> Result<Self, BackboneError> {
        config.check()?;
        ConfigError::unless(classes > 0, "classes", classes as f64, "1 or more")?;
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), config, EPS, Fusion::NONE),
            classes: Projection::video(path, config.embed_dim, Projector::Small { dim: classes as usize }),
            config: config.clone(),
            recompute,
        })
    }

    /// Whether [`logits`](Self::logits) takes `frames`; see [`EgoVlp::check_video`].
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        check_clip(frames, &self.config)
    }

    /// Logits `[B, classes]` of clips, from `frames` `[B, F, 3, image_size, image_size]`.
    pub fn logits(&self, frames: &Tensor, train: bool) -> Tensor {
        self.classes.forward(&self.video_model.class(frames, self.recompute && train))
    }
}

fn check_clip(frames: &Tensor, config: &VideoConfig) -> Result<(), BackboneError> {
    let most = config.num_frames as i64;
    check_frames(frames, config.image_size, |count| (1..=most).contains(&count), &format!("1 to {most}"))
}
