//! What is known of a finished output: a small JSON file beside the outputs, one for each video.
//!
//! Not for judging videos. Invariant: a record is written whole, before its output gets its name; so an output that a
//! killed run left half done never fits its record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TranscodeError;
use crate::digest;
use crate::durable;
use crate::ids::VideoUid;
use crate::manifest::UNFINISHED;
use crate::store::StoreError;

/// One file of an output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChunkFile {
    /// Relative to the output folder, with `/`.
    pub file: String,
    /// Its number; 0 for a whole video.
    #[serde(alias = "piece")]
    pub chunk: u64,
    /// Index of its first frame in the source.
    pub first_frame: u64,
    /// Number of its frames.
    pub frames: u64,
    /// When its first frame is shown in the source, in seconds.
    pub start_sec: f64,
    /// When its last frame ends in the source, in seconds.
    pub end_sec: f64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its sha256, in lower-case hex.
    pub sha256: String,
}

/// A finished output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The video.
    pub video_uid: VideoUid,
    /// The settings, by name.
    pub settings: BTreeMap<String, String>,
    /// The source's file name.
    pub source: String,
    /// The source's length in bytes.
    pub source_bytes: u64,
    /// sha256 over the source's length and its first and last MiB.
    pub source_ends_sha256: String,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// ffmpeg's version.
    pub ffmpeg: String,
    /// Our version.
    pub egofx: String,
    /// Its files, in order.
    #[serde(alias = "pieces")]
    pub chunks: Vec<ChunkFile>,
}

impl Record {
    /// The record of `video_uid` in the output folder `out`, if there is one.
    ///
    /// # Errors
    /// [`TranscodeError::Record`] for a file that is no record, [`TranscodeError::File`].
    pub fn read(out: &Path, video_uid: &VideoUid) -> Result<Option<Self>, TranscodeError> {
        let path = path(out, video_uid);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(|error| StoreError::io("read", &path, error))?,
        };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Some).map_err(|error| TranscodeError::Record { path, why: error.to_string() })
    }

    pub(super) fn write(&self, out: &Path) -> Result<(), TranscodeError> {
        let path = path(out, &self.video_uid);
        let text = serde_json::to_string_pretty(self);
        let text = text.map_err(|error| TranscodeError::Record { path: path.clone(), why: error.to_string() })?;
        Ok(durable::write_bytes(&path, text.as_bytes()).map_err(|error| StoreError::io("write", &path, error))?)
    }

    /// The first setting in which it differs from `wanted`: name, as recorded, as wanted.
    pub(super) fn difference(&self, wanted: &BTreeMap<String, String>) -> Option<(String, String, String)> {
        let stored = |name: &String| self.settings.get(name).cloned().unwrap_or_default();
        let differs = |(name, value): &(&String, &String)| stored(name) != **value;
        wanted.iter().find(differs).map(|(name, value)| (name.clone(), stored(name), value.clone()))
    }

    /// Whether it was made of the file `source` as it is now.
    pub(super) fn is_of(&self, source: &Path) -> bool {
        let bytes = std::fs::metadata(source).map(|metadata| metadata.len());
        bytes.is_ok_and(|bytes| bytes == self.source_bytes)
            && digest::ends(source).is_ok_and(|sha256| sha256 == self.source_ends_sha256)
    }

    /// Whether all of its files are in `out`, byte for byte.
    pub(super) fn holds(&self, out: &Path) -> bool {
        self.chunks.iter().all(|chunk| {
            let path = out.join(&chunk.file);
            // The length first: it costs nothing.
            std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() == chunk.bytes)
                && digest::file(&path).is_ok_and(|(_, sha256)| sha256 == chunk.sha256)
        })
    }

    /// Whether its files are in `out` and they and its `source` are as long as it says: nothing is read.
    pub(super) fn has_lengths(&self, source: Option<&Path>, out: &Path) -> bool {
        let is_long = |path: &Path, bytes: u64| std::fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes);
        source.is_some_and(|source| is_long(source, self.source_bytes))
            && self.chunks.iter().all(|chunk| is_long(&out.join(&chunk.file), chunk.bytes))
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// Frames of all its files.
    pub fn frames(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.frames).sum()
    }

    /// Seconds of video.
    pub fn video_sec(&self) -> f64 {
        self.chunks.iter().map(|chunk| chunk.end_sec - chunk.start_sec).sum()
    }
}

pub(super) fn path(out: &Path, video_uid: &VideoUid) -> PathBuf {
    records(out).join(format!("{video_uid}.json"))
}

pub(super) fn records(out: &Path) -> PathBuf {
    out.join(UNFINISHED).join("records")
}

pub(super) fn temporaries(out: &Path) -> PathBuf {
    out.join(UNFINISHED).join("tmp")
}

pub(super) fn locks(out: &Path) -> PathBuf {
    out.join(UNFINISHED).join("locks")
}

pub(super) fn claims(out: &Path) -> PathBuf {
    out.join(UNFINISHED).join("claims")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 0.1 called the files of an output pieces.
    #[test]
    fn older_records_are_read() {
        let file = serde_json::json!({
            "file": "v/0.mp4", "piece": 3, "first_frame": 7, "frames": 5, "start_sec": 0.5, "end_sec": 1.5, "bytes": 9, "sha256": "ab"
        });
        let older = serde_json::json!({
            "video_uid": "v", "settings": {"piece_sec": "600"}, "source": "v.mp4", "source_bytes": 1, "source_ends_sha256": "cd",
            "size": [4, 2], "ffmpeg": "7", "egofx": "0.1.0", "pieces": [file]
        });
        let record: Record = serde_json::from_value(older.clone()).unwrap();
        assert_eq!((record.chunks[0].chunk, record.chunks[0].frames), (3, 5));
        let again = serde_json::to_value(&record).unwrap();
        assert!(again["chunks"][0]["chunk"] == 3 && again.get("pieces").is_none());
        assert_eq!(serde_json::from_value::<Record>(again).unwrap(), record);
    }
}
