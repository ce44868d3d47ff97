//! The heads as graphs: what each is fed, and what becomes of what it gives.
//!
//! Not for opening graphs or files. To add a head, implement [`Network`] here and name it in `predict`.

use std::path::PathBuf;

use ndarray::ArrayView2;
use serde::de::DeserializeOwned;

use super::error::HeadError;
use super::nlq::{self, Nlq};
use super::session::{HeadSession, floats, ints};
use super::sources::{Files, Split};
use super::submission::Submission;
use super::vslnet::Batch;
use crate::backbone::HeadCard;
use crate::compat::Compat;
use crate::metric::Window;

/// The samples of a benchmark, opened.
pub trait Samples: Sized {
    /// The benchmark, as `egofx eval` names it.
    const TASK: &'static str;
    /// What is opened.
    type Settings;
    /// What is predicted of a sample.
    type Prediction;

    /// Opens stores and annotations.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    fn read(settings: &Self::Settings, compat: Compat, files: &Files) -> Result<Self, HeadError>;

    /// Samples of a fold, or of all of them where `fold` is empty; `None` if there is no such fold.
    fn of_fold(&self, fold: &str) -> Option<Vec<usize>>;

    /// What predictions are scored with, by the names of the evaluator's inputs.
    fn truths(files: &Files) -> Vec<(&'static str, PathBuf)> {
        files.split(Split::Whole).map(|path| ("annotations", path.to_owned())).into_iter().collect()
    }

    /// Predictions in the official form.
    fn submission(&self, predictions: &[(usize, Self::Prediction)]) -> Submission;
}

/// A head whose network is a graph.
pub trait Network {
    /// The learner, as experiment files name it.
    const NAME: &'static str;
    /// The benchmark.
    type Samples: Samples;
    /// What its card says.
    type Settings: DeserializeOwned;

    /// What of the card says what is opened.
    fn samples(settings: &Self::Settings, card: &HeadCard) -> <Self::Samples as Samples>::Settings;

    /// Predicts for samples that are computed together.
    ///
    /// # Errors
    /// Features that cannot be read or do not fit, a graph that fails.
    fn predict(
        session: &mut HeadSession,
        settings: &Self::Settings,
        task: &Self::Samples,
        samples: &[usize],
    ) -> Result<Predictions<Self>, HeadError>;
}

/// What a head predicts.
pub type Predictions<N> = Vec<(usize, <<N as Network>::Samples as Samples>::Prediction)>;

impl Samples for Nlq {
    const TASK: &'static str = "nlq";
    type Settings = nlq::Settings;
    type Prediction = Vec<Window>;

    fn read(settings: &nlq::Settings, compat: Compat, files: &Files) -> Result<Self, HeadError> {
        Self::read(settings, compat, files)
    }

    fn of_fold(&self, fold: &str) -> Option<Vec<usize>> {
        fold.is_empty().then(|| self.of_split(Split::Whole))
    }

    fn submission(&self, predictions: &[(usize, Vec<Window>)]) -> Submission {
        self.submission(predictions)
    }
}

/// VSLNet: `video` and `query` with their masks, to probabilities `start` and `end` of each position.
pub struct Vslnet;

impl Network for Vslnet {
    const NAME: &'static str = "vslnet";
    type Samples = Nlq;
    type Settings = nlq::Settings;

    fn samples(settings: &nlq::Settings, _: &HeadCard) -> nlq::Settings {
        settings.clone()
    }

    fn predict(
        session: &mut HeadSession,
        _: &nlq::Settings,
        task: &Nlq,
        samples: &[usize],
    ) -> Result<Predictions<Self>, HeadError> {
        let batch = Batch::read(task, samples)?;
        let feeds = [
            floats("video", &batch.video.values),
            ints("video_mask", &batch.video.mask),
            floats("query", &batch.query.values),
            ints("query_mask", &batch.query.mask),
        ];
        let [starts, ends] = session.run(&feeds, ["start", "end"])?;
        let shape = batch.video.mask.dim();
        let [starts, ends] = [matrix("vslnet", shape, &starts)?, matrix("vslnet", shape, &ends)?];
        Ok(batch.windows(starts, ends))
    }
}

/// Numbers as rows and columns.
fn matrix<'v>(head: &'static str, shape: (usize, usize), values: &'v [f32]) -> Result<ArrayView2<'v, f32>, HeadError> {
    ArrayView2::from_shape(shape, values).map_err(|_| {
        let why = format!("its graph gave {} numbers, expected {shape:?}", values.len());
        HeadError::Batch { head, why }
    })
}
