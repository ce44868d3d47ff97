//! The files of synthetic benchmarks: annotations in the official forms, and the tables that `egofx manifest` makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use egofx::benchmark::{Benchmark, Built, Sources};
use egofx::queries::Queries;
use serde_json::{Value, json};

use super::error::SyntheticError;

/// A manifest and its table of queries, as `egofx manifest` writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The list of videos and clips.
    pub manifest: PathBuf,
    /// What is asked about them.
    pub queries: PathBuf,
}

/// Windows per second: 16 frames of 30 per second, as in Ego4D's features.
pub(super) const ROWS_PER_SEC: f64 = 30.0 / 16.0;

/// Builds the tables of a benchmark out of its annotations, by the code that does so for the real ones.
pub(super) fn tables(
    out: &Path,
    benchmark: &str,
    annotations: Vec<PathBuf>,
) -> Result<(Tables, Queries), SyntheticError> {
    let sources = Sources { annotations, videos: Vec::new(), ..Sources::default() };
    let Built { manifest, queries, .. } = (Benchmark::find(benchmark)?.build)(&sources)?;
    let queries = queries.unwrap_or_default();
    let paths = Tables {
        manifest: out.join(format!("{benchmark}.csv")),
        queries: out.join(format!("{benchmark}.queries.csv")),
    };
    let mut csv = Vec::new();
    manifest.write_csv(&mut csv)?;
    write(&paths.manifest, &csv)?;
    let mut csv = Vec::new();
    queries.write_csv(&mut csv)?;
    write(&paths.queries, &csv)?;
    Ok((paths, queries))
}

/// Writes a file, and the folders above it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), SyntheticError> {
    let refused = |cause| SyntheticError::Write { path: path.to_owned(), cause };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(refused)?;
    fs::write(path, bytes).map_err(refused)
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<(), SyntheticError> {
    write(path, format!("{value:#}\n").as_bytes())
}

/// The name of split number `split`: training or validation.
pub(super) const SPLITS: [&str; 2] = ["train", "val"];

/// Both splits of an episodic memory benchmark, a clip in each video, with what annotators say of clip `i` of a split.
pub(super) fn episodic(split: &str, clips: usize, rows: usize, annotations: impl Fn(usize) -> Value) -> Value {
    let end_sec = rows as f64 / ROWS_PER_SEC;
    let end_frame = rows * 16;
    let video = |clip: usize| {
        let (video_uid, clip_uid) = names(split, clip);
        json!({"video_uid": video_uid, "split": split, "clips": [{
            "clip_uid": clip_uid, "source_clip_uid": clip_uid,
            "video_start_sec": 0.0, "video_end_sec": end_sec, "video_start_frame": 0, "video_end_frame": end_frame,
            "clip_start_sec": 0.0, "clip_end_sec": end_sec, "clip_start_frame": 0, "clip_end_frame": end_frame,
            "annotations": annotations(clip),
        }]})
    };
    let videos: Vec<Value> = (0..clips).map(video).collect();
    json!({"version": "1", "date": "", "description": "synthetic", "manifest": "", "videos": videos})
}

/// Names of a video and its only clip.
pub(super) fn names(split: &str, clip: usize) -> (String, String) {
    (format!("video-{split}-{clip:04}"), format!("clip-{split}-{clip:04}"))
}
