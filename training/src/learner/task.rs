//! The trait of a task: the samples of a benchmark, and what predictions for them are worth.
//!
//! Not for networks or tensors.

use std::hash::Hash;
use std::path::{Path, PathBuf};

use egofx::compat::Compat;
use egofx::heads::Submission;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::corpora::choice::Choice;
use crate::corpora::frames::Clips;
use crate::corpora::listed::ClipRef;
use crate::error::TrainError;
use crate::sources::{Fold, Sources, Split};

/// What is predicted of samples, in the order in which they were asked for.
pub type Predictions<T> = Vec<(<T as Task>::Sample, <T as Task>::Prediction)>;

/// The samples of a benchmark, opened.
pub trait Task: Sized + Sync + 'static {
    /// Its name, which is also that of the command.
    const NAME: &'static str;
    /// Its name among the evaluators of `egofx eval`.
    const EVALUATOR: &'static str = Self::NAME;
    /// What is trained, for people: the name in full, and what is asked for.
    const ABOUT: &'static str;
    /// Which of the [`OPTIONS`](crate::sources::OPTIONS) training reads.
    const READS: &'static [&'static str];

    /// What an experiment says of its files.
    type Settings;
    /// What is predicted for: mostly a number. Samples to learn from are numbers always.
    type Sample: Copy + Eq + Hash + Send + Sync + Serialize + DeserializeOwned;
    /// What is predicted of one sample.
    type Prediction: Send + Serialize + DeserializeOwned;

    /// Opens what is learnt from, or predicted on.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    fn open(settings: &Self::Settings, compat: Compat, sources: &Sources) -> Result<Self, TrainError>;

    /// Whether the samples can be learnt from: looks for what predictions do without.
    ///
    /// # Errors
    /// Truths that were not given, or do not fit the samples.
    fn expect_truths(&self) -> Result<(), TrainError> {
        Ok(())
    }

    /// Whether any of the samples to predict on has a truth, without which there are no scores; that of a split that is not
    /// published has none.
    fn has_truths(&self) -> bool {
        true
    }

    /// Writes what a prediction needs beside the weights into the folder of the experiment.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    fn keep(&self, _folder: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// What a person should know of the data that was opened, or read since this was last asked.
    fn remarks(&self) -> Vec<String> {
        vec![]
    }

    /// The folds of a benchmark; the usual one trains on one split and validates on another.
    fn folds(&self) -> Vec<Fold<Self::Sample>>;

    /// All samples to predict on, where nothing is learnt.
    fn samples(&self) -> Vec<Self::Sample>;

    /// What reads its clips, by which rule, and all of its clips; `None` if they cannot be decoded beforehand.
    fn clips(&self) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        None
    }

    /// The official scores of predictions for all samples of a split, by the names that `egofx eval` gives them. Of no
    /// predictions they have the same names.
    ///
    /// # Errors
    /// Predictions that do not fit the truths.
    fn score(&self, predictions: &[(Self::Sample, Self::Prediction)]) -> Result<Vec<(String, f64)>, TrainError>;

    /// What predictions on these sources are scored with, by the names of the evaluator's inputs.
    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        sources.split(Split::Whole).map(|path| ("annotations", path.to_owned())).into_iter().collect()
    }

    /// The predictions as the benchmark's server or evaluator takes them.
    ///
    /// # Errors
    /// Samples that cannot be named.
    fn submission(&self, predictions: &[(Self::Sample, Self::Prediction)]) -> Result<Submission, TrainError>;
}
