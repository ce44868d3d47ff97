//! Architectures: what each backbone is made of, described once.
//!
//! A config holds the sizes of a backbone under the names of Hugging Face and timm. It knows every tensor of the state
//! dict ([`Architecture::parameters`]) and reads its own sizes off the shapes of one ([`Architecture::from_shapes`]).
//! Export's strict loading, random weights, the parameter count, and the loaders and networks of `egofx-train` read
//! that list. Here too: which state dict is of which architecture, the names that other files have for the same tensors
//! ([`CheckpointFormat`]), what becomes of a temporal table of another length ([`TemporalRule`]), and every epsilon.
//!
//! The two forward passes are elsewhere and stay two, so that a test can set them against each other: ONNX operators in
//! `export`, libtorch in `egofx-train`.
//!
//! ```
//! use egofx::arch::{Architecture, EgoVlpV2Config};
//!
//! let config = EgoVlpV2Config::published();
//! assert_eq!(config.num_parameters(), 381_611_623); // "381.6 M", Pramanick et al., 2023, section 4
//! assert!(config.parameters().iter().any(|p| p.name == "video_model.blocks.11.attn.alpha_i2t"));
//! ```

mod architecture;
pub mod clip;
pub mod distilbert;
mod egovlp;
mod egovlpv2;
mod error;
mod format;
mod heads;
mod lavila;
mod params;
pub mod roberta;
mod shapes;
pub mod slowfast;
mod strict;
mod text;
mod video;

pub use architecture::Architecture;
pub use egovlp::EgoVlpConfig;
pub use egovlpv2::EgoVlpV2Config;
pub use error::{ConfigError, ShapeError};
pub use format::{CheckpointFormat, DISTILBERT, EGOVLP, EGOVLP_VIDEO, EGOVLPV2, ROBERTA, VIT};
pub use heads::{AnswerHeadConfig, FusionHeadsConfig, MLM_LAYER_NORM_EPS, Projector};
pub use lavila::{Family, LavilaConfig, LavilaProjection, LavilaText, TextKind};
pub use params::ParamList;
pub use shapes::{Shapes, is_temporal_embedding};
pub use slowfast::SlowFastConfig;
pub use strict::{Differences, Matched, listed, strict_differences};
pub use text::TextConfig;
pub use video::{Activation, TemporalRule, TimeInit, VideoConfig, VideoForm};

pub use crate::checkpoint::ParamSpec;
