//! Checks of a store's records: the promise against the ledgers, the ledgers against one another, index and master file
//! against the ledgers.
//!
//! Not for what units hold. Invariant: a record that is gone, cut off or another store's is a problem, not a shorter list.

use std::collections::BTreeSet;

use super::unit::{contract_problem, header_problem, kind_of};
use super::{Problem, ProblemKind, VerifyReport};
use crate::ids::UnitUid;
use crate::store::{Committed, INDEX_FILE, LedgerEntry, MASTER_FILE, PlannedUnits, StoreError, StoreReader};

/// What can be told without reading units' files anew: records are whole and agree, files are there and as long as they
/// must be. Of units of which `hashed` is true, whose bytes the caller has compared, headers are looked at too. For a run
/// that ends, while others may be at work: units that are promised and not committed are no problem here.
///
/// # Errors
/// As [`verify`](super::verify).
pub fn verify_records(store: &StoreReader, hashed: impl Fn(&UnitUid) -> bool) -> Result<Vec<Problem>, StoreError> {
    let mut report = VerifyReport::default();
    let (planned, committed) = (store.planned()?, store.committed()?);
    report.check_lists(store)?;
    for entry in committed.iter() {
        report.check_plan(&planned, entry);
        match store.look_at(entry)? {
            Some(stale) => report.add(&entry.unit_uid, kind_of(&stale), stale.to_string()),
            None if hashed(&entry.unit_uid) => report.check_header(store, entry)?,
            None => {}
        }
    }
    report.sort();
    Ok(report.problems)
}

impl VerifyReport {
    /// The store as a whole.
    pub(super) fn check_store(&mut self, store: &StoreReader) -> Result<(), StoreError> {
        let committed = store.committed()?;
        self.check_lists(store)?;
        if !committed.is_empty() {
            self.check_table(ProblemKind::Index, INDEX_FILE, store.index_fault(&committed)?);
            self.check_table(ProblemKind::Master, MASTER_FILE, store.master_fault(&committed)?);
        }
        let folder = store.path().canonicalize().unwrap_or_else(|_| store.path().to_owned());
        if folder.file_name().is_some_and(|name| name.to_string_lossy() != self.feature_set) {
            self.warnings.push(format!("its folder has another name, {}", folder.display()));
        }
        self.warn_strays(store, &committed)
    }

    pub(super) fn check_plan(&mut self, planned: &PlannedUnits, entry: &LedgerEntry) {
        let Some(promised) = planned.get(&entry.unit_uid) else {
            let what =
                "it is committed and planned.jsonl does not promise it; a run of a manifest that lists it does anew";
            return self.add(&entry.unit_uid, ProblemKind::Unpromised, what);
        };
        if (&promised.video_uid, promised.span) != (&entry.video_uid, entry.span) {
            let what = format!("it was promised as {}, committed as another part or video", promised.describe());
            self.add(&entry.unit_uid, ProblemKind::Unplanned, what);
        }
    }

    /// Plan and ledgers as files.
    fn check_lists(&mut self, store: &StoreReader) -> Result<(), StoreError> {
        if store.plan_is_cut()? {
            let what = "planned.jsonl is cut off within a line; what stood behind is promised no more".to_owned();
            self.problems.push(Problem { unit_uid: None, kind: ProblemKind::Plan, what });
        }
        for (unit_uid, revision) in store.contradictions()? {
            let what = format!("two lines of its ledgers say different things of its revision {revision}");
            self.add(&unit_uid, ProblemKind::Ledger, what);
        }
        Ok(())
    }

    fn check_table(&mut self, kind: ProblemKind, name: &str, fault: Option<String>) {
        let what = fault.map(|fault| format!("{name} {fault}; the next run that finishes writes it anew"));
        self.problems.extend(what.map(|what| Problem { unit_uid: None, kind, what }));
    }

    fn check_header(&mut self, store: &StoreReader, entry: &LedgerEntry) -> Result<(), StoreError> {
        let (contract, header) = match store.read_hashed_header(entry) {
            Err(error @ StoreError::Corrupt { .. }) => {
                self.add(&entry.unit_uid, ProblemKind::Unreadable, error.to_string());
                return Ok(());
            }
            found => found?,
        };
        let problems = [
            (ProblemKind::Contract, contract_problem(store.contract(), &contract)),
            (ProblemKind::Ledger, header_problem(entry, &header)),
        ];
        for (kind, what) in problems {
            what.into_iter().for_each(|what| self.add(&entry.unit_uid, kind, what));
        }
        Ok(())
    }

    fn warn_strays(&mut self, store: &StoreReader, committed: &Committed) -> Result<(), StoreError> {
        let known: BTreeSet<&str> = committed.iter().map(|entry| entry.file.as_str()).collect();
        let orphans = store.unit_files()?.into_iter().filter(|file| !known.contains(file.as_str()));
        self.warnings.extend(orphans.map(|file| format!("{file} is in no ledger; no reader counts it")));
        let leftovers = store.temporary_files()?.into_iter();
        self.warnings.extend(leftovers.map(|file| format!("{file} belongs to a run that is live or was killed")));
        Ok(())
    }
}
