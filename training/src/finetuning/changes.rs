//! OSCC and PNR: does an object change its state in a clip, and in which of sixteen frames?
//!
//! Source: EgoVLP's video tower with a fresh classifier in place of its projection, as its authors tuned it (2022); the
//! frames and the training crop in time are those of their `OSCC` and `PNR` data sets.

use std::marker::PhantomData;
use std::path::Path;

use egofx::benchmark::oscc::StateChange;
use egofx::compat::Compat;
use egofx::grid::keyframe_list;
use egofx::heads::Submission;
use egofx::metric::{oscc, pnr};
use egofx::ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind as Type, Tensor, nn};

use super::splits::{Row, Splits};
use crate::backbones::load::{EGOVLP_VIDEO, VIT, load, load_any};
use crate::backbones::{EgoVlpClasses, VideoConfig};
use crate::checkpoint::Tensors;
use crate::corpora::ahead::{Ahead, Plan};
use crate::corpora::error::ClipError;
use crate::corpora::frames::ClipSettings;
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, Predicted, Task};
use crate::loss_sums::Losses;
use crate::losses::{classification, key_frame};
use crate::rng::{Generator, unit};
use crate::scores::KEYFRAME_DISTANCE;
use crate::sources::{Fold, Sources};
use crate::tensors::doubles;

/// Frames a second of the clips, by which their annotations count.
const FPS: f64 = 30.0;
/// Length of a clip in seconds, and the least that a training crop leaves of it.
const CLIP_SEC: f64 = 8.0;
const LEAST_SEC: f64 = 5.0;

/// Which of the two it is.
pub trait Kind: Sync + 'static {
    /// The name of task, learner and benchmark.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
    /// What is trained, for people.
    const TASK_ABOUT: &'static str;
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
    const TASK_ABOUT: &'static str =
        "Train for object state change classification (OSCC): whether an object changes its state in a clip";
    const CLASSES: i64 = 2;
    const IS_FRAME: bool = false;
}

impl Kind for Pnr {
    const NAME: &'static str = "pnr";
    const ABOUT: &'static str = "a video tower that tells in which of sixteen frames an object changes its state";
    const TASK_ABOUT: &'static str =
        "Train for localising the point of no return (PNR): the frame in which an object begins to change its state";
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
pub struct StateChanges<K> {
    splits: Splits,
    /// Of the clips to learn from, and of those to predict for.
    labels: [Vec<StateChange>; 2],
    frames: u32,
    compat: Compat,
    kind: PhantomData<K>,
}

/// What is opened.
pub struct TaskSettings {
    clips: ClipSettings,
    image_size: i64,
}

/// Clips with their classes.
pub struct Labelled {
    /// `[B, F, 3, S, S]`.
    frames: Tensor,
    /// `[B]`.
    labels: Tensor,
}

/// Clips that are not learnt from.
pub struct EvalClips {
    /// Those that could be read.
    samples: Vec<usize>,
    clips: Option<Labelled>,
}

impl Labelled {
    fn of(found: impl Iterator<Item = (Tensor, usize)>) -> Self {
        let (frames, labels): (Vec<Tensor>, Vec<i64>) = found.map(|(frames, class)| (frames, class as i64)).unzip();
        Self { frames: Tensor::stack(&frames, 0), labels: Tensor::from_slice(&labels) }
    }
}

impl Batch for Labelled {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { frames: of(self.frames), labels: of(self.labels) }
    }
}

impl Batch for EvalClips {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { clips: self.clips.map(|clips| clips.map(of)), ..self }
    }
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
    fn of(row: Row, label: &StateChange) -> Self {
        let [from, to] = row.wanted().clip.span.unwrap_or([0.0, 0.0]);
        let start = label.start_frame.unwrap_or(from * FPS);
        let end = label.end_frame.unwrap_or(to * FPS);
        // As the evaluator reckons it: the last frame is counted.
        let fps = if to > from { (end - start + 1.0) / (to - from) } else { FPS };
        Self {
            start: start as u64,
            end: end as u64,
            changes: label.state_change == Some(true),
            pnr: label.pnr_frame,
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

impl<K: Kind> StateChanges<K> {
    /// What [`read`](Self::read) will decode.
    fn plan(&self, row: Row, labels: &[StateChange], mut draw: Option<Generator>) -> Option<Plan> {
        let seen = Truth::of(row, &labels[row.number()]).seen(self.frames, self.compat, draw.as_mut());
        self.splits.clips.plan_numbered(row.wanted().path, &seen.frames)
    }

    /// The frames that are seen of a clip, and its class.
    fn read(
        &self,
        ahead: &mut Ahead,
        row: Row,
        labels: &[StateChange],
        mut draw: Option<&mut Generator>,
    ) -> Result<(Tensor, usize), ClipError> {
        let truth = Truth::of(row, &labels[row.number()]);
        let seen = truth.seen(self.frames, self.compat, draw.as_deref_mut());
        let class = if K::IS_FRAME { seen.class } else { usize::from(truth.changes) };
        Ok((self.splits.clips.numbered(ahead, row.wanted().path, &seen.frames, draw)?, class))
    }
}

impl<K: Kind> Task for StateChanges<K> {
    const NAME: &'static str = K::NAME;
    const ABOUT: &'static str = K::TASK_ABOUT;
    // Frames are chosen by their numbers, so that no clip was decoded beforehand.
    const READS: &'static [&'static str] = &["videos", "train", "val", "memory"];

    type Settings = TaskSettings;
    type Sample = usize;
    /// Scores of the classes.
    type Prediction = Vec<f64>;

    fn open(settings: &TaskSettings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let clips = (&settings.clips, settings.image_size);
        let about = "clips with their labels: fho_oscc-pnr_train.json and _val.json, as published";
        let splits = Splits::open(K::NAME, about, sources, clips, None, compat)?;
        let labels = splits.records()?;
        Ok(Self { splits, labels, frames: settings.clips.frames, compat, kind: PhantomData })
    }

    fn remarks(&self) -> Vec<String> {
        self.splits.remarks()
    }

    fn folds(&self) -> Vec<Fold> {
        vec![self.splits.fold()]
    }

    fn samples(&self) -> Vec<usize> {
        self.splits.samples()
    }

    fn has_truths(&self) -> bool {
        let is_known =
            |label: &StateChange| if K::IS_FRAME { label.pnr_frame.is_some() } else { label.state_change.is_some() };
        self.labels[1].iter().any(is_known)
    }

    fn score(&self, predictions: &[(usize, Vec<f64>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let truth = |sample: usize| Truth::of(self.splits.row(sample), &self.labels[1][sample]);
        if K::IS_FRAME {
            let errors = predictions.iter().filter_map(|(sample, scores)| {
                let Truth { start, end, pnr, fps, .. } = truth(*sample);
                let change = pnr::Change { start_frame: start as f64, end_frame: end as f64, pnr_frame: pnr?, fps };
                Some(pnr::error_sec(best(scores), &change, self.compat))
            });
            let errors: Vec<f64> = errors.collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            return Ok(vec![(KEYFRAME_DISTANCE.to_owned(), mean)]);
        }
        let labels: Vec<usize> = predictions.iter().map(|(sample, _)| usize::from(truth(*sample).changes)).collect();
        let flat: Vec<f64> = predictions.iter().flat_map(|(_, scores)| scores.iter().copied()).collect();
        let scores =
            Array2::from_shape_vec((labels.len(), K::CLASSES as usize), flat).expect("there is a score for each class");
        Ok(vec![("accuracy".to_owned(), oscc::accuracy(scores.view(), &labels)?)])
    }

    fn submission(&self, predictions: &[(usize, Vec<f64>)]) -> Result<Submission, TrainError> {
        let row = |(sample, scores): &(usize, Vec<f64>)| (self.splits.row(*sample).id().to_owned(), json!(scores));
        Ok(Value::Object(predictions.iter().map(row).collect::<Map<_, _>>()).into())
    }
}

impl<K: Kind> Changes<K> {
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> Losses {
        let total = if K::IS_FRAME {
            // Clips without a change are of the other task.
            let changes = Tensor::ones_like(labels).to_kind(Type::Float);
            key_frame(logits, labels, &changes, self.compat)
        } else {
            classification(logits, labels)
        };
        Losses { total, parts: vec![] }
    }
}

impl<K: Kind> Model for Changes<K> {
    const NAME: &'static str = K::NAME;
    const ABOUT: &'static str = K::ABOUT;

    type Task = StateChanges<K>;
    type Settings = Settings;
    type TrainBatch = Labelled;
    type EvalBatch = EvalClips;

    fn task(settings: &Settings) -> TaskSettings {
        TaskSettings { clips: settings.clips.clone(), image_size: settings.video.image_size as i64 }
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

    fn train_batch(
        task: &Self::Task,
        _: &Settings,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Labelled, TrainError> {
        let labels = &task.labels[0];
        let plan = |row: Row, draw| task.plan(row, labels, Some(draw));
        let read = |ahead: &mut Ahead, row: Row, draw: &mut Generator| task.read(ahead, row, labels, Some(draw));
        let found = task.splits.to_learn(samples, draw, plan, read)?;
        Ok(Labelled::of(found.into_iter().map(|(_, clip)| clip)))
    }

    fn eval_batch(task: &Self::Task, _: &Settings, samples: &[usize]) -> Result<EvalClips, TrainError> {
        let labels = &task.labels[1];
        let read = |ahead: &mut Ahead, row: Row| task.read(ahead, row, labels, None);
        let found = task.splits.to_predict(samples, |row| task.plan(row, labels, None), read)?;
        let (samples, clips): (Vec<usize>, Vec<(Tensor, usize)>) = found.into_iter().unzip();
        Ok(EvalClips { clips: (!samples.is_empty()).then(|| Labelled::of(clips.into_iter())), samples })
    }

    fn training_step(&self, batch: &Labelled, _: &Context) -> Result<Losses, TrainError> {
        Ok(self.losses(&self.model.logits(&batch.frames, true), &batch.labels))
    }

    fn predict(&self, batch: &EvalClips, with_losses: bool) -> Result<Predicted<Self::Task>, TrainError> {
        let Some(clips) = &batch.clips else { return Ok(Predicted::nothing(with_losses)) };
        let logits = self.model.logits(&clips.frames, false);
        let losses = with_losses.then(|| self.losses(&logits, &clips.labels));
        let scores = doubles(&logits);
        let scores = scores.chunks(K::CLASSES as usize).map(<[f64]>::to_vec);
        Ok(Predicted { predictions: batch.samples.iter().copied().zip(scores).collect(), losses })
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
