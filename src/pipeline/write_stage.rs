//! The write stage: one thread that owns the stores; it puts rows in order and commits units that are whole.
//!
//! Not for file formats. Invariant: rows reach a file in order, each once, and a unit is committed when its last row has
//! come and never before.

use std::collections::{BTreeMap, HashMap};

use crossbeam_channel::Receiver;
use ndarray::{Array1, Array2, s};

use super::account::{Control, Counters, Stage};
use super::message::{RowKey, UnitKey, WindowKey, Write};
use super::sharing::{Settled, Sharing};
use super::{PipelineError, Run};
use crate::feature_set::PerSet;
use crate::ids::TaskId;
use crate::plan::Plan;
use crate::store::{OpenUnit, RowBlock, RowMeta, Store, StoreError, UnitHeader};

/// A unit whose rows are coming in.
struct Incoming {
    file: OpenUnit,
    rows: Vec<RowMeta>,
    /// The first of the last rows that are zeros.
    zeros_from: u64,
    /// Rows in the file.
    written: u64,
    /// Rows that came before their turn; `None` is a missing one. Few: batches of one unit are made in order.
    early: BTreeMap<u64, Option<Array1<f32>>>,
}

/// Runs until every sender is gone. Units that are not whole by then are dropped, with their temporary files.
///
/// # Errors
/// The first error of a store: a full disk will not have room for the next unit either.
pub fn run(
    run: Run,
    stores: &mut PerSet<Store>,
    rows: &Receiver<Write>,
    control: &Control,
) -> Result<(), PipelineError> {
    let mut writer = Writer { plan: run.plan, sharing: run.sharing, stores, control, incoming: HashMap::new() };
    for message in rows {
        control.counters.time(Stage::Write, || writer.take(message))?;
    }
    Ok(())
}

struct Writer<'a> {
    plan: &'a Plan,
    sharing: Option<&'a Sharing>,
    stores: &'a mut PerSet<Store>,
    control: &'a Control,
    incoming: HashMap<UnitKey, Incoming>,
}

impl Writer<'_> {
    fn take(&mut self, message: Write) -> Result<(), StoreError> {
        match message {
            Write::Begin { task, headers, rows, zeros } => self.begin(task, headers, &rows, zeros),
            Write::Rows { keys, features } => self.take_rows(&keys, &features),
            Write::Missing { keys } => self.take_missing(&keys),
            Write::Fail { task, why } => {
                (0..self.plan[task].units().len()).for_each(|unit| self.fail((task, unit), why.clone()));
                Ok(())
            }
        }
    }

    fn begin(
        &mut self,
        task: TaskId,
        headers: Vec<UnitHeader>,
        rows: &[RowMeta],
        zeros: u64,
    ) -> Result<(), StoreError> {
        let zeros_from = rows.len() as u64 - zeros;
        for (unit, header) in headers.into_iter().enumerate() {
            let file = self.stores[self.plan[task].set].begin(header)?;
            let incoming = Incoming { file, rows: rows.to_vec(), zeros_from, written: 0, early: BTreeMap::new() };
            self.incoming.insert((task, unit), incoming);
            self.settle((task, unit))?;
        }
        Ok(())
    }

    fn take_rows(&mut self, keys: &[RowKey], features: &Array2<f32>) -> Result<(), StoreError> {
        for (key, feature) in keys.iter().zip(features.rows()) {
            let unit = (key.task, key.unit);
            // Rows of a unit that has failed meanwhile find no entry.
            let Some(incoming) = self.incoming.get_mut(&unit) else { continue };
            if feature.iter().all(|value| value.is_finite()) {
                incoming.early.insert(key.row, Some(feature.to_owned()));
            } else {
                self.fail(unit, format!("row {}: the backbone gave NaN or an infinity", key.row));
            }
        }
        self.settle_all(keys.iter().map(|key| (key.task, key.unit)).collect())
    }

    fn take_missing(&mut self, windows: &[WindowKey]) -> Result<(), StoreError> {
        let mut units = Vec::new();
        for &(task, window) in windows {
            for target in self.plan[task].targets(window) {
                let unit = (task, target.unit);
                self.incoming.get_mut(&unit).map(|incoming| incoming.early.insert(target.row, None));
                units.push(unit);
            }
        }
        self.settle_all(units)
    }

    fn fail(&mut self, unit: UnitKey, why: String) {
        self.incoming.remove(&unit);
        self.control.fail(self.plan, unit, why);
        self.sharing.inspect(|sharing| sharing.settle(self.plan, unit, Settled::Failed));
    }

    fn settle_all(&mut self, mut units: Vec<UnitKey>) -> Result<(), StoreError> {
        units.sort_unstable();
        units.dedup();
        units.into_iter().try_for_each(|unit| self.settle(unit))
    }

    /// Writes the rows whose turn it is, and commits the unit if that was all.
    fn settle(&mut self, unit: UnitKey) -> Result<(), StoreError> {
        let Some(incoming) = self.incoming.get_mut(&unit) else { return Ok(()) };
        let store = &mut self.stores[self.plan[unit.0].set];
        incoming.write(store.contract().dim)?;
        if incoming.written < incoming.rows.len() as u64 {
            return Ok(());
        }
        let missing = incoming.rows.iter().filter(|row| row.missing).count() as u64;
        if let Some(whole) = self.incoming.remove(&unit) {
            let (set, unit_uid) = (&store.contract().feature_set, self.plan[unit.0].units()[unit.1]);
            if self.sharing.is_some_and(|sharing| sharing.made_elsewhere(self.plan[unit.0].set, unit_uid)) {
                log::info!("{set} {unit_uid}: another run was first");
                self.sharing.inspect(|sharing| sharing.settle(self.plan, unit, Settled::Elsewhere));
                return Ok(());
            }
            log::info!("{set} {unit_uid}: {} rows, {missing} of them missing", whole.written);
            store.commit(whole.file)?;
            self.sharing.inspect(|sharing| sharing.settle(self.plan, unit, Settled::Committed));
            Counters::add(&self.control.counters.committed, 1);
            Counters::add(&self.control.counters.missing_rows, missing);
        }
        Ok(())
    }
}

impl Incoming {
    fn write(&mut self, dim: usize) -> Result<(), StoreError> {
        let first_row = self.written;
        let ready: Vec<Option<Array1<f32>>> = std::iter::from_fn(|| self.next_ready(dim)).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let range = first_row as usize..first_row as usize + ready.len();
        let mut features = Array2::from_elem((ready.len(), dim), f32::NAN);
        for (i, row) in ready.into_iter().enumerate() {
            match row {
                Some(row) => features.slice_mut(s![i, ..]).assign(&row),
                None => self.rows[range.start + i].missing = true,
            }
        }
        self.file.append(&RowBlock { first_row, meta: self.rows[range].to_vec(), features })
    }

    /// The row whose turn it is, if it has come or is known to be missing.
    fn next_ready(&mut self, dim: usize) -> Option<Option<Array1<f32>>> {
        let known_missing = self.rows.get(self.written as usize)?.missing;
        let zero = (self.written >= self.zeros_from).then(|| Some(Array1::zeros(dim)));
        let known = zero.or(known_missing.then_some(None));
        let row = self.early.remove(&self.written).or(known)?;
        self.written += 1;
        Some(row)
    }
}
