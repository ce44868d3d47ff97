//! The models that egofx exports, one line each, and how a checkpoint finds its own.
//!
//! A checkpoint is of at most one of them, and is loaded whole or not at all.

mod egovlp;
mod egovlpv2;
mod lavila;
mod slowfast;

use super::error::ExportError;
use super::model::{Model, Plan};
use crate::arch::{EgoVlpConfig, EgoVlpV2Config, LavilaConfig, SlowFastConfig};
use crate::checkpoint::Checkpoint;

/// Every model that egofx knows.
pub const MODELS: &[Model] = &[
    Model::new::<EgoVlpConfig>(),
    Model::new::<EgoVlpV2Config>(),
    Model::new::<LavilaConfig>(),
    Model::new::<SlowFastConfig>(),
];

impl Model {
    /// The model that `checkpoint` is of, and its plan.
    ///
    /// # Errors
    /// [`ExportError::UnknownModel`], or [`ExportError::Mismatch`] if anything is missing, unknown or of another shape.
    pub fn of(checkpoint: &Checkpoint, head_dim: usize) -> Result<(&'static Self, Plan), ExportError> {
        let model = Self::recognise(checkpoint).ok_or_else(|| ExportError::UnknownModel {
            checkpoint: checkpoint.name().to_owned(),
            known: MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", "),
            found: checkpoint.tensors().keys().cloned().collect(),
        })?;
        let plan = model.plan(checkpoint, head_dim)?;
        let differences = model.differences(checkpoint, &plan);
        if differences.is_empty() {
            return Ok((model, plan));
        }
        let (checkpoint, model) = (checkpoint.name().to_owned(), plan.name);
        Err(ExportError::Mismatch { checkpoint, model, differences })
    }

    /// The model that `checkpoint` claims to be of, whether or not its tensors fit.
    pub fn recognise(checkpoint: &Checkpoint) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.detect(checkpoint))
    }
}
