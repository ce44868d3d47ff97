//! EgoVLP's pretraining: two towers that EgoNCE pulls together.
//!
//! Source: Lin et al., "Egocentric Video-Language Pretraining", 2022, equations 1 to 4.

use egofx::text::TextModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::nn;
use tch::{Device, Tensor};

use super::data::{Batch, Corpus, LossSettings};
use super::questions::{self, Answered, Scores};
use crate::backbones::load::{DISTILBERT, EGOVLP, VIT, load_any};
use crate::backbones::{EgoVlp, EgoVlpSettings};
use crate::behaviour::Behaviour;
use crate::checkpoint::Tensors;
use crate::corpora::frames::ClipSettings;
use crate::error::TrainError;
use crate::learner::{Context, Draw, Fold, Learner, Losses};
use crate::objectives::{cosine, egonce, positives};
use crate::optimizer::Treatment;
use crate::sources::Sources;

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How clips are shown.
    pub clips: ClipSettings,
    /// The network.
    pub backbone: EgoVlpSettings,
    /// Compute the inner values of blocks again in the backward pass, for a third more time and far less memory.
    pub recompute: bool,
    /// What is learnt.
    pub losses: LossSettings,
}

/// EgoVLP as it learns.
pub struct Pretraining {
    model: EgoVlp,
    losses: LossSettings,
    behaviour: Behaviour,
}

/// The data of a run and what its batches need to know.
pub struct Data {
    corpus: Corpus,
    losses: LossSettings,
}

/// Embeddings of pairs, or scores of answers.
pub enum Output {
    /// `[B, D]` each: sentences, clips.
    Pairs(Tensor, Tensor),
    /// Of questions.
    Questions(Answered),
}

impl Learner for Pretraining {
    const NAME: &'static str = "egovlp";
    const TASK: &'static str = "pretrain";
    const ABOUT: &'static str = "EgoVLP: EgoNCE between two towers";

    type Settings = Settings;
    type Data = Data;
    type Batch = Batch;
    type Output = Output;
    type Prediction = Scores;

    fn open(settings: &Settings, behaviour: Behaviour, sources: &Sources) -> Result<Data, TrainError> {
        let clips = (&settings.clips, settings.backbone.video.image);
        let corpus = Corpus::open(sources, TextModel::EgoVlp, clips, &settings.losses, behaviour)?;
        Ok(Data { corpus, losses: settings.losses.clone() })
    }

    fn remarks(data: &Data) -> Vec<String> {
        data.corpus.remarks()
    }

    fn folds(data: &Data) -> Vec<Fold> {
        vec![data.corpus.fold()]
    }

    fn samples(data: &Data) -> Vec<usize> {
        data.corpus.fold().validation
    }

    fn new(path: &nn::Path, settings: &Settings, behaviour: Behaviour) -> Result<Self, String> {
        if settings.losses.weights.words != 0.0 || settings.losses.weights.matching != 0.0 {
            return Err("losses.weights: EgoVLP has neither words to guess nor a head for matching, expected 0".into());
        }
        let model = EgoVlp::new(path, &settings.backbone, settings.recompute).map_err(|error| error.to_string())?;
        Ok(Self { model, losses: settings.losses.clone(), behaviour })
    }

    fn load(path: &std::path::Path, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[&EGOVLP, &VIT, &DISTILBERT], &[], into).map(|_| ())
    }

    /// The original leaves no weight out.
    fn treatment(_name: &str, _shape: &[i64]) -> Treatment {
        Treatment { decays: true, lr_scale: 1.0 }
    }

    fn batch(data: &Data, samples: &[usize], draw: Option<&mut Draw>) -> Result<Batch, TrainError> {
        data.corpus.batch(samples, &data.losses, draw)
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        batch.to_device(device)
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Output, TrainError> {
        Ok(match batch {
            Batch::Pairs(pairs) => {
                Output::Pairs(self.model.text(&pairs.ids, &pairs.mask, train), self.model.video(&pairs.frames, train))
            }
            Batch::Questions(asked) => {
                let text = self.model.text(&asked.ids, &asked.mask, false);
                let video = self.model.video(&asked.frames, false);
                Output::Questions(Answered { dual: questions::dual(&text, &video), fusion: None })
            }
        })
    }

    fn losses(&self, output: &Output, batch: &Batch, context: &Context) -> Result<Losses, TrainError> {
        let temperature = self.losses.temperature;
        let total = match (output, batch) {
            (Output::Pairs(texts, videos), Batch::Pairs(pairs)) => {
                let gather = |rows: &Tensor| context.world.gather(rows, self.behaviour);
                let rule = self.losses.positives.in_egovlp(self.behaviour);
                let positives = positives(&gather(&pairs.verbs)?, &gather(&pairs.nouns)?, rule);
                egonce(&cosine(&gather(texts)?, &gather(videos)?), &positives, temperature)
            }
            (Output::Questions(answered), Batch::Questions(asked)) => answered.loss(asked, temperature),
            _ => return Err(TrainError::Batch { head: Self::NAME, why: "an output of another batch".into() }),
        };
        Ok(Losses { total, parts: vec![] })
    }

    fn predictions(&self, output: &Output, batch: &Batch) -> Vec<(usize, Scores)> {
        match (output, batch) {
            (Output::Questions(answered), Batch::Questions(asked)) => answered.scores(asked),
            _ => vec![],
        }
    }

    fn score(data: &Data, predictions: &[(usize, Scores)]) -> Result<Vec<(String, f64)>, TrainError> {
        questions::score(&data.corpus, predictions)
    }

    fn submission(data: &Data, predictions: &[(usize, Scores)]) -> Result<Value, TrainError> {
        Ok(questions::submission(&data.corpus, predictions))
    }
}
