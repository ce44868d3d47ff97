//! How far a store is, while runs write to it and after: one view of all parts and machines.
//!
//! Not for whether what is there is true, see `verify`. Invariant: nothing is locked and, but for the clock of the claims, nothing
//! is written; what a run changes at the same moment is at worst not seen yet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::claims::{self, State, Told};
use crate::ids::UnitUid;
use crate::meter::Activity;
use crate::report::{self, RunReport};
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
    /// Whether its run has a heartbeat.
    pub is_alive: bool,
    /// Whether its run ended without a word: it was killed, or is not heard of any more.
    pub has_died: bool,
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
    /// How its run is, for all feature sets of it: what it tells while it lives, and after its end what its report says. Nothing of a
    /// run that has died.
    pub activity: Option<Activity>,
}

/// What runs say of themselves, those that live and those that have ended.
struct Runs {
    told: Vec<Told<Activity>>,
    reports: BTreeMap<Shard, RunReport>,
}

impl Runs {
    fn of(store: &Path, now: SystemTime) -> Self {
        let reports = store.parent().map(report::read_all).unwrap_or_default();
        Self { told: claims::told(&store.join(CLAIMS), now), reports }
    }

    fn told(&self, part: Shard) -> Option<&Told<Activity>> {
        self.told.iter().find(|told| told.name == part.stem())
    }

    /// What the run of `part` tells, or told at its end if it was one of the feature set `feature_set`.
    fn activity(&self, part: Shard, feature_set: &str) -> Option<Activity> {
        if let Some(told) = self.told(part) {
            return (!told.is_stale()).then(|| told.told.clone());
        }
        let report = self.reports.get(&part)?;
        report.feature_sets.iter().any(|set| set == feature_set).then(|| report.activity())
    }
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
        let runs = Runs::of(path, now);
        let worker = |(part, entries): (&Shard, &Vec<LedgerEntry>)| {
            let committed = Commits::of(&store, entries, &newest, now);
            worker(&store, *part, committed, &runs, &in_flight)
        };
        let workers: Vec<Worker> = by_part.iter().map(worker).collect();
        let speed: f64 = workers.iter().filter(|worker| worker.is_alive).filter_map(|w| w.units_per_sec).sum();
        Ok(Self {
            failed: failed(&feature_set, &runs.reports, &planned, &newest),
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

/// What a part has committed, by its ledger and the times of files.
struct Commits {
    units: usize,
    rows: u64,
    rows_per_sec: Option<f64>,
    units_per_sec: Option<f64>,
    last_sec: Option<f64>,
}

impl Commits {
    fn of(
        store: &StoreReader,
        entries: &[LedgerEntry],
        newest: &BTreeMap<&UnitUid, &LedgerEntry>,
        now: SystemTime,
    ) -> Self {
        let counts: Vec<&LedgerEntry> =
            entries.iter().filter(|&entry| newest.get(&entry.unit_uid) == Some(&entry)).collect();
        let recent = &counts[counts.len().saturating_sub(COMMITS)..];
        let time =
            |entry: &&LedgerEntry| fs::metadata(store.path().join(&entry.file)).and_then(|file| file.modified()).ok();
        let times: Vec<SystemTime> = recent.iter().filter_map(time).collect();
        let (first, last) = (times.iter().min().copied(), times.iter().max().copied());
        // The first commit ends an interval of which the start is not known.
        let took =
            first.zip(last).and_then(|(first, last)| last.duration_since(first).ok()).filter(|took| !took.is_zero());
        let rows: u64 = recent.iter().skip(1).map(|entry| entry.rows).sum();
        Self {
            units: counts.len(),
            rows: counts.iter().map(|entry| entry.rows).sum(),
            rows_per_sec: took.map(|took| rows as f64 / took.as_secs_f64()),
            units_per_sec: took.map(|took| (recent.len() - 1) as f64 / took.as_secs_f64()),
            last_sec: last.map(|last| now.duration_since(last).unwrap_or(Duration::ZERO).as_secs_f64()),
        }
    }
}

fn worker(store: &StoreReader, part: Shard, commits: Commits, runs: &Runs, in_flight: &[InFlight]) -> Worker {
    let holder = store.holder(part);
    let is_theirs = |video: &&InFlight| holder.contains(&format!("host {}, process {},", video.host, video.pid));
    let has_claim = in_flight.iter().filter(is_theirs).any(|video| !video.is_stale);
    let told = runs.told(part);
    Worker {
        shard: part.to_string(),
        is_alive: has_claim || told.is_some_and(|told| !told.is_stale()),
        has_died: !has_claim && told.is_some_and(Told::is_stale),
        activity: runs.activity(part, &store.contract().feature_set),
        holder,
        units: commits.units,
        rows: commits.rows,
        rows_per_sec: commits.rows_per_sec,
        units_per_sec: commits.units_per_sec,
        last_commit_sec: commits.last_sec,
    }
}

/// What failed by the reports beside the store, those of this feature set.
fn failed(
    feature_set: &str,
    reports: &BTreeMap<Shard, RunReport>,
    planned: &PlannedUnits,
    newest: &BTreeMap<&UnitUid, &LedgerEntry>,
) -> Vec<FailedUnit> {
    let open = |uid: &UnitUid| planned.contains_key(uid) && !newest.contains_key(uid);
    let failures = reports.values().flat_map(|report| &report.failures);
    let ours = failures.filter(|failure| failure.feature_set == feature_set && open(&failure.unit_uid));
    let units: BTreeSet<FailedUnit> =
        ours.map(|failure| FailedUnit { unit_uid: failure.unit_uid.clone(), why: failure.why.clone() }).collect();
    units.into_iter().collect()
}

#[cfg(test)]
mod tests;
