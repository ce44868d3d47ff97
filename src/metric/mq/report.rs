//! The numbers of MQ, put together.
//!
//! Not for computing any. What the predictions leave out is counted before anything is scored.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::actionformer;
use super::{
    Annotations, AveragePrecision, Compat, Detection, EVALUATOR, PRECISION_THRESHOLDS, Problem, RECALL_MULTIPLES,
    RECALL_THRESHOLDS, Report, Submission, average_precision, recall,
};
use crate::metric::report::{Coverage, Grid, Unit};

/// Clips that both tracks list, that one of them lacks, and that the annotations do not have.
pub(super) fn coverage(annotations: &Annotations, submission: &Submission) -> Coverage {
    let tracks = [&submission.detected, &submission.retrieved];
    let listed = tracks.map(|track| track.iter().map(|clip| clip.clip_uid.as_str()).collect::<HashSet<_>>());
    let known: HashSet<&str> = annotations.clips.iter().map(|clip| clip.clip_uid.as_str()).collect();
    let mut coverage = Coverage { expected: annotations.clips.len(), ..Coverage::new("clips") };
    for clip in &annotations.clips {
        match listed.iter().all(|listed| listed.contains(clip.clip_uid.as_str())) {
            true => coverage.answered += 1,
            false => coverage.missing.add(&clip.clip_uid),
        }
    }
    let mut unknown = HashSet::new();
    for clip in tracks.into_iter().flatten().filter(|clip| !known.contains(clip.clip_uid.as_str())) {
        if unknown.insert(clip.clip_uid.as_str()) {
            coverage.unknown.add(&clip.clip_uid);
        }
    }
    submission.repeated.iter().for_each(|clip_uid| coverage.repeated.add(clip_uid));
    coverage
}

/// The mean over labels that have truths.
fn mean_over_labels(values: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut count) = (0.0, 0.0);
    for value in values.filter(|value| !value.is_nan()) {
        total += value;
        count += 1.0;
    }
    total / count
}

fn precision_grids(by_label: &[AveragePrecision]) -> [Grid; 2] {
    let places = 0..PRECISION_THRESHOLDS.len();
    let means: Vec<f64> = places.map(|place| mean_over_labels(by_label.iter().map(|row| row[place]))).collect();
    let average = means.iter().sum::<f64>() / means.len() as f64;
    let columns = PRECISION_THRESHOLDS.iter().map(|threshold| format!("tIoU>={threshold}")).collect();
    let precision = Grid { unit: Unit::Fraction, columns, rows: vec![("mAP".to_owned(), means)] };
    [precision, Grid::list(&[("average mAP", average)])]
}

fn by_label(problem: &Problem, precision: &[AveragePrecision]) -> Value {
    let pairs = problem.labels.iter().zip(precision);
    Value::Object(pairs.map(|(label, precision)| (label.clone(), json!(precision))).collect())
}

fn notes(problem: &Problem, detections: &[Detection]) -> Vec<String> {
    let mut notes = Vec::new();
    if problem.foreign_labels > 0 {
        let n = problem.foreign_labels;
        notes.push(format!("{n} predictions with a label that is in no truth are ignored, as by the original"));
    }
    let elsewhere = detections.iter().filter(|detection| detection.moment.clip >= problem.num_annotated).count();
    if elsewhere > 0 {
        notes.push(format!("{elsewhere} detections in clips that are not annotated count as false alarms"));
    }
    let empty = problem.truths.iter().filter(|truth| truth.window.length_sec() == 0.0).count();
    if empty > 0 {
        notes.push(format!("{empty} truths are empty windows"));
    }
    notes
}

/// By Ego4D's evaluator.
pub(super) fn official(problem: &Problem, coverage: Coverage, compat: Compat) -> Report {
    let Problem { labels, truths, detections, retrieved, .. } = problem;
    let precision = average_precision(truths, detections, labels.len(), &PRECISION_THRESHOLDS, compat);
    let [at_thresholds, average] = precision_grids(&precision);
    let rows = RECALL_THRESHOLDS.iter().zip(recall(truths, retrieved));
    let rows = rows.map(|(threshold, row)| (format!("recall tIoU>{threshold}"), row.to_vec())).collect();
    let columns = RECALL_MULTIPLES.iter().map(|multiple| format!("@{multiple}x")).collect();
    let mut details = Map::new();
    details.insert("average_precision".to_owned(), by_label(problem, &precision));
    let grids = vec![at_thresholds, average, Grid { unit: Unit::Fraction, columns, rows }];
    let notes = notes(problem, detections);
    Report { benchmark: EVALUATOR.name, compat: Some(compat), grids, coverage, notes, details }
}

/// By ActionFormer's evaluator, of the first track.
pub(super) fn actionformer(problem: &Problem, coverage: Coverage) -> Report {
    let Problem { labels, truths, detections, .. } = problem;
    let kept = actionformer::without_duplicates(truths);
    let released = Compat::AsReleased;
    let precision = average_precision(&kept, detections, labels.len(), &actionformer::THRESHOLDS, released);
    let [at_thresholds, average] = precision_grids(&precision);
    let recall = actionformer::recall(&kept, detections, labels.len());
    let row = |place: usize| {
        let means = |multiple: usize| mean_over_labels(recall.iter().map(|label| label[place][multiple]));
        (format!("recall tIoU>={}", PRECISION_THRESHOLDS[place]), vec![means(0), means(1)])
    };
    let columns = actionformer::MULTIPLES.iter().map(|multiple| format!("@{multiple}x")).collect();
    let rows = (0..PRECISION_THRESHOLDS.len()).map(row).collect();
    let mut details = Map::new();
    details.insert("average_precision".to_owned(), by_label(problem, &precision));
    let mut notes = notes(problem, detections);
    notes.push("ActionFormer's evaluator: recall is not comparable with Ego4D's".to_owned());
    let dropped = truths.len() - kept.len();
    notes.push(format!("{dropped} truths that are shorter than 1 ms or listed twice are dropped"));
    let grids = vec![at_thresholds, average, Grid { unit: Unit::Fraction, columns, rows }];
    Report { benchmark: EVALUATOR.name, compat: None, grids, coverage, notes, details }
}
