//! The summary head as a head for QFVS: its samples, its batches, its scores as summaries.
//!
//! Not for the network. The three prompts of a pair of concepts are scored alike; only the prompt of both makes the
//! summary.

use std::path::PathBuf;

use egofx::compat::Compat;
use egofx::labels::qfvs::Video;
use egofx::qfvs::{LayoutError, SEGMENTS, SHOTS, pack};
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use super::loss::{Scored, loss};
use super::summary::{in_order, summary};
use super::{QfvsError, Settings, Summariser, lr_scale, places};
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::{Expected, Fold, Sources};
use crate::submission::Submission;
use crate::tasks::qfvs::{ClipRef, Qfvs};

/// Prompts of a sample: of each concept alone, and of both.
const PROMPTS: usize = 3;
/// The prompt of both concepts.
const BOTH: i64 = 2;
/// What the losses of the prompts are called.
const LOSSES: [&str; PROMPTS] = ["concept 1 loss", "concept 2 loss", "summary loss"];

/// The tables of an experiment with the summary head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of shots that met their prompts.
    pub features: Expected,
    /// The store of shots by whose rows videos are cut.
    pub shots: Expected,
    /// The network.
    pub model: Settings,
}

/// Pairs of concepts that are computed together.
pub struct Batch {
    samples: Vec<usize>,
    /// `[3 B, S, L, dim]`, the prompts of a sample side by side.
    features: Tensor,
    /// Shots of each segment, `[B, S]`.
    seg_len: Tensor,
    /// `[B, S, L, 3]`, 0 or 1.
    labels: Tensor,
}

/// The summary head for QFVS.
pub struct QfvsHead(Summariser);

impl Learner for QfvsHead {
    const NAME: &'static str = "qfvs";
    const TASK: &'static str = "qfvs";
    const ABOUT: &'static str =
        "a transformer over the shots of a segment, as EgoVLPv2 trains it, each video left out in turn";

    type Settings = Tables;
    type Data = Qfvs;
    type Batch = Batch;
    /// Scores `[B, 3, S, L]`.
    type Output = Tensor;
    /// Scores of all shots of the video, in order of time.
    type Prediction = Vec<f64>;

    fn open(settings: &Tables, compat: Compat, sources: &Sources) -> Result<Qfvs, TrainError> {
        Qfvs::open(&ClipRef { features: &settings.features, shots: &settings.shots, compat }, sources)
    }

    fn expect_truths(data: &Qfvs) -> Result<(), TrainError> {
        data.expect_truths()
    }

    fn folds(data: &Qfvs) -> Vec<Fold> {
        data.folds()
    }

    fn samples(data: &Qfvs) -> Vec<usize> {
        data.all()
    }

    fn new(path: &nn::Path, settings: &Tables, compat: Compat) -> Result<Self, String> {
        let (dim, width) = (settings.features.dim, settings.model.width);
        if dim as i64 != width {
            return Err(format!("model.width is {width}, expected features.dim = {dim}"));
        }
        Summariser::new(path, &settings.model, compat).map(Self).map_err(|error| error.to_string())
    }

    /// Everything decays, norms and biases included.
    fn param_group(_name: &str, shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Times(lr_scale(shape)) }
    }

    fn batch(data: &Qfvs, samples: &[usize], _draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        let size = Size::of(data, samples);
        let (mut features, mut labels, mut lengths) = (vec![], vec![], vec![]);
        for &number in samples {
            let video = data.video(number);
            for prompt in 0..PROMPTS {
                features.push(size.packed(data.rows(number, prompt)?.view(), video)?);
            }
            labels.push(size.packed(data.labels(number).view(), video)?);
            lengths.push(size.lengths(video));
        }
        Ok(Batch {
            samples: samples.to_vec(),
            features: Tensor::stack(&features, 0),
            seg_len: Tensor::stack(&lengths, 0),
            labels: Tensor::stack(&labels, 0),
        })
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let Batch { samples, features, seg_len, labels } = batch;
        let [features, seg_len, labels] = [features, seg_len, labels].map(|tensor| tensor.to_device(device));
        Batch { samples, features, seg_len, labels }
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Tensor, TrainError> {
        let Batch { features, seg_len, .. } = batch;
        let each_prompt = seg_len.repeat_interleave_self_int(PROMPTS as i64, 0, None);
        let why = |error: QfvsError| TrainError::Batch { head: Self::NAME, why: error.to_string() };
        let scores = self.0.forward(features, &each_prompt, train).map_err(why)?;
        Ok(scores.unflatten(0, [-1, PROMPTS as i64]))
    }

    fn losses(&self, scores: &Tensor, batch: &Batch, _context: &Context) -> Result<Losses, TrainError> {
        let part = |prompt: usize| {
            let (scores, labels) = (scores.select(1, prompt as i64), batch.labels.select(3, prompt as i64));
            loss(Scored { scores: &scores, labels: &labels }, &batch.seg_len)
        };
        let parts: Vec<(&str, Tensor)> = LOSSES.into_iter().zip((0..PROMPTS).map(part)).collect();
        let total = parts.iter().map(|(_, part)| part).sum();
        Ok(Losses { total, parts })
    }

    fn predictions(&self, scores: &Tensor, batch: &Batch) -> Vec<(usize, Vec<f64>)> {
        let scores = scores.select(1, BOTH).to_device(Device::Cpu);
        let seg_len = batch.seg_len.to_device(Device::Cpu);
        let of = |place: usize| in_order(&scores.get(place as i64), &seg_len.get(place as i64));
        batch.samples.iter().enumerate().map(|(place, &number)| (number, of(place))).collect()
    }

    fn score(data: &Qfvs, predictions: &[(usize, Vec<f64>)]) -> Result<Vec<(String, f64)>, TrainError> {
        data.score(predictions)
    }

    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        crate::tasks::qfvs::truths(sources)
    }

    fn submission(data: &Qfvs, predictions: &[(usize, Vec<f64>)]) -> Result<Submission, TrainError> {
        let summaries: Vec<_> = predictions.iter().map(|(number, scores)| (*number, summary(scores))).collect();
        Ok(data.submission(&summaries).into())
    }
}

/// Segments and places of a batch: no more than its samples need.
struct Size {
    segments: usize,
    places: usize,
}

impl Size {
    fn of(data: &Qfvs, samples: &[usize]) -> Self {
        let videos = || samples.iter().map(|&number| data.video(number).segments());
        let longest = videos().flatten().map(|segment| segment.len()).max().unwrap_or_default();
        let segments = videos().map(|segments| segments.len()).max().unwrap_or_default();
        Self { segments, places: places(longest, data.compat()) }
    }

    /// Rows `[shots, dim]` of a video as `[S, L, dim]`.
    fn packed(&self, rows: ArrayView2<f32>, video: &Video) -> Result<Tensor, TrainError> {
        let why = |error: LayoutError| TrainError::Batch { head: QfvsHead::NAME, why: error.to_string() };
        let packed = pack(rows, &video.change_points).map_err(why)?;
        let values = Tensor::from_slice(packed.features.as_slice().unwrap_or_default());
        let values = values.view([SEGMENTS as i64, SHOTS as i64, rows.ncols() as i64]);
        Ok(values.narrow(0, 0, self.segments as i64).narrow(1, 0, self.places as i64))
    }

    /// Shots of each segment, `[S]`.
    fn lengths(&self, video: &Video) -> Tensor {
        let lengths: Vec<i64> = video.segments().iter().map(|segment| segment.len() as i64).collect();
        let lengths = Tensor::from_slice(&lengths);
        let absent = self.segments as i64 - lengths.size()[0];
        Tensor::cat(&[lengths, Tensor::zeros([absent], (Kind::Int64, Device::Cpu))], 0)
    }
}
