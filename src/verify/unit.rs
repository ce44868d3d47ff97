//! Checks of one unit: is its file the one that was committed, and does it hold what ledger and contract say?
//!
//! Not for the rows themselves, see `rows`. Invariant: nothing parses a file whose bytes are not those that were committed.

use super::rows::{order_problem, times_problem, value_problem};
use super::{ProblemKind, VerifyOptions, VerifyReport};
use crate::store::{Contract, LedgerEntry, RowMeta, Stale, StoreError, StoreReader, Unit, UnitHeader};

impl VerifyReport {
    pub(super) fn check_unit(
        &mut self,
        store: &StoreReader,
        options: VerifyOptions,
        entry: &LedgerEntry,
    ) -> Result<(), StoreError> {
        if let Some(stale) = store.check_committed(entry)? {
            self.add(&entry.unit_uid, kind_of(&stale), stale.to_string());
            return Ok(());
        }
        if options.checksums_only {
            return Ok(());
        }
        match store.read_file(entry) {
            Ok(unit) => self.check_content(store, options, entry, &unit),
            Err(error @ StoreError::Corrupt { .. }) => {
                self.add(&entry.unit_uid, ProblemKind::Unreadable, error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_content(&mut self, store: &StoreReader, options: VerifyOptions, entry: &LedgerEntry, unit: &Unit) {
        let checks = [
            (
                ProblemKind::Contract,
                contract_problem(store.contract(), &unit.contract).or_else(|| dim_problem(store.contract(), unit)),
            ),
            (ProblemKind::Ledger, header_problem(entry, &unit.header).or_else(|| counts_problem(entry, unit))),
            (ProblemKind::Times, times_problem(options, unit).or_else(|| order_problem(unit))),
            (ProblemKind::NotFinite, value_problem(unit, false, |value| value.is_finite())),
            (ProblemKind::MissingNotNan, value_problem(unit, true, f32::is_nan)),
        ];
        for (kind, problem) in checks {
            if let Some(what) = problem {
                self.add(&entry.unit_uid, kind, what);
            }
        }
        self.zero_rows += unit.features.outer_iter().filter(|row| row.iter().all(|&value| value == 0.0)).count() as u64;
    }
}

pub(super) fn kind_of(stale: &Stale) -> ProblemKind {
    match stale {
        Stale::Fingerprint { .. } => ProblemKind::Contract,
        Stale::Absent { .. } => ProblemKind::Absent,
        Stale::Length { .. } | Stale::Checksum { .. } => ProblemKind::Changed,
    }
}

pub(super) fn contract_problem(expected: &Contract, found: &Contract) -> Option<String> {
    if found == expected {
        return None;
    }
    let stored = serde_json::to_value(found).expect("a derived Serialize of plain data");
    let difference = expected.first_difference(&stored)?;
    Some(format!("its file has {} = {}, expected {}", difference.field, difference.stored, difference.wanted))
}

fn dim_problem(expected: &Contract, unit: &Unit) -> Option<String> {
    let (dim, columns) = (expected.dim, unit.features.ncols());
    (columns != dim).then(|| format!("its rows have {columns} features, expected {dim}"))
}

pub(super) fn header_problem(entry: &LedgerEntry, header: &UnitHeader) -> Option<String> {
    if (&header.unit_uid, &header.video_uid) != (&entry.unit_uid, &entry.video_uid) {
        let (clip, video) = (&header.unit_uid, &header.video_uid);
        return Some(format!("its file holds unit {clip} of video {video}, expected video {}", entry.video_uid));
    }
    if header.span != entry.span {
        return Some(format!("its file covers {:?}, the ledger says {:?}", header.span, entry.span));
    }
    let (found, expected) = (header.rows, entry.rows);
    (found != expected).then(|| format!("its file has {found} rows by its header, the ledger says {expected}"))
}

fn counts_problem(entry: &LedgerEntry, unit: &Unit) -> Option<String> {
    let count = |flag: fn(&RowMeta) -> bool| unit.meta.iter().filter(|row| flag(row)).count() as u64;
    let counts = [
        ("rows", unit.meta.len() as u64, entry.rows),
        ("padded rows", count(|row| row.padded), entry.padded_rows),
        ("missing rows", count(|row| row.missing), entry.missing_rows),
    ];
    let (what, found, expected) = counts.into_iter().find(|(_, found, expected)| found != expected)?;
    Some(format!("its file has {found} {what}, the ledger says {expected}"))
}
