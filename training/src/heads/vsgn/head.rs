//! VSGN as a head for MQ: its batches, its losses, its boxes as proposals.
//!
//! Not for the network. A clip's cells are its rows; rows beyond the grid are cut off, as in the original.

use egofx::compat::Compat;
use egofx::heads::vsgn as around;
use egofx::metric::postprocess::vsgn::POSTPROCESSOR;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use super::loss::{Truth, losses};
use super::targets::{self, Grid, Targets};
use super::{Output, Settings, Vsgn, decode, graph};
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, NetworkGraph, Predicted};
use crate::loss_sums::Losses;
use crate::rng::Generator;
use crate::sources::Expected;
use crate::tasks::mq::{self, Mq};
use crate::tensors::tensor;

/// The tables of an experiment with VSGN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of rows.
    pub features: Expected,
    /// The network.
    pub model: Settings,
}

/// Clips that are computed together.
pub struct Clips {
    samples: Vec<usize>,
    grids: Vec<Grid>,
    /// `[B, D, T]`.
    features: Tensor,
    /// `[B]`.
    num_cells: Tensor,
    truth: Truth,
}

impl Clips {
    fn read(task: &Mq, settings: &Settings, samples: &[usize]) -> Result<Self, TrainError> {
        let read = |&number: &usize| Clip::read(task, settings, number);
        let clips = samples.iter().map(read).collect::<Result<Vec<Clip>, _>>()?;
        let features: Vec<Tensor> = clips.iter().map(|clip| clip.features.shallow_clone()).collect();
        let num_cells: Vec<i64> = clips.iter().map(|clip| clip.grid.num_cells as i64).collect();
        Ok(Self {
            samples: samples.to_vec(),
            grids: clips.iter().map(|clip| clip.grid).collect(),
            features: Tensor::stack(&features, 0),
            num_cells: Tensor::from_slice(&num_cells),
            truth: truth(&clips.iter().map(|clip| &clip.targets).collect::<Vec<_>>()),
        })
    }
}

impl Batch for Clips {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let Self { features, num_cells, truth: Truth { boxes, counts, action, start, end }, .. } = self;
        let [features, num_cells, boxes, counts, action, start, end] =
            [features, num_cells, boxes, counts, action, start, end].map(of);
        Self { features, num_cells, truth: Truth { boxes, counts, action, start, end }, ..self }
    }
}

/// VSGN for MQ.
pub struct VsgnHead {
    network: Vsgn,
    settings: Settings,
    compat: Compat,
}

impl VsgnHead {
    fn losses(&self, output: &Output, truth: &Truth) -> Losses {
        let losses = losses(output, truth, self.compat);
        let parts = vec![
            ("class loss", losses.class),
            ("regression loss", losses.regression),
            ("action loss", losses.action),
            ("start loss", losses.start),
            ("end loss", losses.end),
            ("boundary loss", losses.boundary),
        ];
        Losses { total: losses.total, parts }
    }
}

impl Model for VsgnHead {
    const NAME: &'static str = "vsgn";
    const ABOUT: &'static str = "VSGN (Zhao et al., 2021), as Ego4D, EgoVLP and EgoVLPv2 train it";

    type Task = Mq;
    type Settings = Tables;
    type TrainBatch = Clips;
    type EvalBatch = Clips;

    fn task(settings: &Tables) -> mq::Settings {
        let Tables { features, model } = settings;
        // The network counts background.
        let classes = model.classes.unsigned_abs() as usize - 1;
        mq::Settings { features: features.clone(), classes, names: vec![], postprocessor: &POSTPROCESSOR }
    }

    fn new(path: &nn::Path, settings: &Tables, compat: Compat) -> Result<Self, String> {
        let Tables { features, model } = settings;
        let network = Vsgn::new(path, features.dim as i64, model).map_err(|error| error.to_string())?;
        Ok(Self { network, settings: model.clone(), compat })
    }

    fn graph(settings: &Tables, _compat: Compat) -> Option<NetworkGraph> {
        let Tables { features, model } = settings.clone();
        let outside =
            "rows on the grid of cells, zeros behind them; short clips stitched to their copies where the card says so";
        let classes = model.classes as usize;
        let (dim, grid) = (features.dim as i64, model.grid());
        let around = around::Settings { features, classes, grid };
        Some(NetworkGraph::new(graph(dim, &model), [("B", 1)], outside, &around))
    }

    fn train_batch(task: &Mq, settings: &Tables, samples: &[usize], _: &mut Generator) -> Result<Clips, TrainError> {
        Clips::read(task, &settings.model, samples)
    }

    fn eval_batch(task: &Mq, settings: &Tables, samples: &[usize]) -> Result<Clips, TrainError> {
        Clips::read(task, &settings.model, samples)
    }

    fn training_step(&self, batch: &Clips, _: &Context) -> Result<Losses, TrainError> {
        let output = self.network.forward(&batch.features, &batch.num_cells);
        Ok(self.losses(&output, &batch.truth))
    }

    fn predict(&self, batch: &Clips, with_losses: bool) -> Result<Predicted<Mq>, TrainError> {
        let output = self.network.forward(&batch.features, &batch.num_cells);
        let losses = with_losses.then(|| self.losses(&output, &batch.truth));
        let (clips, settings) = (decode::clips(&output), &self.settings.grid());
        let proposals = clips.par_iter().zip(&batch.grids).map(|(clip, grid)| clip.proposals(grid, settings));
        Ok(Predicted { predictions: batch.samples.par_iter().copied().zip(proposals).collect(), losses })
    }
}

/// A clip on its grid.
struct Clip {
    grid: Grid,
    /// `[D, T]`.
    features: Tensor,
    targets: Targets,
}

impl Clip {
    fn read(task: &Mq, settings: &Settings, number: usize) -> Result<Self, TrainError> {
        let rows = task.rows(number)?;
        let around = settings.grid();
        let grid = around.of(rows.nrows(), task.fps(number));
        let moments = task.moments(number);
        let targets = match around.copy_from(grid.num_cells) {
            Some(_) => targets::stitched_targets(&moments, &grid, around.stitch_gap, task.compat()),
            None => targets::targets(&moments, &grid, task.compat()),
        };
        let features = tensor(&around.cells(rows.view(), &grid)).tr();
        Ok(Self { grid, features, targets })
    }
}

/// The labels of several clips, their boxes padded to the most that one has.
fn truth(clips: &[&Targets]) -> Truth {
    let most = clips.iter().map(|clip| clip.boxes.len()).max().unwrap_or(0).max(1);
    let boxes = |clip: &&Targets| -> Vec<[f32; 3]> {
        clip.boxes.iter().copied().chain(std::iter::repeat([0.0; 3])).take(most).collect()
    };
    let boxes: Vec<[f32; 3]> = clips.iter().flat_map(boxes).collect();
    let counts: Vec<i64> = clips.iter().map(|clip| clip.boxes.len() as i64).collect();
    let labels = |of: fn(&Targets) -> &Vec<f32>| {
        Tensor::stack(&clips.iter().map(|clip| Tensor::from_slice(of(clip))).collect::<Vec<_>>(), 0)
    };
    Truth {
        boxes: Tensor::from_slice(boxes.as_flattened()).view([clips.len() as i64, most as i64, 3]),
        counts: Tensor::from_slice(&counts),
        action: labels(|clip| &clip.action),
        start: labels(|clip| &clip.start),
        end: labels(|clip| &clip.end),
    }
}
