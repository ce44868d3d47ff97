//! Pretraining on narrated clips (EgoClip), validated on questions with five clips each (EgoMCQ).
//!
//! Not for networks, losses or reading: [`backbones`](crate::backbones), [`objectives`](crate::objectives) and
//! [`corpora`](crate::corpora) have these. Samples are numbered through: first the narrations, then the questions.

pub mod data;
pub mod egovlp;
pub mod egovlpv2;
pub mod questions;
