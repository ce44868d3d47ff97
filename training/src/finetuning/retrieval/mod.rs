//! Sentences and clips that are to find each other: EPIC-KITCHENS-100 retrieval and Charades-Ego, by both backbones.
//!
//! What the benchmarks have in common; each says in a file of its own what it learns from, and what is compared. Not for
//! frames or metrics.

mod benchmark;
pub mod charades;
mod data;
pub mod epic;

use std::marker::PhantomData;
use std::path::Path;

use egofx::compat::Compat;
use egofx::grid::Edges;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

pub use self::benchmark::{Benchmark, On, Source};
pub use self::data::{Apart, Pairs, Sample, SentencesAndClips, TaskSettings};
use crate::backbones::load::load_any;
use crate::checkpoint::Tensors;
use crate::corpora::frames::ClipSettings;
use crate::error::TrainError;
use crate::learner::{Context, Model, Predicted};
use crate::loss_sums::Losses;
use crate::losses::{adaptive_max_margin, cosine, infonce, max_margin};
use crate::rng::Generator;

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    /// A pair beats all others by a margin (EgoVLP on EPIC-KITCHENS).
    MaxMargin {
        /// The margin, of cosines.
        margin: f64,
    },
    /// A pair beats all others by a margin times its relevance (EgoVLPv2 on EPIC-KITCHENS).
    AdaptiveMaxMargin {
        /// The margin of a wholly relevant pair.
        margin: f64,
    },
    /// InfoNCE (Charades-Ego).
    Infonce {
        /// What cosines are divided by.
        temperature: f64,
    },
}

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings<B> {
    /// How the ends of the segments that frames are taken from become frames.
    pub edges: Edges,
    /// How clips are shown.
    pub clips: ClipSettings,
    /// The network.
    pub backbone: B,
    /// Compute the inner values of blocks again in the backward pass.
    pub activation_checkpointing: bool,
    /// What is learnt.
    pub loss: Loss,
}

/// A backbone that learns a benchmark.
pub struct Retrieval<B, K> {
    backbone: B,
    loss: Loss,
    compat: Compat,
    kind: PhantomData<K>,
}

impl<K: Benchmark, B: On<K>> Model for Retrieval<B, K> {
    const NAME: &'static str = <B as On<K>>::NAME;
    const ABOUT: &'static str = <B as On<K>>::ABOUT;

    type Task = SentencesAndClips<K>;
    type Settings = Settings<B::Settings>;
    type TrainBatch = Pairs;
    type EvalBatch = Apart;

    fn task(settings: &Self::Settings) -> TaskSettings {
        let Settings { edges, clips, backbone, .. } = settings.clone();
        TaskSettings { text: B::TEXT, clips, image_size: B::video_config(&backbone).image_size as i64, edges }
    }

    fn new(path: &nn::Path, settings: &Self::Settings, compat: Compat) -> Result<Self, String> {
        let backbone =
            B::build(path, &settings.backbone, settings.activation_checkpointing).map_err(|error| error.to_string())?;
        Ok(Self { backbone, loss: settings.loss, compat, kind: PhantomData })
    }

    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, B::STARTS, &[], into).map(|_| ())
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[B::OWN], &[], into).map(|_| ())
    }

    fn train_batch(
        task: &Self::Task,
        _: &Self::Settings,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Pairs, TrainError> {
        task.pairs(samples, draw)
    }

    fn eval_batch(task: &Self::Task, _: &Self::Settings, samples: &[Sample]) -> Result<Apart, TrainError> {
        task.apart(samples)
    }

    fn training_step(&self, batch: &Pairs, context: &Context) -> Result<Losses, TrainError> {
        let Pairs { frames, words: [ids, mask], weights } = batch;
        let texts = self.backbone.sentences(ids, mask, true);
        let videos = self.backbone.clips(frames, true);
        let gather = |rows: &Tensor| context.world.all_gather(rows, self.compat);
        let sim = cosine(&gather(&texts)?, &gather(&videos)?);
        let total = match self.loss {
            Loss::MaxMargin { margin } => max_margin(&sim, margin, true, self.compat),
            Loss::AdaptiveMaxMargin { margin } => {
                adaptive_max_margin(&sim, &gather(weights)?, margin, true, self.compat)
            }
            Loss::Infonce { temperature } => infonce(&sim, temperature),
        };
        Ok(Losses { total, parts: vec![] })
    }

    /// Embeddings. Clips and sentences of the test are no pairs, and have no loss.
    fn predict(&self, batch: &Apart, _with_losses: bool) -> Result<Predicted<Self::Task>, TrainError> {
        let texts = batch.words.as_ref().map(|[ids, mask]| self.backbone.sentences(ids, mask, false));
        let videos = batch.frames.as_ref().map(|frames| self.backbone.clips(frames, false));
        let mut predictions = rows(&batch.clips, videos)?;
        predictions.extend(rows(&batch.sentences, texts)?);
        Ok(Predicted { predictions, losses: None })
    }
}

/// Embeddings `[samples, D]`, each with its sample.
fn rows(samples: &[Sample], embeddings: Option<Tensor>) -> Result<Vec<(Sample, Vec<f32>)>, TrainError> {
    let Some(embeddings) = embeddings else { return Ok(vec![]) };
    let rows = Vec::<Vec<f32>>::try_from(embeddings.to_kind(tch::Kind::Float).to_device(Device::Cpu))?;
    Ok(samples.iter().copied().zip(rows).collect())
}
