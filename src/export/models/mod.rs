//! The models that egofx exports: one file and one line each.
//!
//! Not for towers that models share. Invariant: a checkpoint is of at most one of them.

mod egovlp;
mod egovlpv2;

use super::model::Model;

/// Every model that egofx knows.
pub const MODELS: &[Model] = &[egovlp::MODEL, egovlpv2::MODEL];
