//! A feature store as its readers see it: units one after the other, with the rows that a [`RowRule`] makes of them.
//! Invariant: one
//! unit is in memory at a time, and its features have the width that the contract says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use super::error::FeatureError;
use super::rows::{self, RowRule};
use super::unit::Features;
use crate::ids::UnitUid;
use crate::meter::Meter;
use crate::store::{Committed, Contract, LedgerEntry, RowKind, StoreReader, feature_sets};

/// An open store, its ledgers read once.
pub struct Source {
    reader: StoreReader,
    committed: Committed,
    rule: RowRule,
    meter: Meter,
    /// Units by their queries, where the names of units do not tell.
    queries: OnceLock<HashMap<String, UnitUid>>,
}

impl Source {
    /// Opens the store at `path`, or the only one in the folder `path`; rows are treated by `rule`.
    ///
    /// # Errors
    /// [`FeatureError::NotOneStore`], [`FeatureError::NoUnits`], [`FeatureError::NoGrid`], [`FeatureError::Store`].
    pub fn open(path: &Path, rule: RowRule) -> Result<Self, FeatureError> {
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
        let meter = Meter::default();
        meter.expect(committed.len());
        let source = Self { reader, committed, rule, meter, queries: OnceLock::new() };
        if source.rule.resample.is_some() && !matches!(source.rows(), RowKind::Window | RowKind::FusedWindow) {
            return Err(FeatureError::NoGrid { path: set.clone(), found: source.rows() });
        }
        Ok(source)
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// What all rows share.
    pub fn contract(&self) -> &Contract {
        self.reader.contract()
    }

    /// What a row stands for.
    pub fn rows(&self) -> RowKind {
        self.contract().row_kind
    }

    /// Rows per second as they are handed out.
    pub fn rows_per_sec(&self) -> f64 {
        self.rule.rows_per_sec(self.contract().rows_per_sec)
    }

    /// Counts the units that are read, and their rows.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The committed units, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.committed.iter()
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// Never: a store without units is not opened.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// The unit of that name.
    pub fn find(&self, unit: &UnitUid) -> Option<&LedgerEntry> {
        self.committed.get(unit)
    }

    /// The unit whose rows have met that query. Units are commonly named by their queries; where they are not, the
    /// headers of all units are read, once.
    ///
    /// # Errors
    /// [`FeatureError::Store`].
    pub fn find_query(&self, query_id: &str) -> Result<Option<&LedgerEntry>, FeatureError> {
        if let Some(entry) = UnitUid::parse(query_id).ok().and_then(|uid| self.committed.get(&uid)) {
            return Ok(Some(entry));
        }
        if self.queries.get().is_none() {
            let _ = self.queries.set(self.read_queries()?);
        }
        Ok(self.queries.get().and_then(|queries| queries.get(query_id)).and_then(|unit| self.committed.get(unit)))
    }

    fn read_queries(&self) -> Result<HashMap<String, UnitUid>, FeatureError> {
        let mut queries = HashMap::new();
        for entry in self.entries() {
            let header = self.reader.read_header(entry)?;
            queries.extend(header.query_id.map(|query_id| (query_id, entry.unit_uid.clone())));
        }
        Ok(queries)
    }

    /// Reads a unit for a reader who is told no times, and takes row `i` to be at `i / rows_per_sec`.
    ///
    /// # Errors
    /// [`FeatureError::Drift`] if rows of windows are not there, and as for [`read_timed`](Self::read_timed).
    pub fn read(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        let features = self.features(entry)?;
        if matches!(self.rows(), RowKind::Window | RowKind::FusedWindow) {
            rows::check_places(&self.rule, self.contract().rows_per_sec, &features)?;
        }
        rows::apply(&self.rule, self.contract().rows_per_sec, features)
    }

    /// Reads a unit for a reader who is told the times of its rows.
    ///
    /// # Errors
    /// [`FeatureError::Store`], and [`FeatureError::Missing`] or [`FeatureError::NothingLeft`] by the rule for rows.
    pub fn read_timed(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        rows::apply(&self.rule, self.contract().rows_per_sec, self.features(entry)?)
    }

    fn features(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        let unit = self.reader.read_entry(entry)?;
        log::info!("{}: {} rows", entry.unit_uid, entry.rows);
        self.meter.done(entry.rows);
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
