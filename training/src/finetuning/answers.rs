//! EgoTaskQA: questions about a clip, answered by one of a set of answers; by EgoVLPv2, and by PPSA on top of it.
//!
//! Source: Pramanick et al. (2023) for EgoVLPv2; Zhang et al., "Multi-Factor Adaptive Vision Selection for Egocentric Video
//! Question Answering" (ICML 2024), whose repository was first published as PPSA.

use std::marker::PhantomData;
use std::path::Path;

use egofx::benchmark::egotaskqa;
use egofx::compat::Compat;
use egofx::metric::egotaskqa::QaScore;
use egofx::text::TextModel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, Tensor, nn};

use super::splits::{Row, Splits, stacked};
use crate::backbones::load::{EGOVLPV2, load};
use crate::backbones::{BackboneError, EgoVlpV2Answers, EgoVlpV2Config, Ppsa};
use crate::checkpoint::Tensors;
use crate::corpora::choice::Choice;
use crate::corpora::error::ClipError;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::ClipRef;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::learner::{Context, Learner};
use crate::loss_sums::Losses;
use crate::losses::classification;
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::Generator;
use crate::rng::{self, Purpose};
use crate::sources::{Fold, Sources};
use crate::submission::Submission;

/// A network that answers.
pub trait Answering: Sized + 'static {
    /// Its name in experiment files.
    const NAME: &'static str;
    /// One line for people.
    const ABOUT: &'static str;

    /// The network.
    ///
    /// # Errors
    /// Settings that no network has.
    fn build(path: &nn::Path, settings: &Settings, compat: Compat) -> Result<Self, BackboneError>;

    /// Scores `[B, answers]`.
    fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor;

    /// Puts the weights of a backbone into the network.
    ///
    /// # Errors
    /// As for [`Learner::start`].
    fn start(path: &Path, compat: Compat, into: &Tensors) -> Result<(), TrainError>;
}

impl Answering for EgoVlpV2Answers {
    const NAME: &'static str = "egovlpv2-answers";
    const ABOUT: &'static str = "EgoVLPv2, fused, with two layers that pick an answer";

    fn build(path: &nn::Path, settings: &Settings, _compat: Compat) -> Result<Self, BackboneError> {
        Self::new(path, &settings.backbone, settings.answers, settings.activation_checkpointing)
    }

    fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.answers(frames, ids, mask, train)
    }

    fn start(path: &Path, _compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        load(path, &EGOVLPV2, &["projector_"], into).map(|_| ())
    }
}

impl Answering for Ppsa {
    const NAME: &'static str = "ppsa";
    const ABOUT: &'static str = "PPSA: EgoVLPv2 with selected patches, merged step by step";

    fn build(path: &nn::Path, settings: &Settings, compat: Compat) -> Result<Self, BackboneError> {
        Self::new(path, &settings.backbone, settings.answers, compat, settings.activation_checkpointing)
    }

    fn answers(&self, frames: &Tensor, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.answers(frames, ids, mask, train)
    }

    fn start(path: &Path, compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        Self::start(path, compat, into).map(|_| ())
    }
}

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How clips are shown.
    pub clips: ClipSettings,
    /// The network below the answers.
    pub backbone: EgoVlpV2Config,
    /// How many answers there are: the lines of answer_set.txt.
    pub answers: i64,
    /// Compute the inner values of blocks again in the backward pass.
    pub activation_checkpointing: bool,
}

/// The questions of a run.
pub struct Data {
    splits: Splits,
    words: Words,
    compat: Compat,
}

/// Questions that are computed together.
pub struct Batch {
    samples: Vec<usize>,
    inputs: Option<[Tensor; 3]>,
    labels: Tensor,
}

/// A network that learns to answer.
pub struct Answers<N> {
    network: N,
    kind: PhantomData<N>,
}

/// Its answer's class; 0 in a file without answers, which is predicted for and neither learnt from nor scored.
fn class(row: Row) -> usize {
    row.cell("answer_encode").parse().unwrap_or(0)
}

/// The id that a question has in its file, where each split counts from 0; lists of several put the split before it.
fn question_id(row: Row<'_>) -> &str {
    let own = row.id().strip_prefix(row.cell("split")).and_then(|id| id.strip_prefix('_'));
    own.unwrap_or(row.id())
}

impl<N: Answering> Learner for Answers<N> {
    const NAME: &'static str = N::NAME;
    const TASK: &'static str = "egotaskqa";
    const ABOUT: &'static str = N::ABOUT;

    type Settings = Settings;
    type Data = Data;
    type Batch = Batch;
    type Output = Option<Tensor>;
    type Prediction = usize;

    fn open(settings: &Settings, compat: Compat, sources: &Sources) -> Result<Data, TrainError> {
        let clips = (&settings.clips, settings.backbone.video.image_size as i64);
        let about = "questions: formatted_train_qas_encode.json and _val_ or _test_, as published";
        let splits = Splits::open("egotaskqa", about, sources, clips, Some(Choice::Whole), compat)?;
        let words = Words::open(sources.tokenizer.as_deref(), TextModel::EgoVlpV2, &sources.caches)?;
        let fold = splits.fold();
        let answers: Vec<egotaskqa::Answer> = splits.records()?;
        if let Some(&sample) = fold.train.iter().find(|&&sample| answers[sample].class.is_none()) {
            let why = format!("question {:?} has no answer_encode to learn", splits.row(sample).id());
            return Err(TrainError::Batch { head: N::NAME, why });
        }
        let highest = answers.iter().filter_map(|answer| answer.class).max();
        match highest.filter(|&class| class as i64 >= settings.answers) {
            None => Ok(Data { splits, words, compat }),
            Some(class) => Err(TrainError::Batch {
                head: N::NAME,
                why: format!("an answer_encode is {class}, expected less than answers = {}", settings.answers),
            }),
        }
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
        let network = N::build(path, settings, compat).map_err(|error| error.to_string())?;
        Ok(Self { network, kind: PhantomData })
    }

    fn start(path: &Path, compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        <N as Answering>::start(path, compat, into)
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load(path, &EGOVLPV2, &[], into).map(|_| ())
    }

    fn clips(data: &Data) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        let fold = data.splits.fold();
        let all = fold.train.iter().chain(&fold.validation).map(|&sample| data.splits.row(sample).wanted());
        Some((&data.splits.clips, Choice::Whole, all.collect()))
    }

    fn param_group(_name: &str, _shape: &[i64]) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    /// As released frames are drawn at random where nothing is learnt as well, which makes scores vary; `fixed` takes the
    /// middles there. The picture is never cropped at random.
    fn batch(data: &Data, samples: &[usize], draw: Option<&mut Generator>) -> Result<Batch, TrainError> {
        let read = |row: Row, draw: Option<&mut Generator>| -> Result<Tensor, ClipError> {
            let show = |draw| data.splits.clips.clip(row.wanted(), Choice::Whole, draw);
            match (draw, data.compat) {
                (Some(draw), _) => show(Some(draw)),
                (None, Compat::Fixed) => show(None),
                (None, Compat::AsReleased) => {
                    let mut own = rng::generator(row.number() as u64, Purpose::Sample { number: 0 });
                    show(Some(&mut own))
                }
            }
        };
        let found = data.splits.each(samples, draw, read)?;
        let rows: Vec<Row> = found.iter().map(|(sample, _)| data.splits.row(*sample)).collect();
        let questions: Vec<&str> = rows.iter().map(|row| row.text()).collect();
        let labels: Vec<i64> = rows.iter().map(|&row| class(row) as i64).collect();
        let inputs = if found.is_empty() {
            None
        } else {
            let (ids, mask) = data.words.encode("egotaskqa", &questions)?;
            Some([stacked(found.iter().map(|(_, frames)| frames)), ids, mask])
        };
        let samples = found.iter().map(|(sample, _)| *sample).collect();
        Ok(Batch { samples, inputs, labels: Tensor::from_slice(&labels) })
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        let inputs = batch.inputs.map(|inputs| inputs.map(|tensor| tensor.to_device(device)));
        Batch { inputs, labels: batch.labels.to_device(device), ..batch }
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Option<Tensor>, TrainError> {
        Ok(batch.inputs.as_ref().map(|[frames, ids, mask]| self.network.answers(frames, ids, mask, train)))
    }

    fn losses(&self, output: &Option<Tensor>, batch: &Batch, _context: &Context) -> Result<Losses, TrainError> {
        let total = output.as_ref().map(|logits| classification(logits, &batch.labels));
        Ok(Losses { total: total.unwrap_or_else(|| Tensor::from(0f32)), parts: vec![] })
    }

    fn predictions(&self, output: &Option<Tensor>, batch: &Batch) -> Vec<(usize, usize)> {
        let Some(logits) = output else { return vec![] };
        let best = Vec::<i64>::try_from(logits.argmax(1, false).to_device(Device::Cpu)).unwrap_or_default();
        batch.samples.iter().copied().zip(best.into_iter().map(|class| class as usize)).collect()
    }

    fn score(data: &Data, predictions: &[(usize, usize)]) -> Result<Vec<(String, f64)>, TrainError> {
        let mut score = QaScore::default();
        for (sample, answer) in predictions {
            let row = data.splits.row(*sample);
            score.add(row.cell("reasoning_type").split('$').filter(|key| !key.is_empty()), *answer == class(row));
        }
        let named = [("open", "query"), ("binary", "verify"), ("direct", "direct"), ("indirect", "indirect")];
        let of = |(name, key): (&str, &str)| (name.to_owned(), score.of(key).accuracy());
        Ok([("pooled".to_owned(), score.pooled.accuracy())].into_iter().chain(named.map(of)).collect())
    }

    fn submission(data: &Data, predictions: &[(usize, usize)]) -> Result<Submission, TrainError> {
        let row = |(sample, class): &(usize, usize)| (question_id(data.splits.row(*sample)).to_owned(), json!(class));
        Ok(Value::Object(predictions.iter().map(row).collect::<Map<_, _>>()).into())
    }
}
