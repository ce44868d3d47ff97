//! The promise of a store: which units it is meant to hold.
//!
//! Not for what it holds already, see `ledger`. Invariant: a unit once promised stays promised, as the same part of the
//! same video, so that `verify` can tell a finished store from one whose last run was cut short.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::{disk, ledger};
use crate::ids::{UnitUid, VideoUid};
use crate::time::TimeSpan;

/// One promised unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedUnit {
    /// The unit.
    pub unit_uid: UnitUid,
    /// Its video.
    pub video_uid: VideoUid,
    /// The part of the video that it covers; `None` for all of it.
    #[serde(flatten)]
    pub span: Option<TimeSpan>,
    /// Hash of what its rows are, clips or sentences, where video and span do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
}

impl PlannedUnit {
    /// Video, span and what the rows are, for messages.
    pub fn describe(&self) -> String {
        let part = match self.span {
            Some(TimeSpan { start_sec, end_sec }) => {
                format!("video {} from {start_sec} to {end_sec} s", self.video_uid)
            }
            None => format!("all of video {}", self.video_uid),
        };
        match &self.content_sha256 {
            Some(sha256) => format!("{part} with the clips and sentences of hash {}", &sha256[..sha256.len().min(12)]),
            None => part,
        }
    }
}

/// All promised units, by uid.
pub type PlannedUnits = BTreeMap<UnitUid, PlannedUnit>;

/// Reads `planned.jsonl`; empty if it is not there.
///
/// # Errors
/// [`StoreError::Ledger`], [`StoreError::Io`].
pub fn read(path: &Path) -> Result<PlannedUnits, StoreError> {
    let units = ledger::read_lines::<PlannedUnit>(path)?;
    Ok(units.into_iter().map(|unit| (unit.unit_uid.clone(), unit)).collect())
}

/// Adds `units` to the file at `path`, by way of `temporary`; the caller holds the index lock.
///
/// # Errors
/// [`StoreError::DifferentPlan`] if one of them is on record as something else; then nothing is added.
pub fn add(path: &Path, temporary: &Path, units: &[PlannedUnit]) -> Result<(), StoreError> {
    let mut plan = read(path)?;
    let before = plan.len();
    for unit in units {
        let known = plan.entry(unit.unit_uid.clone()).or_insert_with(|| unit.clone());
        if known != unit {
            let (unit_uid, planned, wanted) = (unit.unit_uid.clone(), known.describe(), unit.describe());
            return Err(StoreError::DifferentPlan { unit_uid, planned, wanted });
        }
    }
    if plan.len() == before && path.exists() {
        return Ok(());
    }
    let lines = plan.values().map(|unit| ledger::line_of(path, unit)).collect::<Result<String, _>>()?;
    disk::write_atomically(path, temporary, lines.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn promises_are_united_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("planned.jsonl"), folder.path().join("t"));
        assert!(read(&path).unwrap().is_empty());
        add(&path, &temporary, &[samples::planned("b"), samples::planned("a")]).unwrap();
        add(&path, &temporary, &[samples::planned("a"), samples::planned("c")]).unwrap();
        let plan = read(&path).unwrap();
        assert_eq!(plan.keys().map(UnitUid::as_str).collect::<String>(), "abc");
        assert_eq!(plan.values().next(), Some(&samples::planned("a")));
    }

    #[test]
    fn another_span_or_video_for_a_promised_unit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("planned.jsonl"), folder.path().join("t"));
        add(&path, &temporary, &[samples::planned("a")]).unwrap();
        let other = PlannedUnit { span: TimeSpan::new(1.0, 2.5), ..samples::planned("a") };
        let error = add(&path, &temporary, &[samples::planned("b"), other]).unwrap_err();
        let StoreError::DifferentPlan { unit_uid, planned, wanted } = error else { panic!("{error}") };
        assert_eq!(unit_uid.as_str(), "a");
        assert_eq!((planned.as_str(), wanted.as_str()), ("all of video v", "video v from 1 to 2.5 s"));
        assert_eq!(read(&path).unwrap().len(), 1, "nothing of the refused promise is kept");
    }
}
