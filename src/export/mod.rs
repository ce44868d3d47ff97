//! Checkpoints to ONNX graphs and model cards, without Python.
//!
//! Not for reading checkpoint files, nor for running features. Invariant: an export is whole or absent: every graph was
//! run on its golden input before any file gets its name.

mod batch_norm;
mod calibrate;
mod error;
mod graph;
mod head;
pub mod layers;
mod model;
mod models;
mod occupied;
pub mod onnx;
mod options;
mod pixels;
mod signature;
mod tokens;
mod towers;
mod validate;
mod weights;
mod write;

use std::fs;
use std::path::{Path, PathBuf};

pub use batch_norm::BatchNorm;
pub use error::ExportError;
pub use graph::{Graph, Value, Variant};
pub use head::{HeadPlan, HeadWeights, export_head};
pub use model::{Cost, Exported, GraphPlan, Model, Plan, Scale, TokenPlan};
pub use models::MODELS;
pub use options::{Options, TokenGrid};
pub use pixels::frame_side;
pub use signature::dims;
pub use validate::{LEAST_COSINE_FP16, LEAST_COSINE_INT8, Validator, check};
pub use weights::Weight;

pub use crate::arch::Differences;

use crate::backbone::Card;
use crate::checkpoint::Checkpoint;
use crate::durable::Partial;
use write::Writer;

/// What an export made.
pub struct Export {
    /// The model.
    pub model: &'static Model,
    /// Its plan: tensors and costs.
    pub plan: Plan,
    /// The cards, in the order of the plan, fp32 first.
    pub cards: Vec<Card>,
}

/// Exports `checkpoint` into `folder`. Cards of this model that are there are replaced if they are of the same
/// checkpoint. Of another one they are refused, all of them, for a recipe finds a graph by its name alone; with
/// `options.force` they go, with their graphs.
///
/// # Errors
/// [`ExportError`]; nothing is left in `folder` then, and what was there before is still there.
pub fn export(
    checkpoint: &Checkpoint,
    options: &Options,
    validator: &Validator,
    folder: &Path,
) -> Result<Export, ExportError> {
    let (model, plan) = Model::of(checkpoint, options.head_size)?;
    export_plan(checkpoint, model, plan, options, validator, folder)
}

/// The same of a model whose sizes are known, where no tensor's shape tells all of them.
///
/// # Errors
/// Those of [`export`], tensors that do not fit aside: those that are not there cannot be read.
pub fn export_plan(
    checkpoint: &Checkpoint,
    model: &'static Model,
    plan: Plan,
    options: &Options,
    validator: &Validator,
    folder: &Path,
) -> Result<Export, ExportError> {
    let plan = match options.tokens {
        Some(grid) => plan.with_tokens(grid)?,
        None => plan,
    };
    let work = Partial::begin(&folder.join(&plan.stem)).map_err(ExportError::io(folder))?;
    let sha256 = checkpoint.sha256()?;
    let others = occupied::find(folder, &plan, &sha256)?;
    if !options.force {
        occupied::refuse(folder, &others, checkpoint.name(), &sha256)?;
    }
    let others = [others, occupied::tokens(folder, &plan)?].concat();
    let made = work.folder();
    let writer = Writer { checkpoint, sha256: &sha256, model, plan: &plan, options, validator, folder: &made };
    let cards = writer.write()?;
    let names = published(&made)?;
    work.commit_beside(&names).map_err(|failed| ExportError::io(failed.path)(failed.source))?;
    occupied::remove(folder, &others, &names)?;
    Ok(Export { model, plan, cards })
}

/// The files in `made`, in the order in which they get their names: weights first, cards last, so that a card never
/// speaks of a file that is not there yet.
fn published(made: &Path) -> Result<Vec<PathBuf>, ExportError> {
    let entries = fs::read_dir(made).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(ExportError::io(made))?;
    let mut names: Vec<PathBuf> = entries.into_iter().map(|entry| entry.file_name().into()).collect();
    let turn = |name: &PathBuf| {
        ["weights", "onnx", "toml"].iter().position(|kind| name.extension().is_some_and(|e| e == *kind))
    };
    names.retain(|name| turn(name).is_some());
    names.sort_by_key(|name| (turn(name), name.clone()));
    Ok(names)
}
