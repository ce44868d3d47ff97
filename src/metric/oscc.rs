//! OSCC: how often a clip is rightly said to hold a change of an object's state.
//!
//! After the metrics of [EgoVLP](https://github.com/showlab/EgoVLP). Not for the time of the change, which is PNR. A
//! label that is null or absent is no change, as the original loaders have it.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView2};
use serde::Deserialize;
use serde_json::Map;

use super::report::{Coverage, Grid};
use super::{Evaluator, Input, Inputs, MetricError, Need, Report, files, rank};
use crate::benchmark::json::Pairs;
use crate::benchmark::oscc::{Entry, File};

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "What is said of each clip, JSON: {unique_id: [score of no change, score of a change]}; true or false in \
            place of the scores will do.",
    need: Need::One,
};
pub(super) const ANNOTATIONS: Input =
    Input { name: "annotations", about: "The truth: fho_oscc-pnr_val.json (or _train.json).", need: Need::One };

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "oscc",
    about: "object state change classification: accuracy",
    inputs: &[PREDICTIONS, ANNOTATIONS],
    choices: &[],
    fixes: None,
    evaluate,
};

/// The share of rows of `scores` `[clips, classes]` whose highest score, the first of equal ones, is at its label. NaN
/// without rows.
///
/// # Errors
///
/// Another number of labels than of rows.
pub fn accuracy(scores: ArrayView2<f64>, labels: &[usize]) -> Result<f64, MetricError> {
    if scores.nrows() != labels.len() {
        let expected = format!("{} clips", scores.nrows());
        return Err(MetricError::Mismatch { what: "labels", expected, found: labels.len().to_string() });
    }
    let right =
        scores.outer_iter().zip(labels).filter(|(row, label)| rank::argmax(row.iter().copied()) == Some(**label));
    Ok(right.count() as f64 / labels.len() as f64)
}

/// What may be said of a clip.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Scores([f64; 2]),
    Change(bool),
}

impl Said {
    fn scores(&self) -> [f64; 2] {
        match self {
            Self::Scores(scores) => *scores,
            Self::Change(change) => [f64::from(u8::from(!change)), f64::from(u8::from(*change))],
        }
    }
}

/// The clips that `belongs` takes, with what was said of each; and what has no counterpart.
pub(super) fn set_against<T>(
    clips: &[Entry],
    said: Vec<(String, T)>,
    belongs: impl Fn(&Entry) -> bool,
) -> (Vec<(&Entry, T)>, Coverage) {
    let known: HashMap<&str, &Entry> = clips.iter().map(|entry| (entry.uid(), entry)).collect();
    let mut coverage = Coverage::new("clips");
    let mut answers: HashMap<&str, T> = HashMap::new();
    for (unique_id, said) in said {
        match known.get(unique_id.as_str()) {
            None => coverage.unknown.add(unique_id),
            Some(entry) if answers.contains_key(entry.uid()) => coverage.repeated.add(unique_id),
            Some(entry) => {
                answers.insert(entry.uid(), said);
            }
        }
    }
    let mut pairs = Vec::new();
    for entry in clips.iter().filter(|entry| belongs(entry)) {
        coverage.expected += 1;
        match answers.remove(entry.uid()) {
            Some(said) => pairs.push((entry, said)),
            None => coverage.missing.add(entry.uid()),
        }
    }
    coverage.answered = pairs.len();
    (pairs, coverage)
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truth: File = files::read_json(inputs.one(&ANNOTATIONS)?)?;
    let said: Pairs<Said> = files::read_json(path)?;
    let (pairs, coverage) = set_against(&truth.clips, said.0, |_| true);
    let coverage = coverage.check(path, inputs.allow_missing)?;
    let scores = Array2::from_shape_fn((pairs.len(), 2), |(row, class)| pairs[row].1.scores()[class]);
    let labels: Vec<usize> = pairs.iter().map(|(entry, _)| usize::from(entry.state_change == Some(true))).collect();
    let grids = vec![Grid::list(&[("accuracy", accuracy(scores.view(), &labels)?)])];
    let unlabelled = pairs.iter().filter(|(entry, _)| entry.state_change.is_none()).count();
    let note = format!("{unlabelled} clips without a label count as no change");
    let notes = if unlabelled > 0 { vec![note] } else { Vec::new() };
    Ok(Report { benchmark: EVALUATOR.name, compat: None, grids, coverage, notes, details: Map::new() })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn accuracy_is_the_original_one_and_a_tie_goes_to_no_change() {
        let worked = &samples::json("oscc_pnr_worked.json")["oscc"];
        let of = |scores, labels| 100.0 * accuracy(samples::matrix(scores).view(), &samples::indices(labels)).unwrap();
        samples::close(of(&worked["logits"], &worked["labels"]), &worked["accuracy_percent"], "worked");
        let case = &samples::json("oscc_pnr.json")["oscc"];
        samples::close(of(&case["preds"], &case["labels"]), &case["expected"]["accuracy"], "random");
    }

    #[test]
    fn clips_are_found_by_id_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pred.json");
        let truth = folder.path().join("val.json");
        let clips = "{\"clips\": [{\"unique_id\": \"a\", \"video_uid\": \"v\", \"state_change\": true}, \
                     {\"unique_id\": \"b\", \"video_uid\": \"v\", \"state_change\": null}]}";
        std::fs::write(&truth, clips).unwrap();
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            evaluate(&Inputs::default().file("annotations", &truth).file("predictions", &path))
        };
        let report = of("{\"a\": [0.5, 0.5], \"b\": false}").unwrap();
        assert_eq!((report.score("accuracy"), report.notes.len()), (0.5, 1));
        let text = of("{\"a\": true, \"c\": true, \"a\": false}").unwrap_err().to_string();
        assert!(text.contains("1 of 2 clips, missing 1 (b), unknown 1 (c), repeated 1 (a)"), "{text}");
        assert!(of("{\"a\": [1]}").unwrap_err().to_string().contains("pred.json: a"));
    }
}
