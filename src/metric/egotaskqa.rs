//! EgoTaskQA: accuracy of answers, by kind of question.
//!
//! After the counter of [EgoTaskQA](https://github.com/Buzz-Beater/EgoTaskQA) and EgoVLPv2. Not for vocabularies:
//! answers are compared as classes. What is published as "All" is the accuracy over questions with the key of the
//! split, `direct` or `indirect`, and not over all questions; both are given here.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, json};

use super::report::{Coverage, Grid};
use super::{Evaluator, Input, Inputs, MetricError, Need, Report, files};
use crate::benchmark::egotaskqa::Question;
use crate::benchmark::json::Pairs;

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The answers, JSON: {question_id: class}, or a list of classes in the order of the annotations. A class is \
            the number of the line of answer_set.txt, from 0, as in answer_encode; with --answers, texts will do.",
    need: Need::One,
};
const ANNOTATIONS: Input =
    Input { name: "annotations", about: "The questions: formatted_test_qas_encode.json.", need: Need::One };
const ANSWERS: Input = Input {
    name: "answers",
    about: "The vocabulary, answer_set.txt, by which predicted texts become classes. A text that is not in it, \
            exactly, is a wrong answer.",
    need: Need::Optional,
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "egotaskqa",
    about: "EgoTaskQA: accuracy by kind of question",
    inputs: &[PREDICTIONS, ANNOTATIONS, ANSWERS],
    choices: &[],
    fixes: None,
    evaluate,
};

/// Keys of open questions, of binary ones, and those that name the splits.
const OPEN: &str = "query";
const BINARY: &str = "verify";
const SPLITS: [&str; 2] = ["direct", "indirect"];

/// Right and all answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Right answers.
    pub correct: usize,
    /// All answers.
    pub total: usize,
}

impl Count {
    fn add(&mut self, is_right: bool) {
        self.total += 1;
        self.correct += usize::from(is_right);
    }

    /// The share of right ones; 0 without any, as in the original counter.
    pub fn accuracy(self) -> f64 {
        if self.total == 0 { 0.0 } else { self.correct as f64 / self.total as f64 }
    }
}

/// The numbers of EgoTaskQA.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QaScore {
    /// By key, in the order in which keys first occur.
    pub by_key: Vec<(String, Count)>,
    /// Over all questions.
    pub pooled: Count,
}

impl QaScore {
    /// Counts an answer under all of its keys.
    pub fn add<'k>(&mut self, keys: impl IntoIterator<Item = &'k str>, is_right: bool) {
        self.pooled.add(is_right);
        for key in keys {
            let place = self.by_key.iter().position(|(name, _)| name == key).unwrap_or(self.by_key.len());
            if place == self.by_key.len() {
                self.by_key.push((key.to_owned(), Count::default()));
            }
            self.by_key[place].1.add(is_right);
        }
    }

    /// The count of a key; nothing where it does not occur.
    pub fn of(&self, key: &str) -> Count {
        self.by_key.iter().find(|(name, _)| name == key).map(|(_, count)| *count).unwrap_or_default()
    }
}

/// A predicted class, or its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Class(usize),
    Text(String),
}

/// Answers by question id or in order.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    InOrder(Vec<Answer>),
    ById(Pairs<Answer>),
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truth_path = inputs.one(&ANNOTATIONS)?;
    let questions: Vec<Question> = files::read_json(truth_path)?;
    let vocabulary = inputs.optional(ANSWERS.name).map(files::lines).transpose()?;
    let (answers, coverage) = set_against(&questions, files::read_json(path)?, path)?;
    let coverage = coverage.check(path, inputs.allow_missing)?;
    let mut score = QaScore::default();
    for (question, answer) in questions.iter().zip(answers) {
        let Some(answer) = answer else { continue };
        let class = class_of(&answer, vocabulary.as_deref(), path)?;
        let keys = question.reasoning_type.as_str().split('$').filter(|key| !key.is_empty());
        score.add(keys, class == Some(truth_of(question, truth_path)?));
    }
    Ok(report(&score, coverage))
}

fn truth_of(question: &Question, path: &Path) -> Result<usize, MetricError> {
    let encoded = question.answer_encode.as_str();
    let error = || MetricError::unexpected(path, "a class in answer_encode of each question", format!("{encoded:?}"));
    encoded.parse().map_err(|_| error())
}

/// The class of an answer; `None` for a text that is no class.
fn class_of(answer: &Answer, vocabulary: Option<&[String]>, path: &Path) -> Result<Option<usize>, MetricError> {
    match (answer, vocabulary) {
        (Answer::Class(class), _) => Ok(Some(*class)),
        (Answer::Text(text), Some(vocabulary)) => Ok(vocabulary.iter().position(|known| known == text)),
        (Answer::Text(text), None) => Err(MetricError::unexpected(
            path,
            "numbers of classes, or --answers to number texts by",
            format!("{text:?}"),
        )),
    }
}

/// The answer to each question. A question without an id goes by its place.
fn set_against(
    questions: &[Question],
    answers: Answers,
    path: &Path,
) -> Result<(Vec<Option<Answer>>, Coverage), MetricError> {
    let mut coverage = Coverage { expected: questions.len(), ..Coverage::new("questions") };
    let given = match answers {
        Answers::InOrder(list) if list.len() != questions.len() => {
            let expected = format!("{} answers, one for each question, or answers by question_id", questions.len());
            return Err(MetricError::unexpected(path, expected, list.len().to_string()));
        }
        Answers::InOrder(list) => list.into_iter().map(Some).collect(),
        Answers::ById(pairs) => by_id(questions, pairs.0, &mut coverage),
    };
    coverage.answered = given.iter().flatten().count();
    Ok((given, coverage))
}

fn by_id(questions: &[Question], pairs: Vec<(String, Answer)>, coverage: &mut Coverage) -> Vec<Option<Answer>> {
    let id = |(place, question): (usize, &Question)| match question.question_id.as_str() {
        "" => place.to_string(),
        id => id.to_owned(),
    };
    let ids: Vec<String> = questions.iter().enumerate().map(id).collect();
    let places: HashMap<&str, usize> = ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
    let mut given: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
    for (id, answer) in pairs {
        match places.get(id.as_str()) {
            None => coverage.unknown.add(id),
            Some(&place) if given[place].is_some() => coverage.repeated.add(id),
            Some(&place) => given[place] = Some(answer),
        }
    }
    let missing = given.iter().zip(&ids).filter(|(answer, _)| answer.is_none());
    missing.for_each(|(_, id)| coverage.missing.add(id));
    given
}

/// The report of a score, for those who have answers without files.
pub fn report(score: &QaScore, coverage: Coverage) -> Report {
    let mut headlines =
        vec![("open (query)", score.of(OPEN).accuracy()), ("binary (verify)", score.of(BINARY).accuracy())];
    for split in SPLITS.into_iter().filter(|split| score.of(split).total > 0) {
        headlines.push((split, score.of(split).accuracy()));
    }
    headlines.push(("pooled", score.pooled.accuracy()));
    let of_key = |(key, count): &(String, Count)| {
        let numbers = json!({"correct": count.correct, "total": count.total, "accuracy": count.accuracy()});
        (key.clone(), numbers)
    };
    let mut details = Map::new();
    details.insert("by_key".to_owned(), score.by_key.iter().map(of_key).collect());
    let notes = vec!["\"All\" of published tables is the row of the split, direct or indirect".to_owned()];
    let grids = vec![Grid::list(&headlines)];
    Report { benchmark: EVALUATOR.name, compat: None, grids, coverage, notes, details }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples;
    use super::*;

    /// The fixture's test questions, with their golden classes filled in.
    fn questions() -> (Value, Value) {
        let expected = samples::json("egotaskqa/expected.json");
        let mut questions = samples::json("egotaskqa/input.json")["test"].clone();
        for (place, question) in questions.as_array_mut().unwrap().iter_mut().enumerate() {
            question["answer_encode"] = expected["answer_encode"]["test"][place].clone();
        }
        (questions, expected)
    }

    fn of(questions: &Value, predictions: &Value, answers: Option<&str>) -> Result<Report, MetricError> {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let inputs = Inputs::default()
            .file("annotations", file("test.json", &questions.to_string()))
            .file("predictions", file("pred.json", &predictions.to_string()));
        evaluate(&match answers {
            Some(lines) => inputs.file("answers", file("answer_set.txt", lines)),
            None => inputs,
        })
    }

    #[test]
    fn accuracies_are_the_original_ones_and_all_is_the_key_of_the_split() {
        let (questions, expected) = questions();
        let report = of(&questions, &expected["predicted_class"], None).unwrap();
        samples::close(report.score("open (query)"), &expected["open"], "open");
        samples::close(report.score("binary (verify)"), &expected["binary"], "binary");
        samples::close(report.score("pooled"), &expected["all_true"], "pooled");
        samples::close(report.score("direct"), &expected["all_as_logged_by_egovlpv2_direct_split"], "direct");
        samples::close(report.score("indirect"), &expected["all_as_logged_by_egovlpv2_indirect_split"], "indirect");
        for (key, counts) in expected["counts"].as_object().unwrap() {
            let found = &report.details["by_key"][key];
            let counts = samples::indices(counts);
            let number = |name: &str| found[name].as_u64().unwrap_or_default() as usize;
            assert_eq!([number("correct"), number("total")], counts[..], "{key}");
        }
    }

    #[test]
    fn an_unknown_answer_is_right_where_class_one_is_predicted() {
        let (questions, _) = questions();
        // The third and fourth test answers are not in the vocabulary as written ("Cup"), which makes them class 1.
        let report = of(&questions, &serde_json::json!([9, 9, 1, 1, 9, 9]), None).unwrap();
        assert_eq!(report.score("pooled"), 2.0 / 6.0);
    }

    #[test]
    fn texts_are_numbered_by_the_vocabulary_exactly() {
        let (questions, expected) = questions();
        let lines: Vec<&str> = expected["answer_set"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let texts = serde_json::json!(["fridge", "Cup", "cup", "<UNK1>", "no", "no"]);
        let report = of(&questions, &texts, Some(&lines.join("\n"))).unwrap();
        assert_eq!(report.score("pooled"), 3.0 / 6.0, "fridge, <UNK1> and the last no");
        let text = of(&questions, &texts, None).unwrap_err().to_string();
        assert!(text.contains("or --answers to number texts by, found \"fridge\""), "{text}");
    }

    #[test]
    fn answers_by_id_are_counted_and_a_list_must_be_whole() {
        let (questions, _) = questions();
        let id = |place: usize| questions[place]["question_id"].to_string();
        let text = of(&questions, &serde_json::json!({id(0): 3, "999": 1}), None).unwrap_err().to_string();
        assert!(text.contains("1 of 6 questions, missing 5 (") && text.contains("unknown 1 (999)"), "{text}");
        let text = of(&questions, &serde_json::json!([1]), None).unwrap_err().to_string();
        assert!(
            text.contains("expected 6 answers, one for each question, or answers by question_id, found 1"),
            "{text}"
        );
    }
}
