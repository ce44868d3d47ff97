//! One unit on its way into the store.
//!
//! Checks what arrives and regroups it into chunks of equal size, so that memory stays constant and the bytes of the file
//! do not depend on batch sizes. Not for committing it: that is `Store::commit`. Invariant: dropped without commit, a
//! unit leaves nothing behind.

use std::path::{Path, PathBuf};

use half::f16;
use ndarray::Array2;

use super::contract::{Contract, Dtype, RowBlock, RowMeta, UnitHeader};
use super::error::StoreError;
use super::{FeatureSink, Format, disk};

/// A unit whose rows are being written; see [`Store::begin`](super::Store::begin).
pub struct OpenUnit {
    header: UnitHeader,
    dim: usize,
    dtype: Dtype,
    chunk_rows: usize,
    path: PathBuf,
    /// `None` once the file is closed.
    sink: Option<Box<dyn FeatureSink>>,
    meta: Vec<RowMeta>,
    values: Vec<f32>,
    counts: Counts,
    /// The file at `path` now has its final name and is no longer this unit's to remove.
    kept: bool,
}

/// Rows seen so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub rows: u64,
    pub padded: u64,
    pub missing: u64,
}

impl OpenUnit {
    /// Creates the temporary file at `path`.
    pub(super) fn create(
        path: PathBuf,
        format: &Format,
        contract: &Contract,
        header: UnitHeader,
    ) -> Result<Self, StoreError> {
        if header.rows == 0 {
            return Err(StoreError::NoRows { unit_uid: header.unit_uid });
        }
        if path.exists() {
            return Err(StoreError::AlreadyBegun { unit_uid: header.unit_uid, path });
        }
        let sink = (format.create)(&path, contract, &header).inspect_err(|_| disk::remove_quietly(&path))?;
        Ok(Self {
            header,
            dim: contract.dim,
            dtype: contract.dtype,
            chunk_rows: contract.chunk_rows(),
            path,
            sink: Some(sink),
            meta: Vec::new(),
            values: Vec::new(),
            counts: Counts::default(),
            kept: false,
        })
    }

    /// The header that the unit was begun with.
    pub fn header(&self) -> &UnitHeader {
        &self.header
    }

    /// Rows that have arrived.
    pub fn rows(&self) -> u64 {
        self.counts.rows
    }

    /// Takes the next rows, `block.features` of shape `[block.meta.len(), dim]`; rows flagged missing are stored as NaN
    /// whatever they hold.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::Shape`], [`StoreError::RowCount`] for a row too many,
    /// [`StoreError::NotFinite`], [`StoreError::Overflow`], or an error of the device. After an error the unit cannot be
    /// committed any more, unless nothing of the block was taken.
    pub fn append(&mut self, block: &RowBlock) -> Result<(), StoreError> {
        self.check_place(block)?;
        self.check_values(block)?;
        for (meta, features) in block.meta.iter().zip(block.features.outer_iter()) {
            self.meta.push(meta.clone());
            self.values.extend(features.iter().map(|&value| if meta.missing { f32::NAN } else { value }));
            self.counts.rows += 1;
            self.counts.padded += u64::from(meta.padded);
            self.counts.missing += u64::from(meta.missing);
            if self.meta.len() == self.chunk_rows {
                self.pass_on()?;
            }
        }
        Ok(())
    }

    fn check_place(&self, block: &RowBlock) -> Result<(), StoreError> {
        let unit_uid = || self.header.unit_uid.clone();
        if block.first_row != self.counts.rows {
            let (expected, found) = (self.counts.rows, block.first_row);
            return Err(StoreError::OutOfOrder { unit_uid: unit_uid(), expected, found });
        }
        let (expected, found) = ((block.meta.len(), self.dim), block.features.dim());
        if expected != found {
            return Err(StoreError::Shape { unit_uid: unit_uid(), expected, found });
        }
        let got = block.first_row + block.meta.len() as u64;
        if got > self.header.rows {
            return Err(StoreError::RowCount { unit_uid: unit_uid(), planned: self.header.rows, got });
        }
        Ok(())
    }

    fn check_values(&self, block: &RowBlock) -> Result<(), StoreError> {
        let overflows = |value: f32| self.dtype == Dtype::F16 && f16::from_f32(value).is_infinite();
        for (row, (meta, features)) in (block.first_row..).zip(block.meta.iter().zip(block.features.outer_iter())) {
            let bad = features.iter().position(|&value| !value.is_finite() || overflows(value));
            let Some(column) = bad.filter(|_| !meta.missing) else { continue };
            let (unit_uid, value) = (self.header.unit_uid.clone(), features[column]);
            return Err(if value.is_finite() {
                StoreError::Overflow { unit_uid, row, column, value }
            } else {
                StoreError::NotFinite { unit_uid, row, column, value }
            });
        }
        Ok(())
    }

    /// Hands the rows at hand to the sink.
    fn pass_on(&mut self) -> Result<(), StoreError> {
        let Some(sink) = self.sink.as_mut() else { return Ok(()) };
        let (meta, values) = (std::mem::take(&mut self.meta), std::mem::take(&mut self.values));
        let first_row = self.counts.rows - meta.len() as u64;
        let features = Array2::from_shape_vec((meta.len(), self.dim), values)
            .map_err(|error| StoreError::Write { path: self.path.clone(), why: error.to_string() })?;
        let passed = sink.append(&RowBlock { first_row, meta, features });
        if passed.is_err() {
            // What did not get through is gone: without its sink the unit cannot be mistaken for a whole one.
            self.sink = None;
        }
        passed
    }

    /// Closes the file and waits until it is on the device. [`StoreError::RowCount`] if rows are wanting.
    pub(super) fn close(&mut self) -> Result<Counts, StoreError> {
        let (planned, got) = (self.header.rows, self.counts.rows);
        let incomplete = || StoreError::RowCount { unit_uid: self.header.unit_uid.clone(), planned, got };
        if planned != got {
            return Err(incomplete());
        }
        if !self.meta.is_empty() {
            self.pass_on()?;
        }
        let Some(sink) = self.sink.take() else {
            let why = "an earlier write to it has failed".to_owned();
            return Err(StoreError::Write { path: self.path.clone(), why });
        };
        sink.finish()?;
        disk::sync_file(&self.path)?;
        Ok(self.counts)
    }

    /// Gives the closed file its final name.
    pub(super) fn publish(&mut self, target: &Path) -> Result<(), StoreError> {
        disk::rename(&self.path, target)?;
        self.kept = true;
        Ok(())
    }

    /// The temporary file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OpenUnit {
    fn drop(&mut self) {
        // Closed first: the library may still write while it closes.
        self.sink = None;
        if !self.kept {
            disk::remove_quietly(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FORMATS, samples};
    use super::*;

    fn open(folder: &Path, dtype: Dtype, rows: u64) -> OpenUnit {
        let contract = samples::contract("hdf5", dtype);
        OpenUnit::create(folder.join("a.h5"), &FORMATS[0], &contract, samples::header("a", rows)).unwrap()
    }

    #[test]
    fn rows_out_of_order_of_another_shape_or_too_many_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut unit = open(folder.path(), Dtype::F32, 4);
        unit.append(&samples::block(0, 2)).unwrap();
        for (block, expected) in [
            (samples::block(3, 1), "unit a: expected row 2 next, got a block that begins at row 3"),
            (samples::block(0, 2), "unit a: expected row 2 next, got a block that begins at row 0"),
            (samples::block(2, 3), "unit a: 4 rows were planned, 5 arrived"),
            (
                RowBlock { features: Array2::zeros((2, 7)), ..samples::block(2, 2) },
                "unit a: expected a block of 2 rows of 8 features, got 2 of 7",
            ),
        ] {
            assert_eq!(unit.append(&block).unwrap_err().to_string(), expected);
        }
        let error = unit.close().unwrap_err();
        assert!(matches!(error, StoreError::RowCount { planned: 4, got: 2, .. }), "{error}");
        unit.append(&samples::block(2, 2)).unwrap();
        assert_eq!(unit.close().unwrap().rows, 4, "a refused block leaves the unit as it was");
    }

    #[test]
    fn values_that_are_no_numbers_or_no_halves_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut unit = open(folder.path(), Dtype::F16, 2);
        let mut block = samples::block(0, 2);
        block.features[[1, 5]] = 70000.0;
        let error = unit.append(&block).unwrap_err();
        assert!(matches!(error, StoreError::Overflow { row: 1, column: 5, .. }), "{error}");
        block.features[[1, 5]] = f32::NAN;
        let error = unit.append(&block).unwrap_err();
        assert!(matches!(error, StoreError::NotFinite { row: 1, column: 5, .. }), "{error}");
        block.meta[1].missing = true;
        unit.append(&block).unwrap();
        assert_eq!(unit.close().unwrap(), Counts { rows: 2, padded: 0, missing: 1 });
        assert!((FORMATS[0].read)(unit.path()).unwrap().features.row(1).iter().all(|value| value.is_nan()));
    }

    #[test]
    fn a_dropped_unit_leaves_nothing_and_an_open_one_cannot_be_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let contract = samples::contract("hdf5", Dtype::F32);
        let unit = open(folder.path(), Dtype::F32, 4);
        let create = |rows| {
            let header = samples::header("a", rows);
            OpenUnit::create(folder.path().join("a.h5"), &FORMATS[0], &contract, header)
        };
        assert!(matches!(create(4), Err(StoreError::AlreadyBegun { .. })));
        assert!(matches!(create(0), Err(StoreError::NoRows { .. })));
        drop(unit);
        assert!(disk::names_in(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn the_bytes_do_not_depend_on_how_rows_were_grouped() {
        for format in FORMATS {
            let written = [1, 7, 64].map(|rows| {
                let folder = tempfile::tempdir().unwrap();
                let mut contract = samples::contract(format.name, Dtype::F32);
                contract.dim = 4096;
                let header = samples::header("a", 64);
                let mut unit = OpenUnit::create(folder.path().join("x"), format, &contract, header).unwrap();
                for first in (0..64).step_by(rows) {
                    let mut block = samples::block(first as u64, rows.min(64 - first));
                    let at = |(row, column): (usize, usize)| ((first + row) * 31 + column) as f32 * 0.37;
                    block.features = Array2::from_shape_fn((block.meta.len(), 4096), at);
                    unit.append(&block).unwrap();
                }
                unit.close().unwrap();
                if rows == 1 {
                    // Timestamps, if there were any, are in whole seconds.
                    std::thread::sleep(std::time::Duration::from_millis(1100));
                }
                disk::checksum(unit.path()).unwrap()
            });
            assert!(written.iter().all(|sum| sum == &written[0]), "{}: {written:?}", format.name);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn after_a_failed_write_a_unit_cannot_be_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        let mut contract = samples::contract("parquet", Dtype::F32);
        contract.dim = 1 << 20;
        let mut unit = OpenUnit::create(path, &FORMATS[1], &contract, samples::header("a", 6)).unwrap();
        struct Full;
        impl FeatureSink for Full {
            fn append(&mut self, _: &RowBlock) -> Result<(), StoreError> {
                Err(StoreError::DiskFull { path: "/full".into() })
            }
            fn finish(self: Box<Self>) -> Result<(), StoreError> {
                Ok(())
            }
        }
        unit.sink = Some(Box::new(Full));
        let mut block = samples::block(0, 6);
        block.features = Array2::zeros((6, contract.dim));
        assert!(matches!(unit.append(&block), Err(StoreError::DiskFull { .. })));
        assert!(unit.close().is_err());
        drop(unit);
        assert!(disk::names_in(folder.path()).unwrap().is_empty());
    }
}
