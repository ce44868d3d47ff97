//! EgoVLP (Lin et al., 2022): two towers and a projection behind each, and its video tower as a classifier.
//!
//! Not for losses. Invariant: names are those of the original state dict, and a text's embedding does not depend on how
//! far its batch is padded, beyond rounding.

use tch::{Tensor, nn};

use super::distilbert::DistilBert;
use super::error::{BackboneError, check_frames, check_text};
use super::heads::Projection;
use super::layers::{Fusion, first};
use super::settings::{EgoVlpSettings, Projector, VideoSettings, positive};
use super::video::VideoTower;

/// Of the video tower's norms.
const EPS: f64 = 1e-6;

/// EgoVLP.
#[derive(Debug)]
pub struct EgoVlp {
    video_model: VideoTower,
    text_model: DistilBert,
    video_projection: Projection,
    text_projection: Projection,
    settings: EgoVlpSettings,
    recompute: bool,
}

impl EgoVlp {
    /// A network with fresh weights at `path`; with `recompute`, training keeps only the inputs of blocks and computes
    /// what is in them again in the backward pass.
    ///
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn new(path: &nn::Path, settings: &EgoVlpSettings, recompute: bool) -> Result<Self, BackboneError> {
        settings.check()?;
        let projector = Projector::Small { width: settings.projection };
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), &settings.video, EPS, Fusion::NONE),
            text_model: DistilBert::new(&(path / "text_model"), &settings.text),
            video_projection: Projection::video(path, settings.video.width, projector),
            text_projection: Projection::text(path, settings.text.width, projector),
            settings: settings.clone(),
            recompute,
        })
    }

    /// Whether [`video`](Self::video) takes `frames`: as many as the temporal table has rows, or fewer.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        check_clip(frames, &self.settings.video)
    }

    /// Whether [`text`](Self::text) takes `ids` and `mask`; ids themselves are not looked at.
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_text(&self, ids: &Tensor, mask: &Tensor) -> Result<(), BackboneError> {
        check_text(ids, mask, self.settings.text.positions)
    }

    /// Embeddings `[B, D]` of texts, from `ids` and `mask` `[B, L]`.
    pub fn text(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text_projection.forward(&first(&self.text_hidden(ids, mask, train)))
    }

    /// The last hidden state `[B, L, W]` of texts.
    pub fn text_hidden(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text_model.forward(ids, mask, train, self.recompute && train)
    }

    /// Embeddings `[B, D]` of clips, from `frames` `[B, F, 3, image, image]`.
    pub fn video(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_projection.forward(&self.video_class(frames, train))
    }

    /// Class tokens `[B, W]` of clips, after the last norm.
    pub fn video_class(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video_model.class(frames, self.recompute && train)
    }

    /// The embedded tokens of clips and those after each block, `[B, 1 + F * P, W]`.
    pub fn video_states(&self, frames: &Tensor) -> Vec<Tensor> {
        self.video_model.states(frames)
    }
}

/// EgoVLP's video tower with classes in place of the embedding: OSCC (2 classes) and PNR (16 frames of a clip).
#[derive(Debug)]
pub struct EgoVlpClasses {
    video_model: VideoTower,
    classes: Projection,
    settings: VideoSettings,
    recompute: bool,
}

impl EgoVlpClasses {
    /// A network with fresh weights at `path`; see [`EgoVlp::new`]. The classifier has the projection's name,
    /// `vid_proj.0`.
    ///
    /// # Errors
    /// [`BackboneError::Setting`] for settings that no network has.
    pub fn new(
        path: &nn::Path,
        settings: &VideoSettings,
        classes: i64,
        recompute: bool,
    ) -> Result<Self, BackboneError> {
        settings.check()?;
        positive([("classes", classes)])?;
        Ok(Self {
            video_model: VideoTower::new(&(path / "video_model"), settings, EPS, Fusion::NONE),
            classes: Projection::video(path, settings.width, Projector::Small { width: classes }),
            settings: settings.clone(),
            recompute,
        })
    }

    /// Whether [`logits`](Self::logits) takes `frames`; see [`EgoVlp::check_video`].
    ///
    /// # Errors
    /// [`BackboneError::Shape`] and [`BackboneError::Type`].
    pub fn check_video(&self, frames: &Tensor) -> Result<(), BackboneError> {
        check_clip(frames, &self.settings)
    }

    /// Logits `[B, classes]` of clips, from `frames` `[B, F, 3, image, image]`.
    pub fn logits(&self, frames: &Tensor, train: bool) -> Tensor {
        self.classes.forward(&self.video_model.class(frames, self.recompute && train))
    }
}

fn check_clip(frames: &Tensor, settings: &VideoSettings) -> Result<(), BackboneError> {
    let most = settings.frames;
    check_frames(frames, settings.image, |count| (1..=most).contains(&count), &format!("1 to {most}"))
}
