//! MQ as a task: what is learnt from, what is validated on, and the official scores.
//!
//! Not for samples and features, which `egofx::heads::mq` opens. A sample is a clip; all heads give proposals, which the root
//! package turns into the two tracks of a submission and scores.

use std::path::Path;

use egofx::compat::Compat;
use egofx::heads::Submission;
pub use egofx::heads::mq::{CLASSES_FILE, Moment, Mq, Sample, Settings};
use egofx::metric::mq::official;
use egofx::metric::postprocess::Proposal;

use crate::error::TrainError;
use crate::learner::Task;
use crate::sources::{Fold, Sources, Split};

impl Task for Mq {
    const NAME: &'static str = "mq";
    const ABOUT: &'static str = "Train for moment queries (MQ): when in a clip which activities happen";
    const READS: &'static [&'static str] =
        &["features", "join-rows", "join-units", "train", "val", "classes", "allow-missing", "memory"];

    type Settings = Settings;
    type Sample = usize;
    type Prediction = Vec<Proposal>;

    /// Clips without features are an error unless those are allowed; so are other classes than the network has, and labels that
    /// are no classes.
    fn open(wanted: &Settings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        Ok(Self::read(wanted, compat, &sources.files())?)
    }

    /// The classes, for predictions of annotations that do not name all of them.
    fn keep(&self, folder: &Path) -> Result<(), TrainError> {
        Ok(Self::keep(self, folder)?)
    }

    fn folds(&self) -> Vec<Fold> {
        let (train, validation) = (self.of_split(Split::Train), self.of_split(Split::Validation));
        vec![Fold { name: String::new(), train, validation }]
    }

    fn samples(&self) -> Vec<usize> {
        self.of_split(Split::Whole)
    }

    fn has_truths(&self) -> bool {
        Task::samples(self).into_iter().any(|number| !self.moments(number).is_empty())
    }

    fn score(&self, predictions: &[(usize, Vec<Proposal>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let (annotations, submission) = self.tracks(predictions);
        Ok(official(&annotations, &submission, self.compat()).scores().collect())
    }

    fn submission(&self, predictions: &[(usize, Vec<Proposal>)]) -> Result<Submission, TrainError> {
        Ok(Self::submission(self, predictions))
    }
}
