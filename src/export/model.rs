//! What the exporter must know of a model, and how a checkpoint finds its own.
//!
//! Not for writing files. Invariant: a checkpoint is loaded whole or not at all: every tensor that the model expects is
//! there in its shape, and every tensor that is there is one that the model expects.

use super::error::ExportError;
use super::graph::Graph;
use super::models::MODELS;
use super::sizes::{Layout, Sizes};
use crate::checkpoint::{Checkpoint, TensorInfo};

/// A model that egofx exports.
pub struct Model {
    /// Its name, the stem of its graphs' names.
    pub name: &'static str,
    /// What it is, and where it is from.
    pub about: &'static str,
    /// Tensors by which its checkpoints are told from others.
    pub marks: &'static [&'static str],
    /// Tensors that a checkpoint may hold though no graph uses them: buffers.
    pub ignored: &'static [&'static str],
    /// What a checkpoint of these sizes holds and becomes; heads are of the given size, which no tensor tells.
    pub read: fn(&Sizes, usize) -> Result<Plan, ExportError>,
    /// The same without a checkpoint: the published model, or a tiny one.
    pub sized: fn(Scale) -> Plan,
}

/// How large a model without a checkpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// As published.
    Full,
    /// For trying things out.
    Tiny,
}

/// What a checkpoint holds and what is made of it.
pub struct Plan {
    /// Every tensor.
    pub layout: Layout,
    /// The graphs.
    pub graphs: Vec<GraphPlan>,
    /// What they cost.
    pub costs: Vec<Cost>,
    /// Pixels of the side of the frames that video graphs take.
    pub frame_side: usize,
}

/// A graph to be written.
pub struct GraphPlan {
    /// What stands after the model's name and `_`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Writes it.
    pub build: Box<dyn Fn(&mut Graph)>,
    /// Frames of a window in the golden input.
    pub frames: u32,
    /// Video tokens of a window of so many frames.
    pub tokens: usize,
    /// Words that ids may be.
    pub vocabulary: usize,
    /// The id that fills up.
    pub pad: i64,
}

/// Arithmetic for one window.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Of what.
    pub what: String,
    /// Multiply-accumulates.
    pub macs: u64,
}

impl Model {
    /// The model that `checkpoint` is of, and its plan.
    ///
    /// # Errors
    /// [`ExportError::UnknownModel`], or [`ExportError::Mismatch`] if anything is missing, unknown or of another shape.
    pub fn of(checkpoint: &Checkpoint, head_size: usize) -> Result<(&'static Self, Plan), ExportError> {
        let tensors = checkpoint.tensors();
        let is = |model: &&Model| model.marks.iter().all(|mark| tensors.contains_key(*mark));
        let model = MODELS.iter().find(is).ok_or_else(|| ExportError::UnknownModel {
            checkpoint: checkpoint.name().to_owned(),
            known: MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", "),
            found: tensors.keys().cloned().collect(),
        })?;
        let plan = (model.read)(&Sizes { checkpoint: checkpoint.name(), model: model.name, tensors }, head_size)?;
        model.check(checkpoint, &plan)?;
        Ok((model, plan))
    }

    fn check(&self, checkpoint: &Checkpoint, plan: &Plan) -> Result<(), ExportError> {
        let tensors = checkpoint.tensors();
        let expected = &plan.layout.parameters;
        let missing: Vec<String> =
            expected.iter().filter(|p| !tensors.contains_key(&p.name)).map(|p| p.name.clone()).collect();
        let known = |name: &str| self.ignored.contains(&name) || expected.iter().any(|p| p.name == name);
        let unknown: Vec<String> = tensors.keys().filter(|name| !known(name)).cloned().collect();
        let other = |found: &TensorInfo, wanted: &[usize]| found.shape != wanted;
        let shapes: Vec<String> = expected
            .iter()
            .filter_map(|p| tensors.get(&p.name).filter(|found| other(found, &p.shape)).map(|found| (p, found)))
            .map(|(p, found)| format!("{} is {:?}, expected {:?}", p.name, found.shape, p.shape))
            .collect();
        if missing.is_empty() && unknown.is_empty() && shapes.is_empty() {
            return Ok(());
        }
        let (checkpoint, model) = (checkpoint.name().to_owned(), self.name.to_owned());
        Err(ExportError::Mismatch { checkpoint, model, missing, unknown, shapes })
    }
}

impl Plan {
    /// Parameters in all.
    pub fn parameters(&self) -> usize {
        self.layout.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }
}
