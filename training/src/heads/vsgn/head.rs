//! VSGN as a head for MQ: its samples, its batches, its boxes as proposals.
//!
//! Not for the network. A clip's cells are its rows; rows beyond the grid are cut off, as in the original.

use egofx::compat::Compat;
use egofx::metric::postprocess::Proposal;
use egofx::metric::postprocess::vsgn::POSTPROCESSOR;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

use super::loss::{Truth, losses};
use super::targets::{self, Grid, Targets};
use super::{Output, Settings, Vsgn, decode};
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::{Expected, Fold, Sources, Split};
use crate::submission::Submission;
use crate::tasks::mq::{ClipRef, Mq};

/// The tables of an experiment with VSGN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of rows.
    pub features: Expected,
    /// The network.
    pub model: Settings,
}

/// Clips with features, and what is made of them.
pub struct Clips {
    mq: Mq,
    model: Settings,
    compat: Compat,
}

/// Clips that are computed together.
pub struct Batch {
    samples: Vec<usize>,
    grids: Vec<Grid>,
    /// `[B, D, T]`.
    features: Tensor,
    /// `[B]`.
    num_cells: Tensor,
    truth: Truth,
}

/// VSGN for MQ.
pub struct MqHead {
    network: Vsgn,
    settings: Settings,
    compat: Compat,
}

impl Learner for MqHead {
    const NAME: &'static str = "vsgn";
    const TASK: &'static str = "mq";
    const ABOUT: &'static str = "VSGN (Zhao et al., 2021), as Ego4D, EgoVLP and EgoVLPv2 train it";

    type Settings = Tables;
    type Data = Clips;
    type Batch = Batch;
    type Output = Output;
    type Prediction = Vec<Proposal>;

    fn open(tables: &Tables, compat: Compat, sources: &Sources) -> Result<Clips, TrainError> {
        let Tables { features, model } = tables;
        // The network counts background.
        let classes = model.classes.unsigned_abs() as usize - 1;
        let wanted = ClipRef { features, classes, compat, postprocessor: &POSTPROCESSOR };
        Ok(Clips { mq: Mq::open(&wanted, sources)?, model: model.clone(), compat })
    }

    fn keep(data: &Clips, folder: &std::path::Path) -> Result<(), TrainError> {
        data.mq.keep_classes(folder)
    }

    fn folds(data: &Clips) -> Vec<Fold> {
        vec![data.mq.fold()]
    }

    fn samples(data: &Clips) -> Vec<usize> {
        data.mq.of_split(Split::Whole)
    }

    fn new(path: &nn::Path, tables: &Tables, compat: Compat) -> Result<Self, String> {
        let Tables { features, model } = tables;
        let network = Vsgn::new(path, features.dim as i64, model).map_err(|error| error.to_string())?;
        Ok(Self { network, settings: model.clone(), compat })
    }

    fn param_group(_name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    fn batch(data: &Clips, samples: &[usize], _draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        let clips = samples.iter().map(|&number| data.clip(number)).collect::<Result<Vec<Clip>, _>>()?;
        let features: Vec<Tensor> = clips.iter().map(|clip| clip.features.shallow_clone()).collect();
        let num_cells: Vec<i64> = clips.iter().map(|clip| clip.grid.num_cells as i64).collect();
        Ok(Batch {
            samples: samples.to_vec(),
            grids: clips.iter().map(|clip| clip.grid).collect(),
            features: Tensor::stack(&features, 0),
            num_cells: Tensor::from_slice(&num_cells),
            truth: truth(&clips.iter().map(|clip| &clip.targets).collect::<Vec<_>>()),
        })
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let Truth { boxes, counts, action, start, end } = &batch.truth;
        let moved = [&batch.features, &batch.num_cells, boxes, counts, action, start, end];
        let [features, num_cells, boxes, counts, action, start, end] = moved.map(|tensor| tensor.to_device(device));
        let truth = Truth { boxes, counts, action, start, end };
        Batch { features, num_cells, truth, ..batch }
    }

    fn forward(&self, batch: &Batch, _train: bool) -> Result<Output, TrainError> {
        Ok(self.network.forward(&batch.features, &batch.num_cells))
    }

    fn losses(&self, output: &Output, batch: &Batch, _context: &Context) -> Result<Losses, TrainError> {
        let losses = losses(output, &batch.truth, self.compat);
        let parts = vec![
            ("class loss", losses.class),
            ("regression loss", losses.regression),
            ("action loss", losses.action),
            ("start loss", losses.start),
            ("end loss", losses.end),
            ("boundary loss", losses.boundary),
        ];
        Ok(Losses { total: losses.total, parts })
    }

    fn predictions(&self, output: &Output, batch: &Batch) -> Vec<(usize, Vec<Proposal>)> {
        let (clips, settings) = (decode::clips(output), &self.settings);
        let proposals = clips.par_iter().zip(&batch.grids).map(|(clip, grid)| clip.proposals(grid, settings));
        batch.samples.par_iter().copied().zip(proposals).collect()
    }

    fn score(data: &Clips, predictions: &[(usize, Vec<Proposal>)]) -> Result<Vec<(String, f64)>, TrainError> {
        Ok(data.mq.score(predictions))
    }

    fn submission(data: &Clips, predictions: &[(usize, Vec<Proposal>)]) -> Result<Submission, TrainError> {
        Ok(data.mq.submission(predictions).into())
    }
}

/// A clip on its grid.
struct Clip {
    grid: Grid,
    /// `[D, T]`.
    features: Tensor,
    targets: Targets,
}

impl Clips {
    fn clip(&self, number: usize) -> Result<Clip, TrainError> {
        let rows = self.mq.rows(number)?;
        let (length, dim) = (self.model.length as usize, rows.ncols());
        let grid = Grid { length, num_cells: rows.nrows().min(length), fps: self.mq.fps(number) };
        let values: Vec<f32> = rows.iter().take(grid.num_cells * dim).copied().collect();
        let moments = self.mq.moments(number);
        let (cells, targets) = if self.model.stitches(grid.num_cells as i64) {
            let gap = self.model.stitch_gap as usize;
            let targets = targets::stitched_targets(&moments, &grid, gap, self.compat);
            (targets::stitched_features(&values, dim, &grid, gap), targets)
        } else {
            (targets::features(&values, dim, length), targets::targets(&moments, &grid, self.compat))
        };
        let features = Tensor::from_slice(&cells).view([length as i64, dim as i64]).tr();
        Ok(Clip { grid, features, targets })
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
