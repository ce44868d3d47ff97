//! What runs say at their end: the report of each part of a plan, and `report.json`, which merges those of all parts.
//!
//! A part writes `report-<I>-of-<N>.json`, and then [`merge`]s. Not for making a part's own report, see `pipeline`, nor for judging a
//! store, see `verify`. Invariant: `report.json` is made of the reports of parts and of what the stores hold, and of nothing that it
//! said before; whoever writes it looks afterwards whether the reports are still those, so that of parts that end at once on
//! several machines the last one writes the whole, and no lock is needed for that.

mod merged;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest;
use crate::durable;
use crate::shard::Shard;
use crate::store::StoreError;

use merged::{Merged, Standing};
pub use run::{PlannedSet, ReportedDevice, ReportedFailure, ReportedStage, RunReport};

/// The report of a run that did all of a plan, or of all parts together.
const WHOLE: &str = "report.json";

/// How often it is tried to write `report.json`: where locks lock nothing, parts that end at once may disturb each other.
const TRIES: usize = 20;

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
    let merged = |report: &RunReport| report.is_merged();
    parts.filter_map(read).filter(|(_, report)| !merged(report)).collect()
}

/// The report of the whole in the folder `out`: that of a run that did all, or the merged one of all parts. `None` where there is
/// none that can be read.
pub fn read_whole(out: &Path) -> Option<RunReport> {
    parse(&fs::read(out.join(WHOLE)).ok()?)
}

fn parse(bytes: &[u8]) -> Option<RunReport> {
    serde_json::from_slice(bytes).ok()
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
