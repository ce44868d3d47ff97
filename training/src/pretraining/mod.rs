//! Pretraining on narrated clips (EgoClip), validated on questions with five clips each (EgoMCQ).
//!
//! What all backbones have in common; each says in a file of its own what it learns beyond that. Not for networks, losses or
//! reading: [`backbones`](crate::backbones), [`losses`](crate::losses) and [`corpora`](crate::corpora) have these.

pub mod data;
pub mod egovlp;
pub mod egovlpv2;
pub mod questions;

use std::path::Path;

use egofx::compat::Compat;
use egofx::text::TextModel;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use crate::backbones::load::{CheckpointFormat, load_any};
use crate::backbones::{BackboneError, VideoConfig};
use crate::checkpoint::Tensors;
use crate::corpora::frames::ClipSettings;
use crate::error::TrainError;
use crate::learner::{Context, Model, Predicted};
use crate::loss_sums::Losses;
use crate::losses::{Rule, cosine, positives};
use crate::optimizer::ParamGroup;
use crate::rng::Generator;

use data::{Corpus, CorpusSettings, LossSettings, Pairs};
use questions::{Answered, Asked};

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings<B> {
    /// How clips are shown.
    pub clips: ClipSettings,
    /// The network.
    pub backbone: B,
    /// Compute the inner values of blocks again in the backward pass, for a third more time and far less memory.
    pub activation_checkpointing: bool,
    /// What is learnt.
    pub losses: LossSettings,
}

/// A backbone that can be pretrained.
pub trait Backbone: Sized + 'static {
    /// Its name in experiment files.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;
    /// What reads its sentences.
    const TEXT: TextModel;
    /// Files of its own weights.
    const OWN: &'static CheckpointFormat;
    /// Files that it may start from, its own among them.
    const STARTS: &'static [&'static CheckpointFormat];
    /// Its sizes.
    type Settings: Serialize + DeserializeOwned + Clone + Sync;

    /// The sizes of the video tower.
    fn video_config(settings: &Self::Settings) -> &VideoConfig;

    /// The network.
    ///
    /// # Errors
    /// Settings that no network has.
    fn build(path: &nn::Path, settings: &Self::Settings, activation_checkpointing: bool)
    -> Result<Self, BackboneError>;

    /// Which of these losses it does not have, as text.
    fn misses(_losses: &LossSettings) -> Option<&'static str> {
        None
    }

    /// How the optimiser treats a weight.
    fn param_group(name: &str) -> ParamGroup;

    /// Embeddings `[B, D]` of sentences.
    fn sentences(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor;

    /// Embeddings `[B, D]` of clips.
    fn clips(&self, frames: &Tensor, train: bool) -> Tensor;

    /// Probabilities `[5 Q]` that clips and their questions match, for those that fuse them.
    fn matches(&self, _asked: &Asked) -> Option<Tensor> {
        None
    }

    /// The rule of positives that it takes one for.
    fn rule(rule: Rule, _compat: Compat) -> Rule {
        rule
    }

    /// The losses of pairs that were compared.
    ///
    /// # Errors
    /// Another rank that has gone.
    fn losses(&self, pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Losses, TrainError>;
}

/// What a step is computed with, beside its pairs.
pub struct Step<'s> {
    /// What is learnt.
    pub losses: &'s LossSettings,
    /// Whether faults of the original are reproduced.
    pub compat: Compat,
    /// The other ranks, and what is drawn.
    pub context: &'s Context<'s>,
}

impl Step<'_> {
    /// Rows of all ranks; see [`World::all_gather`](crate::distributed::World::all_gather).
    ///
    /// # Errors
    /// Another rank that has gone.
    pub fn all_gather(&self, rows: &Tensor) -> Result<Tensor, TrainError> {
        self.context.world.all_gather(rows, self.compat)
    }
}

/// The pairs of all ranks, all gathered and compared with each other.
pub struct Compared {
    /// Cosines `[N, N]` of all sentences with all clips.
    pub sim: Tensor,
    /// Which of them are true.
    pub positives: Tensor,
}

/// A backbone as it learns.
pub struct Pretraining<B> {
    backbone: B,
    losses: LossSettings,
    compat: Compat,
}

impl<B: Backbone> Pretraining<B> {
    /// The network.
    pub fn backbone(&self) -> &B {
        &self.backbone
    }
}

impl<B: Backbone> Model for Pretraining<B> {
    const NAME: &'static str = B::NAME;
    const ABOUT: &'static str = B::ABOUT;

    type Task = Corpus;
    type Settings = Settings<B::Settings>;
    type TrainBatch = Pairs;
    type EvalBatch = Asked;

    fn task(settings: &Self::Settings) -> CorpusSettings {
        let Settings { clips, backbone, losses, .. } = settings.clone();
        CorpusSettings { text: B::TEXT, clips, image_size: B::video_config(&backbone).image_size as i64, losses }
    }

    fn new(path: &nn::Path, settings: &Self::Settings, compat: Compat) -> Result<Self, String> {
        if let Some(why) = B::misses(&settings.losses) {
            return Err(why.to_owned());
        }
        let backbone =
            B::build(path, &settings.backbone, settings.activation_checkpointing).map_err(|error| error.to_string())?;
        Ok(Self { backbone, losses: settings.losses.clone(), compat })
    }

    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, B::STARTS, &[], into).map(|_| ())
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[B::OWN], &[], into).map(|_| ())
    }

    fn param_group(name: &str, _shape: &[i64]) -> ParamGroup {
        B::param_group(name)
    }

    fn train_batch(
        corpus: &Corpus,
        _: &Self::Settings,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Pairs, TrainError> {
        corpus.pairs(samples, draw)
    }

    fn eval_batch(corpus: &Corpus, _: &Self::Settings, samples: &[usize]) -> Result<Asked, TrainError> {
        corpus.asked(samples)
    }

    fn training_step(&self, pairs: &Pairs, context: &Context) -> Result<Losses, TrainError> {
        let texts = self.backbone.sentences(&pairs.ids, &pairs.mask, true);
        let videos = self.backbone.clips(&pairs.frames, true);
        let step = Step { losses: &self.losses, compat: self.compat, context };
        let rule = B::rule(self.losses.positives, self.compat);
        let positives = positives(&step.all_gather(&pairs.verbs)?, &step.all_gather(&pairs.nouns)?, rule);
        let sim = cosine(&step.all_gather(&texts)?, &step.all_gather(&videos)?);
        self.backbone.losses(pairs, &Compared { sim, positives }, &step)
    }

    fn predict(&self, asked: &Asked, with_losses: bool) -> Result<Predicted<Corpus>, TrainError> {
        let texts = self.backbone.sentences(&asked.ids, &asked.mask, false);
        let dual = questions::dual(&texts, &self.backbone.clips(&asked.frames, false));
        let fusion = self.backbone.matches(asked).map(|matches| matches.view_as(&dual));
        let answered = Answered { dual, fusion };
        let loss = || Losses { total: answered.loss(asked, self.losses.temperature), parts: vec![] };
        Ok(Predicted { predictions: answered.scores(asked), losses: with_losses.then(loss) })
    }
}
