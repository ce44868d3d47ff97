//! MQ: a clip's rows and its moments.
//!
//! Not for what a head makes of them. A sample is a clip; classes are numbers from 1, class 0 is background. All heads give
//! proposals, which the root package turns into the two tracks of a submission and scores.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::compat::Compat;
use crate::durable;
use crate::features::Source;
use crate::ids::UnitUid;
use crate::metric::mq::{self as metric, AnnotatedClip, Annotations};
use crate::metric::postprocess::{
    self, BACKGROUND, Postprocessor, Proposal, Proposals, postprocess, read_classes, submission_json,
};
use crate::store::{LedgerEntry, RowKind};
use ndarray::Array2;
use serde_json::{Map, Value};

use super::error::HeadError;
use super::sources::{self, Cache, Expected, Files, Split};
use super::submission::Submission;

/// The file of the classes, in the folder of an experiment that made its own.
pub const CLASSES_FILE: &str = "moment_classes_idx.json";

/// A clip.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it is for.
    pub split: Split,
    /// Its name, length and moments.
    pub clip: AnnotatedClip,
    /// Rows of its features.
    pub rows: usize,
}

/// A moment of a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Its start in seconds of the clip.
    pub start_sec: f64,
    /// Its end, likewise.
    pub end_sec: f64,
    /// Its class, from 1.
    pub class: usize,
}

/// Clips with features.
pub struct Mq {
    samples: Vec<Sample>,
    /// Names by number, background first.
    classes: Vec<String>,
    numbers: HashMap<String, usize>,
    features: Source,
    cache: Cache,
    compat: Compat,
    postprocessor: &'static Postprocessor,
}

/// What is opened.
pub struct Settings {
    /// The store of rows.
    pub features: Expected,
    /// Classes of moments that the network tells apart, without background.
    pub classes: usize,
    /// Names of the classes by number, background first, where they are known; else those of the files.
    pub names: Vec<String>,
    /// What makes a submission of proposals.
    pub postprocessor: &'static Postprocessor,
}

impl Mq {
    /// Clips without features are an error unless those are allowed; so are other classes than the network has, and labels that
    /// are no classes.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    pub fn read(wanted: &Settings, compat: Compat, sources: &Files) -> Result<Self, HeadError> {
        let about = "the feature set of the clips";
        let path = Files::needed(sources.features.as_ref(), "features", about)?;
        let features = sources::open_joined(path, &sources.joined, &wanted.features)?;
        sources::expect_rows(&features, &[RowKind::Window], "windows of clips (egovlp_mq)")?;
        let clips = clips(sources)?;
        let classes = if wanted.names.is_empty() { classes(sources, &clips)? } else { wanted.names.clone() };
        expect_count(sources, &classes, wanted.classes)?;
        let numbers: HashMap<String, usize> = classes.iter().cloned().zip(0..).collect();
        expect_known(sources, &clips, &numbers)?;
        let name = |(_, clip): &(Split, AnnotatedClip)| clip.clip_uid.clone();
        let has = |(_, clip): &(Split, AnnotatedClip)| entry(&features, &clip.clip_uid).is_some();
        let kept = sources::complete(features.path(), "clips", clips, name, has, sources.allow_missing)?;
        let sample = |(split, clip): (Split, AnnotatedClip)| {
            let rows = entry(&features, &clip.clip_uid)?.rows as usize;
            Some(Sample { split, clip, rows })
        };
        let samples = kept.into_iter().filter_map(sample).collect();
        let cache = Cache::new(sources.memory_bytes);
        Ok(Self { samples, classes, numbers, features, cache, compat, postprocessor: wanted.postprocessor })
    }

    /// The classes, for predictions of annotations that do not name all of them.
    ///
    /// # Errors
    /// [`HeadError::Io`].
    pub fn keep(&self, folder: &Path) -> Result<(), HeadError> {
        let numbers: Map<String, Value> = self.classes.iter().cloned().zip((0..).map(Value::from)).collect();
        let path = folder.join(CLASSES_FILE);
        let text = serde_json::to_string_pretty(&numbers).unwrap_or_default() + "\n";
        durable::write_bytes(&path, text.as_bytes()).map_err(HeadError::io("write", &path))
    }

    /// The sample of that number.
    pub fn sample(&self, number: usize) -> &Sample {
        &self.samples[number]
    }

    /// Numbers of the samples of a split.
    pub fn of_split(&self, split: Split) -> Vec<usize> {
        (0..self.samples.len()).filter(|&number| self.samples[number].split == split).collect()
    }

    /// A clip's rows `[rows, dim]`.
    ///
    /// # Errors
    /// Features that cannot be read.
    pub fn rows(&self, number: usize) -> Result<Arc<Array2<f32>>, HeadError> {
        let clip_uid = &self.samples[number].clip.clip_uid;
        let absent = || HeadError::unexpected(self.features.path(), clip_uid, "nothing");
        let entry = entry(&self.features, clip_uid).ok_or_else(absent)?;
        self.cache.get(clip_uid, || Ok(self.features.read(entry)?.values))
    }

    /// Whether faults of the originals are reproduced.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// A clip's moments, in the order of the annotations.
    pub fn moments(&self, number: usize) -> Vec<Moment> {
        let moments = &self.samples[number].clip.moments;
        let moment = |moment: &metric::Labelled| Moment {
            start_sec: moment.window.start_sec,
            end_sec: moment.window.end_sec,
            class: self.numbers[&moment.label],
        };
        moments.iter().map(moment).collect()
    }

    /// Rows a second of a clip's features: all of its rows over its length, as the original has it.
    pub fn fps(&self, number: usize) -> f64 {
        let Sample { clip, rows, .. } = &self.samples[number];
        *rows as f64 / clip.duration_sec
    }

    /// Predicted clips with their truths, and both tracks.
    pub fn tracks(&self, predictions: &[(usize, Vec<Proposal>)]) -> (Annotations, metric::Submission) {
        let clips = predictions.iter().map(|(number, _)| self.samples[*number].clip.clone()).collect();
        let annotations = Annotations { clips };
        let named =
            predictions.iter().map(|(number, list)| (self.samples[*number].clip.clip_uid.clone(), list.clone()));
        let proposals = Proposals::new(self.classes.clone(), named);
        let settings = postprocess::Settings { compat: self.compat, ..self.postprocessor.defaults };
        let (submission, _) = postprocess(self.postprocessor, &proposals, &annotations, &settings);
        (annotations, submission)
    }

    /// Proposals in the challenge's form.
    pub fn submission(&self, predictions: &[(usize, Vec<Proposal>)]) -> Submission {
        submission_json(&self.tracks(predictions).1).into()
    }
}

fn entry<'s>(features: &'s Source, clip_uid: &str) -> Option<&'s LedgerEntry> {
    UnitUid::parse(clip_uid).ok().and_then(|uid| features.find(&uid))
}

/// The clips of all files.
fn clips(sources: &Files) -> Result<Vec<(Split, AnnotatedClip)>, HeadError> {
    let mut clips = Vec::new();
    for (split, path) in &sources.annotations {
        // VSGN's own file holds all splits.
        let part = match split {
            Split::Train => Some("train"),
            Split::Validation => Some("val"),
            Split::Whole => None,
        };
        let read = Annotations::read(path, part)?;
        clips.extend(read.clips.into_iter().map(|clip| (*split, clip)));
    }
    if clips.is_empty() {
        let about = "moments_train.json and moments_val.json to train (--train, --val), or --annotations to predict";
        return Err(HeadError::Needed { name: "train", about });
    }
    if let Some((_, clip)) = clips.iter().find(|(_, clip)| !(clip.duration_sec.is_finite() && clip.duration_sec > 0.0))
    {
        let path = &sources.annotations[0].1;
        let found = format!("{} s for clip {}", clip.duration_sec, clip.clip_uid);
        return Err(HeadError::unexpected(path, "clips with a start and an end", found));
    }
    Ok(clips)
}

/// The classes of the file that was given, else those of the clips to learn from, sorted.
fn classes(sources: &Files, clips: &[(Split, AnnotatedClip)]) -> Result<Vec<String>, HeadError> {
    if let Some(path) = &sources.classes {
        return Ok(read_classes(path)?);
    }
    let learnt = clips.iter().filter(|(split, _)| *split == Split::Train);
    let labels: BTreeSet<&String> = learnt.flat_map(|(_, clip)| &clip.moments).map(|moment| &moment.label).collect();
    if labels.is_empty() {
        let about =
            "the names and numbers of the classes: moment_classes_idx.json, of the training that made the weights";
        return Err(HeadError::Needed { name: "classes", about });
    }
    Ok([BACKGROUND.to_owned()].into_iter().chain(labels.into_iter().cloned()).collect())
}

fn expect_count(sources: &Files, classes: &[String], wanted: usize) -> Result<(), HeadError> {
    let found = classes.len() - 1;
    if found == wanted {
        return Ok(());
    }
    let trained = sources.annotations.iter().find(|(split, _)| *split == Split::Train).map(|(_, path)| path);
    let path = sources.classes.as_ref().or(trained).cloned().unwrap_or_default();
    Err(HeadError::unexpected(
        &path,
        format!("{wanted} classes besides background, as the model has"),
        found.to_string(),
    ))
}

fn expect_known(
    sources: &Files,
    clips: &[(Split, AnnotatedClip)],
    numbers: &HashMap<String, usize>,
) -> Result<(), HeadError> {
    let moments = clips.iter().flat_map(|(split, clip)| clip.moments.iter().map(move |moment| (split, clip, moment)));
    let Some((split, clip, moment)) = moments.into_iter().find(|(_, _, moment)| !numbers.contains_key(&moment.label))
    else {
        return Ok(());
    };
    let path = sources.annotations.iter().find(|(of, _)| of == split).map(|(_, path)| path.clone()).unwrap_or_default();
    let from =
        sources.classes.as_ref().map_or("the training annotations".to_owned(), |path| path.display().to_string());
    let found = format!("{:?} in clip {}", moment.label, clip.clip_uid);
    Err(HeadError::unexpected(&path, format!("only the {} classes of {from}", numbers.len() - 1), found))
}
