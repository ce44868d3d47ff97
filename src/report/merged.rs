//! One report out of those of all parts.
//!
//! Not for reading or writing files. Invariant: the same reports and the same content of the stores give the same text.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::run::{PlannedSet, ReportedDevice, ReportedFailure, ReportedStage, RunReport};
use crate::ids::UnitUid;
use crate::shard::Shard;
use crate::store::{Committed, StoreError};

/// Exit codes, as those of the commands.
const FAILED: u8 = 1;
const UNFINISHED: u8 = 3;

/// How far the whole plan is, by its stores.
pub struct Standing {
    /// What failed in a part and is not mended.
    failures: BTreeSet<ReportedFailure>,
    /// Units that nobody has committed and nobody has failed at.
    unreached: u64,
    feature_sets: Vec<String>,
}

impl Standing {
    /// By the stores of `sets`, after runs of which `reports` tell.
    pub fn of(reports: &BTreeMap<Shard, RunReport>, sets: &[PlannedSet]) -> Result<Self, StoreError> {
        let reported: BTreeSet<&ReportedFailure> = reports.values().flat_map(|report| &report.failures).collect();
        let (mut failures, mut unreached) = (BTreeSet::new(), 0);
        for set in sets {
            let committed = set.store.committed()?;
            for failure in reported.iter().filter(|failure| failure.feature_set == set.name()) {
                if !is_mended(set, &committed, &failure.unit_uid)? {
                    failures.insert((*failure).clone());
                }
            }
            let failed = |uid: &UnitUid| failures.iter().any(|f| f.feature_set == set.name() && f.unit_uid == *uid);
            let open = |uid: &UnitUid| committed.get(uid).is_none() && !failed(uid);
            unreached += set.units.iter().filter(|unit| open(&unit.unit_uid)).count() as u64;
        }
        let feature_sets = sets.iter().map(|set| set.name().to_owned()).collect();
        Ok(Self { failures, unreached, feature_sets })
    }
}

/// Whether a unit at which a part failed was committed all the same, by another part or a later call. A unit that was to be made anew is
/// on record from before, and its file is not what was committed then.
fn is_mended(set: &PlannedSet, committed: &Committed, unit_uid: &UnitUid) -> Result<bool, StoreError> {
    let Some(entry) = committed.get(unit_uid) else { return Ok(false) };
    Ok(set.store.check_committed(entry)?.is_none())
}

/// The merged report: the fields of a part's report, and the parts.
#[derive(Debug, Serialize)]
pub struct Merged {
    units: u64,
    done_before: u64,
    committed: u64,
    taken_units: u64,
    failed_of_others: u64,
    made_elsewhere: u64,
    taken_over: u64,
    computed_twice: u64,
    failures: Vec<ReportedFailure>,
    remarks: BTreeSet<String>,
    interrupted: bool,
    rows: u64,
    missing_rows: u64,
    frames_decoded: u64,
    frames_dropped: u64,
    frames_piped: u64,
    decode_multiplicity: f64,
    decode_fallbacks: u64,
    video_sec: f64,
    elapsed_sec: f64,
    stages: Vec<ReportedStage>,
    unreached: u64,
    rejected: BTreeSet<String>,
    trouble: BTreeSet<String>,
    device: ReportedDevice,
    feature_sets: Vec<String>,
    plan: String,
    exit_code: u8,
    parts: Vec<PartLine>,
    missing_parts: Vec<String>,
}

/// What the merged report tells of one part.
#[derive(Debug, Serialize)]
struct PartLine {
    part: String,
    units: u64,
    done_before: u64,
    committed: u64,
    failed: usize,
    rows: u64,
    video_sec: f64,
    elapsed_sec: f64,
    interrupted: bool,
    exit_code: u8,
}

/// Of all parts, each of them once.
fn device(reports: &BTreeMap<Shard, RunReport>) -> ReportedDevice {
    let devices = || reports.values().map(|report| &report.device);
    let all = |of: fn(&ReportedDevice) -> &Vec<String>| {
        let texts: BTreeSet<&String> = devices().flat_map(of).collect();
        texts.into_iter().cloned().collect()
    };
    let taken: BTreeSet<&str> =
        devices().map(|device| device.taken.as_str()).filter(|taken| !taken.is_empty()).collect();
    ReportedDevice {
        taken: taken.into_iter().collect::<Vec<_>>().join("; "),
        auto: devices().any(|device| device.auto),
        passed_over: all(|device| &device.passed_over),
        faster: all(|device| &device.faster),
    }
}

impl Merged {
    /// Of the `reports` of a plan in `count` parts.
    pub fn of(reports: &BTreeMap<Shard, RunReport>, count: u32, plan: &str, standing: &Standing) -> Self {
        let sum = |of: fn(&RunReport) -> u64| reports.values().map(of).sum::<u64>();
        let seconds = |of: fn(&RunReport) -> f64| reports.values().map(of).sum::<f64>();
        let texts = |of: fn(&RunReport) -> &Vec<String>| reports.values().flat_map(of).cloned().collect();
        let missing =
            (1..=count).filter_map(|index| Shard::new(index, count)).filter(|part| !reports.contains_key(part));
        let merged = Self {
            units: sum(|report| report.units),
            done_before: sum(|report| report.done_before),
            committed: sum(|report| report.committed),
            taken_units: sum(|report| report.taken_units),
            failed_of_others: sum(|report| report.failed_of_others),
            made_elsewhere: sum(|report| report.made_elsewhere),
            taken_over: sum(|report| report.taken_over),
            computed_twice: sum(|report| report.computed_twice),
            failures: standing.failures.iter().cloned().collect(),
            remarks: texts(|report| &report.remarks),
            interrupted: reports.values().any(|report| report.interrupted),
            rows: sum(|report| report.rows),
            missing_rows: sum(|report| report.missing_rows),
            frames_decoded: sum(|report| report.frames_decoded),
            frames_dropped: sum(|report| report.frames_dropped),
            frames_piped: sum(|report| report.frames_piped),
            decode_multiplicity: multiplicity(reports),
            decode_fallbacks: sum(|report| report.decode_fallbacks),
            video_sec: seconds(|report| report.video_sec),
            elapsed_sec: seconds(|report| report.elapsed_sec),
            stages: stages(reports),
            unreached: standing.unreached,
            rejected: texts(|report| &report.rejected),
            trouble: texts(|report| &report.trouble),
            device: device(reports),
            feature_sets: standing.feature_sets.clone(),
            plan: plan.to_owned(),
            exit_code: 0,
            parts: reports.iter().map(|(part, report)| line(*part, report)).collect(),
            missing_parts: missing.map(|part| part.to_string()).collect(),
        };
        Self { exit_code: merged.code(), ..merged }
    }

    /// That of a part that was stopped as long as its rest is open; else as that of `egofx extract`, and of `egofx status` where parts
    /// have not ended yet.
    fn code(&self) -> u8 {
        let stopped = self.parts.iter().filter(|part| part.interrupted).map(|part| part.exit_code).max();
        let failed = !(self.failures.is_empty() && self.trouble.is_empty() && self.rejected.is_empty());
        match stopped.filter(|_| self.unreached > 0) {
            Some(code) => code,
            None if failed => FAILED,
            None if self.unreached > 0 && !self.missing_parts.is_empty() => UNFINISHED,
            None if self.unreached > 0 => FAILED,
            None => 0,
        }
    }
}

fn line(part: Shard, report: &RunReport) -> PartLine {
    PartLine {
        part: part.to_string(),
        units: report.units,
        done_before: report.done_before,
        committed: report.committed,
        failed: report.failures.len(),
        rows: report.rows,
        video_sec: report.video_sec,
        elapsed_sec: report.elapsed_sec,
        interrupted: report.interrupted,
        exit_code: report.exit_code,
    }
}

/// Frames decoded, divided by those that one pass takes: each part tells the ratio.
fn multiplicity(reports: &BTreeMap<Shard, RunReport>) -> f64 {
    let decoded: f64 = reports.values().map(|report| report.frames_decoded as f64).sum();
    let needed = |report: &RunReport| report.frames_decoded as f64 / report.decode_multiplicity.max(1.0);
    let needed: f64 = reports.values().map(needed).sum();
    if needed > 0.0 { decoded / needed } else { 1.0 }
}

/// Each stage over all parts: seconds summed, and their share of the time of all threads.
fn stages(reports: &BTreeMap<Shard, RunReport>) -> Vec<ReportedStage> {
    let mut names: Vec<&str> = Vec::new();
    for stage in reports.values().flat_map(|report| &report.stages) {
        if !names.contains(&stage.stage.as_str()) {
            names.push(&stage.stage);
        }
    }
    let all = |name: &str| {
        let of_stage = reports.values().flat_map(|report| report.stages.iter().map(move |s| (s, report.elapsed_sec)));
        let of_stage: Vec<_> = of_stage.filter(|(stage, _)| stage.stage == name).collect();
        let busy_sec: f64 = of_stage.iter().map(|(stage, _)| stage.busy_sec).sum();
        let time_sec: f64 = of_stage.iter().map(|(stage, elapsed_sec)| stage.threads as f64 * elapsed_sec).sum();
        ReportedStage {
            stage: name.to_owned(),
            threads: of_stage.iter().map(|(stage, _)| stage.threads).sum(),
            busy_sec,
            busy_share: busy_sec / time_sec.max(1e-9),
        }
    };
    names.into_iter().map(all).collect()
}
