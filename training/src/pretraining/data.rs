//! Narrations and questions, and batches of either.
//!
//! Not for losses. What is drawn for a sample depends on the batch and on the sample, not on which rank or in which order
//! it is made.

use egofx::compat::Compat;
use egofx::heads::Submission;
use egofx::metric::egomcq::CHOICES;
use egofx::text::TextModel;
use rand_xoshiro::rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::questions::{self, Asked, Question, Scores};
use crate::corpora::ahead::Ahead;
use crate::corpora::choice::Choice;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::{Clip, ClipRef, Listed};
use crate::corpora::narrations::{Narrations, Scenes};
use crate::corpora::replaced::Account;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::learner::{Batch, Task};
use crate::losses::{LossWeights, Masked, NOUNS, Rule, VERBS, multi_hot};
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources, Split};

const VIDEOS_ABOUT: &str = "a folder of the videos, whole ({video_uid}.mp4) or in pieces ({video_uid}/0.mp4, ...)";
const NARRATIONS_ABOUT: &str = "the narrations to learn from: egoclip.csv, as published";
const QUESTIONS_ABOUT: &str = "the questions to validate on: egomcq.json, as published";

/// The `[losses]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSettings {
    /// What each loss weighs; one that weighs nothing is not computed.
    pub weights: LossWeights,
    /// What similarities are divided by.
    pub temperature: f64,
    /// What they are divided by where hard negatives are mined for VTM: the higher, the easier these are. Absent, as
    /// published: the same. A fusion that starts from nothing does not get going on the hardest pairs alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mining_temperature: Option<f64>,
    /// Which narrations of a batch are true of another one's clip.
    pub positives: Rule,
    /// For each narration another one out of the same interval of the same video, this long, joins the batch (EgoNCE's
    /// scene-aware negatives); absent: none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negatives_within_sec: Option<f64>,
    /// The share of tokens that are masked and predicted.
    pub mlm_probability: f64,
}

/// Narrations, questions and their clips.
pub struct Corpus {
    narrations: Option<Narrations>,
    scenes: Option<Scenes>,
    questions: Listed,
    asked: Vec<Question>,
    clips: Clips,
    words: Words,
    account: Account,
    losses: LossSettings,
    compat: Compat,
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
    /// The narrations with masked tokens.
    pub masked: Option<Masked>,
}

/// What is opened.
pub struct CorpusSettings {
    /// What reads the sentences.
    pub text: TextModel,
    /// How clips are shown.
    pub clips: ClipSettings,
    /// Height and width of the frames that the network takes, in pixels.
    pub image_size: i64,
    /// What is learnt, by which batches are made.
    pub losses: LossSettings,
}

impl Corpus {
    /// A clip that a question has.
    fn chosen(&self, clip: &Clip) -> ClipRef<'_> {
        ClipRef { path: &self.questions.videos[clip.video as usize], clip: *clip }
    }

    /// Narrations with their clips, of each what its own generator draws.
    ///
    /// # Errors
    /// Videos none of which can be read.
    pub fn pairs(&self, samples: &[usize], draw: &mut Generator) -> Result<Pairs, TrainError> {
        let Some(narrations) = &self.narrations else {
            return Err(TrainError::Needed { name: "train", about: NARRATIONS_ABOUT });
        };
        let base = draw.next_u64();
        let own = |row: usize| (row, rng::generator(base, Purpose::Sample { number: row as u64 }));
        let mut wanted: Vec<(usize, Generator)> = samples.iter().map(|&row| own(row)).collect();
        if let Some(scenes) = &self.scenes {
            let negative = |(row, draw): &mut (usize, Generator)| {
                let other = scenes.negative(*row, self.compat, draw);
                // Another generator than that of the row itself, which the negative may be.
                (other, rng::generator(draw.next_u64(), Purpose::Sample { number: other as u64 }))
            };
            let negatives: Vec<_> = wanted.iter_mut().map(negative).collect();
            wanted.extend(negatives);
        }
        let plan = |(row, draw): &(usize, Generator)| {
            self.clips.plan(narrations.wanted(*row), Choice::Narrated, Some(draw.clone()))
        };
        let mut ahead: Ahead = wanted.iter().filter_map(plan).collect();
        let (mut rows, mut frames) = (Vec::new(), Vec::new());
        for (row, draw) in &mut wanted {
            let (row, clip) = self.account.replaced.or_another(*row, narrations.len(), draw, |row, draw| {
                self.clips.clip(&mut ahead, narrations.wanted(row), Choice::Narrated, Some(draw))
            })?;
            rows.push(row);
            frames.push(clip);
        }
        let texts: Vec<&str> = rows.iter().map(|&row| narrations.text(row)).collect();
        let (ids, mask) = self.words.encode("pretrain", &texts)?;
        let verbs: Vec<_> = rows.iter().map(|&row| narrations.verbs(row)).collect();
        let nouns: Vec<_> = rows.iter().map(|&row| narrations.nouns(row)).collect();
        let masked = (self.losses.weights.mlm != 0.0).then(|| self.mask(&ids, &mut wanted));
        let frames = Tensor::stack(&frames, 0);
        Ok(Pairs { frames, ids, mask, verbs: multi_hot(&verbs, VERBS), nouns: multi_hot(&nouns, NOUNS), masked })
    }

    /// Masks tokens, each sentence's by its own generator.
    fn mask(&self, ids: &Tensor, wanted: &mut [(usize, Generator)]) -> Masked {
        let masking = self.words.masking(self.losses.mlm_probability);
        let one = |(place, (_, draw)): (usize, &mut (usize, Generator))| {
            masking.mask_tokens(&ids.narrow(0, place as i64, 1), draw)
        };
        let (ids, labels): (Vec<Tensor>, Vec<Tensor>) =
            wanted.iter_mut().enumerate().map(one).map(|masked| (masked.ids, masked.labels)).unzip();
        Masked { ids: Tensor::cat(&ids, 0), labels: Tensor::cat(&labels, 0) }
    }

    /// Questions with their clips. One that lacks a clip counts for nothing: nothing can take the place of a choice.
    ///
    /// # Errors
    /// A decoder that has crashed; sentences that cannot be tokenised.
    pub fn asked(&self, samples: &[usize]) -> Result<Asked, TrainError> {
        let choices = samples.iter().flat_map(|&sample| &self.asked[sample].choices);
        let plan = |clip: &Clip| self.clips.plan(self.chosen(clip), Choice::Narrated, None);
        let mut ahead: Ahead = choices.filter_map(plan).collect();
        let (mut answerable, mut frames) = (Vec::new(), Vec::new());
        for &sample in samples {
            let read = |clip: &Clip| self.clips.clip(&mut ahead, self.chosen(clip), Choice::Narrated, None);
            match self.asked[sample].choices.iter().map(read).collect::<Result<Vec<_>, _>>() {
                Ok(clips) => {
                    answerable.push(Some(sample));
                    frames.push(Tensor::stack(&clips, 0));
                }
                Err(error) => {
                    self.account.unread.note(error)?;
                    answerable.push(None);
                    frames.push(self.clips.nothing(CHOICES));
                }
            }
        }
        let texts: Vec<&str> = samples.iter().map(|&sample| self.questions.query(sample).text).collect();
        let (ids, mask) = self.words.encode("egomcq", &texts)?;
        let answers: Vec<i64> = samples.iter().map(|&sample| self.asked[sample].answer as i64).collect();
        let answers = Tensor::from_slice(&answers);
        Ok(Asked { samples: answerable, answers, frames: Tensor::cat(&frames, 0), ids, mask })
    }
}

impl Task for Corpus {
    const NAME: &'static str = "pretrain";
    const EVALUATOR: &'static str = "egomcq";
    const ABOUT: &'static str = "Train a backbone on narrated videos (EgoClip), validated by multiple choice (EgoMCQ)";
    const READS: &'static [&'static str] = &["videos", "clip-cache", "tokenizer", "train", "val", "memory"];

    type Settings = CorpusSettings;
    type Sample = usize;
    type Prediction = Scores;

    /// Narrations (to learn from), questions (to validate or predict on) and the videos of both.
    fn open(settings: &CorpusSettings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let CorpusSettings { text, clips, image_size, losses } = settings;
        sources.expect_videos(VIDEOS_ABOUT)?;
        let only_asked = sources.split(Split::Whole);
        let needed = |name, about| TrainError::Needed { name, about };
        let narrations = match (sources.split(Split::Train), only_asked) {
            (Some(path), _) => Some(Narrations::read(path, &sources.videos)?),
            (None, Some(_)) => None,
            (None, None) => return Err(needed("train", NARRATIONS_ABOUT)),
        };
        let path = sources.split(Split::Validation).or(only_asked).ok_or(needed("val", QUESTIONS_ABOUT))?;
        let questions = Listed::read("egomcq", &[path], &sources.videos)?;
        let window = losses.negatives_within_sec;
        let mut without = left_out("narrations", narrations.iter().flat_map(Narrations::left_out));
        without.extend(left_out("questions", &questions.left_out));
        Ok(Self {
            scenes: narrations.as_ref().zip(window).map(|(narrations, window)| narrations.scenes(window)),
            narrations,
            asked: questions::read(&questions)?,
            questions,
            clips: Clips::new(clips, *image_size, compat, sources)?
                .with_cache(&sources.clip_caches, Choice::Narrated)?,
            words: Words::open(sources.tokenizer.as_deref(), *text, &sources.caches)?,
            account: Account::new(without, "questions have a clip that could not be read, and are left out"),
            losses: losses.clone(),
            compat,
        })
    }

    fn remarks(&self) -> Vec<String> {
        [self.clips.remarks(), self.account.remarks()].concat()
    }

    /// All narrations, all questions, each counted from 0.
    fn folds(&self) -> Vec<Fold> {
        let train = (0..self.narrations.as_ref().map_or(0, Narrations::len)).collect();
        vec![Fold { name: String::new(), train, validation: self.samples() }]
    }

    /// The questions.
    fn samples(&self) -> Vec<usize> {
        (0..self.asked.len()).collect()
    }

    fn clips(&self) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        let narrated = self.narrations.iter().flat_map(|all| (0..all.len()).map(move |row| all.wanted(row)));
        let asked = self.asked.iter().flat_map(|question| question.choices.iter().map(|clip| self.chosen(clip)));
        Some((&self.clips, Choice::Narrated, narrated.chain(asked).collect()))
    }

    fn score(&self, predictions: &[(usize, Scores)]) -> Result<Vec<(String, f64)>, TrainError> {
        questions::score(&self.asked, predictions)
    }

    fn submission(&self, predictions: &[(usize, Scores)]) -> Result<Submission, TrainError> {
        Ok(questions::submission(&self.asked, predictions).into())
    }
}

fn left_out<'l>(what: &str, listed: impl IntoIterator<Item = &'l (usize, String)>) -> Vec<String> {
    listed.into_iter().map(|(count, why)| format!("{what}: {count} {why} are left out")).collect()
}

impl Batch for Pairs {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self {
            frames: of(self.frames),
            ids: of(self.ids),
            mask: of(self.mask),
            verbs: of(self.verbs),
            nouns: of(self.nouns),
            masked: self.masked.map(|Masked { ids, labels }| Masked { ids: of(ids), labels: of(labels) }),
        }
    }
}
