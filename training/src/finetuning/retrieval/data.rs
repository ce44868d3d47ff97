//! Samples of a benchmark of retrieval: sentences with their clips to learn from; in the test clips, and the sentences that these
//! are compared with, each of which is embedded once.
//!
//! Not for networks or losses.

use std::path::PathBuf;

use egofx::compat::Compat;
use egofx::grid::Edges;
use egofx::heads::Submission;
use egofx::ndarray::Array2;
use egofx::text::TextModel;
use rand_xoshiro::rand_core::Rng;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::benchmark::{Benchmark, Source};
use crate::corpora::ahead::Ahead;
use crate::corpora::choice::Choice;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::{ClipRef, Listed};
use crate::corpora::replaced::Account;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::finetuning::splits::{account, both};
use crate::learner::{Batch, Task};
use crate::losses::cosine;
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources, Split};

/// The samples of a run.
pub struct SentencesAndClips<K> {
    train: Option<Source>,
    test: Source,
    clips: Clips,
    words: Words,
    choice: Choice,
    benchmark: K,
    account: Account,
    compat: Compat,
}

/// What is opened.
pub struct TaskSettings {
    /// What reads the sentences.
    pub text: TextModel,
    /// How clips are shown.
    pub clips: ClipSettings,
    /// Height and width of the frames that the network takes, in pixels.
    pub image_size: i64,
    /// How the ends of the segments that frames are taken from become frames.
    pub edges: Edges,
}

/// What is compared in the test, each of which is embedded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sample {
    /// A clip, by its number.
    Clip(usize),
    /// A sentence, by its number.
    Sentence(usize),
}

/// Pairs to learn from.
pub struct Pairs {
    /// `[B, F, 3, S, S]`.
    pub frames: Tensor,
    /// Ids and mask, `[B, L]`.
    pub words: [Tensor; 2],
    /// `[B]`, how relevant the sentences are.
    pub weights: Tensor,
}

/// Clips and sentences of the test.
pub struct Apart {
    /// The clips that could be read.
    pub clips: Vec<Sample>,
    /// `[clips, F, 3, S, S]`.
    pub frames: Option<Tensor>,
    /// The sentences.
    pub sentences: Vec<Sample>,
    /// Ids and mask, `[sentences, L]`.
    pub words: Option<[Tensor; 2]>,
}

impl Batch for Pairs {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { frames: of(self.frames), words: self.words.map(of), weights: of(self.weights) }
    }
}

impl Batch for Apart {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        Self { frames: self.frames.map(of), words: self.words.map(|words| words.map(of)), ..self }
    }
}

impl<K: Benchmark> SentencesAndClips<K> {
    fn encode(&self, rule: &str, sentences: &[&str]) -> Result<[Tensor; 2], TrainError> {
        let (ids, mask) = self.words.encode(rule, sentences)?;
        Ok([ids, mask])
    }

    /// Each sample is drawn by a generator of its own: first its frames, then its sentence.
    pub(super) fn pairs(&self, samples: &[usize], draw: &mut Generator) -> Result<Pairs, TrainError> {
        let Some(Source { listed, .. }) = &self.train else {
            return Err(TrainError::Needed { name: "train", about: K::ABOUT });
        };
        let base = draw.next_u64();
        let own = |sample: usize| rng::generator(base, Purpose::Sample { number: sample as u64 });
        let wanted = |row: usize| listed.wanted(listed.query(row).clip_uid.as_str());
        let plan = |&sample: &usize| self.clips.plan(wanted(sample), self.choice, Some(own(sample)));
        let mut ahead: Ahead = samples.iter().filter_map(plan).collect();
        let (mut frames, mut sentences, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for &sample in samples {
            let mut own = own(sample);
            let read =
                |row: usize, draw: &mut Generator| self.clips.clip(&mut ahead, wanted(row), self.choice, Some(draw));
            let (row, clip) = self.account.replaced.or_another(sample, listed.queries.len(), &mut own, read)?;
            let (sentence, weight) = self.benchmark.sentence(listed, row, &mut own);
            frames.push(clip);
            sentences.push(sentence);
            weights.push(weight as f32);
        }
        let words = self.encode(K::RULES[0], &sentences)?;
        Ok(Pairs { frames: Tensor::stack(&frames, 0), words, weights: Tensor::from_slice(&weights) })
    }

    pub(super) fn apart(&self, samples: &[Sample]) -> Result<Apart, TrainError> {
        let listed = &self.test.listed;
        let plan = |sample: &Sample| match sample {
            Sample::Clip(clip) => self.clips.plan(listed.wanted(&listed.uids[*clip]), self.choice, None),
            Sample::Sentence(_) => None,
        };
        let mut ahead: Ahead = samples.iter().filter_map(plan).collect();
        let (mut clips, mut frames, mut sentences, mut texts) = (vec![], vec![], vec![], vec![]);
        for &sample in samples {
            match sample {
                Sample::Clip(clip) => {
                    match self.clips.clip(&mut ahead, listed.wanted(&listed.uids[clip]), self.choice, None) {
                        Ok(found) => {
                            clips.push(sample);
                            frames.push(found);
                        }
                        Err(error) => drop(self.account.unread.note(error)?),
                    }
                }
                Sample::Sentence(sentence) => {
                    sentences.push(sample);
                    texts.push(self.benchmark.sentences()[sentence].as_str());
                }
            }
        }
        let frames = (!frames.is_empty()).then(|| Tensor::stack(&frames, 0));
        let words = (!texts.is_empty()).then(|| self.encode(K::RULES[1], &texts)).transpose()?;
        Ok(Apart { clips, frames, sentences, words })
    }

    /// Names of the clips that have been embedded, and their cosines `[clips, sentences]`.
    fn cosines(&self, predictions: &[(Sample, Vec<f32>)]) -> (Vec<&str>, Array2<f32>) {
        let (mut names, mut videos, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (sample, embedding) in predictions {
            match sample {
                Sample::Clip(clip) => {
                    names.push(self.test.listed.uids[*clip].as_str());
                    videos.push(embedding.as_slice());
                }
                Sample::Sentence(_) => texts.push(embedding.as_slice()),
            }
        }
        let rows = |rows: &[&[f32]]| Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]);
        if videos.is_empty() || texts.is_empty() {
            return (names, Array2::zeros((videos.len(), self.benchmark.sentences().len())));
        }
        let cosines = cosine(&rows(&videos), &rows(&texts));
        let flat = Vec::<f32>::try_from(cosines.view(-1)).expect("cosines are in single precision");
        let shape = (videos.len(), texts.len());
        (names, Array2::from_shape_vec(shape, flat).expect("there is a cosine for each pair"))
    }
}

impl<K: Benchmark> Task for SentencesAndClips<K> {
    const NAME: &'static str = K::TASK;
    const ABOUT: &'static str = K::TASK_ABOUT;
    const READS: &'static [&'static str] = K::READS;

    type Settings = TaskSettings;
    type Sample = Sample;
    /// An embedding.
    type Prediction = Vec<f32>;

    fn open(settings: &TaskSettings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let words = Words::open(sources.tokenizer.as_deref(), settings.text, &sources.caches)?;
        let choice = Choice::Segments(settings.edges);
        let (train, test) = both(sources, K::ABOUT, |path| {
            let listed = Listed::read(K::LISTED_AS, &[path], &sources.videos)?;
            Ok(Source { path: path.to_owned(), listed })
        })?;
        let account = account(train.iter().chain([&test]).map(|source| &source.listed));
        let benchmark = K::open(train.as_ref(), &test, sources)?;
        let clips = Clips::new(&settings.clips, settings.image_size, compat, sources)?;
        let clips = clips.with_cache(&sources.clip_caches, choice)?;
        Ok(Self { train, test, clips, words, choice, benchmark, account, compat })
    }

    fn remarks(&self) -> Vec<String> {
        [self.clips.remarks(), self.account.remarks()].concat()
    }

    fn folds(&self) -> Vec<Fold<Sample>> {
        let train = (0..self.train.as_ref().map_or(0, |source| source.listed.queries.len())).collect();
        vec![Fold { name: String::new(), train, validation: self.samples() }]
    }

    /// All clips of the test, then all sentences.
    fn samples(&self) -> Vec<Sample> {
        let clips = (0..self.test.listed.uids.len()).map(Sample::Clip);
        clips.chain((0..self.benchmark.sentences().len()).map(Sample::Sentence)).collect()
    }

    fn clips(&self) -> Option<(&Clips, Choice, Vec<ClipRef<'_>>)> {
        let listed = self.train.iter().chain([&self.test]).map(|source| &source.listed);
        let all = listed.flat_map(|listed| listed.uids.iter().map(move |uid| listed.wanted(uid)));
        Some((&self.clips, self.choice, all.collect()))
    }

    fn score(&self, predictions: &[(Sample, Vec<f32>)]) -> Result<Vec<(String, f64)>, TrainError> {
        let (clips, cosines) = self.cosines(predictions);
        self.benchmark.score(&clips, cosines.mapv(f64::from), self.compat)
    }

    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        sources.split(Split::Whole).map_or(vec![], K::truths)
    }

    fn submission(&self, predictions: &[(Sample, Vec<f32>)]) -> Result<Submission, TrainError> {
        let (names, scores) = self.cosines(predictions);
        let names = names.into_iter().map(str::to_owned).collect();
        Ok(Submission::Matrix { list: K::NAMES, names, scores })
    }
}
