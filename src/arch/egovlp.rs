//! EgoVLP (Lin et al., NeurIPS 2022, arXiv 2206.01670): a space-time video tower and DistilBERT, apart but for a shared
//! space.
//!
//! Names and shapes are those of the state dict of `model/model.py` in `showlab/EgoVLP`.

use serde::{Deserialize, Serialize};

use super::architecture::Architecture;
use super::distilbert;
use super::error::{ConfigError, ShapeError};
use super::heads::Projector;
use super::params::ParamList;
use super::shapes::Shapes;
use super::text::TextConfig;
use super::video::{TemporalRule, VideoConfig, VideoForm};
use crate::checkpoint::ParamSpec;

/// EgoVLP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgoVlpConfig {
    /// The video tower.
    pub video: VideoConfig,
    /// The text tower, a DistilBERT.
    pub text: TextConfig,
    /// Dims of an embedding; published: 256.
    #[serde(alias = "projection")]
    pub projection_dim: usize,
}

impl EgoVlpConfig {
    /// Epsilon of the video tower's LayerNorms.
    pub const VIDEO_LAYER_NORM_EPS: f64 = 1e-6;
    /// What becomes of its temporal table.
    pub const TEMPORAL: TemporalRule = TemporalRule::ZeroPad;

    /// Its video tower.
    pub const FORM: VideoForm = VideoForm::egovlp(Self::VIDEO_LAYER_NORM_EPS, Self::TEMPORAL);
    /// What the names of its text tower's tensors begin with.
    pub const TEXT: &'static str = "text_model";

    /// What makes embeddings.
    pub fn projector(&self) -> Projector {
        Projector::Small { dim: self.projection_dim }
    }
}

impl Architecture for EgoVlpConfig {
    const NAME: &'static str = "egovlp";
    const ABOUT: &'static str = "EgoVLP (NeurIPS 2022, github.com/showlab/EgoVLP)";
    const SIGNATURE_TENSORS: &'static [&'static str] =
        &["video_model.cls_token", "text_model.transformer.layer.0.attention.q_lin.weight"];
    // Some releases of transformers store this buffer: 0, 1, 2, ...
    const BUFFERS: &'static [&'static str] = &["text_model.embeddings.position_ids"];

    fn published() -> Self {
        let text = TextConfig::base(distilbert::VOCAB_SIZE, 512, 6);
        Self { video: VideoConfig::base(16), text, projection_dim: 256 }
    }

    fn tiny() -> Self {
        let text = Self::published().text.into_tiny();
        Self { video: VideoConfig::tiny(16), text, projection_dim: 16 }
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.video.check()?;
        self.text.check()?;
        ConfigError::unless_positive([("projection_dim", self.projection_dim)])
    }

    fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<Self, ShapeError> {
        let (video, _) = VideoConfig::from_shapes(Self::FORM.name, shapes, head_dim)?;
        let text = distilbert::from_shapes(Self::TEXT, shapes, head_dim)?;
        let [projection_dim, _] = shapes.of("vid_proj.0.weight")?;
        Ok(Self { video, text, projection_dim })
    }

    fn parameters(&self) -> Vec<ParamSpec> {
        let mut list = ParamList::default();
        self.video.parameters(&Self::FORM, 0, &mut list);
        distilbert::parameters(Self::TEXT, &self.text, &mut list);
        self.projector().parameters(self.video.embed_dim, &mut list);
        list.into_specs()
    }
}
