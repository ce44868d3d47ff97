//! How rows differ from those of another store at the same times.
//!
//! Not for files of others, see `compare`. Invariant: a row has at most one counterpart: of the same clip, and the nearest in time within
//! half a row.

use std::collections::HashMap;
use std::path::Path;

use super::time::clock;
use super::view::{AgainstView, Histogram};
use crate::compare::cosine;
use crate::store::{Committed, LedgerEntry, RowKind, StoreError, StoreReader, Unit, feature_sets};

/// Lower ends of the bins of cosines, but for the first bin: finer and finer towards 1.
const BINS: [f64; 10] = [0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];

/// Rows that are named, of those whose cosine is below this.
const WORST: usize = 5;
const EQUAL: f64 = 1.0 - 1e-9;

/// The other store, and what was found so far.
pub(super) struct Against {
    store: StoreReader,
    committed: Committed,
    /// Its units by their clips, where units are called otherwise.
    clips: HashMap<String, LedgerEntry>,
    cosines: Vec<f64>,
    worst: Vec<(f64, String)>,
    view: AgainstView,
}

impl Against {
    /// The store at `path` that rows of `set` are set against: the only one there, or the one of the same name. `None`, and in
    /// words why, where there is none.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn open(path: &Path, set: &StoreReader) -> Result<Result<Self, AgainstView>, StoreError> {
        let found = feature_sets(path)?;
        let name = set.path().file_name();
        let chosen = match found.as_slice() {
            [one] => Some(one),
            several => several.iter().find(|one| one.file_name() == name),
        };
        let not = |why: String| AgainstView {
            path: path.display().to_string(),
            why_not: Some(why),
            ..AgainstView::default()
        };
        let Some(chosen) = chosen else {
            return Ok(Err(not(format!("it holds {} feature sets and none of this name", found.len()))));
        };
        let store = StoreReader::open(chosen)?;
        let dims = (set.contract().dim, store.contract().dim);
        if dims.0 != dims.1 {
            return Ok(Err(not(format!("its rows have {} features, those of this store {}", dims.1, dims.0))));
        }
        let committed = store.committed()?;
        let clip = |entry: &LedgerEntry| Some((entry.clip_uid.as_ref()?.to_string(), entry.clone()));
        let is_by_clip = store.contract().row_kind == RowKind::Window;
        let clips = committed.iter().filter(|_| is_by_clip).filter_map(clip).collect();
        let view = AgainstView { path: chosen.display().to_string(), ..AgainstView::default() };
        Ok(Ok(Self { store, committed, clips, cosines: Vec::new(), worst: Vec::new(), view }))
    }

    /// Sets a unit against its counterpart.
    pub fn add(&mut self, entry: &LedgerEntry, unit: &Unit) {
        let by_clip = || self.clips.get(entry.clip_uid.as_ref()?.as_str());
        let other = self.committed.get(&entry.unit_uid).or_else(by_clip);
        // One that cannot be read is as good as absent; `verify` says more.
        let other =
            other.and_then(|other| self.store.read_entry(other).inspect_err(|error| log::warn!("{error}")).ok());
        let Some(other) = other else {
            self.view.only_here += unit.meta.len();
            return;
        };
        let pairs = pairs(unit, &other);
        self.view.only_here += unit.meta.len() - pairs.len();
        self.view.only_there += other.meta.len() - pairs.len();
        for (here, there) in pairs {
            if unit.meta[here].missing || other.meta[there].missing {
                continue;
            }
            let cosine = cosine(unit.features.row(here), other.features.row(there));
            self.cosines.push(cosine);
            self.keep(cosine, || {
                format!("{}, row {here} at {}: {cosine:.6}", entry.unit_uid, clock(unit.meta[here].start_sec))
            });
        }
    }

    fn keep(&mut self, cosine: f64, words: impl FnOnce() -> String) {
        if cosine >= EQUAL
            || (self.worst.len() == WORST && self.worst.last().is_some_and(|(worst, _)| *worst <= cosine))
        {
            return;
        }
        let place = self.worst.partition_point(|(worst, _)| *worst <= cosine);
        self.worst.insert(place, (cosine, words()));
        self.worst.truncate(WORST);
    }

    /// What was found.
    pub fn finish(mut self) -> AgainstView {
        self.cosines.sort_by(f64::total_cmp);
        let cosines = &self.cosines;
        self.view.compared = cosines.len();
        self.view.least = cosines.first().copied();
        self.view.median = cosines.get(cosines.len().saturating_sub(1) / 2).copied();
        self.view.cosines = histogram(cosines);
        self.view.worst = self.worst.into_iter().map(|(_, words)| words).collect();
        self.view
    }
}

/// Rows of the same times, both in order: by their numbers where rows have no times.
fn pairs(here: &Unit, there: &Unit) -> Vec<(usize, usize)> {
    let is_timed = |unit: &Unit| unit.meta.iter().any(|meta| meta.end_sec > meta.start_sec);
    if !is_timed(here) || !is_timed(there) {
        return (0..here.meta.len().min(there.meta.len())).map(|row| (row, row)).collect();
    }
    let (mut pairs, mut next) = (Vec::new(), 0);
    for (row, meta) in here.meta.iter().enumerate() {
        let away = |at: usize| (there.meta[at].start_sec - meta.start_sec).abs();
        while next + 1 < there.meta.len() && away(next + 1) <= away(next) {
            next += 1;
        }
        if next < there.meta.len() && away(next) <= 0.5 * (meta.end_sec - meta.start_sec) {
            pairs.push((row, next));
            next += 1;
        }
    }
    pairs
}

fn histogram(cosines: &[f64]) -> Histogram {
    let mut counts = vec![0; BINS.len() + 1];
    cosines.iter().for_each(|cosine| counts[BINS.partition_point(|end| end <= cosine)] += 1);
    let labels = std::iter::once("below 0".to_owned()).chain(BINS.iter().map(|end| format!("from {end}"))).collect();
    Histogram { labels, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_told_apart_near_one() {
        let histogram = histogram(&[-0.5, 0.0, 0.6, 0.9999, 1.0, 1.0]);
        assert_eq!(histogram.counts, [1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 2]);
        assert_eq!(
            histogram.labels.first().zip(histogram.labels.last()),
            Some((&"below 0".into(), &"from 0.999999".into()))
        );
    }
}
