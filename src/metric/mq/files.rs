//! The files of MQ: annotations as published or as VSGN converts them, and submissions.
//!
//! Not for numbers. Only primary labels are truths; a clip of another split than `test` that has none is no clip of the
//! benchmark, as in the original conversion.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{MetricError, Window};
use crate::benchmark::episodic::{ClipEntry, File};
use crate::benchmark::json::Pairs;
use crate::metric::files::{keys, read_json};

/// A clip with its true moments.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedClip {
    /// Its uid.
    pub clip_uid: String,
    /// How long it is.
    pub duration_sec: f64,
    /// Its truths; none in the test split.
    pub moments: Vec<Labelled>,
}

/// A true moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// What it is.
    pub label: String,
    /// When it is, in the clip.
    pub window: Window,
}

/// The truths of one split.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    /// Clips in the order of the file.
    pub clips: Vec<AnnotatedClip>,
}

/// A file as published.
#[derive(Deserialize)]
struct Annotator {
    labels: Option<Vec<Label>>,
}

#[derive(Deserialize)]
struct Label {
    label: Option<String>,
    #[serde(default)]
    primary: Option<bool>,
    start_time: Option<f64>,
    end_time: Option<f64>,
}

/// A clip of `clip_annotations.json`.
#[derive(Deserialize)]
struct Converted {
    parent_start_sec: f64,
    parent_end_sec: f64,
    annotations: Vec<Label>,
    subset: String,
}

impl Annotations {
    /// Reads the clips of `split`, or all of them where the file holds one split only.
    ///
    /// # Errors
    /// [`MetricError`] for files that cannot be read, or that hold something else.
    pub fn read(path: &Path, split: Option<&str>) -> Result<Self, MetricError> {
        let listed = match keys(path)?.iter().any(|key| key == "videos") {
            true => as_published(read_json(path)?),
            false => as_converted(read_json(path)?),
        };
        let mut splits: Vec<&str> = listed.iter().map(|(split, _)| split.as_str()).collect();
        splits.sort_unstable();
        splits.dedup();
        if split.is_none() && splits.len() > 1 {
            return Err(MetricError::unexpected(path, "one split, or --split to choose one", splits.join(", ")));
        }
        // The original looks for parts of names: "val" is in "validation".
        let is_in = |found: &str| split.is_none_or(|split| !split.is_empty() && found.contains(split));
        let found = splits.join(", ");
        let clips = joined(listed.into_iter().filter(|(split, _)| is_in(split)));
        if clips.is_empty() {
            let wanted = format!("clips with primary labels of split {:?}", split.unwrap_or("any"));
            return Err(MetricError::unexpected(path, wanted, format!("splits {found:?}")));
        }
        Ok(Self { clips })
    }
}

fn as_published(file: File<Annotator>) -> Vec<(String, AnnotatedClip)> {
    let mut listed = Vec::new();
    for video in file.videos {
        let split = video.split.unwrap_or_default();
        listed.extend(video.clips.into_iter().flatten().map(|clip| (split.clone(), published(clip))));
    }
    listed
}

fn published(clip: ClipEntry<Annotator>) -> AnnotatedClip {
    let labels = clip.annotations.into_iter().flatten().flat_map(|annotator| annotator.labels.unwrap_or_default());
    let moments = labels.filter(|label| label.primary == Some(true)).filter_map(labelled).collect();
    let ends = clip.video_end_sec.zip(clip.video_start_sec);
    let duration_sec = ends.map_or(f64::INFINITY, |(end, start)| end - start);
    AnnotatedClip { clip_uid: clip.clip_uid, duration_sec, moments }
}

fn as_converted(clips: Pairs<Converted>) -> Vec<(String, AnnotatedClip)> {
    let clip = |(clip_uid, clip): (String, Converted)| {
        let duration_sec = clip.parent_end_sec - clip.parent_start_sec;
        let moments = clip.annotations.into_iter().filter_map(labelled).collect();
        (clip.subset, AnnotatedClip { clip_uid, duration_sec, moments })
    };
    clips.0.into_iter().map(clip).collect()
}

fn labelled(label: Label) -> Option<Labelled> {
    Some(Labelled { label: label.label?, window: Window::new(label.start_time?, label.end_time?) })
}

/// One entry for each clip: a clip that is listed twice has the labels of both. Clips without labels are left out, but
/// for those of the test split.
fn joined(listed: impl Iterator<Item = (String, AnnotatedClip)>) -> Vec<AnnotatedClip> {
    let mut clips: Vec<AnnotatedClip> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let used = listed.filter(|(split, clip)| split.contains("test") || !clip.moments.is_empty());
    for (_, clip) in used {
        match places.get(&clip.clip_uid) {
            Some(&place) => clips[place].moments.extend(clip.moments),
            None => {
                places.insert(clip.clip_uid.clone(), clips.len());
                clips.push(clip);
            }
        }
    }
    clips
}

/// A predicted moment as files have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// What it is.
    pub label: String,
    /// How sure the model is.
    pub score: f64,
    /// When it is, in the clip.
    pub segment: Window,
}

/// The predictions about one clip, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipDetections {
    /// The clip.
    pub clip_uid: String,
    /// What was predicted.
    pub detections: Vec<Predicted>,
}

/// A submission.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Submission {
    /// The track that mAP is computed of.
    pub detected: Vec<ClipDetections>,
    /// The track that recall is computed of.
    pub retrieved: Vec<ClipDetections>,
    /// Clips that a track lists twice; the first entry stands.
    pub repeated: Vec<String>,
}

#[derive(Deserialize)]
struct SubmissionFile {
    challenge: Option<String>,
    detect_results: Option<Pairs<Vec<Predicted>>>,
    retrieve_results: Option<Pairs<Vec<Predicted>>>,
    results: Option<Pairs<Vec<Predicted>>>,
}

impl Submission {
    /// Reads a submission, or a file of one track and perhaps a second one of the other.
    ///
    /// # Errors
    /// [`MetricError`] for files that cannot be read, or that hold something else.
    pub fn read(path: &Path, retrieval: Option<&Path>) -> Result<Self, MetricError> {
        let file: SubmissionFile = read_json(path)?;
        if let Some(found) = file.challenge.filter(|found| found != "ego4d_moment_queries") {
            let expected = "challenge \"ego4d_moment_queries\"";
            return Err(MetricError::unexpected(path, expected, format!("{found:?}")));
        }
        let mut submission = Self::default();
        let detected = file.detect_results.or(file.results);
        let missing = || MetricError::unexpected(path, "detect_results or results", "neither");
        submission.detected = submission.track(detected.ok_or_else(missing)?);
        submission.retrieved = match (retrieval, file.retrieve_results) {
            (Some(retrieval), _) => {
                let file: SubmissionFile = read_json(retrieval)?;
                let missing = || MetricError::unexpected(retrieval, "retrieve_results or results", "neither");
                submission.track(file.retrieve_results.or(file.results).ok_or_else(missing)?)
            }
            (None, Some(retrieved)) => submission.track(retrieved),
            (None, None) => submission.detected.clone(),
        };
        Ok(submission)
    }

    fn track(&mut self, listed: Pairs<Vec<Predicted>>) -> Vec<ClipDetections> {
        let mut track: Vec<ClipDetections> = Vec::with_capacity(listed.0.len());
        let mut seen = HashSet::new();
        for (clip_uid, detections) in listed.0 {
            match seen.insert(clip_uid.clone()) {
                true => track.push(ClipDetections { clip_uid, detections }),
                false => self.repeated.push(clip_uid),
            }
        }
        track
    }
}
