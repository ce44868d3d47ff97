//! Samples of a benchmark of retrieval, numbered through: first the sentences to learn from, then the clips of the test, then
//! the sentences that these are compared with, each of which is embedded once.
//!
//! Not for networks, losses or metrics.

use egofx::compat::Compat;
use egofx::ndarray::Array2;
use rand_xoshiro::rand_core::Rng;
use tch::Tensor;

use super::benchmark::{Benchmark, Source};
use crate::corpora::choice::Choice;
use crate::corpora::frames::{ClipSettings, Clips};
use crate::corpora::listed::ClipRef;
use crate::corpora::listed::Listed;
use crate::corpora::replaced::Account;
use crate::corpora::words::Words;
use crate::error::TrainError;
use crate::finetuning::splits::{account, both, stacked};
use crate::losses::cosine;
use crate::rng::Generator;
use crate::rng::{self, Purpose};
use crate::sources::{Fold, Sources};

/// The samples of a run.
pub struct Data<K> {
    train: Option<Source>,
    test: Source,
    clips: Clips,
    words: Words,
    choice: Choice,
    pub(super) kind: K,
    pub(super) account: Account,
    pub(super) compat: Compat,
}

/// What is computed together.
pub enum Batch {
    /// Pairs to learn from.
    Pairs {
        /// `[B, F, 3, S, S]`.
        frames: Tensor,
        /// Ids and mask, `[B, L]`.
        words: [Tensor; 2],
        /// `[B]`, how relevant the sentences are.
        weights: Tensor,
    },
    /// Clips and sentences of the test, each with its number.
    Apart {
        /// The clips that could be read.
        clips: Vec<usize>,
        /// `[clips, F, 3, S, S]`.
        frames: Option<Tensor>,
        /// The sentences.
        sentences: Vec<usize>,
        /// Ids and mask, `[sentences, L]`.
        words: Option<[Tensor; 2]>,
    },
}

/// What a sample is.
enum Sample {
    Train,
    Clip(usize),
    Sentence(usize),
}

impl<K: Benchmark> Data<K> {
    pub(super) fn open(
        sources: &Sources,
        words: Words,
        (clips, side): (&ClipSettings, i64),
        choice: Choice,
        compat: Compat,
    ) -> Result<Self, TrainError> {
        let (train, test) = both(sources, K::ABOUT, |path| {
            let listed = Listed::read(K::LISTED_AS, &[path], &sources.videos)?;
            Ok(Source { path: path.to_owned(), listed })
        })?;
        let account = account(train.iter().chain([&test]).map(|source| &source.listed));
        let kind = K::open(train.as_ref(), &test, sources)?;
        Ok(Self {
            clips: Clips::new(clips, side, compat, sources)?.with_cache(&sources.clip_caches, choice)?,
            train,
            test,
            kind,
            words,
            account,
            choice,
            compat,
        })
    }

    /// Clips and how they are chosen from; all that are wanted of both splits.
    pub(super) fn clips(&self) -> (&Clips, Choice, Vec<ClipRef<'_>>) {
        let listed = self.train.iter().chain([&self.test]).map(|source| &source.listed);
        let all = listed.flat_map(|listed| listed.uids.iter().map(move |uid| listed.wanted(uid)));
        (&self.clips, self.choice, all.collect())
    }

    fn num_train(&self) -> usize {
        self.train.as_ref().map_or(0, |source| source.listed.queries.len())
    }

    fn sample(&self, number: usize) -> Sample {
        let (train, clips) = (self.num_train(), self.test.listed.uids.len());
        match (number.checked_sub(train), number.checked_sub(train + clips)) {
            (None, _) => Sample::Train,
            (Some(clip), None) => Sample::Clip(clip),
            (_, Some(sentence)) => Sample::Sentence(sentence),
        }
    }

    pub(super) fn fold(&self) -> Fold {
        let first = self.num_train();
        let end = first + self.test.listed.uids.len() + self.kind.sentences().len();
        Fold { name: String::new(), train: (0..first).collect(), validation: (first..end).collect() }
    }

    fn encode(&self, rule: &str, sentences: &[&str]) -> Result<[Tensor; 2], TrainError> {
        let (ids, mask) = self.words.encode(rule, sentences)?;
        Ok([ids, mask])
    }

    /// Each sample is drawn by a generator of its own: first its frames, then its sentence.
    pub(super) fn pairs(&self, samples: &[usize], draw: &mut Generator) -> Result<Batch, TrainError> {
        let Some(Source { listed, .. }) = &self.train else {
            return Err(TrainError::Needed { name: "train", about: K::ABOUT });
        };
        let base = draw.next_u64();
        let (mut frames, mut sentences, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for &sample in samples {
            let mut own = rng::generator(base, Purpose::Sample { number: sample as u64 });
            let read = |row: usize, draw: &mut Generator| {
                let uid = listed.query(row).clip_uid.as_str();
                self.clips.clip(listed.wanted(uid), self.choice, Some(draw))
            };
            let (row, clip) = self.account.replaced.or_another(sample, self.num_train(), &mut own, read)?;
            let (sentence, weight) = self.kind.sentence(listed, row, &mut own);
            frames.push(clip);
            sentences.push(sentence);
            weights.push(weight as f32);
        }
        let words = self.encode(K::RULES[0], &sentences)?;
        Ok(Batch::Pairs { frames: stacked(frames.iter()), words, weights: Tensor::from_slice(&weights) })
    }

    pub(super) fn apart(&self, samples: &[usize]) -> Result<Batch, TrainError> {
        let (mut clips, mut frames, mut sentences, mut texts) = (vec![], vec![], vec![], vec![]);
        for &sample in samples {
            match self.sample(sample) {
                Sample::Train => {}
                Sample::Clip(clip) => {
                    let listed = &self.test.listed;
                    match self.clips.clip(listed.wanted(&listed.uids[clip]), self.choice, None) {
                        Ok(found) => {
                            clips.push(sample);
                            frames.push(found);
                        }
                        Err(error) => drop(self.account.unread.note(error)?),
                    }
                }
                Sample::Sentence(sentence) => {
                    sentences.push(sample);
                    texts.push(self.kind.sentences()[sentence].as_str());
                }
            }
        }
        let frames = (!frames.is_empty()).then(|| stacked(frames.iter()));
        let words = (!texts.is_empty()).then(|| self.encode(K::RULES[1], &texts)).transpose()?;
        Ok(Batch::Apart { clips, frames, sentences, words })
    }

    /// Names of the clips that have been embedded, and their cosines `[clips, sentences]`.
    pub(super) fn cosines(&self, predictions: &[(usize, Vec<f32>)]) -> (Vec<&str>, Array2<f32>) {
        let (mut names, mut videos, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (sample, embedding) in predictions {
            match self.sample(*sample) {
                Sample::Train => {}
                Sample::Clip(clip) => {
                    names.push(self.test.listed.uids[clip].as_str());
                    videos.push(embedding.as_slice());
                }
                Sample::Sentence(_) => texts.push(embedding.as_slice()),
            }
        }
        let rows = |rows: &[&[f32]]| Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1]);
        if videos.is_empty() || texts.is_empty() {
            return (names, Array2::zeros((videos.len(), self.kind.sentences().len())));
        }
        let cosines = cosine(&rows(&videos), &rows(&texts));
        let flat = Vec::<f32>::try_from(cosines.view(-1)).unwrap_or_default();
        let shape = (videos.len(), texts.len());
        (names, Array2::from_shape_vec(shape, flat).expect("there is a cosine for each pair"))
    }
}
