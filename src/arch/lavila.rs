//! LaViLa (Zhao et al., CVPR 2023, arXiv 2212.04501): EgoVLP's video tower grown out of CLIP's image tower, and CLIP's text
//! tower or DistilBERT beside it.
//!
//! Names and shapes are those of the state dicts of `lavila/models/models.py` in `facebookresearch/LaViLa`. What its
//! constructors choose is read off names and shapes. Not for its narrators, which write sentences.

use super::architecture::Architecture;
use super::clip;
use super::distilbert;
use super::error::{ConfigError, ShapeError};
use super::params::ParamList;
use super::shapes::Shapes;
use super::text::TextConfig;
use super::video::{Activation, TemporalRule, VideoConfig, VideoForm};
use crate::checkpoint::ParamSpec;

/// One of LaViLa's models.
#[derive(Debug, Clone, PartialEq)]
pub struct LavilaConfig {
    /// The sizes of the video tower.
    pub video: VideoConfig,
    /// What the video tower was made from.
    pub family: Family,
    /// Whether blocks weigh their attention over time (`timesformer_gated_xattn`).
    pub is_gated: bool,
    /// What sentences are read with; `None` in a classifier, of which the video tower alone is taken.
    pub text: Option<LavilaText>,
    /// Whether the learnt temperature is there, which no embedding depends on.
    pub has_temperature: bool,
}

/// What a video tower was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// CLIP's image tower: a norm before the first block, its GELU, and means of pixels of their own (`OPENAI` in the
    /// constructor's name).
    OpenAi,
    /// A ViT, as EgoVLP (the zoo's converted EgoVLP).
    EgoVlp,
}

/// A text tower, and what makes embeddings.
#[derive(Debug, Clone, PartialEq)]
pub struct LavilaText {
    /// Which tower it is.
    pub kind: TextKind,
    /// Its sizes.
    pub config: TextConfig,
    /// What makes embeddings of both towers' tokens.
    pub projection: LavilaProjection,
    /// Dims of an embedding; published: 256.
    pub projection_dim: usize,
}

/// The text towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// CLIP's.
    Clip,
    /// DistilBERT.
    DistilBert,
}

/// What makes embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LavilaProjection {
    /// CLIP's: a matrix for each tower, without a bias.
    Matrices,
    /// EgoVLP's: a linear map for each tower, the text's behind a ReLU.
    Linear,
}

impl LavilaConfig {
    /// What the names of DistilBERT's tensors begin with.
    pub const DISTILBERT: &'static str = "textual";
    /// By these a captioning model is known, which has no embeddings.
    const NARRATOR: [&'static str; 2] = ["text_decoder.", "img_queries"];

    /// The video tower.
    pub fn form(&self) -> VideoForm {
        let (pre_norm_eps, activation) = match self.family {
            Family::OpenAi => (Some(1e-5), Activation::QuickGelu),
            Family::EgoVlp => (None, Activation::Gelu),
        };
        let (layer_norm_eps, temporal) = (1e-6, TemporalRule::InterpolateHalfPixel);
        VideoForm { name: "visual", layer_norm_eps, temporal, pre_norm_eps, is_gated: self.is_gated, activation }
    }

    /// Its name among LaViLa's models: `base`, `large`, `large-336`, `distilbert`, `egovlp`, and those put together.
    pub fn variant(&self) -> &'static str {
        let is_bert = self.text.as_ref().is_some_and(|text| text.kind == TextKind::DistilBert);
        match (self.family, self.video.patch_size, self.video.grid_size(), is_bert) {
            (Family::EgoVlp, ..) => "egovlp",
            (_, 14, 24, false) => "large-336",
            (_, 14, 24, true) => "large-336-distilbert",
            (_, 14, _, false) => "large",
            (_, 14, _, true) => "large-distilbert",
            (.., false) => "base",
            (.., true) => "distilbert",
        }
    }

    fn openai(video: VideoConfig, kind: TextKind, config: TextConfig) -> Self {
        let text = LavilaText { kind, config, projection: LavilaProjection::Matrices, projection_dim: 256 };
        Self { video, family: Family::OpenAi, is_gated: false, text: Some(text), has_temperature: true }
    }

    fn large(image_size: usize) -> Self {
        let (patch_size, embed_dim, depth, num_heads, mlp_dim) = (14, 1024, 24, 16, 4096);
        let video =
            VideoConfig { image_size, patch_size, embed_dim, depth, num_heads, mlp_dim, ..VideoConfig::base(4) };
        Self::openai(video, TextKind::Clip, clip::published(768))
    }

    fn distilbert() -> Self {
        let config = TextConfig::base(distilbert::VOCAB_SIZE, 512, 6);
        Self::openai(VideoConfig::base(4), TextKind::DistilBert, config)
    }

    fn egovlp() -> Self {
        let mut model = Self { family: Family::EgoVlp, video: VideoConfig::base(16), ..Self::distilbert() };
        if let Some(text) = &mut model.text {
            text.projection = LavilaProjection::Linear;
        }
        model
    }

    fn into_tiny(self) -> Self {
        let video = VideoConfig { embed_dim: 32, num_heads: 2, mlp_dim: 64, ..self.video };
        let text = self.text.map(|text| LavilaText { config: text.config.into_tiny(), projection_dim: 16, ..text });
        Self { video, text, ..self }
    }
}

impl Architecture for LavilaConfig {
    const NAME: &'static str = "lavila";
    const ABOUT: &'static str = "LaViLa (CVPR 2023, github.com/facebookresearch/LaViLa)";
    const SIGNATURE_TENSORS: &'static [&'static str] = &["visual.cls_token", "visual.temporal_embed"];
    // 0, 1, 2, ... in files of some releases of transformers, and the head of a classifier.
    const BUFFERS: &'static [&'static str] = &["textual.embeddings.position_ids", "fc_cls."];

    fn published() -> Self {
        Self::openai(VideoConfig::base(4), TextKind::Clip, clip::published(512))
    }

    fn tiny() -> Self {
        Self::published().into_tiny()
    }

    fn models() -> Vec<(String, [Self; 2])> {
        let all = [Self::published(), Self::large(224), Self::large(336), Self::distilbert(), Self::egovlp()];
        all.into_iter().map(|model| (model.name(), [model.clone(), model.into_tiny()])).collect()
    }

    fn name(&self) -> String {
        format!("{}-{}", Self::NAME, self.variant())
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.video.check()?;
        let Some(text) = &self.text else { return Ok(()) };
        text.config.check()?;
        ConfigError::unless_positive([("projection_dim", text.projection_dim)])
    }

    fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<Self, ShapeError> {
        if let Some(name) = shapes.tensors.keys().find(|name| Self::NARRATOR.iter().any(|n| name.starts_with(n))) {
            let why = "it is a narrator, which writes sentences about clips and has no embeddings; the dual encoders are those without";
            return Err(shapes.error(format!("{why} {name}")));
        }
        let (video, _) = VideoConfig::from_shapes("visual", shapes, head_dim)?;
        let is_classifier = shapes.tensors.keys().any(|name| name.starts_with("fc_cls."));
        let text = if is_classifier { None } else { Some(LavilaText::from_shapes(shapes, head_dim)?) };
        Ok(Self {
            video,
            family: if shapes.has("visual.ln_pre.weight") { Family::OpenAi } else { Family::EgoVlp },
            is_gated: shapes.has("visual.blocks.0.alpha_timeattn"),
            text,
            has_temperature: shapes.has("logit_scale"),
        })
    }

    fn parameters(&self) -> Vec<ParamSpec> {
        let mut list = ParamList::default();
        self.video.parameters(&self.form(), 0, &mut list);
        if let Some(text) = &self.text {
            text.parameters(self.video.embed_dim, &mut list);
        }
        if self.has_temperature {
            // 1 / 0.07, as CLIP starts; nothing learns it here.
            list.push("logit_scale", &[], 2.659_26, 0.0);
        }
        list.into_specs()
    }
}

impl LavilaText {
    fn from_shapes(shapes: &Shapes, head_dim: usize) -> Result<Self, ShapeError> {
        let is_clip = shapes.has("transformer.resblocks.0.attn.in_proj_weight");
        let (kind, config) = if is_clip {
            (TextKind::Clip, clip::from_shapes(shapes, head_dim)?)
        } else {
            (TextKind::DistilBert, distilbert::from_shapes(LavilaConfig::DISTILBERT, shapes, head_dim)?)
        };
        let (projection, projection_dim) = if shapes.has("image_projection.0.weight") {
            let [dim, _] = shapes.of("image_projection.0.weight")?;
            (LavilaProjection::Linear, dim)
        } else {
            let [_, dim] = shapes.of("image_projection")?;
            (LavilaProjection::Matrices, dim)
        };
        Ok(Self { kind, config, projection, projection_dim })
    }

    fn parameters(&self, video_dim: usize, list: &mut ParamList) {
        match self.kind {
            TextKind::Clip => clip::parameters(&self.config, list),
            TextKind::DistilBert => distilbert::parameters(LavilaConfig::DISTILBERT, &self.config, list),
        }
        let (dim, text_dim) = (self.projection_dim, self.config.embed_dim);
        match self.projection {
            LavilaProjection::Matrices => {
                list.matrix("image_projection", video_dim, dim);
                list.matrix("text_projection", text_dim, dim);
            }
            LavilaProjection::Linear => {
                list.linear("image_projection.0", dim, video_dim);
                list.linear("text_projection.1", dim, text_dim);
            }
        }
    }
}
