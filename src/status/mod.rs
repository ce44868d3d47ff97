//! How far a store is, while runs write to it and after: one view of all parts and machines.
//!
//! Not for whether what is there is true, see `verify`. Invariant: nothing is locked and, but for the clock of the claims, nothing
//! is written; what a run changes at the same moment is at worst not seen yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::claims::{self, State};
use crate::ids::UnitUid;
use crate::shard::Shard;
use crate::store::{CLAIMS, LedgerEntry, PlannedUnits, StoreError, StoreReader};

/// Commits of a part by which its speed is told, the newest ones.
const COMMITS: usize = 50;

/// How far one feature set is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreStatus {
    /// Its name.
    pub feature_set: String,
    /// Units that any run promised.
    pub planned: usize,
    /// Those that are committed.
    pub done: usize,
    /// Those that failed by the last report of a part, and are not committed.
    pub failed: Vec<FailedUnit>,
    /// Rows of what is done.
    pub rows: u64,
    /// Bytes of what is done.
    pub bytes: u64,
    /// Videos that a run is at, by its claims.
    pub in_flight: Vec<InFlight>,
    /// The parts, of all counts that were ever used.
    pub workers: Vec<Worker>,
    /// Seconds until all is done at the speed of the parts that live; `None` if none does, or none has a speed yet.
    pub remaining_sec: Option<f64>,
}

/// A unit that failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FailedUnit {
    /// The unit.
    pub unit_uid: UnitUid,
    /// Why.
    pub why: String,
}

/// A video that a run is at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InFlight {
    /// The video.
    pub video_uid: String,
    /// The machine.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// Seconds since the run last showed that it lives.
    pub silence_sec: f64,
    /// Whether the run has died, or that is so long that the video will be taken over.
    pub is_stale: bool,
}

/// What one part of the plan has done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worker {
    /// The part, `2/8`.
    pub shard: String,
    /// Who held it last: host, process, start.
    pub holder: String,
    /// Whether a claim of its run has a heartbeat.
    pub is_alive: bool,
    /// Units that it committed and that are still what counts.
    pub units: usize,
    /// Their rows.
    pub rows: u64,
    /// Rows per second over its newest commits; `None` for fewer than two.
    pub rows_per_sec: Option<f64>,
    /// Units per second over the same.
    pub units_per_sec: Option<f64>,
    /// Seconds since its last commit, by the times of files.
    pub last_commit_sec: Option<f64>,
}

/// How a run of a feature set ended, of all that its report tells.
#[derive(Debug, Default, Deserialize)]
struct Report {
    #[serde(default)]
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    feature_set: String,
    unit_uid: UnitUid,
    why: String,
}

impl StoreStatus {
    /// Of the store in the folder `path`.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let store = StoreReader::open(path)?;
        let (planned, by_part) = (store.planned()?, store.committed_by_part()?);
        let now = SystemTime::now();
        let in_flight = in_flight(path, now);
        let mut newest: BTreeMap<&UnitUid, &LedgerEntry> = BTreeMap::new();
        for entry in by_part.values().flatten() {
            let known = newest.entry(&entry.unit_uid).or_insert(entry);
            if known.revision < entry.revision {
                *known = entry;
            }
        }
        let done = planned.keys().filter(|uid| newest.contains_key(uid)).count();
        let feature_set = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let workers = by_part.iter().map(|(part, entries)| worker(&store, *part, entries, &newest, &in_flight, now));
        let workers: Vec<Worker> = workers.collect();
        let speed: f64 = workers.iter().filter(|worker| worker.is_alive).filter_map(|w| w.units_per_sec).sum();
        Ok(Self {
            failed: failed(path, &feature_set, &planned, &newest),
            feature_set,
            planned: planned.len(),
            done,
            rows: newest.values().map(|entry| entry.rows).sum(),
            bytes: newest.values().map(|entry| entry.bytes).sum(),
            in_flight,
            remaining_sec: (speed > 0.0).then(|| (planned.len() - done) as f64 / speed),
            workers,
        })
    }

    /// Whether every promised unit is there.
    pub fn is_done(&self) -> bool {
        self.done == self.planned
    }

    /// Parts that live and are slower than half of what the middle one of those does.
    pub fn stragglers(&self) -> Vec<&Worker> {
        let alive = || self.workers.iter().filter(|worker| worker.is_alive);
        let mut speeds: Vec<f64> = alive().filter_map(|worker| worker.rows_per_sec).collect();
        speeds.sort_by(f64::total_cmp);
        let Some(&middle) = speeds.get(speeds.len() / 2) else { return Vec::new() };
        alive().filter(|worker| worker.rows_per_sec.is_some_and(|speed| speed < middle / 2.0)).collect()
    }
}

/// Videos with a claim that is held.
fn in_flight(store: &Path, now: SystemTime) -> Vec<InFlight> {
    let seen = claims::list(&store.join(CLAIMS), now);
    let held = seen.into_iter().filter(|seen| seen.claim.state == State::Held);
    held.map(|seen| InFlight {
        is_stale: seen.is_stale(),
        video_uid: seen.name,
        host: seen.claim.host,
        pid: seen.claim.pid,
        silence_sec: seen.silence.as_secs_f64(),
    })
    .collect()
}

fn worker(
    store: &StoreReader,
    part: Shard,
    entries: &[LedgerEntry],
    newest: &BTreeMap<&UnitUid, &LedgerEntry>,
    in_flight: &[InFlight],
    now: SystemTime,
) -> Worker {
    let counts: Vec<&LedgerEntry> =
        entries.iter().filter(|&entry| newest.get(&entry.unit_uid) == Some(&entry)).collect();
    let recent = &counts[counts.len().saturating_sub(COMMITS)..];
    let time =
        |entry: &&LedgerEntry| fs::metadata(store.path().join(&entry.file)).and_then(|file| file.modified()).ok();
    let times: Vec<SystemTime> = recent.iter().filter_map(time).collect();
    let (first, last) = (times.iter().min().copied(), times.iter().max().copied());
    // The first commit ends an interval of which the start is not known.
    let took = first.zip(last).and_then(|(first, last)| last.duration_since(first).ok()).filter(|took| !took.is_zero());
    let rows: u64 = recent.iter().skip(1).map(|entry| entry.rows).sum();
    let holder = store.holder(part);
    let is_theirs = |video: &&InFlight| holder.contains(&format!("host {}, process {},", video.host, video.pid));
    Worker {
        shard: part.to_string(),
        is_alive: in_flight.iter().filter(is_theirs).any(|video| !video.is_stale),
        holder,
        units: counts.len(),
        rows: counts.iter().map(|entry| entry.rows).sum(),
        rows_per_sec: took.map(|took| rows as f64 / took.as_secs_f64()),
        units_per_sec: took.map(|took| (recent.len() - 1) as f64 / took.as_secs_f64()),
        last_commit_sec: last.map(|last| now.duration_since(last).unwrap_or(Duration::ZERO).as_secs_f64()),
    }
}

/// What failed by the reports beside the store.
fn failed(
    store: &Path,
    feature_set: &str,
    planned: &PlannedUnits,
    newest: &BTreeMap<&UnitUid, &LedgerEntry>,
) -> Vec<FailedUnit> {
    let Some(out) = store.parent() else { return Vec::new() };
    let is_report = |name: &str| name.starts_with("report") && name.ends_with(".json");
    let files = fs::read_dir(out).into_iter().flatten().flatten();
    let reports = files.filter(|file| is_report(&file.file_name().to_string_lossy()));
    // A report that is being replaced, or somebody else's file of that name, tells nothing.
    let read = |file: fs::DirEntry| serde_json::from_slice::<Report>(&fs::read(file.path()).ok()?).ok();
    let failures = reports.filter_map(read).flat_map(|report| report.failures);
    let open = |uid: &UnitUid| planned.contains_key(uid) && !newest.contains_key(uid);
    let ours = failures.filter(|failure| failure.feature_set == feature_set && open(&failure.unit_uid));
    let units: BTreeSet<FailedUnit> =
        ours.map(|failure| FailedUnit { unit_uid: failure.unit_uid, why: failure.why }).collect();
    units.into_iter().collect()
}

#[cfg(test)]
mod tests;
