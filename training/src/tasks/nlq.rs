//! NLQ as a task: what is learnt from, what is validated on, and the official scores.
//!
//! Not for samples and features, which `egofx::heads::nlq` opens. A query is a sample whose number is its place in the files that
//! were given.

use egofx::compat::Compat;
use egofx::heads::Submission;
pub use egofx::heads::nlq::{Nlq, Sample, Settings};
use egofx::metric::Window;
use egofx::metric::nlq::{self as metric, Answer};

use crate::error::TrainError;
use crate::learner::Task;
use crate::sources::{Fold, Sources, Split};

/// The shortest window that is learnt from unless faults are reproduced: one frame.
const SHORTEST_SEC: f64 = 1.0 / 30.0;

impl Task for Nlq {
    const NAME: &'static str = "nlq";
    const ABOUT: &'static str = "Train for natural language queries (NLQ): when a clip answers a question";
    const READS: &'static [&'static str] =
        &["features", "join-rows", "join-units", "tokens", "train", "val", "allow-missing", "memory"];

    type Settings = Settings;
    type Sample = usize;
    /// Windows in seconds of the clip, best first.
    type Prediction = Vec<Window>;

    /// Queries without features are an error unless those are allowed.
    fn open(wanted: &Settings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        Ok(Self::read(wanted, compat, &sources.files())?)
    }

    /// Queries whose window is shorter than a frame are learnt from only where faults are reproduced: no row
    /// overlaps such a window, and the original then teaches the clip's first row.
    fn folds(&self) -> Vec<Fold> {
        let long = |sample: &Sample| sample.window[1] - sample.window[0] > SHORTEST_SEC;
        let learnt = |&number: &usize| self.compat() == Compat::AsReleased || long(self.sample(number));
        let train = self.of_split(Split::Train).into_iter().filter(learnt).collect();
        vec![Fold { name: String::new(), train, validation: self.of_split(Split::Validation) }]
    }

    fn samples(&self) -> Vec<usize> {
        self.of_split(Split::Whole)
    }

    /// Windows that are not published are read as empty ones.
    fn has_truths(&self) -> bool {
        Task::samples(self).into_iter().map(|number| self.sample(number).window).any(|[start, end]| end > start)
    }

    fn score(&self, predictions: &[(usize, Vec<Window>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let answer = |(number, windows): &(usize, Vec<Window>)| Answer {
            predicted: windows.clone(),
            truth: self.sample(*number).window.into(),
        };
        let answers: Vec<Answer> = predictions.iter().map(answer).collect();
        let score = metric::score(&answers, 0, self.compat());
        let mut scores = Vec::new();
        for (rank, row) in metric::RANKS.iter().zip(score.recall) {
            let names = metric::THRESHOLDS.iter().map(|threshold| format!("R@{rank} IoU>{threshold}"));
            scores.extend(names.zip(row));
        }
        let means = [("mean R@1", score.mean_recall(0)), ("mean R@5", score.mean_recall(2)), ("mIoU", score.mean_iou)];
        scores.extend(means.map(|(name, value)| (name.to_owned(), value)));
        Ok(scores)
    }

    fn submission(&self, predictions: &[(usize, Vec<Window>)]) -> Result<Submission, TrainError> {
        Ok(Self::submission(self, predictions))
    }
}
