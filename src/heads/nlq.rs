//! NLQ: a clip's rows, a query's tokens, and where its window lies.
//!
//! Not for what a head makes of them. Annotations are the official files; a query is a sample whose number is its place in
//! the files that were given.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::benchmark::{self, Benchmark, BenchmarkError, Built};
use crate::compat::Compat;
use crate::features::{FeatureError, Source, TokenReader, Tokens, average};
use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::labels::nlq::{NlqLabel, NlqQuery, nlq_queries, rows_in, window_indices};
use crate::metric::Window;
use crate::store::{LedgerEntry, RowKind};
use crate::time::TimeSpan;
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::HeadError;
use super::sources::{self, Cache, Expected, Files, Split};
use super::submission::Submission;

/// A query.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What it is for.
    pub split: Split,
    /// Its clip.
    pub clip_uid: ClipUid,
    /// Its video, under which its tokens are stored.
    pub video_uid: VideoUid,
    /// Its name in our tables and stores.
    pub query_id: String,
    /// The annotation that it belongs to.
    pub annotation_uid: String,
    /// Its number in that annotation.
    pub query_idx: i64,
    /// The true window in seconds of the clip; zeros where it is not known.
    pub window: [f64; 2],
    /// Where the clip lies in its video.
    pub span: TimeSpan,
}

/// Queries with features.
pub struct Nlq {
    samples: Vec<Sample>,
    features: Source,
    tokens: Vec<Tokens>,
    cache: Cache,
    positions: usize,
    compat: Compat,
}

/// What is opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The store of rows.
    pub features: Expected,
    /// The store of tokens.
    pub tokens: Expected,
    /// Rows that a clip has at most; longer ones become means of their rows.
    pub positions: usize,
}

impl Nlq {
    /// Queries without features are an error unless those are allowed.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    pub fn read(wanted: &Settings, compat: Compat, sources: &Files) -> Result<Self, HeadError> {
        let about = "the feature set of the clips, of windows or of windows that have met the query";
        let path = Files::needed(sources.features.as_ref(), "features", about)?;
        let features = sources::open_joined(path, &sources.joined, &wanted.features)?;
        let kinds = [RowKind::Window, RowKind::FusedWindow];
        sources::expect_rows(&features, &kinds, "windows of clips (egovlp_nlq) or fused windows (egovlpv2_nlq_fused)")?;
        let about = "the feature set of the queries' tokens";
        let tokens = sources::open(Files::needed(sources.tokens.as_ref(), "tokens", about)?, &wanted.tokens)?;
        sources::expect_rows(&tokens, &[RowKind::Token], "tokens of queries (egovlp_nlq_tokens)")?;
        let samples = samples(sources)?;
        let samples = with_rows(samples, &features, sources.allow_missing)?;
        let (samples, tokens) = with_tokens(samples, &tokens, sources.allow_missing)?;
        let cache = Cache::new(sources.memory_bytes);
        Ok(Self { samples, features, tokens, cache, positions: wanted.positions, compat })
    }

    /// The sample of that number.
    pub fn sample(&self, number: usize) -> &Sample {
        &self.samples[number]
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// Whether faults of the originals are reproduced.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// Numbers of the samples of a split.
    pub fn of_split(&self, split: Split) -> Vec<usize> {
        (0..self.samples.len()).filter(|&number| self.samples[number].split == split).collect()
    }

    /// A query's rows `[v_len, dim]`, at most as many as there are positions.
    ///
    /// # Errors
    /// Features that cannot be read.
    pub fn rows(&self, number: usize) -> Result<Arc<Array2<f32>>, HeadError> {
        let sample = &self.samples[number];
        let absent = || HeadError::unexpected(self.features.path(), sample.query_id.clone(), "nothing");
        let place = place(&self.features, sample)?.ok_or_else(absent)?;
        let read = || {
            let values = self.features.read(place.entry)?.values;
            Ok(average(values.slice(s![place.rows.clone(), ..]), self.positions))
        };
        self.cache.get(&format!("{} {:?}", place.entry.unit_uid, place.rows), read)
    }

    /// How many rows the clip of a query has, before they become means.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn row_count(&self, number: usize) -> Result<usize, HeadError> {
        let sample = &self.samples[number];
        let absent = || HeadError::unexpected(self.features.path(), sample.query_id.clone(), "nothing");
        Ok(place(&self.features, sample)?.ok_or_else(absent)?.rows.len())
    }

    /// Refuses rows that have met a query: they are not the same for all queries of a clip.
    ///
    /// # Errors
    /// [`HeadError::Unexpected`].
    pub fn expect_rows_of_clips(&self) -> Result<(), HeadError> {
        sources::expect_rows(&self.features, &[RowKind::Window], "windows of clips (egovlp_nlq_snag)")
    }

    /// A query's tokens.
    pub fn tokens(&self, number: usize) -> &Tokens {
        &self.tokens[number]
    }

    /// Where a query's window lies among `rows` positions of its clip. As released, time is reckoned in whole 1.875ths of
    /// a second; fixed, in seconds.
    pub fn place(&self, number: usize, rows: usize) -> NlqLabel {
        let Sample { window, span, .. } = &self.samples[number];
        if self.compat == Compat::AsReleased {
            return NlqLabel::new(*window, rows_in(*span), rows);
        }
        let duration = span.duration_sec();
        let (s_time, e_time) = (window[0].max(0.0), window[1].min(duration));
        let (s_ind, e_ind) = window_indices(s_time, e_time, rows, duration);
        NlqLabel { duration, s_time, e_time, v_len: rows, s_ind, e_ind }
    }

    /// Windows in seconds of the clip, best first, in the challenge's form.
    pub fn submission(&self, predictions: &[(usize, Vec<Window>)]) -> Submission {
        let entry = |(number, windows): &(usize, Vec<Window>)| {
            let Sample { clip_uid, annotation_uid, query_idx, .. } = &self.samples[*number];
            json!({
                "clip_uid": clip_uid.as_str(), "annotation_uid": annotation_uid, "query_idx": query_idx,
                "predicted_times": windows,
            })
        };
        let results: Vec<Value> = predictions.iter().map(entry).collect();
        json!({"version": "1.0", "challenge": "ego4d_nlq_challenge", "results": results}).into()
    }
}

/// All queries with a text, of all files.
fn samples(sources: &Files) -> Result<Vec<Sample>, HeadError> {
    let mut samples = Vec::new();
    for (split, path) in &sources.annotations {
        let files =
            benchmark::Sources { annotations: vec![path.clone()], videos: vec![], ..benchmark::Sources::default() };
        let built = (Benchmark::find("nlq").map_err(BenchmarkError::from)?.build)(&files)?;
        samples.extend(of_file(*split, path, &built)?);
    }
    if samples.is_empty() {
        let about = "nlq_train.json and nlq_val.json to train (--train, --val), or --annotations to predict";
        return Err(HeadError::Needed { name: "train", about });
    }
    Ok(samples)
}

fn of_file(split: Split, path: &Path, built: &Built) -> Result<Vec<Sample>, HeadError> {
    let spans: HashMap<&ClipUid, (&VideoUid, Option<TimeSpan>)> = built
        .manifest
        .videos
        .iter()
        .flat_map(|video| video.clips.iter().map(move |clip| (&clip.uid, (&video.uid, clip.span))))
        .collect();
    let none = || HeadError::unexpected(path, "queries", "none");
    let (queries, _) = nlq_queries("nlq", built.queries.as_ref().ok_or_else(none)?)?;
    let sample = |asked: &NlqQuery| {
        let (video_uid, span) = spans.get(asked.query.clip_uid)?;
        Some(Sample {
            split,
            clip_uid: asked.query.clip_uid.clone(),
            video_uid: (*video_uid).clone(),
            query_id: asked.query.id.to_owned(),
            annotation_uid: asked.annotation_uid.to_owned(),
            query_idx: asked.query_idx,
            window: asked.window,
            span: (*span)?,
        })
    };
    Ok(queries.iter().filter_map(sample).collect())
}

/// What a query is called in a store: its name, or, where an annotation recurs under another clip and the table was made of
/// several files, its name with the clip's.
fn names(sample: &Sample) -> [String; 2] {
    [format!("{}_{}", sample.query_id, sample.clip_uid), sample.query_id.clone()]
}

/// Where a sample's rows are.
struct Rows<'s> {
    entry: &'s LedgerEntry,
    rows: Range<usize>,
}

/// The rows of a query, of its clip, or those of its clip among its video's; nothing if there are none of them.
fn place<'s>(features: &'s Source, sample: &Sample) -> Result<Option<Rows<'s>>, HeadError> {
    let all = |entry: &'s LedgerEntry| Rows { entry, rows: 0..entry.rows as usize };
    if features.rows() == RowKind::FusedWindow {
        let [with_clip, alone] = names(sample);
        return Ok(match features.find_query(&with_clip)? {
            None => features.find_query(&alone)?,
            found => found,
        }
        .map(all));
    }
    let of_clip = features.find(&UnitUid::from(&sample.clip_uid)).map(all);
    let of_video = || features.find(&UnitUid::from(&sample.video_uid)).and_then(|entry| cut(entry, features, sample));
    Ok(of_clip.or_else(of_video))
}

fn cut<'s>(entry: &'s LedgerEntry, features: &Source, sample: &Sample) -> Option<Rows<'s>> {
    let rows = rows_of_clip(sample.span, features.rows_per_sec(), entry.rows as usize)?;
    Some(Rows { entry, rows })
}

/// The rows of a clip out of its video's, as Ego4D's preparation cuts them: both ends are cut down to whole rows, and the
/// last one belongs to the clip. Nothing if the video's `rows` end before it begins.
fn rows_of_clip(span: TimeSpan, fps: f64, rows: usize) -> Option<Range<usize>> {
    let row = |sec: f64| (sec.max(0.0) * fps) as usize;
    let cut = row(span.start_sec)..(row(span.end_sec) + 1).min(rows);
    (!cut.is_empty()).then_some(cut)
}

fn with_rows(samples: Vec<Sample>, features: &Source, allow_missing: bool) -> Result<Vec<Sample>, HeadError> {
    let mut paired = Vec::with_capacity(samples.len());
    for sample in samples {
        let there = place(features, &sample)?.is_some();
        paired.push((sample, there));
    }
    let name = |(sample, _): &(Sample, bool)| format!("{} of clip {}", sample.query_id, sample.clip_uid);
    let kept = sources::complete(features.path(), "queries", paired, name, |(_, there)| *there, allow_missing)?;
    Ok(kept.into_iter().map(|(sample, _)| sample).collect())
}

/// Tokens of all queries: they are short, and every epoch needs all of them.
fn with_tokens(
    samples: Vec<Sample>,
    source: &Source,
    allow_missing: bool,
) -> Result<(Vec<Sample>, Vec<Tokens>), HeadError> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    // A store of tokens has a unit for each video, which is read once if its queries follow one another.
    order.sort_by(|&a, &b| samples[a].video_uid.as_str().cmp(samples[b].video_uid.as_str()));
    let mut reader = TokenReader::new(source);
    let mut paired: Vec<(Sample, Option<Tokens>)> = samples.into_iter().map(|sample| (sample, None)).collect();
    for number in order {
        paired[number].1 = tokens_of(&mut reader, &paired[number].0)?;
    }
    let name = |(sample, _): &(Sample, Option<Tokens>)| sample.query_id.clone();
    let paired = sources::complete(source.path(), "queries", paired, name, |(_, t)| t.is_some(), allow_missing)?;
    Ok(paired.into_iter().filter_map(|(sample, tokens)| Some((sample, tokens?))).unzip())
}

fn tokens_of(reader: &mut TokenReader, sample: &Sample) -> Result<Option<Tokens>, HeadError> {
    for name in names(sample) {
        match reader.read(&sample.video_uid, &name) {
            Ok(tokens) => return Ok(Some(tokens)),
            Err(FeatureError::NoQuery { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_has_the_rows_of_its_video_up_to_the_one_in_which_it_ends() {
        let rows = |start, end, rows| rows_of_clip(TimeSpan::new(start, end).unwrap(), 1.875, rows);
        // 480 seconds are 900 rows, and one more.
        assert_eq!(rows(0.0, 480.0, 5000), Some(0..901));
        assert_eq!(rows(480.5, 960.5, 5000), Some(900..1801));
        assert_eq!(rows(480.5, 960.5, 1000), Some(900..1000));
        assert_eq!(rows(480.5, 960.5, 900), None);
    }
}
