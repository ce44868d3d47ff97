//! What ends a training run.
//!
//! Every message names the file or the place, what was expected and what was found.

use std::io;
use std::path::{Path, PathBuf};

use egofx::benchmark::BenchmarkError;
use egofx::checkpoint::CheckpointError;
use egofx::decode::ToolsError;
use egofx::export::ExportError;
use egofx::features::FeatureError;
use egofx::heads::HeadError;
use egofx::labels::LabelError;
use egofx::metric::MetricError;
use egofx::stop::Cause;
use egofx::store::StoreError;
use egofx::text::TextError;

use crate::backbones::error::BackboneError;
use crate::corpora::error::ClipError;
use crate::curves::CurvesError;
use crate::native::NativeError;

/// What ends a training run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An experiment file cannot be used.
    #[error("{}: {why}", .path.display())]
    Experiment {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something that the head needs was not given.
    #[error("--{name} is needed: {about}")]
    Needed {
        /// Its name, as typed.
        name: &'static str,
        /// What it should hold.
        about: &'static str,
    },
    /// Files that do not hold what they should.
    #[error("{}: expected {expected}, found {found}", .path.display())]
    Unexpected {
        /// The file or folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Weights that are not those of the head.
    #[error("{}: not the weights of {head}: {why}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The head.
        head: String,
        /// Which are missing, unknown, or of another shape.
        why: String,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} in epoch {epoch}, step {step} ({parts}); the last checkpoint is unharmed. A lower learning \
         rate or a clipped gradient may help"
    )]
    Diverged {
        /// The loss.
        loss: f64,
        /// The epoch, from 1.
        epoch: u64,
        /// The step, from 1.
        step: u64,
        /// Its parts.
        parts: String,
    },
    /// Ctrl-C, or a termination by the cluster.
    #[error(
        "interrupted in epoch {epoch} after step {step}, where a checkpoint was written; --resume goes on from there"
    )]
    Interrupted {
        /// Which of the two.
        cause: Cause,
        /// The epoch, from 1.
        epoch: u64,
        /// Steps of the epoch that are done.
        step: u64,
    },
    /// The same, of work that goes file by file.
    #[error("stopped after {done} of {count} files; the same command goes on from there")]
    Stopped {
        /// Which of the two.
        cause: Cause,
        /// Files that are done.
        done: usize,
        /// Files in all.
        count: usize,
    },
    /// The folder holds a run already.
    #[error("{}: there is a run already; --resume goes on with it, --force begins anew", .path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A run that cannot be gone on with.
    #[error("{}: {why}", .path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The operating system refuses.
    #[error("cannot {action} {}: {cause}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Stores, annotations or predictions of a head that cannot be used.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// Features or tokens that cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// Queries that no labels can be made of.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// A store that cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Annotations that cannot be read.
    #[error(transparent)]
    Annotations(#[from] BenchmarkError),
    /// Predictions or annotations that cannot be scored.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// A graph that cannot be written, or does not run.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A checkpoint that cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Curves that cannot be drawn.
    #[error(transparent)]
    Curves(#[from] CurvesError),
    /// The processes that train together have lost each other.
    #[error("rank {rank} of {size}: {why}; the last checkpoint is unharmed, and --resume goes on from there")]
    Rank {
        /// This process.
        rank: usize,
        /// How many there are.
        size: usize,
        /// What happened.
        why: String,
    },
    /// Too many clips in a row that cannot be read.
    #[error("{tries} clips in a row cannot be read, the last one: {why}")]
    Clip {
        /// How many.
        tries: usize,
        /// What is wrong with the last one, its file included.
        why: String,
    },
    /// A clip that cannot be read and that nothing may replace.
    #[error(transparent)]
    Frames(#[from] ClipError),
    /// There is no ffmpeg.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// There is no tokenizer, or it cannot be used.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Settings or a batch that no backbone takes.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// Samples that do not fit the network.
    #[error("{head}: {why}")]
    Batch {
        /// The head.
        head: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Libtorch refuses.
    #[error("libtorch: {0}")]
    Native(#[from] NativeError),
    /// Libtorch refuses.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl TrainError {
    /// For `map_err`: the operating system refused to do `action` to `path`.
    pub fn io<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Self + 'p {
        move |cause| Self::Io { action, path: path.to_owned(), cause }
    }

    /// Something else in a file.
    pub fn unexpected(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}
