//! What a benchmark of retrieval says of itself: its annotations, its sentences, its scores.

use std::path::{Path, PathBuf};

use egofx::compat::Compat;
use egofx::ndarray::Array2;

use crate::corpora::listed::Listed;
use crate::error::TrainError;
use crate::pretraining::Backbone;
use crate::rng::Generator;
use crate::sources::Sources;

/// A benchmark.
pub trait Benchmark: Sized + Sync + 'static {
    /// Its name among the commands, and among the evaluators.
    const TASK: &'static str;
    /// What is trained, for people.
    const TASK_ABOUT: &'static str;
    /// What training reads, by the names of options.
    const READS: &'static [&'static str] = &["videos", "clip-cache", "tokenizer", "train", "val", "memory"];
    /// Its name among the manifests.
    const LISTED_AS: &'static str;
    /// What the evaluator calls the list of the rows' names.
    const NAMES: &'static str;
    /// What its annotations are.
    const ABOUT: &'static str;
    /// By which rules sentences are tokenised to learn from, and to be compared with.
    const RULES: [&'static str; 2];

    /// Reads what it needs beside clips: of the split to learn from, if that was given, and of the test.
    ///
    /// # Errors
    /// Files that are missing, or that are not what they should be.
    fn open(train: Option<&Source>, test: &Source, sources: &Sources) -> Result<Self, TrainError>;

    /// A sentence for a row to learn from, and how relevant it is, from 0 to 1.
    fn sentence<'b>(&'b self, train: &'b Listed, row: usize, draw: &mut Generator) -> (&'b str, f64);

    /// The sentences that clips are compared with.
    fn sentences(&self) -> &[String];

    /// What cosines are scored with, the annotations and what lies beside them, by the names of the evaluator's inputs.
    fn truths(annotations: &Path) -> Vec<(&'static str, PathBuf)> {
        vec![("annotations", annotations.to_owned())]
    }

    /// The official scores of cosines `[clips, sentences]` of these clips, by the names that `egofx eval` gives them.
    ///
    /// # Errors
    /// A matrix of another shape.
    fn score(&self, clips: &[&str], cosines: Array2<f64>, compat: Compat) -> Result<Vec<(String, f64)>, TrainError>;
}

/// Annotations and their file.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What it lists.
    pub listed: Listed,
}

/// A backbone as the learner of a benchmark.
pub trait On<K: Benchmark>: Backbone {
    /// The learner's name in experiment files.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
}
