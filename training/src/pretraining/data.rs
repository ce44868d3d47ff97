//! Narrations and questions, and batches of either.
//!
//! Not for losses. What is drawn for a sample depends on the batch and on the sample, not on which rank or in which order
//! it is made.

use std::path::PathBuf;

use egofx::text::TextModel;
use rand_xoshiro::rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use crate::behaviour::Behaviour;
use crate::corpora::egoclip::EgoClip;
use crate::corpora::egomcq::{self, Question};
use crate::corpora::frames::{ClipSettings, Clips, Replaced};
use crate::corpora::words::Words;
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::learner::{Draw, Fold};
use crate::objectives::{Masked, NOUNS, Rule, TotalWeights, VERBS, multi_hot};
use crate::sources::{Sources, Split};

const VIDEOS_ABOUT: &str = "the folder of the videos, whole ({video_uid}.mp4) or in pieces ({video_uid}/0.mp4, ...)";
const NARRATIONS_ABOUT: &str = "the narrations to learn from: egoclip.csv, as published";
const QUESTIONS_ABOUT: &str = "the questions to validate on: egomcq.json, as published";

/// The `[losses]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// What each loss weighs; one that weighs nothing is not computed.
    pub weights: TotalWeights,
    /// What similarities are divided by.
    pub temperature: f64,
    /// Which narrations of a batch are true of another one's clip.
    pub positives: Rule,
    /// For each narration another one out of the same stretch of the same video, this long, joins the batch (EgoNCE's
    /// scene-aware negatives); absent: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negatives_within_sec: Option<f64>,
    /// The share of words that are hidden and guessed.
    pub hidden_words: f64,
}

/// Narrations, questions and their clips.
pub struct Corpus {
    narrations: EgoClip,
    questions: Vec<Question>,
    clips: Clips,
    words: Words,
    replaced: Replaced,
    behaviour: Behaviour,
}

/// Narrated clips.
pub struct Pairs {
    /// `[B, F, 3, S, S]`.
    pub frames: Tensor,
    /// `[B, L]`, 64-bit integers.
    pub ids: Tensor,
    /// `[B, L]`, 64-bit integers.
    pub mask: Tensor,
    /// `[B, 118]`.
    pub verbs: Tensor,
    /// `[B, 582]`.
    pub nouns: Tensor,
    /// The narrations with hidden words.
    pub hidden: Option<Masked>,
}

/// Questions with five clips each.
pub struct Asked {
    /// Their numbers among the samples.
    pub samples: Vec<usize>,
    /// `[Q]`, the right clips.
    pub answers: Tensor,
    /// `[5 Q, F, 3, S, S]`.
    pub frames: Tensor,
    /// `[Q, L]`.
    pub ids: Tensor,
    /// `[Q, L]`.
    pub mask: Tensor,
}

/// What is computed together.
pub enum Batch {
    /// To learn from.
    Pairs(Pairs),
    /// To validate on.
    Questions(Asked),
}

impl Corpus {
    /// Opens narrations (to learn from), questions (to validate or predict on) and the videos of both.
    ///
    /// # Errors
    /// Files that are missing, or that are not what they should be.
    pub fn open(
        sources: &Sources,
        model: TextModel,
        clips: &ClipSettings,
        behaviour: Behaviour,
    ) -> Result<Self, TrainError> {
        let given = |split: Split| sources.annotations.iter().find(|(found, _)| *found == split).map(|(_, path)| path);
        let questions = given(Split::Validation).or(given(Split::Whole));
        let narrations = match given(Split::Train) {
            Some(path) => EgoClip::open(path)?,
            None if given(Split::Whole).is_some() => EgoClip::default(),
            None => return Err(TrainError::Needed { name: "train", about: NARRATIONS_ABOUT }),
        };
        let questions = Sources::needed(questions, "val", QUESTIONS_ABOUT)?;
        let videos: &PathBuf =
            sources.videos.as_ref().ok_or(TrainError::Needed { name: "videos", about: VIDEOS_ABOUT })?;
        Ok(Self {
            narrations,
            questions: egomcq::read(questions)?,
            clips: Clips::open(videos, clips)?,
            words: Words::open(sources.tokenizer.as_deref(), model)?,
            replaced: Replaced::default(),
            behaviour,
        })
    }

    /// The one fold: all narrations, all questions.
    pub fn fold(&self) -> Fold {
        let narrations = self.narrations.len();
        let validation = (narrations..narrations + self.questions.len()).collect();
        Fold { name: String::new(), train: (0..narrations).collect(), validation }
    }

    /// The question of a sample.
    pub fn question(&self, sample: usize) -> &Question {
        &self.questions[sample - self.narrations.len()]
    }

    /// The words of the corpus.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Clips that could not be read and what took their place.
    pub fn replaced(&self) -> &Replaced {
        &self.replaced
    }

    /// A batch of narrations with `draw`, of questions without.
    ///
    /// # Errors
    /// Videos none of which can be read.
    pub fn batch(&self, samples: &[usize], losses: &LossSettings, draw: Option<&mut Draw>) -> Result<Batch, TrainError> {
        match draw {
            Some(draw) => self.pairs(samples, losses, draw).map(Batch::Pairs),
            None => self.asked(samples).map(Batch::Questions),
        }
    }

    fn pairs(&self, samples: &[usize], losses: &LossSettings, draw: &mut Draw) -> Result<Pairs, TrainError> {
        let base = draw.next_u64();
        let of = |row: usize| draws::generator(base, Purpose::Sample { number: row as u64 });
        let mut wanted: Vec<(usize, Draw)> = samples.iter().map(|&row| (row, of(row))).collect();
        if let Some(window_sec) = losses.negatives_within_sec {
            let negative = |(row, draw): &mut (usize, Draw)| {
                let other = self.narrations.negative(*row, window_sec, self.behaviour, draw);
                // Another generator than that of the row itself, which the negative may be.
                (other, draws::generator(draw.next_u64(), Purpose::Sample { number: other as u64 }))
            };
            let negatives: Vec<_> = wanted.iter_mut().map(negative).collect();
            wanted.extend(negatives);
        }
        let (mut rows, mut frames) = (Vec::new(), Vec::new());
        for (row, draw) in &mut wanted {
            let (row, clip) = self.clip(*row, draw)?;
            rows.push(row);
            frames.push(clip);
        }
        let texts: Vec<&str> = rows.iter().map(|&row| self.narrations.text(row)).collect();
        let (ids, mask) = self.words.encode("pretrain", &texts)?;
        let tags = |of: fn(&EgoClip, usize) -> Vec<i64>| rows.iter().map(|&row| of(&self.narrations, row)).collect();
        let (verbs, nouns): (Vec<_>, Vec<_>) = (tags(EgoClip::verbs), tags(EgoClip::nouns));
        let hidden = (losses.weights.words != 0.0).then(|| self.hide(&ids, losses, &mut wanted));
        let frames = Tensor::stack(&frames, 0);
        Ok(Pairs { frames, ids, mask, verbs: multi_hot(&verbs, VERBS), nouns: multi_hot(&nouns, NOUNS), hidden })
    }

    /// The clip of a narration, or of another one where it cannot be read.
    fn clip(&self, row: usize, draw: &mut Draw) -> Result<(usize, Tensor), TrainError> {
        let narrations = &self.narrations;
        self.replaced.or_another(row, narrations.len(), draw, |row, draw| {
            self.clips.clip(&narrations.clip(row), Some(draw))
        })
    }

    /// Hides words, each sentence's by its own generator.
    fn hide(&self, ids: &Tensor, losses: &LossSettings, wanted: &mut [(usize, Draw)]) -> Masked {
        let masking = self.words.masking(losses.hidden_words);
        let one = |(place, (_, draw)): (usize, &mut (usize, Draw))| {
            masking.mask_words(&ids.narrow(0, place as i64, 1), draw)
        };
        let (ids, labels): (Vec<Tensor>, Vec<Tensor>) =
            wanted.iter_mut().enumerate().map(one).map(|masked| (masked.ids, masked.labels)).unzip();
        Masked { ids: Tensor::cat(&ids, 0), labels: Tensor::cat(&labels, 0) }
    }

    fn asked(&self, samples: &[usize]) -> Result<Asked, TrainError> {
        let questions: Vec<&Question> = samples.iter().map(|&sample| self.question(sample)).collect();
        let clips = questions.iter().flat_map(|question| &question.choices);
        let frames: Vec<Tensor> = clips.map(|clip| self.clips.clip(clip, None)).collect::<Result<_, _>>()?;
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let (ids, mask) = self.words.encode("egomcq", &texts)?;
        let answers: Vec<i64> = questions.iter().map(|question| question.answer as i64).collect();
        let (samples, answers) = (samples.to_vec(), Tensor::from_slice(&answers));
        Ok(Asked { samples, answers, frames: Tensor::stack(&frames, 0), ids, mask })
    }
}

impl Batch {
    /// The batch on a device.
    pub fn to_device(self, device: Device) -> Self {
        let to = |tensor: Tensor| tensor.to_device(device);
        match self {
            Self::Pairs(Pairs { frames, ids, mask, verbs, nouns, hidden }) => Self::Pairs(Pairs {
                frames: to(frames),
                ids: to(ids),
                mask: to(mask),
                verbs: to(verbs),
                nouns: to(nouns),
                hidden: hidden.map(|Masked { ids, labels }| Masked { ids: to(ids), labels: to(labels) }),
            }),
            Self::Questions(Asked { samples, answers, frames, ids, mask }) => Self::Questions(Asked {
                samples,
                answers: to(answers),
                frames: to(frames),
                ids: to(ids),
                mask: to(mask),
            }),
        }
    }
}
