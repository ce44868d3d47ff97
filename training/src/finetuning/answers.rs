//! EgoTaskQA: questions about a clip, answered by one of a set of answers; by EgoVLPv2, and by PPSA on top of it.
//!
//! Source: Pramanick et al. (2023) for EgoVLPv2; Zhang et al., "Multi-Factor Adaptive Vision Selection for Egocentric Video
//! Question Answering" (ICML 2024), whose repository was first published as PPSA.

use std::path::Path;

use egofx::benchmark::egotaskqa::Answer;
use egofx::compat::Compat;
use egofx::heads::Submission;
use egofx::metric::egotaskqa::QaScore;
use egofx::text::TextModel;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Device, Tensor, nn};

use super::splits::{Row, Splits};
use crate::backbones::load::{EGOVLPV2, load};
use crate::backbones::{BackboneError, EgoVlpV2Answers, EgoVlpV2Config, Ppsa};
use crate::checkpoint::Tensors;
use crate::corpora::ahead::{Ahead, Plan};
use crate::corpora::choice::Choice;
use crate::corpora::error::ClipError;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::ClipRef;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::learner::{Batch, Context, Model, Predicted, Task};
use crate::loss_sums::Losses;
use crate::losses::classification;
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources};

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
    /// As for [`Model::start`].
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
pub struct EgoTaskQa {
    splits: Splits,
    /// Of the questions to learn from, all of which have a class, and of those to predict for.
    answers: [Vec<Answer>; 2],
    words: Words,
    compat: Compat,
}

/// What is opened.
pub struct TaskSettings {
    clips: ClipSettings,
    image_size: i64,
    answers: i64,
}

/// Clips with their questions.
pub struct Questions {
    /// `[B, F, 3, S, S]`.
    frames: Tensor,
    /// Ids and mask, `[B, L]`.
    words: [Tensor; 2],
    /// `[B]`.
    labels: Tensor,
}

/// Questions that are not learnt from.
pub struct EvalQuestions {
    /// Those whose clips could be read.
    samples: Vec<usize>,
    questions: Option<Questions>,
}

impl Batch for Questions {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { frames: of(self.frames), words: self.words.map(of), labels: of(self.labels) }
    }
}

impl Batch for EvalQuestions {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { questions: self.questions.map(|questions| questions.map(of)), ..self }
    }
}

/// A network that learns to answer.
pub struct Answers<N>(N);

/// The id that a question has in its file, where each split counts from 0; lists of several put the split before it.
fn question_id(row: Row<'_>) -> &str {
    let own = row.id().strip_prefix(row.cell("split")).and_then(|id| id.strip_prefix('_'));
    own.unwrap_or(row.id())
}

impl EgoTaskQa {
    /// Frames `[F, 3, S, S]` of a clip, which are never cropped at random.
    fn show(&self, ahead: &mut Ahead, row: Row, draw: Option<&mut Generator>) -> Result<Tensor, ClipError> {
        self.splits.clips.clip(ahead, row.wanted(), Choice::Whole, draw)
    }

    /// What [`show`](Self::show) will decode.
    fn plan(&self, row: Row, draw: Option<Generator>) -> Option<Plan> {
        self.splits.clips.plan(row.wanted(), Choice::Whole, draw)
    }

    /// The questions of `found`, whose answers are in `answers`; the label of one without a class is 0.
    fn questions<'s>(
        &self,
        answers: &[Answer],
        found: impl Iterator<Item = (Row<'s>, Tensor)>,
    ) -> Result<Questions, TrainError> {
        let (rows, frames): (Vec<Row>, Vec<Tensor>) = found.unzip();
        let texts: Vec<&str> = rows.iter().map(|row| row.text()).collect();
        let labels: Vec<i64> =
            rows.iter().map(|row| answers[row.number()].class.map_or(0, |class| class as i64)).collect();
        let (ids, mask) = self.words.encode("egotaskqa", &texts)?;
        Ok(Questions { frames: Tensor::stack(&frames, 0), words: [ids, mask], labels: Tensor::from_slice(&labels) })
    }
}

impl Task for EgoTaskQa {
    const NAME: &'static str = "egotaskqa";
    const ABOUT: &'static str = "Train for EgoTaskQA: answers to questions about the tasks in a video";
    const READS: &'static [&'static str] = &["videos", "clip-cache", "tokenizer", "train", "val", "memory"];

    type Settings = TaskSettings;
    type Sample = usize;
    /// The class of the answer.
    type Prediction = usize;

    fn open(settings: &TaskSettings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let clips = (&settings.clips, settings.image_size);
        let about = "questions: formatted_train_qas_encode.json and _val_ or _test_, as published";
        let splits = Splits::open("egotaskqa", about, sources, clips, Some(Choice::Whole), compat)?;
        let words = Words::open(sources.tokenizer.as_deref(), TextModel::EgoVlpV2, &sources.caches)?;
        let refused = |why| Err(TrainError::Batch { head: Self::NAME, why });
        let answers: [Vec<Answer>; 2] = splits.records()?;
        if let Some((row, _)) = splits.train_rows().zip(&answers[0]).find(|(_, answer)| answer.class.is_none()) {
            return refused(format!("question {:?} has no answer_encode to learn", row.id()));
        }
        let highest = answers.iter().flatten().filter_map(|answer| answer.class).max();
        match highest.filter(|&class| class as i64 >= settings.answers) {
            None => Ok(Self { splits, answers, words, compat }),
            Some(class) => {
                refused(format!("an answer_encode is {class}, expected less than answers = {}", settings.answers))
            }
        }
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

    fn clips(&self) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        Some((&self.splits.clips, Choice::Whole, self.splits.wanted()))
    }

    fn has_truths(&self) -> bool {
        self.answers[1].iter().any(|answer| answer.class.is_some())
    }

    fn score(&self, predictions: &[(usize, usize)]) -> Result<Vec<(String, f64)>, TrainError> {
        let mut score = QaScore::default();
        for (sample, class) in predictions {
            let answer = &self.answers[1][*sample];
            score.add(answer.reasoning_types.iter().map(String::as_str), answer.class == Some(*class));
        }
        let named = [("open", "query"), ("binary", "verify"), ("direct", "direct"), ("indirect", "indirect")];
        let of = |(name, key): (&str, &str)| (name.to_owned(), score.of(key).accuracy());
        Ok([("pooled".to_owned(), score.pooled.accuracy())].into_iter().chain(named.map(of)).collect())
    }

    fn submission(&self, predictions: &[(usize, usize)]) -> Result<Submission, TrainError> {
        let row = |(sample, class): &(usize, usize)| (question_id(self.splits.row(*sample)).to_owned(), json!(class));
        Ok(Value::Object(predictions.iter().map(row).collect::<Map<_, _>>()).into())
    }
}

impl<N: Answering> Answers<N> {
    /// Scores `[B, answers]`.
    fn logits(&self, questions: &Questions, train: bool) -> Tensor {
        let Questions { frames, words: [ids, mask], .. } = questions;
        self.0.answers(frames, ids, mask, train)
    }
}

impl<N: Answering> Model for Answers<N> {
    const NAME: &'static str = N::NAME;
    const ABOUT: &'static str = N::ABOUT;

    type Task = EgoTaskQa;
    type Settings = Settings;
    type TrainBatch = Questions;
    type EvalBatch = EvalQuestions;

    fn task(settings: &Settings) -> TaskSettings {
        let (clips, image_size) = (settings.clips.clone(), settings.backbone.video.image_size as i64);
        TaskSettings { clips, image_size, answers: settings.answers }
    }

    fn new(path: &nn::Path, settings: &Settings, compat: Compat) -> Result<Self, String> {
        N::build(path, settings, compat).map(Self).map_err(|error| error.to_string())
    }

    fn start(path: &Path, compat: Compat, into: &Tensors) -> Result<(), TrainError> {
        N::start(path, compat, into)
    }

    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        load(path, &EGOVLPV2, &[], into).map(|_| ())
    }

    fn train_batch(
        task: &EgoTaskQa,
        _: &Settings,
        samples: &[usize],
        draw: &mut Generator,
    ) -> Result<Questions, TrainError> {
        let read = |ahead: &mut Ahead, row: Row, draw: &mut Generator| task.show(ahead, row, Some(draw));
        let found = task.splits.to_learn(samples, draw, |row, draw| task.plan(row, Some(draw)), read)?;
        task.questions(&task.answers[0], found.into_iter())
    }

    /// As released frames are drawn at random here as well, which makes scores vary; `fixed` takes the middles.
    fn eval_batch(task: &EgoTaskQa, _: &Settings, samples: &[usize]) -> Result<EvalQuestions, TrainError> {
        let own = |row: Row| match task.compat {
            Compat::Fixed => None,
            Compat::AsReleased => Some(rng::generator(row.number() as u64, Purpose::Sample { number: 0 })),
        };
        let read = |ahead: &mut Ahead, row: Row| task.show(ahead, row, own(row).as_mut());
        let found = task.splits.to_predict(samples, |row| task.plan(row, own(row)), read)?;
        let samples: Vec<usize> = found.iter().map(|(sample, _)| *sample).collect();
        let rows = found.into_iter().map(|(sample, frames)| (task.splits.row(sample), frames));
        let questions = (!samples.is_empty()).then(|| task.questions(&task.answers[1], rows)).transpose()?;
        Ok(EvalQuestions { samples, questions })
    }

    fn training_step(&self, batch: &Questions, _: &Context) -> Result<Losses, TrainError> {
        Ok(Losses { total: classification(&self.logits(batch, true), &batch.labels), parts: vec![] })
    }

    fn predict(&self, batch: &EvalQuestions, with_losses: bool) -> Result<Predicted<EgoTaskQa>, TrainError> {
        let Some(questions) = &batch.questions else { return Ok(Predicted::nothing(with_losses)) };
        let logits = self.logits(questions, false);
        let loss = || Losses { total: classification(&logits, &questions.labels), parts: vec![] };
        let losses = with_losses.then(loss);
        let best = Vec::<i64>::try_from(logits.argmax(1, false).to_device(Device::Cpu))?;
        let predictions = batch.samples.iter().copied().zip(best.into_iter().map(|class| class as usize));
        Ok(Predicted { predictions: predictions.collect(), losses })
    }
}
