//! Sentences and clips that are to find each other: EPIC-KITCHENS-100 retrieval and Charades-Ego, by both backbones.
//!
//! What the benchmarks have in common; each says in a file of its own what it learns from, and what is compared. Not for
//! frames or metrics.

mod benchmark;
pub mod charades;
mod data;
pub mod epic;

use std::path::{Path, PathBuf};

use egofx::compat::Compat;
use egofx::grid::Edges;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor, nn};

pub use self::benchmark::{Benchmark, On, Source};
pub use self::data::{Batch, Data};
use crate::backbones::load::load_any;
use crate::checkpoint::Tensors;
use crate::corpora::choice::Choice;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::ClipRef;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::losses::{adaptive_max_margin, cosine, infonce, max_margin};
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::sources::{Fold, Sources, Split};
use crate::submission::Submission;

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
    /// How the ends of the stretches that frames are taken from become frames.
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

/// Embeddings of sentences and of clips, those that a batch has.
pub struct Embedded {
    texts: Option<Tensor>,
    videos: Option<Tensor>,
}

/// A backbone that learns a benchmark.
pub struct Retrieval<B, K> {
    backbone: B,
    loss: Loss,
    compat: Compat,
    kind: std::marker::PhantomData<K>,
}

impl<K: Benchmark, B: On<K>> Learner for Retrieval<B, K> {
    const NAME: &'static str = <B as On<K>>::NAME;
    const TASK: &'static str = K::TASK;
    const ABOUT: &'static str = <B as On<K>>::ABOUT;
    /// Clips and sentences of the test are no pairs.
    const VALIDATION_LOSS: bool = false;

    type Settings = Settings<B::Settings>;
    type Data = Data<K>;
    type Batch = Batch;
    type Output = Embedded;
    type Prediction = Vec<f32>;

    fn open(settings: &Self::Settings, compat: Compat, sources: &Sources) -> Result<Data<K>, TrainError> {
        let words = Words::open(sources.tokenizer.as_deref(), B::TEXT, &sources.caches)?;
        let clips = (&settings.clips, B::video_config(&settings.backbone).image_size as i64);
        Data::open(sources, words, clips, Choice::Segments(settings.edges), compat)
    }

    fn remarks(data: &Data<K>) -> Vec<String> {
        data.account.remarks()
    }

    fn folds(data: &Data<K>) -> Vec<Fold> {
        vec![data.fold()]
    }

    fn samples(data: &Data<K>) -> Vec<usize> {
        data.fold().validation
    }

    fn new(path: &nn::Path, settings: &Self::Settings, compat: Compat) -> Result<Self, String> {
        let backbone =
            B::build(path, &settings.backbone, settings.activation_checkpointing).map_err(|error| error.to_string())?;
        Ok(Self { backbone, loss: settings.loss, compat, kind: std::marker::PhantomData })
    }

    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, B::STARTS, &[], into).map(|_| ())
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[B::OWN], &[], into).map(|_| ())
    }

    fn clips(data: &Data<K>) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        Some(data.clips())
    }

    fn param_group(_name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    fn batch(data: &Data<K>, samples: &[usize], draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        match draw {
            Some(draw) => data.pairs(samples, draw),
            None => data.apart(samples),
        }
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let to = |tensor: Tensor| tensor.to_device(device);
        match batch {
            Batch::Pairs { frames, words, weights } => {
                Batch::Pairs { frames: to(frames), words: words.map(to), weights: to(weights) }
            }
            Batch::Apart { clips, frames, sentences, words } => {
                Batch::Apart { clips, frames: frames.map(to), sentences, words: words.map(|words| words.map(to)) }
            }
        }
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Embedded, TrainError> {
        let (frames, words) = match batch {
            Batch::Pairs { frames, words, .. } => (Some(frames), Some(words)),
            Batch::Apart { frames, words, .. } => (frames.as_ref(), words.as_ref()),
        };
        Ok(Embedded {
            texts: words.map(|[ids, mask]| self.backbone.sentences(ids, mask, train)),
            videos: frames.map(|frames| self.backbone.clips(frames, train)),
        })
    }

    fn losses(&self, output: &Embedded, batch: &Batch, context: &Context) -> Result<Losses, TrainError> {
        let (Embedded { texts: Some(texts), videos: Some(videos) }, Batch::Pairs { weights, .. }) = (output, batch)
        else {
            return Err(TrainError::Batch { head: <B as On<K>>::NAME, why: "it holds no pairs".into() });
        };
        let gather = |rows: &Tensor| context.world.all_gather(rows, self.compat);
        let sim = cosine(&gather(texts)?, &gather(videos)?);
        let total = match self.loss {
            Loss::MaxMargin { margin } => max_margin(&sim, margin, true, self.compat),
            Loss::AdaptiveMaxMargin { margin } => {
                adaptive_max_margin(&sim, &gather(weights)?, margin, true, self.compat)
            }
            Loss::Infonce { temperature } => infonce(&sim, temperature),
        };
        Ok(Losses { total, parts: vec![] })
    }

    fn predictions(&self, output: &Embedded, batch: &Batch) -> Vec<(usize, Vec<f32>)> {
        let Batch::Apart { clips, sentences, .. } = batch else { return vec![] };
        let rows = |numbers: &[usize], embeddings: &Option<Tensor>| -> Vec<(usize, Vec<f32>)> {
            let Some(embeddings) = embeddings else { return vec![] };
            let rows = Vec::<Vec<f32>>::try_from(embeddings.to_kind(tch::Kind::Float).to_device(Device::Cpu));
            numbers.iter().copied().zip(rows.unwrap_or_default()).collect()
        };
        rows(clips, &output.videos).into_iter().chain(rows(sentences, &output.texts)).collect()
    }

    fn score(data: &Data<K>, predictions: &[(usize, Vec<f32>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let (clips, cosines) = data.cosines(predictions);
        data.kind.score(&clips, cosines.mapv(f64::from), data.compat)
    }

    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        sources.split(Split::Whole).map_or(vec![], K::truths)
    }

    fn submission(data: &Data<K>, predictions: &[(usize, Vec<f32>)]) -> Result<Submission, TrainError> {
        let (names, scores) = data.cosines(predictions);
        let names = names.into_iter().map(str::to_owned).collect();
        Ok(Submission::Matrix { list: K::NAMES, names, scores })
    }
}
