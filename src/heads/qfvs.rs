//! QFVS: the shots of a video after they have met the prompts of a pair of concepts, and its true summary.
//!
//! Not for what a head makes of them. A sample is a pair of concepts of one video; its number is its place in the folder
//! of summaries. Videos are cut into segments when they are opened, by rows of a store of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::benchmark::{self, Benchmark, BenchmarkError};
use crate::compat::Compat;
use crate::features::Source;
use crate::ids::{ClipUid, UnitUid};
use crate::labels::qfvs::{Pair, Video, pairs, prompted};
use crate::metric::qfvs::{SemanticMatch, ShotTags, read_tags, score, semantic_match, summary_of, tags_of};
use crate::queries::Queries;
use crate::store::RowKind;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::HeadError;
use super::sources::{self, Cache, Expected, Files, Split};
use super::submission::Submission;

/// The folder of the concepts of each shot, from which the labels of a concept alone are.
const SHOT_TAGS: &str = "Dense_per_shot_tags";
const TAGS_ABOUT: &str = "the concepts of each shot, by which summaries are scored: Tags.mat as published";

/// A pair of concepts of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The number of its video.
    pub video: usize,
    /// The concepts, under their own names.
    pub concepts: [String; 2],
    /// Names of the three prompts: of each concept alone, and of both.
    pub prompts: [String; 3],
    /// Shots of the true summary, from 1; none where it is not known.
    pub oracle: Vec<usize>,
}

impl Sample {
    /// Its name in files of summaries.
    fn query(&self) -> String {
        self.concepts.join("_")
    }
}

/// Pairs of concepts with features.
pub struct Qfvs {
    samples: Vec<Sample>,
    videos: Vec<Video>,
    /// Tags of each video for scores; empty if nobody gave them.
    tags: Vec<ShotTags>,
    features: Source,
    cache: Cache,
    compat: Compat,
    annotations: PathBuf,
    /// Where labels are from, if they were found.
    shot_tags: Option<PathBuf>,
}

/// What is opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The store of shots that met their prompts.
    pub features: Expected,
    /// The store of shots by whose rows videos are cut.
    pub shots: Expected,
}

impl Qfvs {
    /// Cuts the videos. Videos without shots and pairs without features are an error unless those are allowed.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    pub fn read(wanted: &Settings, compat: Compat, sources: &Files) -> Result<Self, HeadError> {
        let about = "the feature set of the shots after they have met each prompt, or as released without one";
        let path = Files::needed(sources.features.as_ref(), "features", about)?;
        let features = sources::open_joined(path, &sources.joined, &wanted.features)?;
        let kinds = [RowKind::FusedWindow, RowKind::Window];
        sources::expect_rows(&features, &kinds, "fused shots (egovlpv2_qfvs) or shots (egovlpv2_qfvs_released)")?;
        let about = "the feature set of the shots by which videos are cut into segments";
        let shots = sources::open(Files::needed(sources.shots.as_ref(), "shots", about)?, &wanted.shots)?;
        sources::expect_rows(&shots, &[RowKind::Window], "shots (egovlpv2_qfvs_shots)")?;
        let annotations = annotations(sources)?;
        let queries = queries(annotations)?;
        let pairs = with_features(&pairs(&queries)?, &shots, &features, sources.allow_missing)?;
        let shot_tags = shot_tags(annotations)?;
        let (videos, samples) = numbered(&pairs, &shots, shot_tags.as_deref())?;
        let tags = sources.tags.as_ref().map_or(Ok(vec![]), |path| tags_of_all(path, &videos))?;
        let (cache, annotations) = (Cache::new(sources.memory_bytes), annotations.to_owned());
        Ok(Self { samples, videos, tags, features, cache, compat, annotations, shot_tags })
    }

    /// Labels, tags, summaries within their videos.
    ///
    /// # Errors
    /// Truths that were not given, or do not fit the samples.
    pub fn expect_truths(&self) -> Result<(), HeadError> {
        if self.tags.is_empty() {
            return Err(HeadError::Needed { name: "tags", about: TAGS_ABOUT });
        }
        let unexpected = |expected: String, found: String| HeadError::unexpected(&self.annotations, expected, found);
        if self.shot_tags.is_none() {
            let expected = format!("the folder {SHOT_TAGS} in it or beside it, with the concepts to learn");
            return Err(unexpected(expected, "none".to_owned()));
        }
        for sample in &self.samples {
            let Video { uid, shots, .. } = &self.videos[sample.video];
            let name = format!("{uid}/{}", sample.query());
            if sample.oracle.is_empty() {
                return Err(unexpected("at least one shot".to_owned(), format!("none in {name}")));
            }
            if let Some(shot) = sample.oracle.iter().find(|shot| !(1..=*shots).contains(shot)) {
                return Err(unexpected(format!("shots from 1 to {shots}"), format!("{shot} in {name}")));
            }
        }
        Ok(())
    }

    /// Whether faults are reproduced.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// The sample of that number.
    pub fn sample(&self, number: usize) -> &Sample {
        &self.samples[number]
    }

    /// The video of a sample.
    pub fn video(&self, number: usize) -> &Video {
        &self.videos[self.samples[number].video]
    }

    /// The shots of a sample's video after they have met its prompt number `prompt`, `[shots, dim]`.
    ///
    /// # Errors
    /// Features that cannot be read, or are of another number of shots.
    pub fn rows(&self, number: usize, prompt: usize) -> Result<Arc<Array2<f32>>, HeadError> {
        let (video, prompt) = (self.video(number), &self.samples[number].prompts[prompt]);
        let absent = || HeadError::unexpected(self.features.path(), prompt, "nothing");
        let entry = prompted(&self.features, &video.uid, prompt)?.ok_or_else(absent)?;
        self.cache.get(entry.unit_uid.as_str(), || Ok(video.rows(&self.features, entry, prompt)?))
    }

    /// What each of the three prompts asks of each shot, `[shots, 3]`: whether it shows the one concept, whether it
    /// shows the other, whether it is in the true summary.
    pub fn labels(&self, number: usize) -> Array2<f32> {
        let (video, sample) = (self.video(number), &self.samples[number]);
        Array2::from_shape_fn((video.shots, 3), |(shot, prompt)| {
            let is_asked = match sample.concepts.get(prompt) {
                Some(concept) => video.shows(shot, concept),
                None => sample.oracle.contains(&(shot + 1)),
            };
            f32::from(u8::from(is_asked))
        })
    }

    /// All videos.
    pub fn videos(&self) -> &[Video] {
        &self.videos
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// Means over the pairs of a video, and over videos.
    ///
    /// # Errors
    /// [`HeadError::Needed`] without tags.
    pub fn score(&self, predictions: &[(usize, Vec<f64>)]) -> Result<Vec<(String, f64)>, HeadError> {
        let mut matches: BTreeMap<usize, Vec<SemanticMatch>> = BTreeMap::new();
        for (number, scores) in predictions {
            let sample = &self.samples[*number];
            let tags = self.tags.get(sample.video).ok_or(HeadError::Needed { name: "tags", about: TAGS_ABOUT })?;
            // Shots count from 1 in files, where none is 0.
            let oracle: Vec<usize> = sample.oracle.iter().map(|shot| shot - 1).collect();
            matches.entry(sample.video).or_default().push(semantic_match(tags, &summary_of(scores), &oracle)?);
        }
        let videos: Vec<_> = matches.values().map(|matches| score(matches, self.compat)).collect();
        let mean = |sum: f64| sum / videos.len() as f64;
        let scores = [
            ("precision", mean(videos.iter().map(|video| video.precision).sum())),
            ("recall", mean(videos.iter().map(|video| video.recall).sum())),
            ("F1", mean(videos.iter().map(|video| video.f1).sum())),
        ];
        Ok(scores.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// What summaries are scored with: the folder Oracle_Summaries in that of the annotations or below it, and the tags, which
    /// predictions do without.
    pub fn truths(sources: &Files) -> Vec<(&'static str, PathBuf)> {
        let Some(given) = sources.split(Split::Whole) else { return vec![] };
        let oracle = ["Query-Focused_Summaries/Oracle_Summaries", "Oracle_Summaries"].map(|folder| given.join(folder));
        let oracle = oracle.into_iter().find(|folder| folder.is_dir()).unwrap_or(given.to_owned());
        vec![("annotations", oracle), ("tags", sources.tags.clone().unwrap_or("Tags.mat".into()))]
    }

    /// Summaries by video and pair.
    pub fn submission(&self, predictions: &[(usize, Vec<f64>)]) -> Submission {
        let mut videos: Map<String, Value> = Map::new();
        for (number, scores) in predictions {
            let video = videos.entry(self.video(*number).uid.as_str()).or_insert_with(|| json!({}));
            video[self.samples[*number].query()] = json!(summary(scores));
        }
        Value::Object(videos).into()
    }
}

/// The summary of a video by the `scores` of all its shots: the best 2 %, truncated, best first and the first of equal
/// ones. Shots count from 1.
pub fn summary(scores: &[f64]) -> Vec<usize> {
    summary_of(scores).into_iter().map(|shot| shot + 1).collect()
}

/// The one folder of annotations.
fn annotations(sources: &Files) -> Result<&Path, HeadError> {
    match &sources.annotations[..] {
        [(Split::Whole, path)] => Ok(path),
        _ => {
            let about =
                "the folder Oracle_Summaries, and nothing with --train or --val: each video is left out in turn";
            Err(HeadError::Needed { name: "annotations", about })
        }
    }
}

fn queries(annotations: &Path) -> Result<Queries, HeadError> {
    let files = benchmark::Sources {
        annotations: vec![annotations.to_owned()],
        videos: vec![],
        ..benchmark::Sources::default()
    };
    let built = (Benchmark::find("qfvs").map_err(BenchmarkError::from)?.build)(&files)?;
    let queries = built.queries.filter(|queries| !queries.is_empty());
    queries.ok_or_else(|| HeadError::unexpected(annotations, "summaries (P01/A_B_oracle.txt)", "none"))
}

/// The folder of tags in or beside the annotations, or beside the folder that these are in, as they are published.
fn shot_tags(annotations: &Path) -> Result<Option<PathBuf>, HeadError> {
    let absolute = std::path::absolute(annotations).map_err(HeadError::io("find", annotations))?;
    Ok(absolute.ancestors().take(3).map(|folder| folder.join(SHOT_TAGS)).find(|folder| folder.is_dir()))
}

/// The pairs whose video has shots and all of whose prompts have features.
fn with_features<'q>(
    pairs: &[Pair<'q>],
    shots: &Source,
    features: &Source,
    allow_missing: bool,
) -> Result<Vec<Pair<'q>>, HeadError> {
    let mut videos: Vec<&ClipUid> = pairs.iter().map(|pair| pair.video).collect();
    videos.dedup();
    let has = |video: &&ClipUid| shots.find(&UnitUid::from(*video)).is_some();
    let videos = sources::complete(shots.path(), "videos", videos, ToString::to_string, has, allow_missing)?;
    let mut paired: Vec<(Pair, Option<&str>)> = Vec::new();
    for pair in pairs.iter().filter(|pair| videos.contains(&pair.video)) {
        paired.push((pair.clone(), absent_prompt(pair, features)?));
    }
    let name = |(pair, absent): &(Pair, Option<&str>)| match absent {
        Some(prompt) if *prompt != pair.prompts[2] => format!("{prompt} of {}", pair.prompts[2]),
        _ => pair.prompts[2].to_owned(),
    };
    let what = "pairs of concepts";
    let kept = sources::complete(features.path(), what, paired, name, |(_, absent)| absent.is_none(), allow_missing)?;
    Ok(kept.into_iter().map(|(pair, _)| pair).collect())
}

/// The first prompt of a pair that no shots have met.
fn absent_prompt<'q>(pair: &Pair<'q>, features: &Source) -> Result<Option<&'q str>, HeadError> {
    for prompt in pair.prompts {
        if prompted(features, pair.video, prompt)?.is_none() {
            return Ok(Some(prompt));
        }
    }
    Ok(None)
}

/// Videos in the order of their pairs, and the pairs as samples.
fn numbered(pairs: &[Pair], shots: &Source, shot_tags: Option<&Path>) -> Result<(Vec<Video>, Vec<Sample>), HeadError> {
    let (mut videos, mut samples): (Vec<Video>, Vec<Sample>) = (vec![], vec![]);
    for pair in pairs {
        let video = match videos.iter().position(|video| video.uid == *pair.video) {
            Some(place) => place,
            None => {
                videos.push(Video::read(shots, shot_tags, pair.video)?);
                videos.len() - 1
            }
        };
        let (concepts, prompts) = (pair.concepts.map(str::to_owned), pair.prompts.map(str::to_owned));
        samples.push(Sample { video, concepts, prompts, oracle: pair.oracle.clone() });
    }
    Ok((videos, samples))
}

/// The tags of each video, one for each of its shots.
fn tags_of_all(path: &Path, videos: &[Video]) -> Result<Vec<ShotTags>, HeadError> {
    let tags = read_tags(path)?;
    let of = |video: &Video| {
        let tags = tags_of(&tags, video.uid.as_str(), path)?;
        if tags.len() != video.shots {
            let expected = format!("{} shots of {}, as there are features", video.shots, video.uid);
            return Err(HeadError::unexpected(path, expected, tags.len().to_string()));
        }
        Ok(tags.clone())
    };
    videos.iter().map(of).collect()
}
