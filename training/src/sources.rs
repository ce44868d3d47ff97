//! What a run reads: stores of features, files of annotations, and how much of the features may stay in memory.
//!
//! Not for what a task makes of them, nor for opening stores of features, which `egofx::heads` does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use egofx::decode::{Tools, ToolsError};
pub use egofx::features::Joined;
pub use egofx::heads::{Expected, Files, Split};

use crate::error::TrainError;

/// Paths and choices that are not part of the experiment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The store of the videos' features.
    pub features: Option<PathBuf>,
    /// Stores that are joined to it.
    pub joined: Joined,
    /// The store of the queries' tokens.
    pub tokens: Option<PathBuf>,
    /// The store by whose rows videos are cut into segments.
    pub shots: Option<PathBuf>,
    /// Folders of videos.
    pub videos: Vec<PathBuf>,
    /// Folders of clips that were decoded beforehand.
    pub clip_caches: Vec<PathBuf>,
    /// The tokenizer of the text tower.
    pub tokenizer: Option<PathBuf>,
    /// Where to look for it if it is not named: the folders of Hugging Face's tools.
    pub caches: Vec<PathBuf>,
    /// What decodes them.
    pub ffmpeg: Ffmpeg,
    /// The folder in which it is kept what videos hold, so that nobody probes them again; `None` for nowhere.
    pub probes: Option<PathBuf>,
    /// Annotations by the split that they are.
    pub annotations: Vec<(Split, PathBuf)>,
    /// Names and numbers of the classes.
    pub classes: Option<PathBuf>,
    /// The concepts of each shot.
    pub tags: Option<PathBuf>,
    /// Leave out clips and queries without features.
    pub allow_missing: bool,
    /// Bytes of features that stay in memory.
    pub memory_bytes: u64,
}

/// ffmpeg and ffprobe, which are looked for when somebody first wants them, and once for all clones.
#[derive(Debug, Clone, Default)]
pub struct Ffmpeg {
    bases: Vec<PathBuf>,
    patience: Option<Duration>,
    found: Arc<OnceLock<Tools>>,
}

impl Ffmpeg {
    /// Those in one of `bases`, folders that may hold `.runtime/`, else those on the `PATH`; they may give no sign of life for as long
    /// as `patience` says, `None` for the usual time.
    pub fn in_one_of(bases: Vec<PathBuf>, patience: Option<Duration>) -> Self {
        Self { bases, patience, found: Arc::default() }
    }

    /// The programs, which were started.
    ///
    /// # Errors
    /// One of them is not there, or does not run.
    pub fn tools(&self) -> Result<&Tools, ToolsError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let tools = Tools::find(None, None, &self.bases)?;
        let patience = self.patience.unwrap_or(tools.patience);
        Ok(self.found.get_or_init(|| Tools { patience, ..tools }))
    }
}

/// Options that name what a run reads. Each task reads some of them.
pub const OPTIONS: &[&str] = &[
    "features",
    "join-rows",
    "join-units",
    "videos",
    "clip-cache",
    "tokenizer",
    "tokens",
    "shots",
    "classes",
    "tags",
    "allow-missing",
    "memory",
    "train",
    "val",
    "annotations",
];

/// Samples to learn from and samples to validate on, which are counted apart where a task reads them from files of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold<S = usize> {
    /// Its name; empty where there is only one.
    pub name: String,
    /// Numbers of the samples to learn from.
    pub train: Vec<usize>,
    /// The samples to validate on.
    pub validation: Vec<S>,
}

impl Sources {
    /// The annotations of a split, if they were given.
    pub fn split(&self, split: Split) -> Option<&Path> {
        self.annotations.iter().find(|(found, _)| *found == split).map(|(_, path)| path.as_path())
    }

    /// Whether there are videos, or clips of them.
    ///
    /// # Errors
    /// [`TrainError::Needed`].
    pub fn expect_videos(&self, about: &'static str) -> Result<(), TrainError> {
        if self.videos.is_empty() && self.clip_caches.is_empty() {
            return Err(TrainError::Needed { name: "videos", about });
        }
        Ok(())
    }

    /// Those that heads read.
    pub fn files(&self) -> Files {
        let Self { features, joined, tokens, shots, annotations, classes, tags, allow_missing, memory_bytes, .. } =
            self.clone();
        Files { features, joined, tokens, shots, annotations, classes, tags, allow_missing, memory_bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_asked_for_their_version_once() {
        let folder = tempfile::tempdir().unwrap();
        let (place, started) = (folder.path().join(".runtime/ffmpeg"), folder.path().join("started"));
        fs::create_dir_all(&place).unwrap();
        for name in ["ffmpeg", "ffprobe"] {
            let script = format!("#!/bin/sh\necho {name} >> {}\necho {name} version 7.1\n", started.display());
            fs::write(place.join(name), script).unwrap();
            fs::set_permissions(place.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let bases = vec![folder.path().to_owned()];
        let sources = Sources { ffmpeg: Ffmpeg::in_one_of(bases, Some(Duration::from_secs(7))), ..Sources::default() };
        for sources in [&sources, &sources.clone()] {
            let tools = sources.ffmpeg.tools().unwrap();
            assert_eq!((tools.version.as_str(), tools.patience), ("7.1", Duration::from_secs(7)));
        }
        let mut started: Vec<String> = fs::read_to_string(started).unwrap().lines().map(str::to_owned).collect();
        started.sort();
        assert_eq!(started, ["ffmpeg", "ffprobe"]);
    }
}
