//! ActionFormer as a head for MQ: its crops, its losses, its points as proposals.
//!
//! Not for the network. Events shorter than `SHORTEST_SEC` are never learnt, as in the authors' preparation of Ego4D,
//! and always scored.

use std::path::Path;

use egofx::compat::Compat;
use egofx::heads::actionformer as around;
use egofx::heads::actionformer::grid_of;
use egofx::metric::postprocess::Proposal;
use ndarray::{Axis, Slice};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use super::crop::{Crop, crop};
use super::decode::{self, DecodeSettings};
use super::loss::{losses, next_normaliser};
use super::targets::{Event, FeatureGrid, Targets};
use super::{ActionFormer, ActionFormerError, Output, Settings, batch, decays, graph, opentad, points};
use crate::checkpoint::{Tensors, load_renamed};
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, NetworkGraph, Predicted};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::Expected;
use crate::tasks::mq::{self, Moment, Mq};

/// The shortest event that is learnt.
const SHORTEST_SEC: f64 = 0.25;

/// The tables of an experiment with ActionFormer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of rows.
    pub features: Expected,
    /// Where rows lie in time by name; see [`grid_of`].
    pub frames: FeatureGrid,
    /// The network, its targets and its crops.
    pub model: Settings,
    /// Which predictions become proposals.
    pub decode: DecodeSettings,
}

/// Clips of one padded length.
struct Part {
    samples: Vec<usize>,
    grids: Vec<FeatureGrid>,
    /// `[B, D, T]`.
    features: Tensor,
    /// `[B, 1, T]`, boolean.
    mask: Tensor,
    targets: Targets,
}

impl Part {
    fn proposals(&self, output: &Output, settings: &DecodeSettings) -> Vec<(usize, Vec<Proposal>)> {
        let clips = (0..).zip(self.samples.iter().zip(&self.grids));
        let proposals = |clip, grid| decode::in_seconds(&decode::proposals(output, clip, settings), grid);
        clips.map(|(clip, (&sample, grid))| (sample, proposals(clip, grid))).collect()
    }
}

/// Clips that are computed together: in parts, since clips of different padded lengths are no one tensor.
pub struct Parts(Vec<Part>);

impl Parts {
    fn of(clips: &[Clip], settings: &Tables) -> Result<Self, TrainError> {
        let padded = |clip: &Clip| settings.model.padded_length(clip.features.size()[1]);
        let parts = clips.chunk_by(|a, b| padded(a) == padded(b)).map(|clips| part(clips, settings));
        parts.collect::<Result<_, _>>().map(Self).map_err(refused)
    }
}

impl Batch for Parts {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let part = |part: Part| Part {
            features: of(part.features),
            mask: of(part.mask),
            targets: part.targets.map(of),
            ..part
        };
        Self(self.0.into_iter().map(part).collect())
    }
}

/// Crops to learn from.
pub struct Crops {
    parts: Parts,
    /// Points that have an event to learn, counted where the batch is made.
    positives: i64,
}

impl Batch for Crops {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { parts: self.parts.map(of), ..self }
    }
}

/// ActionFormer for MQ.
pub struct ActionFormerHead {
    network: ActionFormer,
    decode: DecodeSettings,
    /// The running count of positive points, a scalar in double precision. On the CPU, where it is used.
    normaliser: Tensor,
}

impl ActionFormerHead {
    fn forward(&self, parts: &Parts, train: bool) -> Result<Vec<Output>, TrainError> {
        let part = |part: &Part| self.network.forward(&part.features, &part.mask, train).map_err(refused);
        parts.0.iter().map(part).collect()
    }
}

/// Sums over points, so that parts add up.
fn sums(outputs: &[Output], parts: &Parts, normaliser: f64) -> Losses {
    let of_parts = outputs.iter().zip(&parts.0).map(|(output, part)| losses(output, &part.targets, normaliser));
    let (class, offsets): (Vec<Tensor>, Vec<Tensor>) =
        of_parts.map(|losses| (losses.classification, losses.regression)).unzip();
    let [class, offsets] = [class, offsets].map(|parts| Tensor::stack(&parts, 0).sum(Kind::Float));
    Losses { total: &class + &offsets, parts: vec![("class loss", class), ("regression loss", offsets)] }
}

impl Model for ActionFormerHead {
    const NAME: &'static str = "actionformer";
    const ABOUT: &'static str = "ActionFormer (Zhang et al., 2022), the stronger head for the same features";

    type Task = Mq;
    type Settings = Tables;
    type TrainBatch = Crops;
    type EvalBatch = Parts;

    fn task(settings: &Tables) -> mq::Settings {
        let (features, classes) = (settings.features.clone(), settings.model.classes.unsigned_abs() as usize);
        mq::Settings { features, classes, names: vec![], postprocessor: settings.decode.suppression.postprocessor() }
    }

    fn new(path: &nn::Path, settings: &Tables, _compat: Compat) -> Result<Self, String> {
        let Tables { features, model, decode, .. } = settings;
        let network = ActionFormer::new(path, features.dim as i64, model).map_err(|error| error.to_string())?;
        Ok(Self { network, decode: decode.clone(), normaliser: Tensor::from(model.first_normaliser) })
    }

    /// Of a run, of the authors' code, or of OpenTAD.
    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load_renamed(path, Self::NAME, into, opentad::in_network)
    }

    fn graph(settings: &Tables, _compat: Compat) -> Option<NetworkGraph> {
        let Tables { features, frames, model, decode } = settings.clone();
        let outside = "clips padded with zeros to max_length, or beyond it to a multiple of length_multiple";
        let around = around::Settings {
            features,
            classes: model.classes as usize,
            max_length: model.max_length as usize,
            length_multiple: model.length_multiple() as usize,
            levels: model.levels(),
            frames,
            decode,
        };
        let dims = [("B", 1), ("T", around.length_multiple)];
        Some(NetworkGraph::new(graph(around.features.dim as i64, &model), dims, outside, &around))
    }

    fn param_group(name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: decays(name), lr_mult: LrMult::Base }
    }

    fn buffers(&self) -> Tensors {
        [("normaliser".to_owned(), self.normaliser.shallow_clone())].into()
    }

    fn train_batch(task: &Mq, settings: &Tables, samples: &[usize], draw: &mut Generator) -> Result<Crops, TrainError> {
        let clip = |&number: &usize| Clip::read(task, settings, number, Some(&mut *draw));
        let clips = samples.iter().map(clip).collect::<Result<Vec<Clip>, _>>()?;
        let parts = Parts::of(&clips, settings)?;
        Ok(Crops { positives: parts.0.iter().map(|part| part.targets.positives()).sum(), parts })
    }

    fn eval_batch(task: &Mq, settings: &Tables, samples: &[usize]) -> Result<Parts, TrainError> {
        let clip = |&number: &usize| Clip::read(task, settings, number, None);
        Parts::of(&samples.iter().map(clip).collect::<Result<Vec<Clip>, _>>()?, settings)
    }

    fn training_step(&self, batch: &Crops, _: &Context) -> Result<Losses, TrainError> {
        let outputs = self.forward(&batch.parts, true)?;
        let normaliser = next_normaliser(self.normaliser.double_value(&[]), batch.positives);
        drop(self.normaliser.shallow_clone().fill_(normaliser));
        Ok(sums(&outputs, &batch.parts, normaliser))
    }

    fn predict(&self, batch: &Parts, with_losses: bool) -> Result<Predicted<Mq>, TrainError> {
        let outputs = self.forward(batch, false)?;
        let losses = with_losses.then(|| sums(&outputs, batch, self.normaliser.double_value(&[])));
        let proposals = outputs.iter().zip(&batch.0).flat_map(|(output, part)| part.proposals(output, &self.decode));
        Ok(Predicted { predictions: proposals.collect(), losses })
    }
}

fn refused(error: ActionFormerError) -> TrainError {
    TrainError::Batch { head: ActionFormerHead::NAME, why: error.to_string() }
}

/// A clip, or a part of it.
struct Clip {
    sample: usize,
    grid: FeatureGrid,
    /// `[D, T]`.
    features: Tensor,
    events: Vec<Event>,
}

impl Clip {
    /// The clip; a part of it where one is drawn.
    fn read(task: &Mq, settings: &Tables, number: usize, draw: Option<&mut Generator>) -> Result<Self, TrainError> {
        let rows = task.rows(number)?;
        let (count, duration_sec) = (rows.nrows(), task.sample(number).clip.duration_sec);
        let grid = grid_of(settings.frames, count, duration_sec, task.compat());
        let events = events(&task.moments(number), &grid);
        let kept = match draw {
            Some(draw) => crop(count, &events, &grid, &settings.model, draw),
            None => Crop { start: 0, length: count, events },
        };
        let rows = rows.slice_axis(Axis(0), Slice::from(kept.start..kept.start + kept.length));
        let values: Vec<f32> = rows.iter().copied().collect();
        let features = Tensor::from_slice(&values).view([kept.length as i64, rows.ncols() as i64]).tr();
        Ok(Self { sample: number, grid, features, events: kept.events })
    }
}

/// Moments that are learnt; the network's classes have no background.
fn events(moments: &[Moment], grid: &FeatureGrid) -> Vec<Event> {
    let event = |moment: &Moment| Event {
        start: grid.step_from_sec(moment.start_sec),
        end: grid.step_from_sec(moment.end_sec),
        class: moment.class as i64 - 1,
    };
    moments.iter().filter(|moment| moment.end_sec - moment.start_sec >= SHORTEST_SEC).map(event).collect()
}

/// Clips of one padded length.
fn part(clips: &[Clip], tables: &Tables) -> Result<Part, ActionFormerError> {
    let Tables { features, model, .. } = tables;
    let tensors: Vec<Tensor> = clips.iter().map(|clip| clip.features.shallow_clone()).collect();
    let (features, mask) = batch(&tensors, features.dim as i64, model)?;
    let events: Vec<Vec<Event>> = clips.iter().map(|clip| clip.events.clone()).collect();
    let ranges = &model.regression_ranges;
    let points = points::of_pyramid(features.size()[2], ranges, Device::Cpu);
    let targets = Targets::new(&points, &points::masks(&mask, ranges.len()), &events, model)?;
    let (samples, grids) = clips.iter().map(|clip| (clip.sample, clip.grid)).unzip();
    Ok(Part { samples, grids, features, mask, targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOMINAL: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 16.0 };

    #[test]
    fn short_moments_are_not_learnt() {
        let moment = |end_sec, class| Moment { start_sec: 1.0, end_sec, class };
        let found = events(&[moment(1.2, 1), moment(1.25, 2), moment(0.5, 3)], &NOMINAL);
        assert_eq!(found, [Event { start: 1.375, end: 1.84375, class: 1 }]);
    }
}
