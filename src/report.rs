//! What runs say at their end: the report of each part of a plan, and `report.json`, which merges those of all parts.
//!
//! A part writes `report-<I>-of-<N>.json`, and then [`merge`]s. Not for making a part's own report, see `pipeline`, nor for judging a
//! store, see `verify`. Invariant: `report.json` is made of the reports of parts and of what the stores hold, and of nothing that it
//! said before; whoever writes it looks afterwards whether the reports are still those, so that of parts that end at once on
//! several machines the last one writes the whole, and no lock is needed for that.

mod merged;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::durable;
use crate::ids::UnitUid;
use crate::meter::{Activity, StageShare};
use crate::shard::Shard;
use crate::store::{PlannedUnit, Store, StoreError};

use merged::{Merged, Standing};

/// The report of a run that did all of a plan, or of all parts together.
const WHOLE: &str = "report.json";

/// How often it is tried to write `report.json`: where locks lock nothing, parts that end at once may disturb each other.
const TRIES: usize = 20;

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
struct ReportedStage {
    stage: String,
    threads: u64,
    busy_sec: f64,
    busy_share: f64,
}

/// The report of one run, as far as it is read again. A report of an older version may lack some of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RunReport {
    /// What fails.
    pub failures: Vec<ReportedFailure>,
    /// The feature sets.
    pub feature_sets: Vec<String>,
    plan: String,
    units: u64,
    done_before: u64,
    committed: u64,
    taken_units: u64,
    failed_of_others: u64,
    made_elsewhere: u64,
    taken_over: u64,
    computed_twice: u64,
    remarks: Vec<String>,
    interrupted: bool,
    rows: u64,
    missing_rows: u64,
    frames_decoded: u64,
    frames_piped: u64,
    decode_multiplicity: f64,
    decode_fallbacks: u64,
    video_sec: f64,
    elapsed_sec: f64,
    stages: Vec<ReportedStage>,
    unreached: u64,
    rejected: Vec<String>,
    trouble: Vec<String>,
    exit_code: u8,
    /// What only a merged report has.
    parts: Option<serde::de::IgnoredAny>,
}

impl RunReport {
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

/// The name of the report of a run that does `shard`.
pub fn name_of(shard: Shard) -> String {
    if shard == Shard::WHOLE { WHOLE.into() } else { format!("report-{}.json", shard.stem()) }
}

/// The part whose report has the name `name`.
fn part_of(name: &str) -> Option<Shard> {
    if name == WHOLE {
        return Some(Shard::WHOLE);
    }
    Shard::from_stem(name.strip_prefix("report-")?.strip_suffix(".json")?)
}

/// The reports in the folder `out`, by part. One that is being replaced, or somebody else's file of that name, tells nothing.
pub fn read_all(out: &Path) -> BTreeMap<Shard, RunReport> {
    let names = fs::read_dir(out).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let parts = names.filter_map(|name| part_of(&name.to_string_lossy()));
    let read = |part: Shard| Some((part, parse(&fs::read(out.join(name_of(part))).ok()?)?));
    let merged = |report: &RunReport| report.parts.is_some();
    parts.filter_map(read).filter(|(_, report)| !merged(report)).collect()
}

fn parse(bytes: &[u8]) -> Option<RunReport> {
    serde_json::from_slice(bytes).ok()
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
    fn name(&self) -> &str {
        &self.store.contract().feature_set
    }
}

/// What tells the reports of one plan from those of others: a hash of its feature sets and units.
pub fn plan_id(sets: &[PlannedSet]) -> String {
    let units = |set: &PlannedSet| -> BTreeSet<String> {
        set.units.iter().map(|unit| format!("{}\t{}\n", set.name(), unit.unit_uid)).collect()
    };
    let all: BTreeSet<String> = sets.iter().flat_map(units).collect();
    digest::text(&all.into_iter().collect::<String>())
}

/// Why the reports of parts could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// What the stores hold cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes `report.json` into the folder `out`, of the reports there that are of as many parts as `part` and of the plan of `sets`.
///
/// # Errors
/// [`MergeError`]; a former `report.json` is then as it was.
pub fn merge(out: &Path, part: Shard, sets: &[PlannedSet]) -> Result<(), MergeError> {
    let (path, plan) = (out.join(WHOLE), plan_id(sets));
    let mut tries = 0;
    loop {
        let texts = texts(out, part.count());
        let of_plan = |(part, text): (&Shard, &Vec<u8>)| {
            Some((*part, parse(text).filter(|report: &RunReport| report.plan == plan)?))
        };
        let reports = texts.iter().filter_map(of_plan).collect();
        let merged = Merged::of(&reports, part.count(), &plan, &Standing::of(&reports, sets)?);
        let written = serde_json::to_string_pretty(&merged)
            .map_err(io::Error::from)
            .and_then(|text| durable::write_bytes(&path, text.as_bytes()));
        tries += 1;
        match written {
            Err(source) if tries >= TRIES || durable::is_of_device(&source) => {
                return Err(MergeError::Write { path, source });
            }
            // Whoever changed a report after this look merges after it, too; but it may have done so before this one wrote.
            Ok(()) if self::texts(out, part.count()) == texts => return Ok(()),
            _ => {}
        }
    }
}

/// The reports of all parts of `count` in the folder `out`. They are asked for by name: the folder was just written to, after which
/// network file systems ask their server for names, too.
fn texts(out: &Path, count: u32) -> BTreeMap<Shard, Vec<u8>> {
    let parts = (1..=count).filter_map(|index| Shard::new(index, count));
    parts.filter_map(|part| Some((part, fs::read(out.join(name_of(part))).ok()?))).collect()
}

#[cfg(test)]
mod tests;
