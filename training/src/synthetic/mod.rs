//! Made-up benchmarks that can be learnt: moments planted into noise, in the files that the real ones come in, and a
//! [`World`] of videos.
//!
//! They prove that a head, its data and its loop learn something, without any data set: a head that reads them right
//! ends far above chance, and one that is given shuffled labels stays there. Not a measure of how good a head is.
//! Invariant: the same settings give the same bytes.

mod draw;
mod mq;
mod nlq;
mod qfvs;
mod rows;
mod world;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use egofx::benchmark::{Benchmark, BenchmarkError, Built, Sources};
use egofx::ids::IdError;
use egofx::manifest::ManifestError;
use egofx::queries::{Queries, QueriesError};
use egofx::store::StoreError;
use serde_json::{Value, json};

pub use mq::{Mq, MqPaths};
pub use nlq::{Nlq, NlqPaths};
pub use qfvs::{Qfvs, QfvsPaths};
pub use world::{CharadesPaths, EpicPaths, QaPaths, World, WorldPaths};

/// Why a benchmark could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SyntheticError {
    /// Sizes that hold nothing.
    #[error("a synthetic benchmark with {what} {found}: expected {expected}")]
    Size {
        /// The setting.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What it can be.
        expected: String,
    },
    /// A file or folder refused.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A video could not be made.
    #[error("cannot encode {}: ffmpeg says {why:?}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What ffmpeg said.
        why: String,
    },
    /// A made-up name is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The annotations do not read back.
    #[error(transparent)]
    Benchmark(#[from] BenchmarkError),
    /// The manifest refused.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The table of queries refused.
    #[error(transparent)]
    Queries(#[from] QueriesError),
}

/// A manifest and its table of queries, as `egofx manifest` writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// The list of videos and clips.
    pub manifest: PathBuf,
    /// What is asked about them.
    pub queries: PathBuf,
}

/// Windows per second: 16 frames of 30 per second, as in Ego4D's features.
const ROWS_PER_SEC: f64 = 30.0 / 16.0;

/// Builds the tables of a benchmark out of its annotations, by the code that does so for the real ones.
fn tables(out: &Path, benchmark: &str, annotations: Vec<PathBuf>) -> Result<(Tables, Queries), SyntheticError> {
    let sources = Sources { annotations, videos: Vec::new() };
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
fn write(path: &Path, bytes: &[u8]) -> Result<(), SyntheticError> {
    let refused = |cause| SyntheticError::Write { path: path.to_owned(), cause };
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(refused)?;
    fs::write(path, bytes).map_err(refused)
}

fn write_json(path: &Path, value: &Value) -> Result<(), SyntheticError> {
    write(path, format!("{value:#}\n").as_bytes())
}

fn at_least(least: usize, what: &'static str, found: usize) -> Result<(), SyntheticError> {
    let expected = || format!("at least {least}");
    if found >= least { Ok(()) } else { Err(SyntheticError::Size { what, found, expected: expected() }) }
}

/// The name of split number `split`: training or validation.
const SPLITS: [&str; 2] = ["train", "val"];

/// Both splits of an episodic memory benchmark, a clip in each video, with what annotators say of clip `i` of a split.
fn episodic(split: &str, clips: usize, rows: usize, annotations: impl Fn(usize) -> Value) -> Value {
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
fn names(split: &str, clip: usize) -> (String, String) {
    (format!("video-{split}-{clip:04}"), format!("clip-{split}-{clip:04}"))
}
