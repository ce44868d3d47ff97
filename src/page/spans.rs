//! Predictions on the time lines of videos: those of NLQ and MQ against what is true, and the evaluator's numbers beside them.
//!
//! Not for scoring: the numbers are those of `metric`. Invariant: a window is drawn where its clip lies in its video.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::view::{ScoresView, SpanLane};
use crate::compat::Compat;
use crate::metric::{EVALUATORS, Evaluator, Inputs, MetricError, Report, Window, mq, nlq};

/// Windows that are drawn of a query or of a label.
const MOST_PREDICTED: usize = 5;

/// The benchmarks whose predictions can be shown.
pub const BENCHMARKS: [&str; 2] = ["nlq", "mq"];

/// What is to be shown of predictions, as `egofx eval` is given it.
#[derive(Debug, Clone)]
pub struct Predictions {
    /// One of [`BENCHMARKS`].
    pub benchmark: String,
    /// The predictions.
    pub predictions: PathBuf,
    /// The truth.
    pub annotations: PathBuf,
    /// Further files of the evaluator, by name.
    pub files: Vec<(&'static str, PathBuf)>,
    /// What is chosen of what the evaluator leaves open, by name.
    pub choices: Vec<(&'static str, String)>,
    /// Whether faults of the original are reproduced, if somebody has said so.
    pub compat: Option<Compat>,
    /// Whether incomplete predictions are scored.
    pub allow_missing: bool,
}

/// As much of predictions as tells whose they are.
#[derive(Deserialize)]
struct Kind {
    challenge: Option<String>,
    detect_results: Option<IgnoredAny>,
    results: Option<serde_json::Value>,
}

impl Predictions {
    /// The benchmark that the file `predictions` is of: by its challenge, else by its form. NLQ's results are a list, MQ's an object.
    ///
    /// # Errors
    /// [`MetricError`] for a file that cannot be read, or is of another benchmark.
    pub fn benchmark_of(predictions: &Path) -> Result<&'static str, MetricError> {
        let path = || predictions.to_owned();
        let text = std::fs::read(predictions).map_err(|cause| MetricError::Read { path: path(), cause })?;
        let other = |found: String| {
            MetricError::unexpected(predictions, "a submission of NLQ or MQ (--benchmark says of which)", found)
        };
        let kind: Kind = serde_json::from_slice(&text).map_err(|error| other(error.to_string()))?;
        match (kind.challenge.as_deref(), kind.detect_results, kind.results) {
            (Some("ego4d_nlq_challenge"), ..) | (None, None, Some(serde_json::Value::Array(_))) => Ok("nlq"),
            (Some("ego4d_moment_queries"), ..) | (None, Some(_), _) | (None, _, Some(serde_json::Value::Object(_))) => {
                Ok("mq")
            }
            (challenge, ..) => Err(other(challenge.map_or("neither".to_owned(), |name| format!("challenge {name:?}")))),
        }
    }

    fn evaluator(&self) -> Option<&'static Evaluator> {
        EVALUATORS.iter().find(|evaluator| evaluator.name == self.benchmark)
    }

    /// The evaluator's numbers.
    ///
    /// # Errors
    /// [`MetricError`], as of `egofx eval`.
    pub(super) fn scores(&self) -> Result<Option<ScoresView>, MetricError> {
        let Some(evaluator) = self.evaluator() else { return Ok(None) };
        let mut inputs =
            Inputs::default().file("predictions", &self.predictions).file("annotations", &self.annotations);
        inputs.allow_missing = self.allow_missing;
        let inputs = self.files.iter().fold(inputs, |inputs, (name, path)| inputs.file(name, path));
        let inputs = self.choices.iter().fold(inputs, |inputs, (name, value)| inputs.choose(name, value));
        let report = (evaluator.evaluate)(&inputs.completed(evaluator, self.compat)?)?;
        Ok(Some(view(&report)))
    }

    /// A line for each query or label, by clip; in seconds of the clip.
    ///
    /// # Errors
    /// [`MetricError`] for files that cannot be read, or that hold something else.
    pub(super) fn by_clip(&self) -> Result<BTreeMap<String, Vec<SpanLane>>, MetricError> {
        let lanes = match self.benchmark.as_str() {
            "nlq" => of_queries(&self.predictions, &self.annotations)?,
            _ => self.of_moments()?,
        };
        let mut clips: BTreeMap<String, Vec<SpanLane>> = BTreeMap::new();
        for lane in lanes {
            clips.entry(lane.clip_uid.clone()).or_default().push(lane);
        }
        Ok(clips)
    }

    fn of_moments(&self) -> Result<Vec<SpanLane>, MetricError> {
        let split = self.choices.iter().find(|(name, _)| *name == "split").map(|(_, value)| value.as_str());
        let retrieval = self.files.iter().find(|(name, _)| *name == "retrieval").map(|(_, path)| path.as_path());
        let annotations = mq::Annotations::read(&self.annotations, split)?;
        let submission = mq::Submission::read(&self.predictions, retrieval)?;
        let detected: HashMap<&str, &[mq::Predicted]> =
            submission.detected.iter().map(|clip| (clip.clip_uid.as_str(), clip.detections.as_slice())).collect();
        let lanes = annotations
            .clips
            .iter()
            .flat_map(|clip| of_clip(clip, detected.get(clip.clip_uid.as_str()).copied().unwrap_or_default()));
        Ok(lanes.collect())
    }
}

fn view(report: &Report) -> ScoresView {
    ScoresView {
        benchmark: report.benchmark,
        coverage: report.coverage.to_string(),
        scores: report.scores().collect(),
        notes: report.notes.clone(),
        clips_elsewhere: 0,
    }
}

fn of_queries(predictions: &Path, annotations: &Path) -> Result<Vec<SpanLane>, MetricError> {
    let lane = |query: nlq::QueryWindows| SpanLane {
        overlap: nlq::overlaps(&query.answer).first().copied().unwrap_or(f64::NAN),
        clip_uid: query.clip_uid,
        text: query.text,
        truths: vec![query.answer.truth.into()],
        predicted: query.answer.predicted.iter().take(MOST_PREDICTED).map(|window| (*window).into()).collect(),
    };
    Ok(nlq::query_windows(predictions, annotations)?.into_iter().map(lane).collect())
}

/// The labels of a clip in the order in which they occur, each with its surest detections.
fn of_clip(clip: &mq::AnnotatedClip, detections: &[mq::Predicted]) -> Vec<SpanLane> {
    let mut labels: Vec<&str> = Vec::new();
    for moment in &clip.moments {
        if !labels.contains(&moment.label.as_str()) {
            labels.push(&moment.label);
        }
    }
    labels.into_iter().map(|label| of_label(clip, label, detections)).collect()
}

fn of_label(clip: &mq::AnnotatedClip, label: &str, detections: &[mq::Predicted]) -> SpanLane {
    let truths: Vec<Window> =
        clip.moments.iter().filter(|moment| moment.label == label).map(|moment| moment.window).collect();
    let mut of_label: Vec<&mq::Predicted> = detections.iter().filter(|one| one.label == label).collect();
    of_label.sort_by(|a, b| b.score.total_cmp(&a.score));
    let best = of_label.first().map(|one| one.segment);
    let overlap = best.map(|best| truths.iter().map(|truth| best.iou_by_union(*truth)).fold(0.0, f64::max));
    SpanLane {
        clip_uid: clip.clip_uid.clone(),
        text: label.to_owned(),
        truths: truths.into_iter().map(Into::into).collect(),
        predicted: of_label.into_iter().take(MOST_PREDICTED).map(|one| one.segment.into()).collect(),
        overlap: overlap.unwrap_or(0.0),
    }
}
