//! The summary head as a head for QFVS: its batches, its losses, its scores of shots.
//!
//! Not for the network. The three prompts of a pair of concepts are scored alike; only the prompt of both makes the
//! summary.

use egofx::compat::Compat;
use egofx::heads::summariser::{BOTH, Size};
use egofx::qfvs::SHOTS;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

use super::loss::{Scored, loss};
use super::summary::in_order;
use super::{QfvsError, Settings, Summariser, graph, lr_scale};
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, NetworkGraph, Predicted};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::Expected;
use crate::tasks::qfvs::{self, Qfvs};
use crate::tensors::tensor;

/// Prompts of a sample: of each concept alone, and of both.
const PROMPTS: usize = 3;
/// What the losses of the prompts are called.
const LOSSES: [&str; PROMPTS] = ["concept 1 loss", "concept 2 loss", "summary loss"];

/// Shots of a segment in the golden input of the graph.
const GOLDEN_SHOTS: usize = 9;

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
pub struct Pairs {
    samples: Vec<usize>,
    /// `[3 B, S, L, dim]`, the prompts of a sample side by side.
    features: Tensor,
    /// Shots of each segment, `[B, S]`.
    seg_len: Tensor,
    /// `[B, S, L, 3]`, 0 or 1.
    labels: Tensor,
}

impl Pairs {
    fn read(task: &Qfvs, samples: &[usize]) -> Result<Self, TrainError> {
        let size = Size::of(task, samples);
        let (mut features, mut labels, mut lengths) = (vec![], vec![], vec![]);
        for &number in samples {
            let video = task.video(number);
            for prompt in 0..PROMPTS {
                features.push(tensor(&size.packed(task.rows(number, prompt)?.view(), video)?));
            }
            labels.push(tensor(&size.packed(task.labels(number).view(), video)?));
            lengths.push(Tensor::from_slice(&size.lengths(video)));
        }
        Ok(Self {
            samples: samples.to_vec(),
            features: Tensor::stack(&features, 0),
            seg_len: Tensor::stack(&lengths, 0),
            labels: Tensor::stack(&labels, 0),
        })
    }

    /// Of scores `[B, 3, S, L]`.
    fn losses(&self, scores: &Tensor) -> Losses {
        let part = |prompt: usize| {
            let (scores, labels) = (scores.select(1, prompt as i64), self.labels.select(3, prompt as i64));
            loss(Scored { scores: &scores, labels: &labels }, &self.seg_len)
        };
        let parts: Vec<(&str, Tensor)> = LOSSES.into_iter().zip((0..PROMPTS).map(part)).collect();
        let total = parts.iter().map(|(_, part)| part).sum();
        Losses { total, parts }
    }

    /// Of scores `[B, 3, S, L]`, those of the prompt of both concepts.
    fn predictions(&self, scores: &Tensor) -> Vec<(usize, Vec<f64>)> {
        let scores = scores.select(1, BOTH as i64).to_device(Device::Cpu);
        let seg_len = self.seg_len.to_device(Device::Cpu);
        let of = |place: usize| in_order(&scores.get(place as i64), &seg_len.get(place as i64));
        self.samples.iter().enumerate().map(|(place, &number)| (number, of(place))).collect()
    }
}

impl Batch for Pairs {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let Self { samples, features, seg_len, labels } = self;
        Self { samples, features: of(features), seg_len: of(seg_len), labels: of(labels) }
    }
}

/// The summary head for QFVS.
pub struct QfvsHead(Summariser);

impl QfvsHead {
    /// Scores `[B, 3, S, L]`.
    fn forward(&self, batch: &Pairs, train: bool) -> Result<Tensor, TrainError> {
        let each_prompt = batch.seg_len.repeat_interleave_self_int(PROMPTS as i64, 0, None);
        let why = |error: QfvsError| TrainError::Batch { head: Self::NAME, why: error.to_string() };
        let scores = self.0.forward(&batch.features, &each_prompt, train).map_err(why)?;
        Ok(scores.unflatten(0, [-1, PROMPTS as i64]))
    }
}

impl Model for QfvsHead {
    const NAME: &'static str = "qfvs";
    const ABOUT: &'static str =
        "a transformer over the shots of a segment, as EgoVLPv2 trains it, each video left out in turn";

    type Task = Qfvs;
    type Settings = Tables;
    type TrainBatch = Pairs;
    type EvalBatch = Pairs;

    fn task(settings: &Tables) -> qfvs::Settings {
        let Tables { features, shots, .. } = settings.clone();
        qfvs::Settings { features, shots }
    }

    fn new(path: &nn::Path, settings: &Tables, compat: Compat) -> Result<Self, String> {
        let (dim, embed_dim) = (settings.features.dim, settings.model.embed_dim);
        if dim as i64 != embed_dim {
            return Err(format!("model.embed_dim is {embed_dim}, expected features.dim = {dim}"));
        }
        Summariser::new(path, &settings.model, compat).map(Self).map_err(|error| error.to_string())
    }

    fn graph(settings: &Tables, compat: Compat) -> Option<NetworkGraph> {
        let outside = "segments of shots, padded to one length; as released to 200";
        let dims = [("N", 2), ("L", SHOTS.min(GOLDEN_SHOTS))];
        Some(NetworkGraph::new(graph(&settings.model, compat), dims, outside, &Self::task(settings)))
    }

    /// Everything decays, norms and biases included.
    fn param_group(_name: &str, shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Times(lr_scale(shape)) }
    }

    fn train_batch(task: &Qfvs, _: &Tables, samples: &[usize], _: &mut Generator) -> Result<Pairs, TrainError> {
        Pairs::read(task, samples)
    }

    fn eval_batch(task: &Qfvs, _: &Tables, samples: &[usize]) -> Result<Pairs, TrainError> {
        Pairs::read(task, samples)
    }

    fn training_step(&self, batch: &Pairs, _: &Context) -> Result<Losses, TrainError> {
        Ok(batch.losses(&self.forward(batch, true)?))
    }

    fn predict(&self, batch: &Pairs, with_losses: bool) -> Result<Predicted<Qfvs>, TrainError> {
        let scores = self.forward(batch, false)?;
        Ok(Predicted { predictions: batch.predictions(&scores), losses: with_losses.then(|| batch.losses(&scores)) })
    }
}
