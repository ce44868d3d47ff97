//! Summaries by video and query: the official folder, a folder like it, or JSON.
//!
//! Not for tags. A query is the pair of concepts that names its file; nothing is renamed.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use walkdir::WalkDir;

use super::{MetricError, summary_of};
use crate::benchmark::json::Pairs;
use crate::metric::files;

/// A summary of a video.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Content {
    /// Shots from 1.
    Shots(Vec<usize>),
    /// A score for each shot.
    Scores { scores: Vec<f64> },
}

/// A summary and its name for messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    name: String,
    content: Content,
}

impl Summary {
    /// Its shots, from 0, of a video of so many shots.
    ///
    /// # Errors
    ///
    /// Shots outside of the video, or none; another number of scores than of shots.
    pub fn shots(&self, num_shots: usize, path: &Path) -> Result<Vec<usize>, MetricError> {
        let name = &self.name;
        let error = |expected: String, found: String| Err(MetricError::unexpected(path, expected, found));
        match &self.content {
            Content::Shots(shots) if shots.is_empty() => error("at least one shot".into(), format!("none in {name}")),
            Content::Shots(shots) => match shots.iter().find(|&&shot| shot == 0 || shot > num_shots) {
                Some(shot) => error(format!("shots from 1 to {num_shots}"), format!("{shot} in {name}")),
                None => Ok(shots.iter().map(|shot| shot - 1).collect()),
            },
            Content::Scores { scores } if scores.len() != num_shots => {
                error(format!("{num_shots} scores"), format!("{} in {name}", scores.len()))
            }
            Content::Scores { scores } => Ok(summary_of(scores)),
        }
    }
}

/// Summaries of several videos.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summaries {
    /// By video, then by query.
    pub videos: Vec<(String, Vec<(String, Summary)>)>,
}

impl Summaries {
    /// Reads a folder or a JSON file.
    ///
    /// # Errors
    /// [`MetricError`] for files that cannot be read, or that hold something else.
    pub fn read(path: &Path) -> Result<Self, MetricError> {
        let summaries = if path.is_dir() { Self::from_folder(path)? } else { Self::from_json(path)? };
        if summaries.names().next().is_none() {
            return Err(MetricError::unexpected(path, "summaries named VIDEO/CONCEPT_CONCEPT", "none"));
        }
        Ok(summaries)
    }

    fn from_json(path: &Path) -> Result<Self, MetricError> {
        let file: Pairs<Pairs<Content>> = files::read_json(path)?;
        let mut summaries = Self::default();
        for (video, queries) in file.0 {
            for (query, content) in queries.0 {
                summaries.add(&video, &query, content);
            }
        }
        Ok(summaries)
    }

    /// Text files in folders that are named by their video.
    fn from_folder(root: &Path) -> Result<Self, MetricError> {
        let mut summaries = Self::default();
        for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(root).to_owned();
                MetricError::Read { path, cause: error.into() }
            })?;
            let path = entry.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let query = stem.strip_suffix("_oracle").unwrap_or(&stem);
            if entry.file_type().is_file() && files::is_of(path, "txt") && query.split('_').count() == 2 {
                let video = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
                summaries.add(&video, query, Content::Shots(shots(path)?));
            }
        }
        Ok(summaries)
    }

    fn add(&mut self, video: &str, query: &str, content: Content) {
        let place = self.videos.iter().position(|(name, _)| name == video).unwrap_or(self.videos.len());
        if place == self.videos.len() {
            self.videos.push((video.to_owned(), Vec::new()));
        }
        let summary = Summary { name: format!("{video}/{query}"), content };
        self.videos[place].1.push((query.to_owned(), summary));
    }

    /// The summary of that video and query.
    pub fn find(&self, video: &str, query: &str) -> Option<&Summary> {
        let (_, queries) = self.videos.iter().find(|(name, _)| name == video)?;
        queries.iter().find(|(name, _)| name == query).map(|(_, summary)| summary)
    }

    /// All videos and queries.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.videos
            .iter()
            .flat_map(|(video, queries)| queries.iter().map(|(query, _)| (video.as_str(), query.as_str())))
    }
}

/// One shot on each line; a line that is none would silently shorten the summary, so it is an error.
fn shots(path: &Path) -> Result<Vec<usize>, MetricError> {
    let bytes = fs::read(path).map_err(|cause| MetricError::Read { path: path.to_owned(), cause })?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let shot = |line: &str| {
        let number = line.parse().ok().filter(|shot| *shot > 0);
        number.ok_or_else(|| MetricError::unexpected(path, "a number from 1 on each line", format!("{line:?}")))
    };
    lines.map(shot).collect()
}
