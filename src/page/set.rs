//! A feature set that is looked at: its store, what is promised and what is committed.
//!
//! Invariant: its ledgers are read once, so that a page is of one moment.

use std::path::Path;

use crate::store::{Committed, LedgerEntry, PlannedUnits, StoreError, StoreReader};

/// An open store.
pub(super) struct Set {
    pub name: String,
    pub reader: StoreReader,
    pub committed: Committed,
    pub planned: PlannedUnits,
}

impl Set {
    /// The store in the folder `path`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let reader = StoreReader::open(path)?;
        // What is promised is read first: a unit that is committed meanwhile was promised.
        let (planned, committed) = (reader.planned()?, reader.committed()?);
        Ok(Self { name: reader.contract().feature_set.clone(), planned, committed, reader })
    }

    /// Its committed units in the order of videos, and in each of time, longer ones first.
    pub fn entries(&self) -> Vec<&LedgerEntry> {
        let mut entries: Vec<&LedgerEntry> = self.committed.iter().collect();
        let span = |entry: &LedgerEntry| entry.span.map_or((0.0, f64::INFINITY), |span| (span.start_sec, span.end_sec));
        entries.sort_by(|a, b| {
            let ((from_a, to_a), (from_b, to_b)) = (span(a), span(b));
            a.video_uid.cmp(&b.video_uid).then(from_a.total_cmp(&from_b)).then(to_b.total_cmp(&to_a))
        });
        entries
    }
}
