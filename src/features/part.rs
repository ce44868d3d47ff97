//! One store of those that a [`Source`](super::Source) reads, and its units as they are stored.
//!
//! Not for what is done to rows. Invariant: it has at least one unit.

use std::path::Path;

use super::error::FeatureError;
use super::unit::Features;
use crate::ids::UnitUid;
use crate::store::{Committed, Contract, LedgerEntry, RowKind, StoreReader, feature_sets};

/// An open store, its ledgers read once.
pub(super) struct Part {
    pub(super) reader: StoreReader,
    pub(super) committed: Committed,
}

impl Part {
    /// Opens the store at `path`, or the only one in the folder `path`.
    pub(super) fn open(path: &Path) -> Result<Self, FeatureError> {
        let sets = feature_sets(path)?;
        let [set] = sets.as_slice() else {
            let names = sets.iter().map(|set| set.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let found = names.collect::<Vec<_>>().join(", ");
            return Err(FeatureError::NotOneStore { path: path.to_owned(), found });
        };
        let reader = StoreReader::open(set)?;
        let committed = reader.committed()?;
        if committed.is_empty() {
            return Err(FeatureError::NoUnits { path: set.clone() });
        }
        Ok(Self { reader, committed })
    }

    pub(super) fn path(&self) -> &Path {
        self.reader.path()
    }

    pub(super) fn contract(&self) -> &Contract {
        self.reader.contract()
    }

    /// Whether its rows are windows, which follow one another in time.
    pub(super) fn is_of_windows(&self) -> bool {
        matches!(self.contract().row_kind, RowKind::Window | RowKind::FusedWindow)
    }

    /// The unit that belongs beside `entry` of another store: that of its name or, where rows are set beside one another
    /// `by_time`, that of its clip or of its whole video.
    pub(super) fn beside(&self, entry: &LedgerEntry, by_time: bool) -> Option<&LedgerEntry> {
        let of_clip = || self.committed.get(&UnitUid::from(entry.clip_uid.as_ref()?));
        let whole = || self.committed.get(&UnitUid::from(&entry.video_uid)).filter(|found| found.span.is_none());
        let wider = || of_clip().or_else(whole).filter(|_| by_time);
        self.committed.get(&entry.unit_uid).or_else(wider)
    }

    /// Reads a unit of this store as it is.
    pub(super) fn read(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        let unit = self.reader.read_entry(entry)?;
        Ok(Features {
            unit: entry.unit_uid.clone(),
            clip_uid: unit.header.clip_uid,
            query_id: unit.header.query_id,
            video_uid: unit.header.video_uid,
            span: unit.header.span,
            source_fps: unit.header.source_fps,
            meta: unit.meta,
            values: unit.features,
        })
    }
}
