//! What is read of the report of a run, and what a run of a part knows of the whole plan.
//!
//! Not for files. Invariant: a report of an older version is read as far as it goes.

use serde::{Deserialize, Serialize};

use crate::ids::UnitUid;
use crate::meter::{Activity, StageShare};
use crate::store::{PlannedUnit, Store};

/// A unit that failed, as a report names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportedFailure {
    /// The feature set.
    pub feature_set: String,
    /// The unit.
    pub unit_uid: UnitUid,
    /// Its video.
    #[serde(default)]
    pub video_uid: String,
    /// Why.
    pub why: String,
}

/// What a stage did, as a report tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportedStage {
    /// Its name.
    pub stage: String,
    /// Threads that did it.
    pub threads: u64,
    /// Seconds that they worked, together.
    pub busy_sec: f64,
    /// The share of the run's time that each of them worked.
    pub busy_share: f64,
}

/// What models ran on, as a report tells it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReportedDevice {
    /// The devices.
    pub taken: String,
    /// Whether nobody had asked for them by name.
    pub auto: bool,
    /// Faster ones that were not taken, and why.
    pub passed_over: Vec<String>,
    /// What would be faster.
    pub faster: Vec<String>,
}

/// The report of one run, as far as it is read again. A report of an older version may lack some of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// What fails.
    pub failures: Vec<ReportedFailure>,
    /// The feature sets.
    pub feature_sets: Vec<String>,
    pub(super) plan: String,
    pub(super) units: u64,
    pub(super) done_before: u64,
    pub(super) committed: u64,
    pub(super) taken_units: u64,
    pub(super) failed_of_others: u64,
    pub(super) made_elsewhere: u64,
    pub(super) taken_over: u64,
    pub(super) computed_twice: u64,
    /// What was found of videos although they could be read.
    pub remarks: Vec<String>,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Rows that were computed.
    pub rows: u64,
    pub(super) missing_rows: u64,
    /// Frames that were decoded.
    pub frames_decoded: u64,
    pub(super) frames_dropped: u64,
    pub(super) frames_piped: u64,
    pub(super) decode_multiplicity: f64,
    pub(super) decode_fallbacks: u64,
    /// Seconds of video whose frames were decoded.
    pub video_sec: f64,
    /// How long it took, in seconds.
    pub elapsed_sec: f64,
    /// What each stage did.
    pub stages: Vec<ReportedStage>,
    pub(super) unreached: u64,
    pub(super) rejected: Vec<String>,
    pub(super) trouble: Vec<String>,
    /// What models ran on.
    pub device: ReportedDevice,
    /// The exit code of the command.
    pub exit_code: u8,
    /// What only a merged report has.
    pub(super) parts: Option<serde::de::IgnoredAny>,
}

impl RunReport {
    /// Whether it merges those of parts.
    pub fn is_merged(&self) -> bool {
        self.parts.is_some()
    }

    /// How the run was, over all of its time.
    pub fn activity(&self) -> Activity {
        let share = |stage: &ReportedStage| StageShare { stage: stage.stage.clone(), busy_share: stage.busy_share };
        Activity {
            elapsed_sec: self.elapsed_sec,
            committed: self.committed,
            rows: self.rows,
            rows_per_sec: if self.elapsed_sec > 0.0 { self.rows as f64 / self.elapsed_sec } else { 0.0 },
            stages: self.stages.iter().map(share).collect(),
            taken_units: self.taken_units,
            taken_over: self.taken_over,
            computed_twice: self.computed_twice,
        }
    }
}

/// One feature set of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlannedSet<'a> {
    /// Where its units go.
    pub store: &'a Store,
    /// All of them, those of every part.
    pub units: &'a [PlannedUnit],
}

impl PlannedSet<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.store.contract().feature_set
    }
}
