//! The heads as graphs: what each is fed, and what becomes of what it gives.
//!
//! Not for opening graphs or files. To add a head, implement [`Network`] here and name it in `predict`.

use std::path::PathBuf;

use ndarray::{Array2, Array3, ArrayView2, Axis, s};
use serde::de::DeserializeOwned;

use super::actionformer::{self, Level, best, grid_of, in_seconds, padded_length};
use super::error::HeadError;
use super::mq::{self, Mq};
use super::nlq::{self, Nlq};
use super::qfvs::{self, Qfvs};
use super::session::{HeadSession, floats, ints};
use super::sources::{Files, Split};
use super::submission::Submission;
use super::summariser::{BOTH, Size, in_order};
use super::vsgn;
use super::vslnet::Batch;
use crate::backbone::HeadCard;
use crate::compat::Compat;
use crate::metric::Window;
use crate::metric::postprocess::{self, Proposal};

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
        let [starts, ends] = [matrix(Self::NAME, shape, &starts)?, matrix(Self::NAME, shape, &ends)?];
        Ok(batch.windows(starts, ends))
    }
}

impl Samples for Qfvs {
    const TASK: &'static str = "qfvs";
    type Settings = qfvs::Settings;
    type Prediction = Vec<f64>;

    fn read(settings: &qfvs::Settings, compat: Compat, files: &Files) -> Result<Self, HeadError> {
        Self::read(settings, compat, files)
    }

    /// A fold is the samples of a video.
    fn of_fold(&self, fold: &str) -> Option<Vec<usize>> {
        if fold.is_empty() {
            return Some((0..self.count()).collect());
        }
        let video = self.videos().iter().position(|video| video.uid.as_str() == fold)?;
        Some((0..self.count()).filter(|&number| self.sample(number).video == video).collect())
    }

    fn truths(files: &Files) -> Vec<(&'static str, PathBuf)> {
        Self::truths(files)
    }

    fn submission(&self, predictions: &[(usize, Vec<f64>)]) -> Submission {
        self.submission(predictions)
    }
}

/// The summary head: `features` of segments and their `mask` to `scores` of each place. Only the prompt of both concepts is
/// asked.
pub struct Summariser;

impl Network for Summariser {
    const NAME: &'static str = "qfvs";
    type Samples = Qfvs;
    type Settings = qfvs::Settings;

    fn samples(settings: &qfvs::Settings, _: &HeadCard) -> qfvs::Settings {
        settings.clone()
    }

    fn predict(
        session: &mut HeadSession,
        _: &qfvs::Settings,
        task: &Qfvs,
        samples: &[usize],
    ) -> Result<Predictions<Self>, HeadError> {
        let size = Size::of(task, samples);
        let mut predictions = Vec::with_capacity(samples.len());
        for &number in samples {
            let video = task.video(number);
            let features = size.packed(task.rows(number, BOTH)?.view(), video)?;
            let feeds = [floats("features", &features), ints("mask", &size.mask(video))];
            let [scores] = session.run(&feeds, ["scores"])?;
            let scores = matrix(Self::NAME, (size.segments, size.places), &scores)?;
            predictions.push((number, in_order(scores, &size.lengths(video))));
        }
        Ok(predictions)
    }
}

impl Samples for Mq {
    const TASK: &'static str = "mq";
    type Settings = mq::Settings;
    type Prediction = Vec<Proposal>;

    fn read(settings: &mq::Settings, compat: Compat, files: &Files) -> Result<Self, HeadError> {
        Self::read(settings, compat, files)
    }

    fn of_fold(&self, fold: &str) -> Option<Vec<usize>> {
        fold.is_empty().then(|| self.of_split(Split::Whole))
    }

    fn submission(&self, predictions: &[(usize, Vec<Proposal>)]) -> Submission {
        self.submission(predictions)
    }
}

/// ActionFormer: `features` of a clip and their `mask` to `probabilities` and `offsets` at the points of all levels.
pub struct ActionFormer;

impl Network for ActionFormer {
    const NAME: &'static str = "actionformer";
    type Samples = Mq;
    type Settings = actionformer::Settings;

    fn samples(settings: &actionformer::Settings, card: &HeadCard) -> mq::Settings {
        let postprocessor = settings.decode.suppression.postprocessor();
        let (features, names) = (settings.features.clone(), card.classes.clone());
        mq::Settings { features, classes: settings.classes, names, postprocessor }
    }

    fn predict(
        session: &mut HeadSession,
        settings: &actionformer::Settings,
        task: &Mq,
        samples: &[usize],
    ) -> Result<Predictions<Self>, HeadError> {
        let &actionformer::Settings { classes, max_length, length_multiple, levels, frames, .. } = settings;
        let mut predictions = Vec::with_capacity(samples.len());
        for &number in samples {
            let rows = task.rows(number)?;
            let (count, duration_sec) = (rows.nrows(), task.sample(number).clip.duration_sec);
            let length = padded_length(count, max_length, length_multiple);
            let mut features = Array3::zeros((1, rows.ncols(), length));
            features.slice_mut(s![0, .., ..count]).assign(&rows.t());
            let mask = Array2::from_shape_fn((1, length), |(_, step)| i64::from(step < count));
            let feeds = [floats("features", &features), ints("mask", &mask)];
            let [probabilities, offsets] = session.run(&feeds, ["probabilities", "offsets"])?;
            let points: usize = (0..levels).map(|level| length >> level).sum();
            let probabilities = matrix(Self::NAME, (points, classes), &probabilities)?;
            let offsets = matrix(Self::NAME, (points, 2), &offsets)?;
            let (mut first, mut proposals) = (0, Vec::new());
            for level in 0..levels {
                let places = first..first + (length >> level);
                let [probabilities, offsets] =
                    [probabilities, offsets].map(|all| all.slice_move(s![places.clone(), ..]));
                let level = Level {
                    probabilities: probabilities.to_slice().unwrap_or_default(),
                    offsets: offsets.to_slice().unwrap_or_default(),
                    stride: f32::powi(2.0, level as i32),
                };
                proposals.extend(level.proposals(classes, &settings.decode));
                first = places.end;
            }
            let grid = grid_of(frames, count, duration_sec, task.compat());
            predictions.push((number, in_seconds(&best(proposals, &settings.decode), &grid)));
        }
        Ok(predictions)
    }
}

/// VSGN: `features` of a clip on its grid to `boxes` with their class `probabilities`, and curves of `starts` and `ends`.
pub struct Vsgn;

impl Network for Vsgn {
    const NAME: &'static str = "vsgn";
    type Samples = Mq;
    type Settings = vsgn::Settings;

    fn samples(settings: &vsgn::Settings, card: &HeadCard) -> mq::Settings {
        let (features, names) = (settings.features.clone(), card.classes.clone());
        // The network counts background.
        let classes = settings.classes.saturating_sub(1);
        mq::Settings { features, classes, names, postprocessor: &postprocess::vsgn::POSTPROCESSOR }
    }

    fn predict(
        session: &mut HeadSession,
        settings: &vsgn::Settings,
        task: &Mq,
        samples: &[usize],
    ) -> Result<Predictions<Self>, HeadError> {
        let mut predictions = Vec::with_capacity(samples.len());
        for &number in samples {
            let rows = task.rows(number)?;
            let grid = settings.grid.of(rows.nrows(), task.fps(number));
            let features = settings.grid.cells(rows.view(), &grid).reversed_axes().insert_axis(Axis(0));
            let mut feeds = vec![floats("features", &features)];
            if settings.grid.stitching {
                let copy_from = settings.grid.copy_from(grid.num_cells).unwrap_or(grid.length);
                let mask = Array2::from_shape_fn((1, grid.length), |(_, cell)| i64::from(cell >= copy_from));
                feeds.push(ints("copy_mask", &mask));
            }
            let [boxes, probabilities, starts, ends] =
                session.run(&feeds, ["boxes", "probabilities", "starts", "ends"])?;
            let (anchors, curve) = (boxes.len() / 2, (1, grid.length));
            let curve = |values: &[f32]| matrix(Self::NAME, curve, values).map(|row| row.row(0).mapv(f64::from));
            let clip = vsgn::ClipOutput {
                boxes: matrix(Self::NAME, (anchors, 2), &boxes)?.mapv(f64::from),
                probabilities: matrix(Self::NAME, (anchors, settings.classes), &probabilities)?.mapv(f64::from),
                starts: curve(&starts)?,
                ends: curve(&ends)?,
            };
            predictions.push((number, clip.proposals(&grid, &settings.grid)));
        }
        Ok(predictions)
    }
}

/// Numbers as rows and columns.
fn matrix<'v>(head: &'static str, shape: (usize, usize), values: &'v [f32]) -> Result<ArrayView2<'v, f32>, HeadError> {
    ArrayView2::from_shape(shape, values).map_err(|_| {
        let why = format!("its graph gave {} numbers, expected {shape:?}", values.len());
        HeadError::Batch { head, why }
    })
}
