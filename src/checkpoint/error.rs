//! What can go wrong with a checkpoint.
//!
//! Every variant names the file, what was found and what was expected. Not for weights that are wrong for a model, which
//! is the exporter's finding. No variant means that anything from a pickle was run.

use std::io;
use std::path::{Path, PathBuf};

use crate::foreign::Panicked;

/// Why a checkpoint could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `rename`, ...
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{}: expected a checkpoint (torch.save or safetensors), found {found}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// The file ends too early.
    #[error("{} is cut short: expected {expected}, found {length} bytes; fetch the file again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        expected: String,
        /// The file's length.
        length: u64,
    },
    /// The file contradicts itself.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file claims to hold far more than its length can carry.
    #[error("{}: {what} would take {declared} bytes, expected at most {limit} of a file of {length} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Whose bytes they are.
        what: &'static str,
        /// The bytes that the file promises.
        declared: u64,
        /// The bytes that are believed.
        limit: u64,
        /// The file's length.
        length: u64,
    },
    /// No weights where weights are looked for.
    #[error(
        "{}: no tensors in state_dict_ema, model_ema, state_dict, model_state_dict, model_state, model, trunk or at the top \
         (found: {})", path.display(), listed(found)
    )]
    NoTensors {
        /// The file.
        path: PathBuf,
        /// The keys at the top.
        found: Vec<String>,
    },
    /// Only some names carry the prefix of a distributed wrapper.
    #[error("{}: {with:?} begins with \"module.\", {without:?} does not; expected all names or none", path.display())]
    MixedPrefix {
        /// The file.
        path: PathBuf,
        /// The first name with the prefix.
        with: String,
        /// The first name without.
        without: String,
    },
    /// A tensor of a type that no supported model has.
    #[error("{}: tensor {tensor:?} is {found}, expected {}", path.display(), super::Dtype::known())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// A file of features with several tensors, or with none that is one.
    #[error("{}: expected one tensor, or a dict with one, found {}", path.display(), listed(found))]
    NotOneTensor {
        /// The file.
        path: PathBuf,
        /// The names of its tensors.
        found: Vec<String>,
    },
    /// The tensor asked for is not there.
    #[error("{checkpoint} holds no tensor {tensor:?}")]
    NoTensor {
        /// Name of the checkpoint.
        checkpoint: String,
        /// The tensor.
        tensor: String,
    },
    /// Whole numbers where floats are needed.
    #[error("expected a tensor of floats, found {found}")]
    NotFloat {
        /// The type found.
        found: &'static str,
    },
    /// A tensor given to a writer is not the one that was announced.
    #[error("tensor {tensor:?}: {expected} bytes were announced, {found} came")]
    Announced {
        /// The tensor.
        tensor: String,
        /// Bytes by dtype and shape.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
}

impl CheckpointError {
    /// For `map_err`: [`CheckpointError::Io`] that waits for its error.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }

    /// For `map_err`: [`CheckpointError::Damaged`] in the words of a library.
    pub(super) fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |error| Self::Damaged { path: path.to_owned(), why: error.to_string() }
    }

    /// For `unwrap_or_else`: [`CheckpointError::Damaged`] of a file on which a library gave up.
    pub(super) fn panicked<T>(path: &Path) -> impl FnOnce(Panicked) -> Result<T, Self> {
        move |panicked| Err(Self::Damaged { path: path.to_owned(), why: panicked.to_string() })
    }
}

/// The first names of a list, for one line.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}
