//! What a page shows, as data.
//!
//! Not for how it is found or drawn. Invariant: seconds are those of the videos, fractions are between 0 and 1.

use serde::Serialize;

use crate::report::{ReportedFailure, RunReport};
use crate::store::Contract;

/// All of a page.
#[derive(Debug, Clone, Serialize)]
pub struct View {
    /// The folder that was looked at.
    pub path: String,
    /// Version of the program.
    pub egofx_version: &'static str,
    /// What the run that made it said at its end, if it said something.
    pub run: Option<RunView>,
    /// The feature sets.
    pub sets: Vec<SetView>,
    /// The videos that are shown in detail, in the order of their names.
    pub videos: Vec<VideoView>,
    /// All videos in numbers, as many as are listed.
    pub lines: Vec<VideoLine>,
    /// How many videos there are.
    pub all_videos: usize,
    /// Their names, in order.
    pub names: Vec<String>,
    /// What predictions came to.
    pub scores: Option<ScoresView>,
    /// What could not be shown, and why.
    pub notes: Vec<String>,
}

/// What a run said.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// What models ran on.
    pub device: String,
    /// How long it took, in seconds.
    pub elapsed_sec: f64,
    /// Seconds of video whose frames were decoded.
    pub video_sec: f64,
    /// Rows that were computed.
    pub rows: u64,
    /// Frames that were decoded.
    pub frames_decoded: u64,
    /// Stages and the share of the time that they were busy.
    pub stages: Vec<(String, f64)>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// What failed.
    pub failures: Vec<ReportedFailure>,
    /// What was found of videos although they could be read.
    pub remarks: Vec<String>,
}

impl From<RunReport> for RunView {
    fn from(report: RunReport) -> Self {
        Self {
            device: report.device.taken,
            elapsed_sec: report.elapsed_sec,
            video_sec: report.video_sec,
            rows: report.rows,
            frames_decoded: report.frames_decoded,
            stages: report.stages.into_iter().map(|stage| (stage.stage, stage.busy_share)).collect(),
            interrupted: report.interrupted,
            failures: report.failures,
            remarks: report.remarks,
        }
    }
}

/// A feature set.
#[derive(Debug, Clone, Serialize)]
pub struct SetView {
    /// What all of its rows share.
    pub contract: Contract,
    /// What computed them.
    pub providers: Vec<String>,
    /// Units that were promised, and those of them that are committed.
    pub planned: usize,
    /// Units that are committed.
    pub committed: usize,
    /// Rows that are committed.
    pub rows: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// What was looked for and found.
    pub checks: Vec<Check>,
    /// How long rows are.
    pub norms: Histogram,
    /// The rows on a plane.
    pub map: Map,
    /// How the rows differ from those of another store.
    pub against: Option<AgainstView>,
}

/// One thing that may be wrong with rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked for.
    pub what: &'static str,
    /// How much of it was found.
    pub count: usize,
    /// Whether that should be looked at.
    pub is_wrong: bool,
    /// Where, for the first ones.
    pub examples: Vec<String>,
}

/// Counts of values in bins.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Histogram {
    /// What each bin is called.
    pub labels: Vec<String>,
    /// Values in it.
    pub counts: Vec<usize>,
}

/// Rows on the plane of their first two principal components.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Map {
    /// The rows.
    pub points: Vec<Point>,
    /// One of so many rows is shown.
    pub every: usize,
    /// The share of the rows' variance along each axis.
    pub explained: [f64; 2],
}

/// A row on the plane.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Along the first component.
    pub x: f64,
    /// Along the second one.
    pub y: f64,
    /// Its video, by its place among all.
    pub video: usize,
    /// When it is, in the middle.
    pub sec: f64,
}

/// How rows differ from those of another store at the same times.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AgainstView {
    /// The other store.
    pub path: String,
    /// Rows that both have.
    pub compared: usize,
    /// Rows that the other store lacks at their time.
    pub only_here: usize,
    /// Rows that this store lacks.
    pub only_there: usize,
    /// Cosines between rows of the same time.
    pub cosines: Histogram,
    /// The smallest cosine.
    pub least: Option<f64>,
    /// The middle one.
    pub median: Option<f64>,
    /// The rows that differ most, in words.
    pub worst: Vec<String>,
    /// Why they could not be compared.
    pub why_not: Option<String>,
}

/// A video in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoLine {
    /// The video.
    pub video_uid: String,
    /// Its units, those committed and those promised, of all feature sets.
    pub committed: usize,
    /// Units promised.
    pub planned: usize,
    /// Rows of all feature sets.
    pub rows: u64,
    /// Those whose window was filled up.
    pub padded: u64,
    /// Those without features.
    pub missing: u64,
    /// Its place among the videos that are shown, if it is.
    pub shown: Option<usize>,
}

/// A video in detail.
#[derive(Debug, Clone, Serialize)]
pub struct VideoView {
    /// The video.
    pub video_uid: String,
    /// What its time line reaches to, in seconds.
    pub end_sec: f64,
    /// A line for each unit, of all feature sets.
    pub lanes: Vec<Lane>,
    /// Units that have no line.
    pub more_lanes: usize,
    /// Its thumbnails.
    pub thumbnails: Vec<Thumbnail>,
    /// Why there are not all.
    pub no_thumbnails: Option<String>,
    /// How alike its rows are, for each feature set that has some.
    pub similarities: Vec<Similarity>,
    /// Predictions about its clips.
    pub spans: Vec<SpanLane>,
    /// Queries or labels that have no line.
    pub more_spans: usize,
}

/// A thumbnail.
#[derive(Debug, Clone, Serialize)]
pub struct Thumbnail {
    /// When it is.
    pub sec: f64,
    /// The image as a URI.
    pub uri: String,
}

/// A unit on the time line of its video.
#[derive(Debug, Clone, Serialize)]
pub struct Lane {
    /// The feature set.
    pub set: String,
    /// The unit.
    pub unit_uid: String,
    /// What it covers.
    pub span: [f64; 2],
    /// Where its rows are.
    pub runs: Vec<Run>,
    /// Its rows.
    pub rows: usize,
    /// Those whose window was filled up.
    pub padded: usize,
    /// Those without features.
    pub missing: usize,
    /// Times between rows that no row stands for.
    pub gaps: usize,
    /// Why it has no rows.
    pub absent: Option<String>,
}

/// Rows of one kind, one after another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Where they begin.
    pub from_sec: f64,
    /// Where they end.
    pub to_sec: f64,
    /// What they are.
    pub kind: RunKind,
}

/// What rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// They have features of frames of their own.
    Rows,
    /// Frames were repeated.
    Padded,
    /// They have no features.
    Missing,
}

/// How alike the rows of a video are.
#[derive(Debug, Clone, Serialize)]
pub struct Similarity {
    /// The feature set.
    pub set: String,
    /// Rows of the video.
    pub rows: usize,
    /// Pixels of the image along each side.
    pub side: usize,
    /// The cosines that its darkest and its brightest pixel stand for.
    pub range: [f64; 2],
    /// When its first row is, and its last one, if rows have times.
    pub range_sec: Option<[f64; 2]>,
    /// The image as a URI.
    pub uri: String,
}

/// A query or a label on the time line: what is true, and what was predicted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpanLane {
    /// The clip.
    pub clip_uid: String,
    /// The sentence or the label.
    pub text: String,
    /// True windows.
    pub truths: Vec<[f64; 2]>,
    /// Predicted windows, best first.
    pub predicted: Vec<[f64; 2]>,
    /// Overlap of the best prediction with the nearest truth.
    pub overlap: f64,
}

/// What predictions came to.
#[derive(Debug, Clone, Serialize)]
pub struct ScoresView {
    /// The benchmark.
    pub benchmark: &'static str,
    /// What was scored: `7 of 8 queries`.
    pub coverage: String,
    /// Names and values.
    pub scores: Vec<(String, f64)>,
    /// What a reader of the numbers should know.
    pub notes: Vec<String>,
    /// Clips with predictions that are in none of the videos shown.
    pub clips_elsewhere: usize,
}
