//! QFVS as a task: each video is left out of what is learnt from in turn.
//!
//! Not for samples and features, which `egofx::heads::qfvs` opens. A sample is a pair of concepts of one video.

use std::path::PathBuf;

use egofx::compat::Compat;
use egofx::heads::Submission;
pub use egofx::heads::qfvs::{Qfvs, Sample, Settings, summary};
use egofx::labels::qfvs::Video;

use crate::error::TrainError;
use crate::learner::Task;
use crate::sources::{Fold, Sources};

impl Task for Qfvs {
    const NAME: &'static str = "qfvs";
    const ABOUT: &'static str = "Train for query-focused video summarisation (QFVS): which shots show two concepts";
    const READS: &'static [&'static str] =
        &["features", "join-rows", "join-units", "shots", "annotations", "tags", "allow-missing", "memory"];

    type Settings = Settings;
    type Sample = usize;
    /// Scores of all shots of the video, in order of time.
    type Prediction = Vec<f64>;

    /// Cuts the videos. Videos without shots and pairs without features are an error unless those are allowed.
    fn open(wanted: &Settings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        Ok(Self::read(wanted, compat, &sources.files())?)
    }

    /// Labels, tags, summaries within their videos.
    fn expect_truths(&self) -> Result<(), TrainError> {
        Ok(Self::expect_truths(self)?)
    }

    fn has_truths(&self) -> bool {
        Self::expect_truths(self).is_ok()
    }

    /// One fold for each video, which is left out of what is learnt from.
    fn folds(&self) -> Vec<Fold> {
        let fold = |(place, video): (usize, &Video)| {
            let (validation, train) = (0..self.count()).partition(|&number| self.sample(number).video == place);
            Fold { name: video.uid.to_string(), train, validation }
        };
        self.videos().iter().enumerate().map(fold).collect()
    }

    fn samples(&self) -> Vec<usize> {
        (0..self.count()).collect()
    }

    /// Means over the pairs of a video, and over videos.
    fn score(&self, predictions: &[(usize, Vec<f64>)]) -> Result<Vec<(String, f64)>, TrainError> {
        Ok(Self::score(self, predictions)?)
    }

    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        Self::truths(&sources.files())
    }

    fn submission(&self, predictions: &[(usize, Vec<f64>)]) -> Result<Submission, TrainError> {
        Ok(Self::submission(self, predictions))
    }
}
