//! Videos that are shown in detail: what is gathered of them while rows pass, and what is made of it.
//!
//! Invariant: images are as many and as large as the number of videos allows, so that a page stays below a few megabytes.

use std::collections::{BTreeSet, HashMap, HashSet};

use ndarray::ArrayView1;

use super::lanes::lane;
use super::set::Set;
use super::similarity::{Similarities, image};
use super::view::{Lane, ScoresView, Similarity, SpanLane, Thumbnail, VideoView};
use super::{Options, PageError};
use crate::ids::{UnitUid, VideoUid};
use crate::report::RunReport;
use crate::store::{LedgerEntry, RowMeta};
use crate::thumbnails::{Request, Strip, data_uri, data_uri_of};

/// Units of a video that have a line of their own.
const MOST_LANES: usize = 24;

/// Queries or labels of a video that have one.
const MOST_SPANS: usize = 40;

/// Thumbnails of all videos together, and the most and least of one: 4 kB each.
const THUMBNAILS: usize = 480;
const OF_ONE: std::ops::RangeInclusive<usize> = 6..=60;

/// Thumbnails of short videos are about so many seconds apart, unless there are too few.
const CLOSEST_SEC: f64 = 1.0;

/// What is known of the videos so far.
pub(super) struct Gathered {
    videos: Vec<Video>,
    numbers: HashMap<String, usize>,
    /// Pixels along each side of an image of similarities.
    side: usize,
}

#[derive(Default)]
struct Video {
    video_uid: String,
    units: Vec<UnitLine>,
    more: usize,
    /// The middle of each row.
    secs: Vec<f64>,
    end_sec: f64,
    /// Of the feature set whose rows come.
    current: Option<Current>,
    similarities: Vec<Similarity>,
}

/// Rows of a feature set that are set against each other: those of units that do not overlap.
struct Current {
    rows: Similarities,
    units: HashSet<UnitUid>,
    /// The middle of the first row and of the last.
    range_sec: Option<[f64; 2]>,
}

/// A line to be drawn when it is known how long the video is.
struct UnitLine {
    set: String,
    unit_uid: String,
    span: Option<[f64; 2]>,
    meta: Vec<RowMeta>,
    absent: Option<String>,
}

/// What is shown of videos.
pub(super) struct Shown {
    pub videos: Vec<VideoView>,
    pub scores: Option<ScoresView>,
    pub notes: Vec<String>,
}

impl Gathered {
    /// Of the videos `shown`, with images for each of so many feature sets.
    pub fn new(shown: &[String], sets: usize) -> Self {
        let side = match shown.len() * sets {
            0..=8 => 256,
            9..=32 => 160,
            _ => 96,
        };
        let video = |name: &String| Video { video_uid: name.clone(), ..Video::default() };
        let numbers = shown.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        Self { videos: shown.iter().map(video).collect(), numbers, side }
    }

    fn video(&mut self, video_uid: &str) -> Option<&mut Video> {
        self.numbers.get(video_uid).map(|&at| &mut self.videos[at])
    }

    /// Rows of `set` follow, those of `entries`, which are in order.
    pub fn begin(&mut self, set: &Set, entries: &[&LedgerEntry]) {
        let (side, contract) = (self.side, set.reader.contract());
        for video in &mut self.videos {
            let of_video: Vec<&LedgerEntry> =
                entries.iter().copied().filter(|entry| entry.video_uid.as_str() == video.video_uid).collect();
            let chosen = apart(&of_video, contract.rows_per_sec > 0.0);
            let rows: u64 = chosen.iter().map(|entry| entry.rows).sum();
            video.current = (rows > 0).then(|| Current {
                rows: Similarities::new(rows as usize, contract.dim, side),
                units: chosen.iter().map(|entry| entry.unit_uid.clone()).collect(),
                range_sec: None,
            });
        }
    }

    /// Takes a row of a unit; nothing for one without features.
    pub fn row(&mut self, entry: &LedgerEntry, values: Option<ArrayView1<f32>>, sec: f64) {
        let Some(video) = self.video(entry.video_uid.as_str()) else { return };
        if let Some(current) = video.current.as_mut().filter(|current| current.units.contains(&entry.unit_uid)) {
            current.rows.add(values);
            current.range_sec = Some([current.range_sec.map_or(sec, |range| range[0]), sec]);
        }
        video.secs.push(sec);
    }

    /// Takes what else is known of a unit whose rows came.
    pub fn unit(&mut self, entry: &LedgerEntry, set: &str, meta: &[RowMeta]) {
        let line = UnitLine {
            set: set.to_owned(),
            unit_uid: entry.unit_uid.to_string(),
            span: entry.span.map(|span| [span.start_sec, span.end_sec]),
            meta: meta.to_vec(),
            absent: None,
        };
        let end_sec = meta.last().map_or(0.0, |row| row.end_sec);
        self.line(entry.video_uid.as_str(), line, end_sec);
    }

    /// A unit that has no rows to show, and why.
    pub fn absent(&mut self, video_uid: &str, set: &Set, unit_uid: &UnitUid, why: String) {
        let span = set.planned.get(unit_uid).and_then(|unit| unit.span).map(|span| [span.start_sec, span.end_sec]);
        let (set, unit_uid) = (set.name.clone(), unit_uid.to_string());
        self.line(video_uid, UnitLine { set, unit_uid, span, meta: Vec::new(), absent: Some(why) }, 0.0);
    }

    fn line(&mut self, video_uid: &str, line: UnitLine, end_sec: f64) {
        let Some(video) = self.video(video_uid) else { return };
        video.end_sec = video.end_sec.max(end_sec).max(line.span.map_or(0.0, |span| span[1]));
        if video.units.len() < MOST_LANES {
            video.units.push(line);
        } else {
            video.more += 1;
        }
    }

    /// All rows of `set` have come.
    pub fn end(&mut self, set: &str) {
        for video in &mut self.videos {
            let Some(current) = video.current.take().filter(|current| current.rows.rows() > 0) else { continue };
            let (rows, matrix) = (current.rows.rows(), current.rows.matrix());
            let (bytes, range) = image(&matrix);
            let (uri, side) = (data_uri_of("image/png", &bytes), matrix.nrows());
            // Rows without times are all at 0.
            let range_sec = current.range_sec.filter(|[from, to]| from < to);
            video.similarities.push(Similarity { set: set.to_owned(), rows, side, range, range_sec, uri });
        }
    }

    /// Units of `set` that are promised and not committed, with the words of `run` about those that failed.
    pub fn waiting(&mut self, set: &Set, run: Option<&RunReport>) {
        let failed = |uid: &UnitUid| {
            let failures = run.into_iter().flat_map(|run| &run.failures);
            failures.filter(|one| one.feature_set == set.name).find(|one| one.unit_uid == *uid)
        };
        for (uid, unit) in set.planned.iter().filter(|(uid, _)| set.committed.get(uid).is_none()) {
            let why = failed(uid).map_or("not committed yet".to_owned(), |failure| format!("failed: {}", failure.why));
            self.absent(unit.video_uid.as_str(), set, uid, why);
        }
    }

    /// What is shown of the videos.
    ///
    /// # Errors
    /// [`PageError::Metric`] for predictions that cannot be read.
    pub fn finish(self, sets: &[Set], options: &Options) -> Result<Shown, PageError> {
        let (strips, notes) = self.strips(options);
        let mut videos: Vec<VideoView> =
            self.videos.into_iter().zip(strips).map(|(video, strip)| video.view(strip)).collect();
        let scores = match &options.predictions {
            Some(predictions) => {
                let scores = predictions.scores()?;
                let elsewhere = place_spans(&mut videos, predictions.by_clip()?, &clips(sets));
                scores.map(|scores| ScoresView { clips_elsewhere: elsewhere, ..scores })
            }
            None => None,
        };
        Ok(Shown { videos, scores, notes })
    }

    /// Thumbnails of each video with their times, and what is to be said of all.
    fn strips(&self, options: &Options) -> (Vec<(Vec<f64>, Strip)>, Vec<String>) {
        let Some(thumbnailer) = &options.thumbnailer else {
            return (self.videos.iter().map(|_| Default::default()).collect(), Vec::new());
        };
        let most = (THUMBNAILS / self.videos.len().max(1)).clamp(*OF_ONE.start(), *OF_ONE.end());
        let file = |video: &Video| options.videos.get(&VideoUid::parse(&video.video_uid).ok()?);
        let request = |video: &Video| {
            let found = file(video);
            let (path, fps) = found.map_or_else(Default::default, |found| (found.path.clone(), found.fps));
            Request { path, fps, secs: if found.is_some() { spread(&video.secs, most) } else { Vec::new() } }
        };
        let requests: Vec<Request> = self.videos.iter().map(request).collect();
        let strips = thumbnailer.strips(&requests).into_iter().zip(requests).zip(&self.videos);
        let strips = strips.map(|((strip, request), video)| match file(video) {
            Some(_) => (request.secs, strip),
            None => (Vec::new(), Strip { images: Vec::new(), why: Some("nobody said where the video is".to_owned()) }),
        });
        let nowhere = self.videos.iter().filter(|video| file(video).is_none()).count();
        let all = (nowhere > 0).then(|| {
            format!(
                "{nowhere} of {} videos have no thumbnails: --manifest or --videos says where they are",
                self.videos.len()
            )
        });
        (strips.collect(), all.into_iter().collect())
    }
}

impl Video {
    fn view(self, (secs, strip): (Vec<f64>, Strip)) -> VideoView {
        let thumbnail = |(sec, image): (f64, Option<Vec<u8>>)| Some(Thumbnail { sec, uri: data_uri(&image?) });
        let end_sec = self.end_sec;
        let line = |unit: UnitLine| {
            let span = unit.span.unwrap_or([0.0, end_sec]);
            Lane { absent: unit.absent, ..lane(&unit.set, &unit.unit_uid, span, end_sec, &unit.meta) }
        };
        VideoView {
            video_uid: self.video_uid,
            end_sec,
            lanes: self.units.into_iter().map(line).collect(),
            more_lanes: self.more,
            thumbnails: secs.into_iter().zip(strip.images).filter_map(thumbnail).collect(),
            no_thumbnails: strip.why,
            similarities: self.similarities,
            spans: Vec::new(),
            more_spans: 0,
        }
    }
}

/// Of units in the order of their starts, those that begin where the ones before have ended; all of them where rows have no times.
fn apart<'e>(entries: &[&'e LedgerEntry], are_timed: bool) -> Vec<&'e LedgerEntry> {
    let mut end_sec = f64::NEG_INFINITY;
    let mut chosen = Vec::new();
    for entry in entries {
        let (start, end) = entry.span.map_or((0.0, f64::INFINITY), |span| (span.start_sec, span.end_sec));
        if !are_timed || start >= end_sec {
            chosen.push(*entry);
            end_sec = end;
        }
    }
    chosen
}

/// At most `most` of `secs`, as evenly in time as they are there, and ascending.
fn spread(secs: &[f64], most: usize) -> Vec<f64> {
    let mut secs: Vec<f64> = secs.iter().copied().filter(|sec| sec.is_finite()).collect();
    secs.sort_by(f64::total_cmp);
    secs.dedup_by(|a, b| (*a - *b).abs() < 1e-3);
    // Rows without times are all at 0.
    if secs.len() <= 1 || most < 2 {
        return secs.into_iter().filter(|sec| *sec > 0.0).take(most).collect();
    }
    let (first, last) = (secs[0], secs[secs.len() - 1]);
    let most_apart = ((last - first) / CLOSEST_SEC).ceil() as usize + 1;
    let count = secs.len().min(most).min(most_apart.max(*OF_ONE.start()));
    let wanted = (0..count).map(|at| first + (last - first) * at as f64 / (count - 1) as f64);
    let mut chosen: Vec<f64> = wanted.map(|sec| nearest(&secs, sec)).collect();
    chosen.dedup();
    chosen
}

/// The one of `secs`, which ascend and are some, that is nearest to `sec`.
fn nearest(secs: &[f64], sec: f64) -> f64 {
    let after = secs.partition_point(|one| *one < sec).min(secs.len() - 1);
    let before = after.saturating_sub(1);
    if (secs[before] - sec).abs() < (secs[after] - sec).abs() { secs[before] } else { secs[after] }
}

/// Where each clip lies: its video and the second at which it begins there.
fn clips(sets: &[Set]) -> HashMap<String, (String, f64)> {
    let entries = sets.iter().flat_map(|set| set.committed.iter());
    let place = |entry: &LedgerEntry| {
        let start_sec = entry.span.map_or(0.0, |span| span.start_sec);
        Some((entry.clip_uid.as_ref()?.to_string(), (entry.video_uid.to_string(), start_sec)))
    };
    entries.filter_map(place).collect()
}

/// Puts lines of predictions below their videos; gives the number of clips that are in none of these.
fn place_spans(
    videos: &mut [VideoView],
    by_clip: impl IntoIterator<Item = (String, Vec<SpanLane>)>,
    clips: &HashMap<String, (String, f64)>,
) -> usize {
    let numbers: HashMap<String, usize> =
        videos.iter().enumerate().map(|(at, video)| (video.video_uid.clone(), at)).collect();
    let mut elsewhere = BTreeSet::new();
    for (clip_uid, lanes) in by_clip {
        let place = clips.get(&clip_uid).and_then(|(video, start)| Some((*numbers.get(video)?, *start)));
        let Some((at, start_sec)) = place else {
            elsewhere.insert(clip_uid);
            continue;
        };
        let video = &mut videos[at];
        let room = MOST_SPANS.saturating_sub(video.spans.len());
        video.more_spans += lanes.len().saturating_sub(room);
        video.spans.extend(lanes.into_iter().take(room).map(|lane| moved(lane, start_sec)));
    }
    elsewhere.len()
}

fn moved(mut lane: SpanLane, by_sec: f64) -> SpanLane {
    lane.truths.iter_mut().chain(&mut lane.predicted).flatten().for_each(|sec| *sec += by_sec);
    lane
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbnails_are_spread_over_the_rows() {
        let secs: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        let found = spread(&secs, 5);
        assert_eq!((found.len(), found[0], found[4]), (5, 0.0, 999.0));
        assert!(found.windows(2).all(|pair| (pair[1] - pair[0] - 250.0).abs() <= 1.0));
        assert_eq!(spread(&[3.0, 1.0, 1.0], 60), [1.0, 3.0]);
        assert_eq!(spread(&[0.0, 0.1, 0.2, 0.3, 100.0], 3), [0.0, 0.3, 100.0], "by time, not by number");
        assert_eq!(spread(&[0.0, 0.0], 60), [0.0; 0]);
        assert_eq!(spread(&[2.0], 60), [2.0]);
    }

    #[test]
    fn predictions_lie_where_their_clip_lies_in_its_video() {
        let lane = SpanLane {
            clip_uid: "c".into(),
            text: "q".into(),
            truths: vec![[1.0, 2.0]],
            predicted: vec![[0.0, 3.0]],
            overlap: 0.3,
        };
        let view = Video { video_uid: "v".into(), ..Video::default() }.view(Default::default());
        let (mut videos, clips) = ([view], HashMap::from([("c".to_owned(), ("v".to_owned(), 10.0))]));
        let by_clip = [("c".to_owned(), vec![lane.clone(); 50]), ("d".to_owned(), vec![lane])];
        assert_eq!(place_spans(&mut videos, by_clip, &clips), 1);
        assert_eq!((videos[0].spans[0].truths[0], videos[0].spans[0].predicted[0]), ([11.0, 12.0], [10.0, 13.0]));
        assert_eq!((videos[0].spans.len(), videos[0].more_spans), (40, 10));
    }
}
