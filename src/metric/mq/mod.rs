//! MQ: mean average precision of detected moments, and recall of retrieved ones.
//!
//! After `eval_detection.py` and `get_retrieval_performance.py` of
//! [Ego4D's episodic memory](https://github.com/EGO4D/episodic-memory), and after `metrics.py` of
//! [ActionFormer](https://github.com/happyharrycn/actionformer_release), whose numbers of the same name differ: see
//! [`actionformer`]. Not for making detections out of a network's output: that is [`postprocess`](super::postprocess).
//! Detections are compared within a clip and a label only.

pub mod actionformer;
mod detection;
mod files;
mod recall;
mod report;

use std::collections::HashMap;
use std::path::Path;

use super::{Choice, Compat, Evaluator, Input, Inputs, MetricError, Need, Report, Window};

pub use detection::{AveragePrecision, average_precision};
pub use files::{AnnotatedClip, Annotations, ClipDetections, Labelled, Predicted, Submission};
pub use recall::recall;

/// Overlaps at which precision is averaged.
pub const PRECISION_THRESHOLDS: [f64; 5] = [0.1, 0.2, 0.3, 0.4, 0.5];
/// Overlaps at which recall is counted.
pub const RECALL_THRESHOLDS: [f64; 3] = [0.3, 0.5, 0.7];
/// How many detections may hit, as multiples of the number of truths.
pub const RECALL_MULTIPLES: [usize; 5] = [1, 2, 3, 4, 5];

const PREDICTIONS: Input = Input {
    name: "predictions",
    about: "The submission: {\"version\", \"challenge\": \"ego4d_moment_queries\", \"detect_results\": {clip_uid: \
            [{\"label\", \"score\", \"segment\": [start, end]}]}, \"retrieve_results\": {...}}. A file with \
            \"results\" alone is scored on both tracks. `egofx postprocess` makes one from raw proposals.",
    need: Need::One,
};
const RETRIEVAL: Input = Input {
    name: "retrieval",
    about: "The retrieval track, where it is a file of its own: {\"results\": {clip_uid: [...]}}.",
    need: Need::Optional,
};
const ANNOTATIONS: Input = Input {
    name: "annotations",
    about: "The truth: moments_val.json as published, or VSGN's clip_annotations.json.",
    need: Need::One,
};
const SPLIT: Choice = Choice {
    name: "split",
    about: "The split to score, where the annotations hold several: val for the numbers that are published.",
    values: &[],
};
const PROTOCOL: Choice = Choice {
    name: "protocol",
    about: "official: Ego4D's evaluator. actionformer: ActionFormer's own, whose recall is a mean over classes of \
            overlaps >= the threshold, and which drops truths that are shorter than 1 ms or listed twice. The two are \
            not comparable.",
    values: &["official", "actionformer"],
};

pub(super) const EVALUATOR: Evaluator = Evaluator {
    name: "mq",
    about: "moment queries: mAP of detections, recall of retrieved moments",
    inputs: &[PREDICTIONS, RETRIEVAL, ANNOTATIONS],
    choices: &[SPLIT, PROTOCOL],
    fixes: Some("a detection and a truth that are both empty do not match (their overlap is 0/0)"),
    evaluate,
};

/// A true moment. Clips and labels are numbers that the caller has given them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Its clip.
    pub clip: usize,
    /// Its label.
    pub label: usize,
    /// When it is, in the clip.
    pub window: Window,
}

/// A predicted moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Where and what.
    pub moment: Moment,
    /// How sure the model is; the higher the surer.
    pub score: f64,
}

/// Truths and detections with clips and labels as numbers.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    /// Labels of the truths, in the order in which they first occur.
    pub labels: Vec<String>,
    /// Clips of the truths, and behind them those that only detections name.
    pub clips: Vec<String>,
    /// How many clips the annotations have.
    pub num_annotated: usize,
    /// All truths, in the order of the annotations.
    pub truths: Vec<Moment>,
    /// Detections of the first track whose label is known.
    pub detections: Vec<Detection>,
    /// Those of the second.
    pub retrieved: Vec<Detection>,
    /// Predictions of the first track whose label is in no truth; the original ignores them.
    pub foreign_labels: usize,
}

impl Problem {
    /// Numbers everything.
    pub fn new(annotations: &Annotations, submission: &Submission) -> Self {
        let mut problem = Self::default();
        let (mut labels, mut clips) = (HashMap::new(), HashMap::new());
        for clip in &annotations.clips {
            let number = number_of(&mut clips, &mut problem.clips, &clip.clip_uid);
            for Labelled { label, window } in &clip.moments {
                let label = number_of(&mut labels, &mut problem.labels, label);
                problem.truths.push(Moment { clip: number, label, window: *window });
            }
        }
        problem.num_annotated = problem.clips.len();
        (problem.detections, problem.foreign_labels) = problem.number(&labels, &mut clips, &submission.detected);
        (problem.retrieved, _) = problem.number(&labels, &mut clips, &submission.retrieved);
        problem
    }

    fn number(
        &mut self,
        labels: &HashMap<String, usize>,
        clips: &mut HashMap<String, usize>,
        track: &[ClipDetections],
    ) -> (Vec<Detection>, usize) {
        let (mut detections, mut foreign) = (Vec::new(), 0);
        for ClipDetections { clip_uid, detections: listed } in track {
            let clip = number_of(clips, &mut self.clips, clip_uid);
            let known = listed.iter().filter_map(|listed| Some((listed, *labels.get(&listed.label)?)));
            let before = detections.len();
            detections.extend(known.map(|(listed, label)| {
                let moment = Moment { clip, label, window: listed.segment };
                Detection { moment, score: listed.score }
            }));
            foreign += listed.len() + before - detections.len();
        }
        (detections, foreign)
    }
}

fn number_of(numbers: &mut HashMap<String, usize>, names: &mut Vec<String>, name: &str) -> usize {
    if let Some(number) = numbers.get(name) {
        return *number;
    }
    numbers.insert(name.to_owned(), names.len());
    names.push(name.to_owned());
    names.len() - 1
}

fn evaluate(inputs: &Inputs) -> Result<Report, MetricError> {
    let path = inputs.one(&PREDICTIONS)?;
    let annotations = read_annotations(inputs.one(&ANNOTATIONS)?, inputs.chosen(&SPLIT))?;
    let submission = Submission::read(path, inputs.optional(RETRIEVAL.name))?;
    let coverage = report::coverage(&annotations, &submission).check(path, inputs.allow_missing)?;
    let problem = Problem::new(&annotations, &submission);
    Ok(match inputs.chosen(&PROTOCOL) {
        Some("actionformer") => report::actionformer(&problem, coverage),
        _ => report::official(&problem, coverage, inputs.compat),
    })
}

/// The numbers of Ego4D's evaluator for a submission at hand, clips without an entry counted as clips without detections.
pub fn official(annotations: &Annotations, submission: &Submission, compat: Compat) -> Report {
    let coverage = report::coverage(annotations, submission);
    report::official(&Problem::new(annotations, submission), coverage, compat)
}

fn read_annotations(path: &Path, split: Option<&str>) -> Result<Annotations, MetricError> {
    let annotations = Annotations::read(path, split)?;
    if annotations.clips.iter().all(|clip| clip.moments.is_empty()) {
        return Err(MetricError::unexpected(path, "clips with labels", "none: this is the test split"));
    }
    Ok(annotations)
}

/// Overlaps as the evaluators compare them: 0/0 passes for a match as released, and is none when fixed.
fn comparable(iou: f64, compat: Compat) -> f64 {
    if iou.is_nan() && compat == Compat::Fixed { 0.0 } else { iou }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples;
    use super::*;

    fn problem(annotations: &str, detections: &str, retrieval: Option<&str>) -> Problem {
        let annotations = Annotations::read(&samples::path(annotations), None).unwrap();
        let retrieval = retrieval.map(samples::path);
        Problem::new(&annotations, &Submission::read(&samples::path(detections), retrieval.as_deref()).unwrap())
    }

    #[track_caller]
    fn check(problem: &Problem, expected: &Value) {
        let released = Compat::AsReleased;
        let Problem { labels, truths, detections, retrieved, .. } = problem;
        let precision = average_precision(truths, detections, labels.len(), &PRECISION_THRESHOLDS, released);
        assert_eq!(labels.len(), expected["activity_index"].as_object().unwrap().len());
        for (number, (label, precision)) in labels.iter().zip(&precision).enumerate() {
            assert_eq!(
                expected["activity_index"][label].as_u64(),
                Some(number as u64),
                "labels in order of appearance"
            );
            for (place, precision) in precision.iter().enumerate() {
                samples::close(*precision, &expected["ap_per_class"][label][place], label);
            }
        }
        for (threshold, row) in RECALL_THRESHOLDS.iter().zip(recall(truths, retrieved)) {
            for (multiple, found) in RECALL_MULTIPLES.iter().zip(row) {
                let name = format!("R@{multiple}x_tIoU>{threshold}");
                samples::close(found, &expected["recall"][&name], &name);
            }
        }
        let report = report::official(problem, Default::default(), released);
        samples::close(report.score("average mAP"), &expected["average_mAP"], "average mAP");
        for threshold in PRECISION_THRESHOLDS {
            let name = format!("mAP tIoU>={threshold}");
            samples::close(report.score(&name), &expected["mAP"][format!("{threshold}")], &name);
        }
    }

    #[test]
    fn precision_and_recall_are_the_original_ones() {
        let expected = samples::json("mq/expected.json");
        for annotations in ["mq/moments_val.json", "mq/clip_annotations.json"] {
            let tracks = ("mq/detections_expected.json", Some("mq/retrieval_expected.json"));
            check(&problem(annotations, tracks.0, tracks.1), &expected["post_processed_proposals"]);
            check(&problem(annotations, "mq/submission_expected.json", None), &expected["post_processed_proposals"]);
            check(&problem(annotations, "mq/handmade_pred.json", None), &expected["handmade"]);
        }
    }

    #[test]
    fn actionformers_evaluator_is_the_original_one_and_another_metric() {
        let expected = samples::json("mq/actionformer_evaluator_expected.json");
        for (file, name) in
            [("mq/detections_expected.json", "detections_expected"), ("mq/handmade_pred.json", "handmade_pred")]
        {
            let problem = problem("mq/moments_val.json", file, None);
            let (report, expected) = (report::actionformer(&problem, Default::default()), &expected[name]);
            samples::close(report.score("average mAP"), &expected["average_mAP"], name);
            for (place, threshold) in PRECISION_THRESHOLDS.iter().enumerate() {
                let found = |score: &str| report.score(&score.replace('_', &format!("tIoU>={threshold}")));
                samples::close(found("mAP _"), &expected["mAP"][place], "mAP");
                samples::close(found("recall _ @1x"), &expected["recall_1x_per_tiou"][place], "recall@1x");
                samples::close(found("recall _ @5x"), &expected["recall_5x_per_tiou"][place], "recall@5x");
            }
        }
    }

    #[test]
    fn a_zero_length_truth_is_a_hit_in_precision_a_miss_in_recall_and_nothing_when_fixed() {
        let problem = problem("mq/moments_val.json", "mq/handmade_pred.json", None);
        let precision = |compat| report::official(&problem, Default::default(), compat).score("average mAP");
        assert!(precision(Compat::AsReleased) > precision(Compat::Fixed));
    }

    #[test]
    fn clips_that_are_missing_or_unknown_are_an_error_unless_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pred.json");
        std::fs::write(&path, "{\"results\": {\"clip-1\": [], \"clip-9\": [], \"clip-1\": []}}").unwrap();
        let mut inputs =
            Inputs::default().file("predictions", &path).file("annotations", samples::path("mq/moments_val.json"));
        let text = evaluate(&inputs).unwrap_err().to_string();
        let counts = "1 of 3 clips, missing 2 (clip-2, clip-4), unknown 1 (clip-9), repeated 1 (clip-1)";
        assert!(text.contains(counts), "{text}");
        inputs.allow_missing = true;
        assert_eq!(evaluate(&inputs).unwrap().score("recall tIoU>0.3 @1x"), 0.0);
    }

    #[test]
    fn unknown_labels_are_ignored_unknown_clips_are_false_alarms_and_both_are_noted() {
        let mut inputs = Inputs::default()
            .file("predictions", samples::path("mq/handmade_pred.json"))
            .file("annotations", samples::path("mq/moments_val.json"));
        inputs.allow_missing = true;
        let report = evaluate(&inputs).unwrap();
        assert_eq!(report.coverage.to_string(), "3 of 3 clips, unknown 1 (clip-999)");
        let starts = ["1 predictions with a label that is in no truth", "1 detections in clips that are not annotated"];
        assert!(report.notes.iter().zip(starts).all(|(note, start)| note.starts_with(start)), "{:?}", report.notes);
    }

    #[test]
    fn a_file_of_several_splits_needs_a_choice_and_test_files_have_no_truth() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip_annotations.json");
        let clip = |split: &str, label: &str| {
            format!(
                "{{\"parent_start_sec\": 0, \"parent_end_sec\": 9, \"subset\": \"{split}\", \
                 \"annotations\": [{label}]}}"
            )
        };
        let label = "{\"label\": \"a\", \"start_time\": 1, \"end_time\": 2}";
        let text = format!(
            "{{\"c1\": {}, \"c2\": {}, \"c3\": {}}}",
            clip("train", label),
            clip("val", label),
            clip("test", "")
        );
        std::fs::write(&path, text).unwrap();
        let error = Annotations::read(&path, None).unwrap_err().to_string();
        assert!(error.ends_with("expected one split, or --split to choose one, found test, train, val"), "{error}");
        let of = |split| Annotations::read(&path, Some(split)).unwrap().clips[0].clip_uid.clone();
        assert_eq!((of("val"), of("test")), ("c2".into(), "c3".into()));
        let error = read_annotations(&path, Some("test")).unwrap_err().to_string();
        assert!(error.ends_with("expected clips with labels, found none: this is the test split"), "{error}");
        let error = Annotations::read(&path, Some("dev")).unwrap_err().to_string();
        assert!(error.contains("clips with primary labels of split \"dev\", found splits"), "{error}");
    }
}
