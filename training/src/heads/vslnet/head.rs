//! VSLNet as a head for NLQ: its samples, its batches, its spans as windows.
//!
//! Not for the network. A clip's positions are its rows, or means of them where there are more rows than positions.

use egofx::compat::Compat;
use egofx::labels::nlq::NlqLabel;
use egofx::metric::Window;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

use super::labels::Labels;
use super::loss::{Targets, losses};
use super::{Dims, Input, Output, Settings, Vslnet, decays, decode};
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::{Expected, Fold, Sources, Split};
use crate::submission::Submission;
use crate::tasks::nlq::{ClipRef, Nlq};
use crate::tensors::{self, Padded};

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
pub struct Batch {
    samples: Vec<usize>,
    places: Vec<NlqLabel>,
    video: Padded,
    query: Padded,
    targets: Targets,
}

/// What the network makes of a batch, with what it was given.
pub struct Located {
    input: Input,
    output: Output,
}

/// VSLNet for NLQ.
pub struct NlqHead(Vslnet);

impl Learner for NlqHead {
    const NAME: &'static str = "vslnet";
    const TASK: &'static str = "nlq";
    const ABOUT: &'static str = "VSLNet (Zhang et al., 2020), as Ego4D, EgoVLP and EgoVLPv2 train it";

    type Settings = Tables;
    type Data = Nlq;
    type Batch = Batch;
    type Output = Located;
    type Prediction = Vec<Window>;

    fn open(settings: &Tables, compat: Compat, sources: &Sources) -> Result<Nlq, TrainError> {
        let Tables { features, tokens, model } = settings;
        Nlq::open(&ClipRef { features, tokens, positions: model.positions as usize, compat }, sources)
    }

    fn folds(data: &Nlq) -> Vec<Fold> {
        vec![data.fold()]
    }

    fn samples(data: &Nlq) -> Vec<usize> {
        data.of_split(Split::Whole)
    }

    fn new(path: &nn::Path, settings: &Tables, compat: Compat) -> Result<Self, String> {
        let dims = Dims { video: settings.features.dim as i64, query: settings.tokens.dim as i64 };
        Vslnet::new(path, dims, &settings.model, compat).map(Self).map_err(|error| error.to_string())
    }

    fn param_group(name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: decays(name), lr_mult: LrMult::Base }
    }

    fn batch(data: &Nlq, samples: &[usize], _draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        let rows = samples.iter().map(|&number| data.rows(number)).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<NlqLabel> =
            samples.iter().zip(&rows).map(|(&number, rows)| data.place(number, rows.nrows())).collect();
        let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
        let tokens: Vec<_> = samples.iter().map(|&number| data.tokens(number)).collect();
        let token_views: Vec<_> = tokens.iter().map(|tokens| tokens.values.view()).collect();
        let (dim, token_dim) = (views[0].ncols(), token_views[0].ncols());
        Ok(Batch {
            samples: samples.to_vec(),
            targets: targets(&places),
            places,
            video: tensors::padded(&views, dim, |_, _| true),
            query: tensors::padded(&token_views, token_dim, |number, row| !tokens[number].padded[row]),
        })
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let padded =
            |padded: &Padded| Padded { values: padded.values.to_device(device), mask: padded.mask.to_device(device) };
        let Targets { starts, ends, highlights } = &batch.targets;
        let [starts, ends, highlights] = [starts, ends, highlights].map(|tensor| tensor.to_device(device));
        let targets = Targets { starts, ends, highlights };
        Batch { video: padded(&batch.video), query: padded(&batch.query), targets, ..batch }
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Located, TrainError> {
        let Batch { video, query, .. } = batch;
        let (rows, tokens) = (video.values.shallow_clone(), query.values.shallow_clone());
        let why = |error: super::VslnetError| TrainError::Batch { head: Self::NAME, why: error.to_string() };
        let input = self.0.input(rows, &video.mask, tokens, &query.mask).map_err(why)?;
        let output = self.0.forward(&input, train);
        Ok(Located { input, output })
    }

    fn losses(&self, located: &Located, batch: &Batch, _context: &Context) -> Result<Losses, TrainError> {
        let losses = losses(&located.output, &batch.targets, &located.input);
        let parts = vec![("localisation loss", losses.localisation), ("highlight loss", losses.highlight)];
        Ok(Losses { total: losses.total, parts })
    }

    fn predictions(&self, located: &Located, batch: &Batch) -> Vec<(usize, Vec<Window>)> {
        let lengths: Vec<usize> = batch.places.iter().map(|place| place.v_len).collect();
        let Output { start_logits, end_logits, .. } = &located.output;
        let spans = decode::top_spans(start_logits, end_logits, &lengths);
        let windows = spans.iter().zip(&batch.places).map(|(spans, place)| {
            let seconds = spans.iter().map(|span| span.seconds(place.v_len, place.duration).map(f64::from));
            seconds.map(Window::from).collect()
        });
        batch.samples.iter().copied().zip(windows).collect()
    }

    fn score(data: &Nlq, predictions: &[(usize, Vec<Window>)]) -> Result<Vec<(String, f64)>, TrainError> {
        Ok(data.score(predictions))
    }

    fn submission(data: &Nlq, predictions: &[(usize, Vec<Window>)]) -> Result<Submission, TrainError> {
        Ok(data.submission(predictions).into())
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
