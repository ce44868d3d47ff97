//! The tensors of what stands above the towers: projectors into the shared space, the heads of video-text matching and
//! masked language modelling, and EgoTaskQA's answers.
//!
//! The numbers in names are places in an `nn.Sequential`, where ReLUs are counted too.

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, ShapeError};
use super::params::ParamList;
use super::shapes::Shapes;

/// Epsilon of the MLM head's LayerNorm: the default of transformers' `RobertaConfig`, not RoBERTa's own.
pub const MLM_LAYER_NORM_EPS: f64 = 1e-12;

/// From the towers' class tokens to the space that both modalities share (`txt_proj` and `vid_proj`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Projector {
    /// Three linear maps with ReLU between, the first without bias (EgoVLPv2, published with 4096 everywhere).
    Full {
        /// Dims of an embedding.
        #[serde(alias = "width")]
        dim: usize,
        /// Dims of the inner states, if not those of an embedding.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hidden_dim: Option<usize>,
    },
    /// One linear map, the text's behind a ReLU (EgoVLP, and EgoVLPv2's small projectors; published with 256).
    Small {
        /// Dims of an embedding.
        #[serde(alias = "width")]
        dim: usize,
    },
    /// None: embeddings are the class tokens.
    None,
}

impl Projector {
    /// A [`Full`](Self::Full) one whose inner states are as wide as an embedding, as published.
    pub const fn full(dim: usize) -> Self {
        Self::Full { dim, hidden_dim: None }
    }

    /// The sizes of the tensors under `vid_proj.`.
    ///
    /// # Errors
    /// [`ShapeError`] if there is no projector, among others.
    pub fn from_shapes(shapes: &Shapes) -> Result<Self, ShapeError> {
        if shapes.has("vid_proj.4.weight") {
            let [dim, hidden] = shapes.of("vid_proj.4.weight")?;
            return Ok(Self::Full { dim, hidden_dim: (hidden != dim).then_some(hidden) });
        }
        let [dim, _] = shapes.of("vid_proj.0.weight")?;
        Ok(Self::Small { dim })
    }

    /// Dims of an embedding, made of class tokens of `embed_dim`.
    pub fn dim(self, embed_dim: usize) -> usize {
        match self {
            Self::Full { dim, .. } | Self::Small { dim } => dim,
            Self::None => embed_dim,
        }
    }

    /// Whether a network has such sizes.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(self) -> Result<(), ConfigError> {
        match self {
            Self::Full { dim, hidden_dim } => {
                let hidden_dim = hidden_dim.unwrap_or(dim);
                ConfigError::unless_positive([("projector.dim", dim), ("projector.hidden_dim", hidden_dim)])
            }
            Self::Small { dim } => ConfigError::unless_positive([("projector.dim", dim)]),
            Self::None => Ok(()),
        }
    }

    /// Every tensor of both projectors, for class tokens of `embed_dim`.
    pub fn parameters(self, embed_dim: usize, list: &mut ParamList) {
        match self {
            Self::Small { dim } => {
                list.linear("txt_proj.1", dim, embed_dim);
                list.linear("vid_proj.0", dim, embed_dim);
            }
            Self::Full { dim, hidden_dim } => {
                let hidden = hidden_dim.unwrap_or(dim);
                for name in ["txt_proj", "vid_proj"] {
                    list.linear_no_bias(&format!("{name}.0"), hidden, embed_dim);
                    list.linear(&format!("{name}.2"), hidden, hidden);
                    list.linear(&format!("{name}.4"), dim, hidden);
                }
            }
            Self::None => {}
        }
    }
}

/// EgoVLPv2's heads on the fused towers: video-text matching (`itm_score`) and masked language modelling (`mlm_score`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FusionHeadsConfig {
    /// Dims of a token.
    pub embed_dim: usize,
    /// Token ids.
    pub vocab_size: usize,
}

impl FusionHeadsConfig {
    /// Every tensor.
    pub fn parameters(self, list: &mut ParamList) {
        let Self { embed_dim: dim, vocab_size } = self;
        for name in ["text_transform", "video_transform", "text_pooler.dense", "video_pooler.dense"] {
            list.linear(&format!("cross_modal_{name}"), dim, dim);
        }
        list.linear("mlm_score.transform.dense", dim, dim);
        list.layer_norm("mlm_score.transform.LayerNorm", dim);
        list.linear_no_bias("mlm_score.decoder", vocab_size, dim);
        list.bias("mlm_score", vocab_size);
        list.linear("itm_score.fc", 2, 2 * dim);
    }
}

/// EgoTaskQA's head on the fused class token (`projector_1`, `projector_2`): two linear maps with ReLU between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerHeadConfig {
    /// Answers to choose from.
    pub num_answers: usize,
}

impl AnswerHeadConfig {
    /// The size of `projector_1`, if the state dict has it.
    ///
    /// # Errors
    /// [`ShapeError`] if it is no matrix.
    pub fn from_shapes(shapes: &Shapes) -> Result<Option<Self>, ShapeError> {
        if !shapes.has("projector_1.weight") {
            return Ok(None);
        }
        let [num_answers, _] = shapes.of("projector_1.weight")?;
        Ok(Some(Self { num_answers }))
    }

    /// Every tensor, for class tokens of `embed_dim`.
    pub fn parameters(self, embed_dim: usize, list: &mut ParamList) {
        list.linear("projector_1", self.num_answers, embed_dim);
        list.linear("projector_2", self.num_answers, self.num_answers);
    }
}
