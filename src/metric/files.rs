//! Reading what evaluators share: JSON, lists of names.
//!
//! Not for the meaning of any file. JSON is read as [`crate::benchmark`] reads annotations: a field of another type is
//! an error with its path, line and column.

use std::fs;
use std::path::Path;

use serde::de::{DeserializeOwned, IgnoredAny};

use super::MetricError;
use crate::benchmark::json;

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, MetricError> {
    Ok(json::read(path)?)
}

/// The keys of the object that a JSON file holds; none where it holds something else.
pub(super) fn keys(path: &Path) -> Result<Vec<String>, MetricError> {
    let bytes = read(path)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let entries = serde_json::from_slice::<json::Pairs<IgnoredAny>>(text);
    Ok(entries.map(|entries| entries.0.into_iter().map(|(key, _)| key).collect()).unwrap_or_default())
}

/// The names that a text lists, one on each line; lines that are empty do not count.
pub(super) fn names(path: &Path) -> Result<Vec<String>, MetricError> {
    Ok(lines(path)?.into_iter().filter(|line| !line.is_empty()).collect())
}

/// The lines of a text, whose number means something.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, MetricError> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_start_matches('\u{feff}').lines().map(|line| line.trim().to_owned()).collect())
}

fn read(path: &Path) -> Result<Vec<u8>, MetricError> {
    fs::read(path).map_err(|cause| MetricError::Read { path: path.to_owned(), cause })
}

/// Whether a file's name ends so.
pub(super) fn is_of(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
