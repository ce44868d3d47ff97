//! What the exporter must know of a model, and how a checkpoint finds its own.
//!
//! Not for writing files. Invariant: a checkpoint is loaded whole or not at all: every tensor that the model expects is
//! there in its shape, and every tensor that is there is one that the model expects.

use std::collections::BTreeSet;

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

/// Where a checkpoint's tensors differ from those of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Differences {
    /// Expected, not found.
    pub missing: Vec<String>,
    /// Found, not expected.
    pub unknown: Vec<String>,
    /// Found with another shape: name, shape found, shape expected.
    pub shapes: Vec<String>,
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
        let model = Self::recognise(checkpoint).ok_or_else(|| ExportError::UnknownModel {
            checkpoint: checkpoint.name().to_owned(),
            known: MODELS.iter().map(|model| model.name).collect::<Vec<_>>().join(", "),
            found: checkpoint.tensors().keys().cloned().collect(),
        })?;
        let plan = model.plan(checkpoint, head_size)?;
        let differences = model.differences(checkpoint, &plan);
        if differences == Differences::default() {
            return Ok((model, plan));
        }
        let (checkpoint, model) = (checkpoint.name().to_owned(), model.name.to_owned());
        Err(ExportError::Mismatch { checkpoint, model, differences })
    }

    /// The model that `checkpoint` claims to be of, whether or not its tensors fit.
    pub fn recognise(checkpoint: &Checkpoint) -> Option<&'static Self> {
        let tensors = checkpoint.tensors();
        MODELS.iter().find(|model| model.marks.iter().all(|mark| tensors.contains_key(*mark)))
    }

    /// The plan of a model of this kind and of the sizes that `checkpoint` has.
    ///
    /// # Errors
    /// [`ExportError::Size`] if no sizes can be read off its tensors.
    pub fn plan(&self, checkpoint: &Checkpoint, head_size: usize) -> Result<Plan, ExportError> {
        let sizes = Sizes { checkpoint: checkpoint.name(), model: self.name, tensors: checkpoint.tensors() };
        (self.read)(&sizes, head_size)
    }

    /// Where the tensors of `checkpoint` are not those of `plan`.
    pub fn differences(&self, checkpoint: &Checkpoint, plan: &Plan) -> Differences {
        let tensors = checkpoint.tensors();
        let expected = &plan.layout.parameters;
        let missing = expected.iter().filter(|p| !tensors.contains_key(&p.name)).map(|p| p.name.clone()).collect();
        let names: BTreeSet<&str> =
            expected.iter().map(|p| p.name.as_str()).chain(self.ignored.iter().copied()).collect();
        let unknown = tensors.keys().filter(|name| !names.contains(name.as_str())).cloned().collect();
        let other = |found: &TensorInfo, wanted: &[usize]| found.shape != wanted;
        let shapes = expected
            .iter()
            .filter_map(|p| tensors.get(&p.name).filter(|found| other(found, &p.shape)).map(|found| (p, found)))
            .map(|(p, found)| format!("{} is {:?}, expected {:?}", p.name, found.shape, p.shape))
            .collect();
        Differences { missing, unknown, shapes }
    }
}

impl Plan {
    /// Parameters in all.
    pub fn parameters(&self) -> usize {
        self.layout.parameters.iter().map(|p| p.shape.iter().product::<usize>()).sum()
    }
}
