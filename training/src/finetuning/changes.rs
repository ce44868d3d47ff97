//! OSCC and PNR: does an object change its state in a clip, and in which of sixteen frames?
//!
//! Source: EgoVLP's video tower with a fresh classifier in place of its projection, as its authors tuned it (2022); the
//! frames and the training crop in time are those of their `OSCC` and `PNR` data sets.

use std::marker::PhantomData;
use std::path::Path;

use egofx::benchmark::oscc::StateChange;
use egofx::compat::Compat;
use egofx::grid::keyframe_list;
use egofx::metric::{oscc, pnr};
use egofx::ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, Kind as Type, Tensor, nn};

use super::splits::{Row, Splits, stacked};
use crate::backbones::load::{EGOVLP_VIDEO, VIT, load, load_any};
use crate::backbones::{EgoVlpClasses, VideoConfig};
use crate::checkpoint::Tensors;
use crate::corpora::error::ClipError;
use crate::corpora::frames::ClipSettings;
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::losses::{classification, key_frame};
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::rng::unit;
use crate::scores::KEYFRAME_DISTANCE;
use crate::sources::{Fold, Sources};
use crate::submission::Submission;
use crate::tensors::doubles;

/// Frames a second of the clips, by which their annotations count.
const FPS: f64 = 30.0;
/// Length of a clip in seconds, and the least that a training crop leaves of it.
const CLIP_SEC: f64 = 8.0;
const LEAST_SEC: f64 = 5.0;

/// Which of the two it is.
pub trait Kind: 'static {
    /// The name of task, learner and benchmark.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
    /// How many classes there are.
    const CLASSES: i64;
    /// Whether the class is the frame of the change.
    const IS_FRAME: bool;
}

/// Object state change classification.
pub struct Oscc;

/// Temporal localisation of the point of no return.
pub struct Pnr;

impl Kind for Oscc {
    const NAME: &'static str = "oscc";
    const ABOUT: &'static str = "a video tower that tells whether an object changes its state";
    const CLASSES: i64 = 2;
    const IS_FRAME: bool = false;
}

impl Kind for Pnr {
    const NAME: &'static str = "pnr";
    const ABOUT: &'static str = "a video tower that tells in which of sixteen frames an object changes its state";
    const CLASSES: i64 = 16;
    const IS_FRAME: bool = true;
}

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How clips are shown; PNR has 16 frames.
    pub clips: ClipSettings,
    /// The video tower.
    pub video: VideoConfig,
    /// Compute the inner values of blocks again in the backward pass.
    pub activation_checkpointing: bool,
}

/// What is known of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Truth {
    start: u64,
    end: u64,
    changes: bool,
    pnr: Option<f64>,
    fps: f64,
}

/// The clips of a run.
pub struct Data {
    splits: Splits,
    frames: u32,
    compat: Compat,
}

/// Clips that are computed together.
pub struct Batch {
    samples: Vec<usize>,
    frames: Option<Tensor>,
    labels: Tensor,
}

/// A video tower that tells changes.
pub struct Changes<K> {
    model: EgoVlpClasses,
    compat: Compat,
    kind: PhantomData<K>,
}

/// The frames of a clip that a network sees, in the video's own count, and which class that makes it.
#[derive(Debug, PartialEq)]
struct Seen {
    frames: Vec<u64>,
    class: usize,
}

impl Truth {
    fn of(row: Row) -> Self {
        let number = |name: &str| row.cell(name).parse::<f64>().ok();
        let [from, to] = row.wanted().clip.span.unwrap_or([0.0, 0.0]);
        let start = number("start_frame").unwrap_or(from * FPS);
        let end = number("end_frame").unwrap_or(to * FPS);
        // As the evaluator reckons it: the last frame is counted.
        let fps = if to > from { (end - start + 1.0) / (to - from) } else { FPS };
        Self {
            start: start as u64,
            end: end as u64,
            changes: row.cell("state_change") == "true",
            pnr: number("pnr_frame"),
            fps,
        }
    }

    /// What is seen of it: all of it, or with `draw` a part of five to eight seconds that holds the change.
    ///
    /// As released the start of the part is drawn from `U(8 - L, 1)`, numpy's uniform with one argument; `fixed` draws it
    /// from `U(0, 8 - L)`.
    fn seen(self, frames: u32, compat: Compat, draw: Option<&mut Generator>) -> Seen {
        let (mut start, mut end) = (self.start, self.end);
        if let Some(draw) = draw {
            let length = LEAST_SEC + (CLIP_SEC - LEAST_SEC) * unit(draw);
            let room = CLIP_SEC - length;
            let offset = match compat {
                Compat::AsReleased => room + (1.0 - room) * unit(draw),
                Compat::Fixed => room * unit(draw),
            };
            start = self.start + (offset * FPS) as u64;
            end = (self.start + ((offset + length) * FPS) as u64).min(self.end);
            if self.pnr.is_some_and(|pnr| pnr < start as f64) {
                start = self.start;
            }
            if self.pnr.is_some_and(|pnr| pnr > end as f64) {
                end = self.end;
            }
        }
        let frames = keyframe_list(start, end, frames);
        let class = self.pnr.and_then(|pnr| pnr::true_slot(&frames, pnr)).unwrap_or(0);
        Seen { frames, class }
    }
}

impl<K: Kind> Learner for Changes<K> {
    const NAME: &'static str = K::NAME;
    const TASK: &'static str = K::NAME;
    const ABOUT: &'static str = K::ABOUT;

    type Settings = Settings;
    type Data = Data;
    type Batch = Batch;
    type Output = Option<Tensor>;
    type Prediction = Vec<f64>;

    fn open(settings: &Settings, compat: Compat, sources: &Sources) -> Result<Data, TrainError> {
        let clips = (&settings.clips, settings.video.image_size as i64);
        let about = "clips with their labels: fho_oscc-pnr_train.json and _val.json, as published";
        let splits = Splits::open(K::NAME, about, sources, clips, None, compat)?;
        // A label that means nothing is an error here and now, not no label later.
        splits.records::<StateChange>()?;
        Ok(Data { splits, frames: settings.clips.frames, compat })
    }

    fn remarks(data: &Data) -> Vec<String> {
        data.splits.remarks()
    }

    fn folds(data: &Data) -> Vec<Fold> {
        vec![data.splits.fold()]
    }

    fn samples(data: &Data) -> Vec<usize> {
        data.splits.fold().validation
    }

    fn new(path: &nn::Path, settings: &Settings, compat: Compat) -> Result<Self, String> {
        if K::IS_FRAME && i64::from(settings.clips.frames) != K::CLASSES {
            return Err(format!("clips.frames is {}, expected {}", settings.clips.frames, K::CLASSES));
        }
        let model = EgoVlpClasses::new(path, &settings.video, K::CLASSES, settings.activation_checkpointing);
        Ok(Self { model: model.map_err(|error| error.to_string())?, compat, kind: PhantomData })
    }

    /// A backbone of EgoVLP brings no classifier of this task.
    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[&EGOVLP_VIDEO, &VIT], &["vid_proj."], into).map(|_| ())
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load(path, &EGOVLP_VIDEO, &[], into).map(|_| ())
    }

    fn param_group(_name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    fn batch(data: &Data, samples: &[usize], draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        let read = |row: Row, mut draw: Option<&mut Generator>| -> Result<(Tensor, usize), ClipError> {
            let truth = Truth::of(row);
            let seen = truth.seen(data.frames, data.compat, draw.as_deref_mut());
            let class = if K::IS_FRAME { seen.class } else { usize::from(truth.changes) };
            Ok((data.splits.clips.numbered(row.wanted().path, &seen.frames, draw)?, class))
        };
        let found = data.splits.each(samples, draw, read)?;
        let labels: Vec<i64> = found.iter().map(|(_, (_, class))| *class as i64).collect();
        let frames = (!found.is_empty()).then(|| stacked(found.iter().map(|(_, (frames, _))| frames)));
        let samples = found.iter().map(|(sample, _)| *sample).collect();
        Ok(Batch { samples, frames, labels: Tensor::from_slice(&labels) })
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let frames = batch.frames.map(|frames| frames.to_device(device));
        Batch { frames, labels: batch.labels.to_device(device), ..batch }
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Option<Tensor>, TrainError> {
        Ok(batch.frames.as_ref().map(|frames| self.model.logits(frames, train)))
    }

    fn losses(&self, output: &Option<Tensor>, batch: &Batch, _context: &Context) -> Result<Losses, TrainError> {
        let total = match output {
            None => Tensor::from(0f32),
            Some(logits) if K::IS_FRAME => {
                // Clips without a change are of the other task.
                let changes = Tensor::ones_like(&batch.labels).to_kind(Type::Float);
                key_frame(logits, &batch.labels, &changes, self.compat)
            }
            Some(logits) => classification(logits, &batch.labels),
        };
        Ok(Losses { total, parts: vec![] })
    }

    fn predictions(&self, output: &Option<Tensor>, batch: &Batch) -> Vec<(usize, Vec<f64>)> {
        let Some(logits) = output else { return vec![] };
        let scores = doubles(logits);
        batch.samples.iter().copied().zip(scores.chunks(K::CLASSES as usize).map(<[f64]>::to_vec)).collect()
    }

    fn score(data: &Data, predictions: &[(usize, Vec<f64>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let truth = |sample: usize| Truth::of(data.splits.row(sample));
        if K::IS_FRAME {
            let errors = predictions.iter().filter_map(|(sample, scores)| {
                let Truth { start, end, pnr, fps, .. } = truth(*sample);
                let change = pnr::Change { start_frame: start as f64, end_frame: end as f64, pnr_frame: pnr?, fps };
                Some(pnr::error_sec(best(scores), &change, data.compat))
            });
            let errors: Vec<f64> = errors.collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            return Ok(vec![(KEYFRAME_DISTANCE.to_owned(), mean)]);
        }
        let labels: Vec<usize> = predictions.iter().map(|(sample, _)| usize::from(truth(*sample).changes)).collect();
        let flat: Vec<f64> = predictions.iter().flat_map(|(_, scores)| scores.iter().copied()).collect();
        let scores = Array2::from_shape_vec((labels.len(), K::CLASSES as usize), flat).unwrap_or_default();
        Ok(vec![("accuracy".to_owned(), oscc::accuracy(scores.view(), &labels)?)])
    }

    fn submission(data: &Data, predictions: &[(usize, Vec<f64>)]) -> Result<Submission, TrainError> {
        let row = |(sample, scores): &(usize, Vec<f64>)| (data.splits.row(*sample).id().to_owned(), json!(scores));
        Ok(Value::Object(predictions.iter().map(row).collect::<Map<_, _>>()).into())
    }
}

/// The first of the highest scores.
fn best(scores: &[f64]) -> usize {
    let higher = |best: usize, place: usize| if scores[place] > scores[best] { place } else { best };
    (0..scores.len()).fold(0, higher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, generator};

    const TRUTH: Truth = Truth { start: 1000, end: 1240, changes: true, pnr: Some(1075.0), fps: 30.0 };

    #[test]
    fn a_whole_clip_has_the_frames_and_the_label_of_the_original() {
        let seen = TRUTH.seen(16, Compat::AsReleased, None);
        assert_eq!(seen.frames, (0..16).map(|k| 1005 + 15 * k).collect::<Vec<u64>>());
        assert_eq!(seen.class, 5);
    }

    #[test]
    fn parts_hold_the_change_and_start_where_numpy_or_the_authors_meant() {
        let mut draw = generator(1, Purpose::Weights);
        for compat in [Compat::AsReleased, Compat::Fixed] {
            for pnr in [1001.0, 1120.0, 1239.0] {
                let truth = Truth { pnr: Some(pnr), ..TRUTH };
                for _ in 0..300 {
                    let seen = truth.seen(16, compat, Some(&mut draw));
                    assert_eq!(seen.frames.len(), 16);
                    let off = seen.frames.iter().map(|frame| (*frame as f64 - pnr).abs()).fold(f64::MAX, f64::min);
                    // The frames are sixteen multiples of a step, behind which up to a step and a bit may be left.
                    assert!(off <= 30.0, "{compat:?}: {pnr} is {off} frames from {:?}", seen.frames);
                }
            }
        }
        // Without a change to hold, the first frame tells where parts begin: up to three seconds in, or always by one.
        let first = |compat| {
            let truth = Truth { pnr: None, ..TRUTH };
            let mut draw = generator(1, Purpose::Weights);
            let starts = (0..2000).map(|_| truth.seen(16, compat, Some(&mut draw)).frames[0]);
            starts.fold((u64::MAX, 0), |(least, most), start| (least.min(start), most.max(start)))
        };
        let (fixed, compat) = (first(Compat::Fixed), first(Compat::AsReleased));
        assert!(fixed.0 < 1012 && fixed.1 > 1075, "{fixed:?}");
        assert!(compat.1 > 1075, "{compat:?}");
    }
}
