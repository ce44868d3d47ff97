//! EgoVLP, EgoVLPv2 and what is built on them, as networks that learn.
//!
//! Not for losses, data or features: trained weights go through `egofx export`. Frames are `[B, F, 3, S, S]` in single
//! precision, normalised by ImageNet's mean and deviation; token ids and masks are `[B, L]` of 64-bit integers.
//! Invariant: names, shapes and results are those of the original code.

mod blocks;
mod distilbert;
mod divided;
mod egovlp;
mod egovlpv2;
pub mod error;
mod heads;
pub mod load;
mod ppsa;
mod roberta;
mod video;

pub use egofx::arch::{EgoVlpConfig, EgoVlpV2Config, Projector, TextConfig, TimeInit, VideoConfig};
pub use egovlp::{EgoVlp, EgoVlpClasses};
pub use egovlpv2::{EgoVlpV2, EgoVlpV2Answers, Fused, Text};
pub use error::BackboneError;
pub use ppsa::Ppsa;
