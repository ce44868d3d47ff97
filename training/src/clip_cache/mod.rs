//! Clips of an experiment, decoded beforehand.
//!
//! [`writer`] makes the files, and [`corpora::cached`](crate::corpora::cached) reads them back in training.

pub mod writer;

use std::path::Path;

use egofx::shard::Shard;
use egofx::stop::Stop;

use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::learner::{Dataset, Model, Task};
use crate::sources::Sources;

use writer::{Plan, Written};

/// What is asked for.
pub struct Request<'r> {
    /// The experiment whose clips are kept.
    pub experiment: &'r Experiment,
    /// Its videos and annotations.
    pub sources: &'r Sources,
    /// The folder to write.
    pub folder: &'r Path,
    /// Frames that are stored for each one that the network sees.
    pub frames_per_segment: u32,
    /// Clips in a file.
    pub per_file: usize,
    /// The part of the files that is made here.
    pub shard: Shard,
    /// Is told how many files are done, and of how many.
    pub done: &'r dyn Fn(usize, usize),
    /// By which it is stopped: the clips in work are finished, and their file is left to the next call.
    pub stop: &'r Stop,
}

/// Decodes and keeps the clips that model `M` learns from.
///
/// # Errors
/// Annotations that cannot be read, a learner without clips, a folder that cannot be written; [`TrainError::Stopped`].
pub fn run<M: Model>(request: &Request) -> Result<Written, TrainError> {
    let Request { experiment, sources, folder, frames_per_segment, per_file, shard, done, stop } = *request;
    let path = Path::new("the experiment");
    let Dataset { task, .. } = Dataset::<M>::open(path, experiment, sources)?;
    let why = format!("{} has no clips that could be decoded beforehand", M::NAME);
    let no_clips = || TrainError::Experiment { path: path.to_owned(), why };
    let (clips, choice, list) = task.clips().ok_or_else(no_clips)?;
    let frames = clips.frames().saturating_mul(frames_per_segment.max(1));
    writer::write(&Plan { folder, frames, per_file, shard, stop }, clips, choice, &list, done)
}
