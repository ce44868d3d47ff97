//! Judges a finished store: is everything there that was promised, and is it sound?
//!
//! A file for each thing that is looked at: the records of a store (`records`), a unit's file (`unit`), its rows (`rows`). Not
//! for repairing anything: the next run makes units anew that are absent or changed. Invariant: it only reads, and what it
//! finds wrong is reported, not raised; an error means that it could not judge.

mod records;
mod rows;
mod unit;

use std::path::Path;

use serde::Serialize;

use crate::compat::Compat;
use crate::ids::UnitUid;
use crate::meter::Meter;
use crate::store::{Contract, LedgerEntry, STORE_FILE, StoreError, StoreReader};

pub use records::verify_records;

/// What to check and what to accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Compare lengths and checksums only; do not look at rows.
    pub checksums_only: bool,
    /// Rows of nothing but zeros belong to the reproduced behaviour and are not worth a warning.
    pub zero_rows_expected: bool,
    /// Rows outside of their unit belong to the reproduced behaviour: code that takes every file for 30 frames a second
    /// looks elsewhere in files of another rate.
    pub rows_outside_expected: bool,
}

impl VerifyOptions {
    /// What a store's own contract lets one expect: released code looks elsewhere in files of another rate than 30, and
    /// leaves rows of zeros.
    pub fn of(contract: &Contract) -> Self {
        let released = Compat::named(&contract.compat) == Some(Compat::AsReleased);
        Self { checksums_only: false, zero_rows_expected: released, rows_outside_expected: released }
    }
}

/// What is wrong with a unit, or with the store as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It was promised and is not committed.
    Uncommitted,
    /// It was committed as another part of a video than was promised.
    Unplanned,
    /// It was committed and is in no promise: lines of `planned.jsonl` are gone.
    Unpromised,
    /// Its file is gone.
    Absent,
    /// Its file is not, byte for byte, the one that was committed.
    Changed,
    /// Its file matches its checksum and still cannot be read.
    Unreadable,
    /// It was made under another contract than the store's.
    Contract,
    /// File and ledger disagree on which unit it is or on how many rows it has.
    Ledger,
    /// A row is out of order, outside of its unit, or ends before it begins.
    Times,
    /// A row that is not flagged missing holds NaN or an infinity.
    NotFinite,
    /// A row that is flagged missing holds numbers.
    MissingNotNan,
    /// The store has no `store.json`, so that nothing says what its rows are.
    NoContract,
    /// `planned.jsonl` is cut off.
    Plan,
    /// `index.parquet` is absent or damaged, or lists something else than what is committed.
    Index,
    /// The same of `features.h5`.
    Master,
}

/// Something wrong with a unit or with the store as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The unit; `None` for the store as a whole.
    pub unit_uid: Option<UnitUid>,
    /// What kind of thing.
    pub kind: ProblemKind,
    /// What was expected and what was found.
    pub what: String,
}

/// The verdict on a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Name of the feature set.
    pub feature_set: String,
    /// Units promised.
    pub planned: usize,
    /// Units committed.
    pub committed: usize,
    /// Rows of all committed units.
    pub rows: u64,
    /// Rows whose window had to be filled up.
    pub padded: u64,
    /// Rows without features.
    pub missing: u64,
    /// Rows of nothing but zeros, as far as rows were looked at.
    pub zero_rows: u64,
    /// What makes the store unsound: the store as a whole, then units by uid.
    pub problems: Vec<Problem>,
    /// What a person should know and may accept.
    pub warnings: Vec<String>,
}

impl VerifyReport {
    /// Whether everything promised is there and no problem was found.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks every unit that was promised or committed.
///
/// An error if ledgers or plan are damaged ([`StoreError::Ledger`]) or the device fails; everything else is in the
/// report.
///
/// # Errors
/// [`StoreError`] where it cannot be told whether the store is sound; what is wrong with it is in the report.
pub fn verify(store: &StoreReader, options: VerifyOptions) -> Result<VerifyReport, StoreError> {
    verify_metered(store, options, &Meter::default())
}

/// [`verify`], counting units and rows on `meter`.
///
/// # Errors
/// As [`verify`].
pub fn verify_metered(store: &StoreReader, options: VerifyOptions, meter: &Meter) -> Result<VerifyReport, StoreError> {
    let mut report = judge(store, options, |_| true, Some(meter))?;
    report.check_store(store)?;
    report.sort();
    Ok(report)
}

/// The verdict on a folder that was a store, for its ledgers or units are there, and has no `store.json`.
pub fn verify_without_contract(folder: &Path) -> VerifyReport {
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let mut report = VerifyReport { feature_set: name, ..VerifyReport::default() };
    let what = format!(
        "{} is absent, and what it said of the rows with it; the next run of the same recipe writes it anew, and makes anew \
         what was made by another",
        folder.join(STORE_FILE).display()
    );
    report.problems.push(Problem { unit_uid: None, kind: ProblemKind::NoContract, what });
    report
}

/// Checks only the units of which `chosen` is true: those of one run or shard, while others may still be at work.
///
/// # Errors
/// As [`verify`].
pub fn verify_some(
    store: &StoreReader,
    options: VerifyOptions,
    chosen: impl Fn(&UnitUid) -> bool,
) -> Result<VerifyReport, StoreError> {
    judge(store, options, chosen, None)
}

fn judge(
    store: &StoreReader,
    options: VerifyOptions,
    chosen: impl Fn(&UnitUid) -> bool,
    meter: Option<&Meter>,
) -> Result<VerifyReport, StoreError> {
    let (planned, committed) = (store.planned()?, store.committed()?);
    let entries: Vec<&LedgerEntry> = committed.iter().filter(|entry| chosen(&entry.unit_uid)).collect();
    let promised: Vec<&UnitUid> = planned.keys().filter(|uid| chosen(uid)).collect();
    let sum = |value: fn(&LedgerEntry) -> u64| entries.iter().map(|&entry| value(entry)).sum();
    let mut report = VerifyReport {
        feature_set: store.contract().feature_set.clone(),
        planned: promised.len(),
        committed: entries.len(),
        rows: sum(|entry| entry.rows),
        padded: sum(|entry| entry.padded_rows),
        missing: sum(|entry| entry.missing_rows),
        ..VerifyReport::default()
    };
    for uid in promised.into_iter().filter(|uid| committed.get(uid).is_none()) {
        report.add(uid, ProblemKind::Uncommitted, "it was promised and is not committed");
    }
    if let Some(meter) = meter {
        meter.expect(entries.len());
    }
    for entry in entries {
        let known = report.problems.len();
        report.check_plan(&planned, entry);
        report.check_unit(store, options, entry)?;
        if let Some(meter) = meter {
            report.count(meter, entry, known);
        }
    }
    report.warn_zero_rows(options);
    report.sort();
    Ok(report)
}

impl VerifyReport {
    fn add(&mut self, unit_uid: &UnitUid, kind: ProblemKind, what: impl Into<String>) {
        self.problems.push(Problem { unit_uid: Some(unit_uid.clone()), kind, what: what.into() });
    }

    fn sort(&mut self) {
        self.problems.sort_by(|a, b| (&a.unit_uid, a.kind).cmp(&(&b.unit_uid, b.kind)));
    }

    /// Counts a unit that has been judged, and says so; `known` problems were known before.
    fn count(&self, meter: &Meter, entry: &LedgerEntry, known: usize) {
        let (set, unit_uid) = (&self.feature_set, &entry.unit_uid);
        match self.problems.get(known) {
            Some(problem) => {
                log::info!("{set} {unit_uid}: {}", problem.what);
                meter.failed();
            }
            None => {
                log::info!("{set} {unit_uid}: sound, {} rows", entry.rows);
                meter.done(entry.rows);
            }
        }
    }

    fn warn_zero_rows(&mut self, options: VerifyOptions) {
        if self.zero_rows > 0 && !options.zero_rows_expected {
            self.warnings.push(format!("{} rows hold nothing but zeros", self.zero_rows));
        }
    }
}

#[cfg(test)]
mod tests;
