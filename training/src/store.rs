//! Clips of an experiment, decoded beforehand.
//!
//! Not for their files, which `corpora::stored` has.

use std::path::Path;

use egofx::store::Shard;

use crate::corpora::stored::{self, Plan, Written};
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::learner::Learner;
use crate::sources::Sources;

/// What is asked for.
pub struct Request<'r> {
    /// The experiment whose clips are stored.
    pub experiment: &'r Experiment,
    /// Its videos and annotations.
    pub sources: &'r Sources,
    /// The folder to write.
    pub folder: &'r Path,
    /// Frames that are stored for each one that the network sees.
    pub choices: u32,
    /// Clips in a file.
    pub per_file: usize,
    /// The part of the files that is made here.
    pub shard: Shard,
    /// Is told how many files are done, and of how many.
    pub done: &'r dyn Fn(usize, usize),
}

/// Stores the clips of learner `L`.
///
/// # Errors
/// Annotations that cannot be read, a learner without clips, a folder that cannot be written.
pub fn run<L: Learner>(request: &Request) -> Result<Written, TrainError> {
    let Request { experiment, sources, folder, choices, per_file, shard, done } = *request;
    let why = |why| TrainError::Experiment { path: "the experiment".into(), why };
    let settings: L::Settings = experiment.settings().map_err(why)?;
    let data = L::open(&settings, experiment.behaviour, sources)?;
    let no_clips = || why(format!("{} has no clips that could be decoded beforehand", L::NAME));
    let (clips, choice, list) = L::clips(&data).ok_or_else(no_clips)?;
    let frames = clips.frames().saturating_mul(choices.max(1));
    stored::write(&Plan { folder, frames, per_file, shard }, clips, choice, &list, done)
}
