//! SnAG as a head for NLQ: its clips and their queries, its losses, its points as windows.
//!
//! Not for the network, nor for which queries are learnt together, which the task says.

use std::sync::Arc;

use egofx::compat::Compat;
use egofx::heads::actionformer::FeatureGrid;
use egofx::metric::Window;
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn};

use super::crop::{Crop, crop};
use super::decode::{DecodeSettings, candidates, in_seconds, suppressed};
use super::loss::{losses, next_normaliser};
use super::targets::{Event, Targets};
use super::{Input, Settings, Snag, SnagError, decays, padded};
use crate::checkpoint::Tensors;
use crate::error::TrainError;
use crate::heads::actionformer::{Output, points};
use crate::learner::{Batch, Context, Model, Predicted};
use crate::loss_sums::Losses;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::Expected;
use crate::tasks::nlq;
use crate::tasks::nlq_clips::{self, NlqClips};
use crate::tensors::tensor;

/// The tables of an experiment with SnAG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The store of rows.
    pub features: Expected,
    /// The store of tokens.
    pub tokens: Expected,
    /// Where the steps lie in time, which are rows at a distance of [`row_stride`](Settings::row_stride).
    pub frames: FeatureGrid,
    /// The network, its samples, targets and losses.
    pub model: Settings,
    /// Which predictions become windows.
    pub decode: DecodeSettings,
}

/// By how much the steps a second of the rows and of the grid may differ.
const RATES_MAY_DIFFER: f64 = 0.01;

impl Tables {
    /// That rows, the stride over them and the grid of steps tell the same time.
    fn check_times(&self) -> Result<(), String> {
        let Some(rows_per_sec) = self.features.rows_per_sec else { return Ok(()) };
        let (row_stride, FeatureGrid { fps, stride_frames, .. }) = (self.model.row_stride, self.frames);
        let (of_rows, of_grid) = (rows_per_sec / row_stride as f64, f64::from(fps / stride_frames));
        if (of_rows / of_grid - 1.0).abs() < RATES_MAY_DIFFER {
            return Ok(());
        }
        Err(format!(
            "features.rows_per_sec / model.row_stride is {rows_per_sec} / {row_stride} steps a second, frames.fps / \
             frames.stride_frames {fps} / {stride_frames}; expected the same"
        ))
    }
}

/// A clip with queries about it.
struct Clip {
    queries: Vec<usize>,
    duration_sec: f64,
    /// `[D, T]`.
    features: Tensor,
    /// `[E, n]` of each query.
    tokens: Vec<Tensor>,
    /// Of each query.
    events: Vec<Event>,
}

impl Clip {
    /// The clip of these queries; a part of it, and of the queries' tokens, where one is drawn to learn from.
    fn read(
        task: &NlqClips,
        settings: &Tables,
        queries: &[usize],
        draw: Option<&mut Generator>,
    ) -> Result<Self, TrainError> {
        let Tables { frames, model, .. } = settings;
        let rows: Arc<Array2<f32>> = task.nlq().rows(queries[0])?;
        let steps = rows.slice(s![..;model.row_stride as isize, ..]);
        let duration_sec = task.nlq().sample(queries[0]).span.duration_sec();
        let events: Vec<Event> = queries.iter().map(|&query| event(task.window(query), frames)).collect();
        let most_tokens = if draw.is_some() { model.max_tokens } else { usize::MAX };
        let kept = match draw {
            Some(draw) => {
                crop(steps.nrows(), &events, frames, model, draw).map_err(|error| of_clip(task, queries, error))?
            }
            None => Crop { start: 0, length: steps.nrows(), events },
        };
        let features = tensor(&steps.slice(s![kept.start..kept.start + kept.length, ..]).t());
        let tokens = |&query: &usize| {
            let sentence = task.nlq().tokens(query).sentence();
            tensor(&sentence.slice(s![..sentence.nrows().min(most_tokens), ..]).t())
        };
        let tokens = queries.iter().map(tokens).collect();
        Ok(Self { queries: queries.to_vec(), duration_sec, features, tokens, events: kept.events })
    }
}

fn event([start_sec, end_sec]: [f64; 2], grid: &FeatureGrid) -> Event {
    Event { start: grid.step_from_sec(start_sec), end: grid.step_from_sec(end_sec) }
}

/// Clips of one padded length.
struct Part {
    /// Each with the duration of its clip.
    queries: Vec<(usize, f64)>,
    input: Input,
    targets: Targets,
}

impl Part {
    fn new(clips: &[Clip], settings: &Tables) -> Result<Self, SnagError> {
        let Tables { features, tokens, model, .. } = settings;
        let rows: Vec<Tensor> = clips.iter().map(|clip| clip.features.shallow_clone()).collect();
        let length = rows.iter().map(|rows| model.padded_length(rows.size()[1])).max().unwrap_or_default();
        let (video, video_mask) = padded("a clip", &rows, features.dim as i64, length)?;
        let video_mask = video_mask.unsqueeze(1);
        let words: Vec<Tensor> = clips.iter().flat_map(|clip| &clip.tokens).map(Tensor::shallow_clone).collect();
        let longest = words.iter().map(|words| words.size()[1]).max().unwrap_or_default();
        let (tokens, token_mask) = padded("the tokens of a query", &words, tokens.dim as i64, longest)?;
        let owners: Vec<i64> =
            (0..).zip(clips).flat_map(|(number, clip)| clip.queries.iter().map(move |_| number)).collect();
        let owners = Tensor::from_slice(&owners);
        let events: Vec<Event> = clips.iter().flat_map(|clip| clip.events.iter().copied()).collect();
        let ranges = &model.regression_ranges;
        let within = points::masks(&video_mask, ranges.len()).index_select(0, &owners);
        let targets = Targets::new(&points::of_pyramid(length, ranges, Device::Cpu), &within, &events, model);
        let with_duration = |clip: &Clip| {
            let duration_sec = clip.duration_sec;
            clip.queries.iter().map(move |&query| (query, duration_sec)).collect::<Vec<_>>()
        };
        let queries = clips.iter().flat_map(with_duration).collect();
        Ok(Self { queries, input: Input { video, video_mask, tokens, token_mask, owners }, targets })
    }

    fn windows(&self, output: &Output, settings: &Tables) -> Vec<(usize, Vec<Window>)> {
        let windows = |query: i64, duration_sec: f64| {
            let found = suppressed(&candidates(output, query, &settings.decode), &settings.decode);
            in_seconds(&found, &settings.frames, duration_sec)
        };
        let numbered = (0..).zip(&self.queries);
        numbered.map(|(place, &(query, duration_sec))| (query, windows(place, duration_sec))).collect()
    }
}

/// Clips that are computed together: in parts, since clips of different padded lengths are no one tensor.
pub struct Parts {
    parts: Vec<Part>,
    /// Points that have an event, counted where the batch is made.
    positives: i64,
}

impl Parts {
    fn of(parts: Result<Vec<Part>, SnagError>) -> Result<Self, TrainError> {
        let parts = parts.map_err(refused)?;
        Ok(Self { positives: parts.iter().map(|part| part.targets.positives()).sum(), parts })
    }
}

impl Batch for Parts {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let part =
            |part: Part| Part { input: part.input.map(of), targets: part.targets.map(of), queries: part.queries };
        Self { parts: self.parts.into_iter().map(part).collect(), ..self }
    }
}

/// SnAG for NLQ.
pub struct SnagHead {
    network: Snag,
    settings: Tables,
    /// The running count of positive points, a scalar in double precision. On the CPU, where it is used.
    normaliser: Tensor,
}

impl SnagHead {
    fn forward(&self, batch: &Parts, train: bool) -> Result<Vec<Output>, TrainError> {
        batch.parts.iter().map(|part| self.network.forward(&part.input, train).map_err(refused)).collect()
    }

    /// Sums over points, so that parts add up.
    fn losses(&self, outputs: &[Output], batch: &Parts) -> Losses {
        let (smoothing, normaliser) = (self.settings.model.label_smoothing, self.normaliser.double_value(&[]));
        let of_parts = outputs.iter().zip(&batch.parts);
        let of_parts = of_parts.map(|(output, part)| losses(output, &part.targets, smoothing, normaliser));
        let (scores, offsets): (Vec<Tensor>, Vec<Tensor>) =
            of_parts.map(|losses| (losses.classification, losses.regression)).unzip();
        let [scores, offsets] = [scores, offsets].map(|parts| Tensor::stack(&parts, 0).sum(Kind::Float));
        Losses { total: &scores + &offsets, parts: vec![("class loss", scores), ("regression loss", offsets)] }
    }
}

impl Model for SnagHead {
    const NAME: &'static str = "snag";
    const ABOUT: &'static str = "SnAG (Mu et al., 2024), a pyramid that all queries of a clip share";

    type Task = NlqClips;
    type Settings = Tables;
    type TrainBatch = Parts;
    type EvalBatch = Parts;

    fn task(settings: &Tables) -> nlq_clips::Settings {
        let Tables { features, tokens, frames, model, .. } = settings.clone();
        nlq_clips::Settings {
            nlq: nlq::Settings { features, tokens, positions: usize::MAX },
            frames,
            row_stride: model.row_stride,
            max_length: model.max_length.unsigned_abs() as usize,
            max_queries: model.max_queries,
            truncation_threshold: model.truncation_threshold,
        }
    }

    fn new(path: &nn::Path, settings: &Tables, _compat: Compat) -> Result<Self, String> {
        settings.check_times()?;
        let dims = [settings.features.dim as i64, settings.tokens.dim as i64];
        let network = Snag::new(path, dims, &settings.model).map_err(|error| error.to_string())?;
        let normaliser = Tensor::from(settings.model.first_normaliser);
        Ok(Self { network, settings: settings.clone(), normaliser })
    }

    fn param_group(name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: decays(name), lr_mult: LrMult::Base }
    }

    fn buffers(&self) -> Tensors {
        [("normaliser".to_owned(), self.normaliser.shallow_clone())].into()
    }

    fn train_batch(
        task: &NlqClips,
        settings: &Tables,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Parts, TrainError> {
        let clip = |&number: &usize| Clip::read(task, settings, task.group(number), Some(&mut *draw));
        let clips = samples.iter().map(clip).collect::<Result<Vec<Clip>, _>>()?;
        // Clips to learn from are all padded to the greatest length.
        Parts::of(Part::new(&clips, settings).map(|part| vec![part]))
    }

    fn eval_batch(task: &NlqClips, settings: &Tables, samples: &[usize]) -> Result<Parts, TrainError> {
        let same = |a: &usize, b: &usize| task.nlq().sample(*a).clip_uid == task.nlq().sample(*b).clip_uid;
        let clips = samples.chunk_by(same).map(|queries| Clip::read(task, settings, queries, None));
        let clips = clips.collect::<Result<Vec<Clip>, _>>()?;
        Parts::of(clips.chunks(1).map(|clip| Part::new(clip, settings)).collect())
    }

    fn training_step(&self, batch: &Parts, _: &Context) -> Result<Losses, TrainError> {
        let losses = self.losses(&self.forward(batch, true)?, batch);
        // The step itself divides by what was known before it.
        let normaliser = next_normaliser(self.normaliser.double_value(&[]), batch.positives);
        drop(self.normaliser.shallow_clone().fill_(normaliser));
        Ok(losses)
    }

    fn predict(&self, batch: &Parts, with_losses: bool) -> Result<Predicted<NlqClips>, TrainError> {
        let outputs = self.forward(batch, false)?;
        let losses = with_losses.then(|| self.losses(&outputs, batch));
        let windows = outputs.iter().zip(&batch.parts).flat_map(|(output, part)| part.windows(output, &self.settings));
        Ok(Predicted { predictions: windows.collect(), losses })
    }
}

fn refused(error: SnagError) -> TrainError {
    TrainError::Batch { head: SnagHead::NAME, why: error.to_string() }
}

/// The same, of a clip and its queries.
fn of_clip(task: &NlqClips, queries: &[usize], error: SnagError) -> TrainError {
    let ids: Vec<&str> = queries.iter().map(|&query| task.nlq().sample(query).query_id.as_str()).collect();
    let why = format!("clip {}, {}: {error}", task.nlq().sample(queries[0]).clip_uid, ids.join(" and "));
    TrainError::Batch { head: SnagHead::NAME, why }
}
