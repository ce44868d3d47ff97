//! NLQ: recall of the true window among the first K predicted ones, by overlap.
//!
//! After `evaluate_ego4d_nlq.py` of [Ego4D's episodic memory](https://github.com/EGO4D/episodic-memory). Not for the
//! decoding of spans. An overlap counts if it is strictly greater than the threshold, whatever the published tables'
//! "IoU >= m" suggests, and the means run over the answers that were given: the original does not see a query that
//! nobody answered, so completeness is checked here.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, json};

use super::report::{Coverage, Grid, Unit};
use super::{Compat, Evaluator, Input, Inputs, MetricError, Need, Report, Window, files};
use crate::benchmark::episodic::File;
use crate::benchmark::nlq::{Annotation, LanguageQuery};

/// How many of the predicted windows may hit.
pub const RANKS: [usize; 3] = [1, 3, 5];
/// What an overlap must exceed; 0.3 and 0.5 are published, 0.01 is what the trainer prints as well.
pub const THRESHOLDS: [f64; 3] = [0.3, 0.5, 0.01];

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The submission: {\"version\": \"1.0\", \"challenge\": \"ego4d_nlq_challenge\", \"results\": \
            [{\"clip_uid\", \"annotation_uid\", \"query_idx\", \"predicted_times\": [[start, end], ...]}]}, best \
            window first; what stands behind the two times of a window, a score for instance, is not looked at.",
    need: Need::One,
};
const ANNOTATIONS: Input = Input {
    name: "annotations",
    about: "The truth: nlq_val.json of version 1 or 2, or nlq_train.json.",
    need: Need::One,
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "nlq",
    about: "natural language queries: recall of windows at rank 1, 3 and 5",
    inputs: &[PREDICTIONS, ANNOTATIONS],
    choices: &[],
    fixes: Some("queries without an answer count as missed, and an overlap of 0/0 as none instead of spoiling mIoU"),
    evaluate,
};

/// One answered query.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The predicted windows, best first; at least one.
    pub predicted: Vec<Window>,
    /// The true window.
    pub truth: Window,
}

/// The numbers of NLQ, fractions all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct NlqScore {
    /// Recall by rank (rows, [`RANKS`]) and threshold (columns, [`THRESHOLDS`]).
    pub recall: [[f64; 3]; 3],
    /// Mean overlap of the first window. As released it is NaN as soon as one overlap is 0/0.
    pub mean_iou: f64,
    /// Answers whose first overlap is 0/0.
    pub undefined: usize,
}

impl NlqScore {
    /// Mean of R@1 (or R@5, `rank` 2) at 0.3 and 0.5, by which the challenge is ranked.
    pub fn mean_recall(&self, rank: usize) -> f64 {
        f64::midpoint(self.recall[rank][0], self.recall[rank][1])
    }
}

/// Scores answers. `unanswered` is how many queries have none: as released they are left out of the means, fixed they
/// count as missed. Without any answer the means are NaN.
pub fn score(answers: &[Answer], unanswered: usize, compat: Compat) -> NlqScore {
    let fixed = compat == Compat::Fixed;
    let overlaps: Vec<Vec<f64>> = answers.iter().map(overlaps).collect();
    let count = (answers.len() + if fixed { unanswered } else { 0 }) as f64;
    // NaN is not greater than anything, so that 0/0 is a miss, as in the original.
    let hit = |row: &&Vec<f64>, rank: usize, threshold: f64| row.iter().take(rank).any(|iou| *iou > threshold);
    let recall = RANKS.map(|rank| {
        THRESHOLDS.map(|threshold| overlaps.iter().filter(|row| hit(row, rank, threshold)).count() as f64 / count)
    });
    let first = overlaps.iter().map(|row| row.first().copied().unwrap_or(f64::NAN));
    let undefined = first.clone().filter(|iou| iou.is_nan()).count();
    let total: f64 = first.map(|iou| if fixed && iou.is_nan() { 0.0 } else { iou }).sum();
    NlqScore { recall, mean_iou: total / count, undefined }
}

/// Overlaps of all predicted windows with the truth.
pub fn overlaps(answer: &Answer) -> Vec<f64> {
    answer.predicted.iter().map(|window| window.iou_by_hull(answer.truth)).collect()
}

#[derive(Deserialize)]
struct Submission {
    version: Option<String>,
    challenge: Option<String>,
    results: Vec<Prediction>,
}

#[derive(Deserialize)]
struct Prediction {
    clip_uid: String,
    annotation_uid: String,
    query_idx: usize,
    predicted_times: Vec<Window>,
}

/// Clip and annotation: annotation uids recur under other clips.
type Key = (String, String);

/// Queries by clip and annotation, each under its number.
#[derive(Default)]
struct Truths {
    order: Vec<Key>,
    queries: HashMap<Key, Vec<Truth>>,
}

struct Truth {
    text: Option<String>,
    window: Option<Window>,
}

impl Truth {
    /// Whether the query has a text: a few have none, and nobody can answer those.
    fn is_asked(&self) -> bool {
        self.window.is_some() && self.text.as_deref().is_some_and(|text| !text.trim().is_empty())
    }
}

/// A query with its windows, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryWindows {
    /// Its clip.
    pub clip_uid: String,
    /// Its sentence, as annotated.
    pub text: String,
    /// The true window and those predicted, best first; in seconds of the clip.
    pub answer: Answer,
}

/// The queries of `annotations` that have a sentence, a window and an answer in `predictions`, in the order of the answers.
///
/// # Errors
/// [`MetricError`] for files that cannot be read, or that hold something else.
pub fn query_windows(predictions: &Path, annotations: &Path) -> Result<Vec<QueryWindows>, MetricError> {
    let truths = read_truths(annotations)?;
    let of = |prediction: Prediction| {
        let key = (prediction.clip_uid, prediction.annotation_uid);
        let truth = truths.queries.get(&key)?.get(prediction.query_idx).filter(|truth| truth.is_asked())?;
        let answer = Answer { predicted: prediction.predicted_times, truth: truth.window? };
        Some(QueryWindows { clip_uid: key.0, text: truth.text.clone().unwrap_or_default(), answer })
    };
    Ok(read_submission(predictions)?.into_iter().filter_map(of).collect())
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let truths = read_truths(inputs.one(&ANNOTATIONS)?)?;
    let (answers, coverage) = truths.set_against(read_submission(path)?);
    let coverage = coverage.check(path, inputs.allow_missing)?;
    let score = score(&answers, coverage.missing.count, inputs.compat);
    Ok(report(&score, &answers, coverage, inputs.compat))
}

/// Where clip and annotation recur, the original keeps the last.
fn read_truths(path: &Path) -> Result<Truths, MetricError> {
    let file: File<Annotation> = files::read_json(path)?;
    let mut truths = Truths::default();
    for clip in file.videos.iter().flat_map(|video| video.clips.iter().flatten()) {
        for annotation in clip.annotations.iter().flatten() {
            let key = (clip.clip_uid.clone(), annotation.annotation_uid.clone());
            let queries = annotation.language_queries.iter().flatten().map(truth).collect();
            if truths.queries.insert(key.clone(), queries).is_none() {
                truths.order.push(key);
            }
        }
    }
    if !truths.queries.values().flatten().any(|truth| truth.window.is_some()) {
        let found = "none: this is a test file, or none of NLQ's";
        return Err(MetricError::unexpected(path, "queries with clip_start_sec and clip_end_sec", found));
    }
    Ok(truths)
}

fn truth(query: &LanguageQuery) -> Truth {
    let window = query.clip_start_sec.zip(query.clip_end_sec).map(|(start, end)| Window::new(start, end));
    Truth { text: query.query.clone(), window }
}

fn read_submission(path: &Path) -> Result<Vec<Prediction>, MetricError> {
    let Submission { version, challenge, results } = files::read_json(path)?;
    for (key, found, expected) in [("version", version, "1.0"), ("challenge", challenge, "ego4d_nlq_challenge")] {
        if let Some(found) = found.filter(|found| found != expected) {
            return Err(MetricError::unexpected(path, format!("{key} {expected:?}"), format!("{found:?}")));
        }
    }
    if let Some(empty) = results.iter().find(|prediction| prediction.predicted_times.is_empty()) {
        let place = format!("none for {}/{}/{}", empty.clip_uid, empty.annotation_uid, empty.query_idx);
        return Err(MetricError::unexpected(path, "at least one window in predicted_times", place));
    }
    Ok(results)
}

impl Truths {
    fn window(&self, key: &Key, index: usize) -> Option<Window> {
        self.queries.get(key)?.get(index)?.window
    }

    /// Answers in the order of the submission, and what has no counterpart on the other side.
    fn set_against(&self, predictions: Vec<Prediction>) -> (Vec<Answer>, Coverage) {
        let mut coverage = Coverage::new("queries");
        let mut answered = HashSet::new();
        let mut answers = Vec::with_capacity(predictions.len());
        for prediction in predictions {
            let (key, index) = ((prediction.clip_uid, prediction.annotation_uid), prediction.query_idx);
            match self.window(&key, index) {
                None => coverage.unknown.add(Name(&key, index)),
                Some(_) if answered.contains(&(key.clone(), index)) => coverage.repeated.add(Name(&key, index)),
                Some(truth) => {
                    answered.insert((key, index));
                    answers.push(Answer { predicted: prediction.predicted_times, truth });
                }
            }
        }
        self.count_missing(&answered, &mut coverage);
        (answers, coverage)
    }

    fn count_missing(&self, answered: &HashSet<(Key, usize)>, coverage: &mut Coverage) {
        for key in &self.order {
            let asked = self.queries[key].iter().enumerate().filter(|(_, truth)| truth.is_asked());
            for (index, _) in asked {
                coverage.expected += 1;
                match answered.contains(&(key.clone(), index)) {
                    true => coverage.answered += 1,
                    false => coverage.missing.add(Name(key, index)),
                }
            }
        }
    }
}

/// How messages call a query.
struct Name<'k>(&'k Key, usize);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.0.0, self.0.1, self.1)
    }
}

fn report(score: &NlqScore, answers: &[Answer], coverage: Coverage, compat: Compat) -> Report {
    let columns = THRESHOLDS.iter().map(|threshold| format!("IoU>{threshold}")).collect();
    let rows = RANKS.iter().zip(score.recall).map(|(rank, row)| (format!("R@{rank}"), row.to_vec())).collect();
    let means = [("mean R@1", score.mean_recall(0)), ("mean R@5", score.mean_recall(2)), ("mIoU", score.mean_iou)];
    let mut details = Map::new();
    details.insert("iou".to_owned(), json!(answers.iter().map(overlaps).collect::<Vec<_>>()));
    let mut notes = Vec::new();
    if score.undefined > 0 {
        notes.push(format!("{} with an overlap of 0/0 (empty windows at one instant), a miss", score.undefined));
    }
    if answers.len() > coverage.answered {
        let extra = answers.len() - coverage.answered;
        notes.push(format!("{extra} answers to queries without a text are scored too, as by the original"));
    }
    let grids = vec![Grid { unit: Unit::Fraction, columns, rows }, Grid::list(&means)];
    Report { benchmark: EVALUATOR.name, compat: Some(compat), grids, coverage, notes, details }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn inputs() -> Inputs {
        Inputs::default().file("annotations", samples::path("nlq/gt.json"))
    }

    fn golden() -> (Vec<Answer>, serde_json::Value) {
        let truths = read_truths(&samples::path("nlq/gt.json")).unwrap();
        let (answers, coverage) = truths.set_against(read_submission(&samples::path("nlq/pred.json")).unwrap());
        assert_eq!(coverage.to_string(), "7 of 8 queries, missing 1 (clip-0003/ann-01/1)");
        (answers, samples::json("nlq/expected.json"))
    }

    #[track_caller]
    fn check(found: &NlqScore, expected: &serde_json::Value) {
        for (row, rank) in RANKS.iter().enumerate() {
            for (column, threshold) in THRESHOLDS.iter().enumerate() {
                let name = format!("R@{rank}_IoU>{threshold}");
                samples::close(found.recall[row][column], &expected["recall_fraction"][&name], &name);
            }
        }
        samples::close(found.mean_iou, &expected["mIoU"], "mIoU");
    }

    #[test]
    fn recall_is_the_original_one() {
        let (answers, expected) = golden();
        for (answer, expected) in answers.iter().zip(expected["per_query_iou"].as_array().unwrap()) {
            for (at, iou) in overlaps(answer).into_iter().enumerate() {
                samples::close(iou, &expected[at], "overlap");
            }
        }
        check(&score(&answers, 1, Compat::AsReleased), &expected);
    }

    #[test]
    fn zero_over_zero_is_a_miss_and_poisons_the_mean_as_released_only() {
        let (mut answers, expected) = golden();
        let (released, fixed) = (score(&answers, 0, Compat::AsReleased), score(&answers, 0, Compat::Fixed));
        assert!(released.mean_iou.is_nan() && released.undefined == 1);
        assert_eq!(released.recall, fixed.recall);
        answers.retain(|answer| !overlaps(answer)[0].is_nan());
        let without = score(&answers, 0, Compat::AsReleased);
        check(&without, &expected["without_zero_over_zero_query"]);
        samples::close(without.mean_recall(0), &expected["without_zero_over_zero_query"]["mean_R1"], "mean R@1");
        samples::close(without.mean_recall(2), &expected["without_zero_over_zero_query"]["mean_R5"], "mean R@5");
        assert!((fixed.mean_iou - without.mean_iou * 6.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn an_overlap_of_exactly_the_threshold_is_a_miss() {
        let answer = Answer { predicted: vec![Window::new(0.0, 9.0)], truth: Window::new(0.0, 30.0) };
        assert_eq!(overlaps(&answer), [0.3]);
        assert_eq!(score(&[answer], 0, Compat::AsReleased).recall[0], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_window_that_runs_backwards_and_a_zero_length_truth_are_misses() {
        for (start, end, truth) in [(54.0, 50.0, Window::new(50.0, 60.0)), (49.0, 51.0, Window::new(50.0, 50.0))] {
            let answer = Answer { predicted: vec![Window::new(start, end)], truth };
            let found = score(&[answer], 0, Compat::AsReleased);
            assert_eq!((found.recall, found.mean_iou), ([[0.0; 3]; 3], 0.0));
        }
    }

    #[test]
    fn windows_may_have_a_score_behind_their_times() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pred.json");
        let original: serde_json::Value =
            serde_json::from_slice(&std::fs::read(samples::path("nlq/pred.json")).unwrap()).unwrap();
        let mut scored = original.clone();
        for result in scored["results"].as_array_mut().unwrap() {
            let windows = result["predicted_times"].as_array_mut().unwrap();
            windows.iter_mut().for_each(|window| window.as_array_mut().unwrap().push(json!(0.25)));
        }
        assert_ne!(scored, original);
        std::fs::write(&path, scored.to_string()).unwrap();
        let mut inputs = inputs().file("predictions", &path);
        inputs.allow_missing = true;
        let report = evaluate(&inputs).unwrap();
        assert!((report.score("R@1 IoU>0.3") - 3.0 / 7.0).abs() < 1e-12);
    }

    #[test]
    fn unanswered_queries_are_left_out_as_released_and_missed_when_fixed() {
        let answer = Answer { predicted: vec![Window::new(0.0, 1.0)], truth: Window::new(0.0, 1.0) };
        assert_eq!(score(std::slice::from_ref(&answer), 3, Compat::AsReleased).recall[0][0], 1.0);
        assert_eq!(score(&[answer], 3, Compat::Fixed).recall[0][0], 0.25);
    }

    #[test]
    fn an_incomplete_submission_is_an_error_unless_it_is_allowed() {
        let mut inputs = inputs().file("predictions", samples::path("nlq/pred.json"));
        let text = evaluate(&inputs).unwrap_err().to_string();
        assert!(text.contains("7 of 8 queries, missing 1 (clip-0003/ann-01/1)"), "{text}");
        inputs.allow_missing = true;
        let report = evaluate(&inputs).unwrap();
        assert!((report.score("R@1 IoU>0.3") - 3.0 / 7.0).abs() < 1e-12);
        assert_eq!((report.coverage.expected, report.coverage.missing.count), (8, 1));
        assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    }

    #[test]
    fn unknown_repeated_and_foreign_submissions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pred.json");
        let submit = |text: &str| {
            std::fs::write(&path, text).unwrap();
            evaluate(&inputs().file("predictions", &path)).unwrap_err().to_string()
        };
        let one = |clip: &str, index: usize| {
            format!(
                "{{\"clip_uid\": \"{clip}\", \"annotation_uid\": \"ann-01\", \"query_idx\": {index}, \
                 \"predicted_times\": [[0, 1]]}}"
            )
        };
        let (known, other, late) = (one("clip-0001", 0), one("clip-9", 0), one("clip-0001", 4));
        let text = submit(&format!("{{\"results\": [{known}, {known}, {other}, {late}]}}"));
        for part in ["1 of 8 queries", "missing 7", "unknown 2 (clip-9/ann-01/0, clip-0001/ann-01/4)", "repeated 1"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = submit("{\"challenge\": \"ego4d_moment_queries\", \"results\": []}");
        assert!(text.ends_with("expected challenge \"ego4d_nlq_challenge\", found \"ego4d_moment_queries\""), "{text}");
        let text = submit(&format!("{{\"results\": [{}]}}", known.replace("[[0, 1]]", "[]")));
        assert!(text.ends_with("at least one window in predicted_times, found none for clip-0001/ann-01/0"), "{text}");
        let text = submit("{\"results\": [{\"clip_uid\": 1}]}");
        assert!(text.contains("pred.json: results[0].clip_uid: invalid type"), "{text}");
    }
}
