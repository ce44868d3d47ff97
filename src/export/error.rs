//! What can go wrong while a checkpoint becomes graphs.

use std::path::PathBuf;

use crate::arch::{Differences, ShapeError, listed};
use crate::backbone::BackboneError;
use crate::checkpoint::CheckpointError;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A graph that was written cannot be run.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// The tensors are of no model that egofx knows.
    #[error("{checkpoint} is no checkpoint of a model that egofx knows ({known}): its tensors are {}", listed(found))]
    UnknownModel {
        /// The checkpoint.
        checkpoint: String,
        /// Names of known models.
        known: String,
        /// The names that were found.
        found: Vec<String>,
    },
    /// Tensors that are missing, unknown or of another shape. Nothing is loaded in part.
    #[error("{checkpoint} does not fit {model}:{differences}")]
    Mismatch {
        /// The checkpoint.
        checkpoint: String,
        /// The model.
        model: String,
        /// What does not fit.
        differences: Differences,
    },
    /// The model's sizes contradict each other or the request.
    #[error(transparent)]
    Shapes(#[from] ShapeError),
    /// A weight is not a finite number.
    #[error(
        "tensor {tensor} holds {value} at position {position}, a finite number was expected: the checkpoint is damaged or its training diverged"
    )]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Where, counted in elements.
        position: usize,
        /// NaN or infinity.
        value: f32,
    },
    /// A running variance below 0.
    #[error(
        "tensor {tensor} holds {value} at position {position}, a variance of 0 or more was expected: the checkpoint is damaged"
    )]
    NegativeVariance {
        /// The tensor.
        tensor: String,
        /// Where, counted in elements.
        position: usize,
        /// What it holds.
        value: f32,
    },
    /// A weight is of a type that holds no weights.
    #[error("tensor {tensor} holds {found}, floating-point numbers were expected")]
    NotFloat {
        /// The tensor.
        tensor: String,
        /// Its element type.
        found: &'static str,
    },
    /// A graph of lower precision is too far from the fp32 one.
    #[error(
        "{graph}: output {output} has cosine {cosine:.6} to fp32, at least {least} is required; nothing was written"
    )]
    Inaccurate {
        /// The graph.
        graph: String,
        /// The output.
        output: String,
        /// The lowest cosine found.
        cosine: f64,
        /// The limit.
        least: f64,
    },
    /// A model without patches.
    #[error(
        "{model} has no tokens of patches: a graph of them is made of EgoVLP, EgoVLPv2 and LaViLa; leave --tokens out"
    )]
    NoTokens {
        /// The model.
        model: String,
    },
    /// Patches that cannot be shared out evenly.
    #[error("--tokens={places}: a frame of {model} has {patches} x {patches} patches, expected one of {}", expected.join(", "))]
    TokenGrid {
        /// The model.
        model: String,
        /// The places along a side that were asked for.
        places: usize,
        /// Patches along a side.
        patches: usize,
        /// Numbers of places that divide it.
        expected: Vec<String>,
    },
    /// Cards of another checkpoint bear the names that the export gives.
    #[error(
        "{} holds {} of {held}, not of {given}: recipes find a graph by its name alone. Give this checkpoint a folder of its own (--out DIR; `egofx extract` takes it by --models DIR), or replace what is there with --force",
        folder.display(),
        listed(cards)
    )]
    Occupied {
        /// The folder.
        folder: PathBuf,
        /// The cards in it.
        cards: Vec<String>,
        /// The checkpoint that the first of them is of.
        held: String,
        /// The checkpoint that is exported.
        given: String,
    },
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A card that cannot be written as TOML.
    #[error("card of {graph}: {source}")]
    Card {
        /// The graph.
        graph: String,
        /// Why not.
        source: Box<toml::ser::Error>,
    },
}

impl ExportError {
    /// For `map_err`: an error about `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
