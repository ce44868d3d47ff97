//! VSLNet as a head for NLQ: its batches, its losses, its spans as windows.
//!
//! Not for the network. A clip's positions are its rows, or means of them where there are more rows than positions.

use egofx::compat::Compat;
use egofx::heads::vslnet;
use egofx::labels::nlq::NlqLabel;
use egofx::metric::Window;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::labels::Labels;
use super::loss::{self, Targets};
use super::{Dims, Input, Output, Settings, Vslnet, VslnetError, decays, decode};
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, NetworkGraph, Predicted};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::Expected;
use crate::tasks::nlq::{self, Nlq};
use crate::tensors::Padded;

/// Rows of a clip in the golden input of the graph.
const GOLDEN_ROWS: usize = 12;
/// Tokens of a query in it.
const GOLDEN_TOKENS: usize = 6;

/// The tables of an experiment with VSLNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of rows.
    pub features: Expected,
    /// The store of tokens.
    pub tokens: Expected,
    /// The network.
    pub model: Settings,
}

/// Queries that are computed together.
pub struct Queries {
    read: vslnet::Batch,
    video: Padded,
    query: Padded,
    targets: Targets,
}

impl Queries {
    fn read(task: &Nlq, samples: &[usize]) -> Result<Self, TrainError> {
        let read = vslnet::Batch::read(task, samples)?;
        let (video, query) = (Padded::from(&read.video), Padded::from(&read.query));
        Ok(Self { targets: targets(&read.places), video, query, read })
    }

    /// The best spans of each query as windows in seconds.
    fn windows(&self, output: &Output) -> Vec<(usize, Vec<Window>)> {
        let [starts, ends] = [&output.start_logits, &output.end_logits].map(decode::probabilities);
        self.read.windows(starts.view(), ends.view())
    }
}

impl Batch for Queries {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let Targets { starts, ends, highlights } = self.targets;
        let [starts, ends, highlights] = [starts, ends, highlights].map(of);
        let targets = Targets { starts, ends, highlights };
        Self { video: self.video.map(of), query: self.query.map(of), targets, ..self }
    }
}

/// VSLNet for NLQ.
pub struct VslnetHead(Vslnet);

impl VslnetHead {
    fn forward(&self, batch: &Queries, train: bool) -> Result<(Input, Output), TrainError> {
        let Queries { video, query, .. } = batch;
        let (rows, tokens) = (video.values.shallow_clone(), query.values.shallow_clone());
        let why = |error: VslnetError| TrainError::Batch { head: Self::NAME, why: error.to_string() };
        let input = self.0.input(rows, &video.mask, tokens, &query.mask).map_err(why)?;
        let output = self.0.forward(&input, train);
        Ok((input, output))
    }
}

fn named(losses: loss::Losses) -> Losses {
    let parts = vec![("localisation loss", losses.localisation), ("highlight loss", losses.highlight)];
    Losses { total: losses.total, parts }
}

impl Model for VslnetHead {
    const NAME: &'static str = "vslnet";
    const ABOUT: &'static str = "VSLNet (Zhang et al., 2020), as Ego4D, EgoVLP and EgoVLPv2 train it";

    type Task = Nlq;
    type Settings = Tables;
    type TrainBatch = Queries;
    type EvalBatch = Queries;

    fn task(settings: &Tables) -> nlq::Settings {
        let Tables { features, tokens, model } = settings.clone();
        nlq::Settings { features, tokens, positions: model.max_position_embeddings as usize }
    }

    fn new(path: &nn::Path, settings: &Tables, compat: Compat) -> Result<Self, String> {
        let dims = Dims { video: settings.features.dim as i64, query: settings.tokens.dim as i64 };
        Vslnet::new(path, dims, &settings.model, compat).map(Self).map_err(|error| error.to_string())
    }

    fn graph(settings: &Tables, compat: Compat) -> Option<NetworkGraph> {
        let Tables { features, tokens, model } = settings;
        let dims = Dims { video: features.dim as i64, query: tokens.dim as i64 };
        let most = model.max_position_embeddings as usize;
        let golden = [("B", 2), ("L", most.min(GOLDEN_ROWS)), ("Q", most.min(GOLDEN_TOKENS))];
        let outside = "rows beyond the positions are averaged; video and query padded to the longest of a batch";
        Some(NetworkGraph::new(super::graph(dims, model, compat), golden, outside, &Self::task(settings)))
    }

    fn param_group(name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: decays(name), lr_mult: LrMult::Base }
    }

    fn train_batch(task: &Nlq, _: &Tables, samples: &[usize], _: &mut Generator) -> Result<Queries, TrainError> {
        Queries::read(task, samples)
    }

    fn eval_batch(task: &Nlq, _: &Tables, samples: &[usize]) -> Result<Queries, TrainError> {
        Queries::read(task, samples)
    }

    fn training_step(&self, batch: &Queries, _: &Context) -> Result<Losses, TrainError> {
        let (input, output) = self.forward(batch, true)?;
        Ok(named(loss::losses(&output, &batch.targets, &input)))
    }

    fn predict(&self, batch: &Queries, with_losses: bool) -> Result<Predicted<Nlq>, TrainError> {
        let (input, output) = self.forward(batch, false)?;
        let losses = with_losses.then(|| named(loss::losses(&output, &batch.targets, &input)));
        Ok(Predicted { predictions: batch.windows(&output), losses })
    }
}

fn targets(places: &[NlqLabel]) -> Targets {
    let length = places.iter().map(|place| place.v_len).max().unwrap_or_default();
    let labels: Vec<Labels> = places.iter().map(|place| Labels::new(place, length)).collect();
    let highlights: Vec<f32> = labels.iter().flat_map(|labels| labels.highlights.iter().copied()).collect();
    Targets {
        starts: Tensor::from_slice(&labels.iter().map(|labels| labels.start).collect::<Vec<_>>()),
        ends: Tensor::from_slice(&labels.iter().map(|labels| labels.end).collect::<Vec<_>>()),
        highlights: Tensor::from_slice(&highlights).view([places.len() as i64, length as i64]),
    }
}
