//! EgoMCQ during training: its questions, scores of the five clips of each question, and how often the right one has the highest.
//!
//! Not for files of scores: `egofx eval egomcq` reads what is written here. Where a model fuses video and text, the score is
//! the sum of cosine and probability of a match, unweighted, as EgoVLPv2 is reported ("ensemble"); each alone is scored too.

use egofx::benchmark::{BenchmarkError, egomcq as table, records};
use egofx::metric::egomcq::{self, CHOICES};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::corpora::listed::{Clip, Listed};
use crate::error::TrainError;
use crate::learner::Batch;
use crate::losses::{classification, cosine};
use crate::tensors::doubles;

/// A sentence that is asked of five clips.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its key in the file.
    pub key: String,
    /// The right clip.
    pub answer: usize,
    /// 1 where clips are of several videos, 2 where they are of one.
    pub kind: u8,
    /// Its five clips.
    pub choices: Vec<Clip>,
}

/// Questions with their clips, computed together.
pub struct Asked {
    /// Their numbers; `None` for one without all of its clips, which counts for nothing.
    pub samples: Vec<Option<usize>>,
    /// `[Q]`, the right clips.
    pub answers: Tensor,
    /// `[5 Q, F, 3, S, S]`.
    pub frames: Tensor,
    /// `[Q, L]`.
    pub ids: Tensor,
    /// `[Q, L]`.
    pub mask: Tensor,
}

impl Batch for Asked {
    fn map(self, of: &impl Fn(Tensor) -> Tensor) -> Self {
        let Self { samples, answers, frames, ids, mask } = self;
        Self { samples, answers: of(answers), frames: of(frames), ids: of(ids), mask: of(mask) }
    }
}

/// The questions of a list that has them all with their clips.
///
/// # Errors
/// [`TrainError::Annotations`] for a cell that means nothing in its column.
pub fn read(listed: &Listed) -> Result<Vec<Question>, TrainError> {
    let records: Vec<table::Question> = records(&listed.queries).map_err(BenchmarkError::from)?;
    let question = |(row, record): (usize, &table::Question)| Question {
        key: listed.query(row).id.to_owned(),
        answer: usize::from(record.answer),
        kind: record.type_id(),
        choices: record.choices.iter().filter_map(|uid| listed.clip(uid.as_str())).collect(),
    };
    Ok(records.iter().enumerate().map(question).collect())
}

/// Scores of five clips.
pub type Five = [f64; CHOICES];

/// Scores of one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Cosines of the sentence with the clips.
    pub dual: Five,
    /// Probabilities that sentence and clip match, where the model fuses them.
    pub fusion: Option<Five>,
}

impl Scores {
    /// What decides.
    pub fn total(&self) -> Five {
        let fusion = self.fusion.unwrap_or_default();
        std::array::from_fn(|clip| self.dual[clip] + fusion[clip])
    }
}

/// Scores of a batch of questions.
pub struct Answered {
    /// `[Q, 5]`.
    pub dual: Tensor,
    /// `[Q, 5]`.
    pub fusion: Option<Tensor>,
}

/// Cosines `[Q, 5]` of sentences `[Q, D]` with their clips `[5 Q, D]`.
pub fn dual(texts: &Tensor, videos: &Tensor) -> Tensor {
    let questions = texts.size()[0];
    let all = cosine(texts, videos).view([questions, questions, CHOICES as i64]);
    all.diagonal(0, 0, 1).tr()
}

impl Answered {
    /// By how much the right clips are missed: cross-entropy of the cosines over the temperature. Not learnt from.
    pub fn loss(&self, asked: &Asked, temperature: f64) -> Tensor {
        let rows = (0i64..).zip(&asked.samples).filter(|(_, sample)| sample.is_some()).map(|(row, _)| row);
        let rows: Vec<i64> = rows.collect();
        if rows.is_empty() {
            return self.dual.sum(Kind::Float) * 0.0;
        }
        let rows = Tensor::from_slice(&rows).to_device(self.dual.device());
        let of_rows = |tensor: &Tensor| tensor.index_select(0, &rows);
        classification(&(of_rows(&self.dual) / temperature), &of_rows(&asked.answers))
    }

    /// The scores of each question, with its number.
    pub fn scores(&self, asked: &Asked) -> Vec<(usize, Scores)> {
        let (dual, fusion) = (doubles(&self.dual), self.fusion.as_ref().map(doubles));
        let five = |all: &[f64], row: usize| -> Five { std::array::from_fn(|clip| all[row * CHOICES + clip]) };
        let of = |row: usize| Scores { dual: five(&dual, row), fusion: fusion.as_ref().map(|all| five(all, row)) };
        asked.samples.iter().enumerate().filter_map(|(row, sample)| Some(((*sample)?, of(row)))).collect()
    }
}

/// The parts by which answers are scored: names and what decides.
type Part = (&'static str, fn(&Scores) -> Option<Five>);

const PARTS: [Part; 3] =
    [("", |scores| Some(scores.total())), ("dual ", |scores| Some(scores.dual)), ("fusion ", |scores| scores.fusion)];

/// Accuracy between videos and within them, by all scores together and by each kind alone.
///
/// # Errors
/// Questions of no known kind.
pub fn score(questions: &[Question], answers: &[(usize, Scores)]) -> Result<Vec<(String, f64)>, TrainError> {
    let mut named = Vec::new();
    for (name, part) in PARTS {
        let scored: Vec<(usize, Five)> =
            answers.iter().filter_map(|(sample, scores)| Some((*sample, part(scores)?))).collect();
        if scored.is_empty() && !answers.is_empty() {
            continue;
        }
        let flat: Vec<f64> = scored.iter().flat_map(|(_, five)| *five).collect();
        let table = Array2::from_shape_vec((scored.len(), CHOICES), flat).expect("there is a score for each choice");
        let right: Vec<usize> = scored.iter().map(|(sample, _)| questions[*sample].answer).collect();
        let kinds: Vec<u8> = scored.iter().map(|(sample, _)| questions[*sample].kind).collect();
        let score = egomcq::score(table.view(), &right, &kinds)?;
        named.push((format!("{name}inter-video"), score.inter.fraction()));
        named.push((format!("{name}intra-video"), score.intra.fraction()));
    }
    Ok(named)
}

/// Scores by the questions' keys, as `egofx eval egomcq` takes them.
pub fn submission(questions: &[Question], answers: &[(usize, Scores)]) -> Value {
    let row = |(sample, scores): &(usize, Scores)| (questions[*sample].key.clone(), json!(scores.total()));
    Value::Object(answers.iter().map(row).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_is_compared_with_its_own_clips() {
        let texts = Tensor::from_slice(&[1.0f32, 0.0, 0.0, 2.0]).view([2, 2]);
        let clips: Vec<f32> = (0..20).map(|n| (n % 7) as f32 - 2.0).collect();
        let clips = Tensor::from_slice(&clips).view([10, 2]);
        let found = dual(&texts, &clips);
        assert_eq!(found.size(), [2, 5]);
        for (question, clip) in [(0, 0), (0, 4), (1, 2)] {
            let own = cosine(&texts.narrow(0, question, 1), &clips.narrow(0, question * 5 + clip, 1));
            assert_eq!(found.double_value(&[question, clip]), own.double_value(&[0, 0]));
        }
    }

    #[test]
    fn the_ensemble_is_the_plain_sum() {
        let dual = [0.1, 0.2, 0.3, 0.4, 0.5];
        assert_eq!(Scores { dual, fusion: None }.total(), dual);
        assert_eq!(Scores { dual, fusion: Some([1.0, 0.0, 0.0, 0.0, 0.0]) }.total()[0], 1.1);
    }
}
