//! EgoMCQ: how often the right one of five clips gets the highest score.
//!
//! After the metrics of [EgoVLPv2](https://github.com/facebookresearch/EgoVLPv2). Not for making scores. The two kinds
//! of questions are told by their number in the annotations: 1 is inter-video, 2 is intra-video. EgoVLP's and LaViLa's
//! code prints the two names swapped, and so do logs of theirs.

use std::collections::HashMap;
use std::path::Path;

use ndarray::{Array2, ArrayView2};
use serde::Deserialize;
use serde_json::Map;

use super::arrays::{check_columns, read_matrix};
use super::report::{Coverage, Grid};
use super::{Evaluator, Input, Inputs, MetricError, Need, Report, files, rank};
use crate::benchmark::json::Pairs;

/// How many clips a question offers.
pub const CHOICES: usize = 5;
/// What the annotations call questions whose clips come from several videos.
pub const INTER_VIDEO: u8 = 1;
/// What the annotations call questions whose clips come from one video.
pub const INTRA_VIDEO: u8 = 2;

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The scores of the five clips of each question. JSON: {\"0\": [0.1, 0.9, ...], ...} by the question's key. \
            Or a matrix [questions, 5], .npy, in the order of the annotations.",
    need: Need::One,
};
const ANNOTATIONS: Input = Input { name: "annotations", about: "The questions: egomcq.json.", need: Need::One };

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "egomcq",
    about: "multiple choice: accuracy between and within videos",
    inputs: &[PREDICTIONS, ANNOTATIONS],
    choices: &[],
    fixes: None,
    evaluate,
};

/// How many answers are right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Right answers.
    pub correct: usize,
    /// All answers.
    pub total: usize,
}

impl Accuracy {
    /// The share of right ones; NaN without any.
    pub fn fraction(self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}

/// The numbers of EgoMCQ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct McqScore {
    /// Over questions of type 1.
    pub inter: Accuracy,
    /// Over questions of type 2.
    pub intra: Accuracy,
}

/// Scores answers. `scores` is `[questions, choices]`, higher is better; `answers` says which choice is right, `types`
/// is 1 or 2. Of equal scores the first wins.
///
/// # Errors
///
/// `answers` or `types` of another length than `scores`; an answer that is no choice; another type.
pub fn score(scores: ArrayView2<f64>, answers: &[usize], types: &[u8]) -> Result<McqScore, MetricError> {
    for (what, found) in [("answers", answers.len()), ("types", types.len())] {
        if found != scores.nrows() {
            let expected = format!("{} questions", scores.nrows());
            return Err(MetricError::Mismatch { what, expected, found: found.to_string() });
        }
    }
    let mut counts = McqScore::default();
    for ((scores, &answer), kind) in scores.outer_iter().zip(answers).zip(types) {
        if answer >= scores.len() {
            return Err(MetricError::OutOfRange { what: "answer", found: answer, end: scores.len() });
        }
        let accuracy = match *kind {
            INTER_VIDEO => &mut counts.inter,
            INTRA_VIDEO => &mut counts.intra,
            other => {
                let expected = "1 (inter-video) or 2 (intra-video)".to_owned();
                return Err(MetricError::Mismatch { what: "type of a question", expected, found: other.to_string() });
            }
        };
        accuracy.total += 1;
        accuracy.correct += usize::from(rank::argmax(scores.iter().copied()) == Some(answer));
    }
    Ok(counts)
}

/// What the annotations say of a question.
#[derive(Deserialize)]
struct Question {
    answer: usize,
    types: u8,
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let questions: Pairs<Question> = files::read_json(inputs.one(&ANNOTATIONS)?)?;
    let questions = questions.0;
    let (scores, coverage) =
        if files::is_of(path, "npy") { in_order(path, questions.len())? } else { by_key(path, &questions)? };
    let coverage = coverage.check(path, inputs.allow_missing)?;
    let answered: Vec<usize> = (0..questions.len()).filter(|&row| !scores[(row, 0)].is_nan()).collect();
    let answers: Vec<usize> = answered.iter().map(|&row| questions[row].1.answer).collect();
    let types: Vec<u8> = answered.iter().map(|&row| questions[row].1.types).collect();
    let score = score(scores.select(ndarray::Axis(0), &answered).view(), &answers, &types)?;
    Ok(report(score, coverage))
}

/// A matrix whose rows are the questions.
fn in_order(path: &Path, num_questions: usize) -> Result<(Array2<f64>, Coverage), MetricError> {
    let scores = read_matrix(path)?;
    check_columns(path, scores.view(), CHOICES)?;
    if scores.nrows() != num_questions {
        let expected = format!("{num_questions} rows, one for each question");
        return Err(MetricError::unexpected(path, expected, format!("{} rows", scores.nrows())));
    }
    let coverage = Coverage { expected: num_questions, answered: num_questions, ..Coverage::new("questions") };
    Ok((scores, coverage))
}

/// Scores by the questions' keys; rows of questions that have none are NaN.
fn by_key(path: &Path, questions: &[(String, Question)]) -> Result<(Array2<f64>, Coverage), MetricError> {
    let given: Pairs<[f64; CHOICES]> = files::read_json(path)?;
    let mut coverage = Coverage { expected: questions.len(), ..Coverage::new("questions") };
    let places: HashMap<&str, usize> =
        questions.iter().enumerate().map(|(row, (key, _))| (key.as_str(), row)).collect();
    let mut scores = Array2::from_elem((questions.len(), CHOICES), f64::NAN);
    for (key, row) in given.0 {
        match places.get(key.as_str()) {
            None => coverage.unknown.add(key),
            Some(&place) if scores[(place, 0)].is_nan() => {
                row.iter().zip(scores.row_mut(place)).for_each(|(score, cell)| *cell = *score);
                coverage.answered += 1;
            }
            Some(_) => coverage.repeated.add(key),
        }
    }
    let missing = questions.iter().enumerate().filter(|(row, _)| scores[(*row, 0)].is_nan());
    missing.for_each(|(_, (key, _))| coverage.missing.add(key));
    Ok((scores, coverage))
}

/// The report of a score, for those who have scores without files.
pub fn report(score: McqScore, coverage: Coverage) -> Report {
    let grids = vec![Grid::list(&[
        ("inter-video (type 1)", score.inter.fraction()),
        ("intra-video (type 2)", score.intra.fraction()),
    ])];
    let count = |accuracy: Accuracy| format!("{} of {}", accuracy.correct, accuracy.total);
    let notes = vec![format!("right: {} inter-video, {} intra-video", count(score.inter), count(score.intra))];
    Report { benchmark: EVALUATOR.name, compat: None, grids, coverage, notes, details: Map::new() }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn types(value: &serde_json::Value) -> Vec<u8> {
        samples::indices(value).into_iter().map(|number| number as u8).collect()
    }

    #[test]
    fn accuracies_are_the_original_ones_with_their_right_names() {
        let worked = samples::json("egomcq_worked.json");
        let scores = samples::matrix(&worked["scores"]);
        let found = score(scores.view(), &samples::indices(&worked["answers"]), &types(&worked["types"])).unwrap();
        let expected = &worked["accuracy_percent"];
        samples::close(100.0 * found.inter.fraction(), &expected["Inter-video"], "inter");
        samples::close(100.0 * found.intra.fraction(), &expected["Intra-video"], "intra");
        for case in samples::json("egomcq.json")["cases"].as_array().unwrap() {
            let scores = samples::matrix(&case["preds"]);
            let types = types(&case["types"]);
            let found = score(scores.view(), &samples::indices(&case["answers"]), &types).unwrap();
            if case["name"] == "mixed" {
                samples::close(100.0 * found.inter.fraction(), &case["v2"]["Inter-video"], "inter");
                samples::close(100.0 * found.intra.fraction(), &case["v2"]["Intra-video"], "intra");
                samples::close(100.0 * found.inter.fraction(), &case["v1"]["Intra-video"], "EgoVLP swaps the names");
            } else {
                // With one type only, both originals give it the first name.
                samples::close(100.0 * found.intra.fraction(), &case["v2"]["Inter-video"], "only type 2");
                assert!(found.inter.fraction().is_nan());
            }
        }
    }

    #[test]
    fn the_first_of_equal_scores_wins() {
        let scores = ndarray::array![[0.3, 0.3, 0.2, 0.1, 0.0]];
        assert_eq!(score(scores.view(), &[0], &[1]).unwrap().inter.correct, 1);
        assert_eq!(score(scores.view(), &[1], &[1]).unwrap().inter.correct, 0);
    }

    #[test]
    fn operands_that_do_not_belong_together_are_refused() {
        let scores = ndarray::array![[0.3, 0.3, 0.2, 0.1, 0.0]];
        let error = |answers: &[usize], types: &[u8]| score(scores.view(), answers, types).unwrap_err().to_string();
        assert_eq!(error(&[], &[1]), "answers: expected 1 questions, found 0");
        assert_eq!(error(&[5], &[1]), "answer 5 is out of range, expected less than 5");
        assert_eq!(error(&[0], &[3]), "type of a question: expected 1 (inter-video) or 2 (intra-video), found 3");
    }

    #[test]
    fn questions_are_found_by_key_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let truth = "{\"10\": {\"answer\": 1, \"types\": 1}, \"9\": {\"answer\": 0, \"types\": 2}}";
        let mut inputs = Inputs::default()
            .file("annotations", file("egomcq.json", truth))
            .file("predictions", file("pred.json", "{\"9\": [1, 0, 0, 0, 0], \"8\": [1, 0, 0, 0, 0]}"));
        let text = evaluate(&inputs).unwrap_err().to_string();
        assert!(text.contains("1 of 2 questions, missing 1 (10), unknown 1 (8)"), "{text}");
        inputs.allow_missing = true;
        let report = evaluate(&inputs).unwrap();
        assert_eq!(report.score("intra-video (type 2)"), 1.0);
        assert!(report.score("inter-video (type 1)").is_nan());
        let path = folder.path().join("pred.npy");
        ndarray_npy::write_npy(&path, &ndarray::array![[0.0f32, 1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]])
            .unwrap();
        let inputs = Inputs::default().file("annotations", folder.path().join("egomcq.json")).file("predictions", path);
        let report = evaluate(&inputs).unwrap();
        assert_eq!((report.score("inter-video (type 1)"), report.score("intra-video (type 2)")), (1.0, 0.0));
    }
}
