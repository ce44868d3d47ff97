//! A feature store as its readers see it, or several as one: units one after the other, with the rows that a [`RowRule`] makes
//! of them. Invariant: one unit is in memory at a time, and its features have the width that the contract says.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use super::differences;
use super::error::FeatureError;
use super::join::{self, JoinRows, JoinRule, Joined, Of};
use super::part::Part;
use super::rows::{self, Missing, Resample, RowRule};
use super::unit::Features;
use crate::ids::UnitUid;
use crate::meter::Meter;
use crate::store::{Committed, Contract, LedgerEntry, RowKind};

/// Open stores, their ledgers read once.
pub struct Source {
    /// One, or those that are joined.
    parts: Vec<Part>,
    /// What joined ones have as one; a single store has its own.
    whole: Option<Whole>,
    rule: RowRule,
    join: JoinRule,
    meter: Meter,
    /// Units by their queries, where the names of units do not tell.
    queries: OnceLock<HashMap<String, UnitUid>>,
}

/// Joined stores as one.
struct Whole {
    contract: Contract,
    committed: Committed,
    notes: Vec<String>,
}

impl Source {
    /// Opens the store at `path`, or the only one in the folder `path`; rows are treated by `rule`.
    ///
    /// # Errors
    /// [`FeatureError::NotOneStore`], [`FeatureError::NoUnits`], [`FeatureError::NoGrid`], [`FeatureError::Store`].
    pub fn open(path: &Path, rule: RowRule) -> Result<Self, FeatureError> {
        Self::open_joined(path, &Joined::default(), rule)
    }

    /// Opens the store at `path` and those that are `joined` to it: what is read of it are rows side by side.
    ///
    /// # Errors
    /// [`FeatureError::Joining`] if they differ in what the rule for joining does not cover, and as for [`open`](Self::open).
    pub fn open_joined(path: &Path, joined: &Joined, rule: RowRule) -> Result<Self, FeatureError> {
        let paths = [path].into_iter().chain(joined.stores.iter().map(AsRef::as_ref));
        let parts = paths.map(Part::open).collect::<Result<Vec<_>, _>>()?;
        if let Some(part) = parts.iter().find(|part| rule.resample.is_some() && !part.is_of_windows()) {
            return Err(FeatureError::NoGrid { path: part.path().to_owned(), found: part.contract().row_kind });
        }
        let whole = if parts.len() == 1 { None } else { Some(Whole::of(&parts, joined.rule, &rule)?) };
        let (join, meter, queries) = (joined.rule, Meter::default(), OnceLock::new());
        let source = Self { parts, whole, rule, join, meter, queries };
        source.meter.expect(source.len());
        Ok(source)
    }

    /// The folder of the store, the first of several.
    pub fn path(&self) -> &Path {
        self.parts[0].path()
    }

    /// What all rows share.
    pub fn contract(&self) -> &Contract {
        self.whole.as_ref().map_or(self.parts[0].contract(), |whole| &whole.contract)
    }

    fn committed(&self) -> &Committed {
        self.whole.as_ref().map_or(&self.parts[0].committed, |whole| &whole.committed)
    }

    /// The stores, with what the rows of each share; one, or those that are joined.
    pub fn stores(&self) -> impl Iterator<Item = (&Path, &Contract)> {
        self.parts.iter().map(|part| (part.path(), part.contract()))
    }

    /// How they are joined; `None` for one store.
    pub fn join(&self) -> Option<JoinRule> {
        (self.parts.len() > 1).then_some(self.join)
    }

    /// In what joined stores differ, which the rule for joining them covers.
    pub fn notes(&self) -> &[String] {
        self.whole.as_ref().map_or(&[], |whole| &whole.notes)
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
        self.committed().iter()
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.committed().len()
    }

    /// Never: a store without units is not opened.
    pub fn is_empty(&self) -> bool {
        self.committed().is_empty()
    }

    /// The unit of that name.
    pub fn find(&self, unit: &UnitUid) -> Option<&LedgerEntry> {
        self.committed().get(unit)
    }

    /// The unit whose rows have met that query. Units are commonly named by their queries; where they are not, the
    /// headers of all units are read, once.
    ///
    /// # Errors
    /// [`FeatureError::Store`].
    pub fn find_query(&self, query_id: &str) -> Result<Option<&LedgerEntry>, FeatureError> {
        if let Some(entry) = UnitUid::parse(query_id).ok().and_then(|uid| self.find(&uid)) {
            return Ok(Some(entry));
        }
        if self.queries.get().is_none() {
            let _ = self.queries.set(self.read_queries()?);
        }
        Ok(self.queries.get().and_then(|queries| queries.get(query_id)).and_then(|unit| self.find(unit)))
    }

    fn read_queries(&self) -> Result<HashMap<String, UnitUid>, FeatureError> {
        let mut queries = HashMap::new();
        // Those of the ledger: an entry of joined stores has another width.
        for entry in self.parts[0].committed.iter().filter(|entry| self.find(&entry.unit_uid).is_some()) {
            let header = self.parts[0].reader.read_header(entry)?;
            queries.extend(header.query_id.map(|query_id| (query_id, entry.unit_uid.clone())));
        }
        Ok(queries)
    }

    /// Reads a unit for a reader who is told no times, and takes row `i` to be at `i / rows_per_sec`.
    ///
    /// # Errors
    /// [`FeatureError::Drift`] if rows of windows are not there, and as for [`read_timed`](Self::read_timed).
    pub fn read(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        self.features(entry, false)
    }

    /// Reads a unit for a reader who is told the times of its rows.
    ///
    /// # Errors
    /// [`FeatureError::Store`], [`FeatureError::JoinUnit`] of joined stores, and [`FeatureError::Missing`] or
    /// [`FeatureError::NothingLeft`] by the rule for rows.
    pub fn read_timed(&self, entry: &LedgerEntry) -> Result<Features, FeatureError> {
        self.features(entry, true)
    }

    fn features(&self, entry: &LedgerEntry, timed: bool) -> Result<Features, FeatureError> {
        let features = match &self.parts[..] {
            [part] => self.of_part(part, entry, timed, &self.rule)?.features,
            parts => self.joined(parts, entry, timed)?,
        };
        log::info!("{}: {} rows", entry.unit_uid, entry.rows);
        self.meter.done(entry.rows);
        Ok(features)
    }

    /// A unit of one store, after what `rule` says was done to it.
    fn of_part<'p>(
        &self,
        part: &'p Part,
        entry: &LedgerEntry,
        timed: bool,
        rule: &RowRule,
    ) -> Result<Of<'p>, FeatureError> {
        let (features, rows_per_sec) = (part.read(entry)?, part.contract().rows_per_sec);
        if part.is_of_windows() && !timed {
            rows::check_places(rule, rows_per_sec, &features)?;
        }
        let features = rows::apply(rule, rows_per_sec, features)?;
        Ok(Of { part, features, rows_per_sec: rule.rows_per_sec(rows_per_sec) })
    }

    /// A unit of all stores. Rows without features are treated store by store, but for those that are left out: rows that
    /// belong together by their numbers have to stay together until they are joined.
    fn joined(&self, parts: &[Part], entry: &LedgerEntry, timed: bool) -> Result<Features, FeatureError> {
        let by_time = self.join.rows == JoinRows::Resample;
        let drops_later = self.rule.missing == Missing::Drop && !by_time && !on_one_grid(&self.rule);
        let missing = if drops_later { Missing::Nan } else { self.rule.missing };
        let resample = self.rule.resample.filter(|_| on_one_grid(&self.rule));
        let own = RowRule { missing, resample, zero_tail: false, ..self.rule };
        // Rows that are put onto others by their times may lie anywhere.
        let others = RowRule { allow_drift: own.allow_drift || by_time, ..own };
        let absent = || FeatureError::NoUnits { path: parts[0].path().to_owned() };
        let first = parts[0].committed.get(&entry.unit_uid).ok_or_else(absent)?;
        let mut left = self.of_part(&parts[0], first, timed, &own)?;
        for part in &parts[1..] {
            let right = self.of_part(part, part.beside(first, by_time).ok_or_else(absent)?, timed, &others)?;
            left = join::beside(left, right, self.join.rows, self.rule.allow_drift)?;
        }
        let missing = if drops_later { Missing::Drop } else { Missing::Nan };
        let resample = self.rule.resample.filter(|_| !on_one_grid(&self.rule));
        let rest = RowRule { missing, resample, ..self.rule };
        rows::apply(&rest, left.rows_per_sec, left.features)
    }
}

impl Whole {
    fn of(parts: &[Part], join: JoinRule, rule: &RowRule) -> Result<Self, FeatureError> {
        let common = differences::compare(parts, join, on_one_grid(rule))?;
        let contract = join::contract(parts, join, parts[0].contract().rows_per_sec);
        Ok(Self { contract, committed: common.entries.into_iter().collect(), notes: common.notes })
    }
}

/// Whether rows are put on a grid by their times, whatever grid they were on.
fn on_one_grid(rule: &RowRule) -> bool {
    matches!(rule.resample, Some(Resample::RowsPerSec(_)))
}
