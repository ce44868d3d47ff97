//! Columns of Parquet files that others wrote, by name: whole numbers, seconds and lists of texts.
//!
//! Types are those that Parquet itself tells, so that what a writer notes for Arrow (large or dictionary-encoded texts) makes no
//! difference; other columns are not read. Not for files of features, which are the store's. Invariant: a column that is not there,
//! or holds something else, is an error that names file and column.

use std::fs::File;
use std::path::{Path, PathBuf};

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};

use super::BenchmarkError;
use crate::foreign;

/// How much of a list of columns an error shows, in characters.
const SHOWN_CHARS: usize = 300;

/// Some columns of a file.
pub(super) struct Columns {
    path: PathBuf,
    batches: Vec<RecordBatch>,
}

impl Columns {
    /// Reads the columns of these names.
    pub(super) fn read(path: &Path, names: &[String]) -> Result<Self, BenchmarkError> {
        let read = || {
            let file = File::open(path).map_err(|cause| BenchmarkError::Read { path: path.to_owned(), cause })?;
            batches(path, file, names)
        };
        let batches = foreign::parse(read).unwrap_or_else(|panicked| Err(unreadable(path, panicked)))?;
        Ok(Self { path: path.to_owned(), batches })
    }

    /// Counts and indices; what is null or negative is nothing.
    pub(super) fn counts(&self, name: &str) -> Result<Vec<Option<u64>>, BenchmarkError> {
        let numbers = self.values(name, "whole numbers", |column| {
            let number: Box<dyn Fn(usize) -> i64> = match column.as_primitive_opt::<Int64Type>() {
                Some(numbers) => Box::new(|row| numbers.value(row)),
                None => {
                    let numbers = column.as_primitive_opt::<Int32Type>()?;
                    Box::new(|row| numbers.value(row).into())
                }
            };
            Some(rows(column).map(|(row, is_null)| (!is_null).then(|| number(row))).collect())
        })?;
        Ok(numbers.into_iter().map(|number| number?.try_into().ok()).collect())
    }

    /// Numbers; what is null is nothing.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, BenchmarkError> {
        self.values(name, "numbers", |column| {
            let number: Box<dyn Fn(usize) -> f64> = if let Some(numbers) = column.as_primitive_opt::<Float64Type>() {
                Box::new(|row| numbers.value(row))
            } else if let Some(numbers) = column.as_primitive_opt::<Float32Type>() {
                Box::new(|row| numbers.value(row).into())
            } else {
                // A writer that saw whole seconds alone.
                let numbers = column.as_primitive_opt::<Int64Type>()?;
                Box::new(|row| numbers.value(row) as f64)
            };
            Some(rows(column).map(|(row, is_null)| (!is_null).then(|| number(row))).collect())
        })
    }

    /// Lists of texts; what is null is an empty one.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<Vec<String>>, BenchmarkError> {
        self.values(name, "lists of texts", |column| {
            let lists = column.as_list_opt::<i32>()?;
            lists.values().as_string_opt::<i32>()?;
            let texts = |row| lists.value(row).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            Some(rows(column).map(|(row, is_null)| if is_null { Vec::new() } else { texts(row) }).collect())
        })
    }

    /// The values of all batches; `of` gives nothing for a column of another type.
    fn values<T>(
        &self,
        name: &str,
        expected: &str,
        of: impl Fn(&ArrayRef) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, BenchmarkError> {
        let mut values = Vec::new();
        for column in self.batches.iter().filter_map(|batch| batch.column_by_name(name)) {
            let unfit = || BenchmarkError::Unfit {
                path: self.path.clone(),
                at: format!("column {name}"),
                expected: expected.to_owned(),
                found: format!("type {}", column.data_type()),
            };
            values.extend(of(column).ok_or_else(unfit)?);
        }
        Ok(values)
    }
}

/// Each row, and whether it is null.
fn rows(column: &ArrayRef) -> impl Iterator<Item = (usize, bool)> {
    (0..column.len()).map(|row| (row, column.is_null(row)))
}

fn batches(path: &Path, file: File, names: &[String]) -> Result<Vec<RecordBatch>, BenchmarkError> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options);
    let builder = builder.map_err(|error| unreadable(path, error))?;
    let found: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let shown = || found.join(", ").chars().take(SHOWN_CHARS).collect();
    let place = |name: &String| {
        let no_column = || BenchmarkError::NoColumn { path: path.to_owned(), column: name.clone(), found: shown() };
        found.iter().position(|found| found == name).ok_or_else(no_column)
    };
    let places = names.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), places);
    let reader = builder.with_projection(mask).build().map_err(|error| unreadable(path, error))?;
    reader.collect::<Result<_, _>>().map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, cause: impl std::fmt::Display) -> BenchmarkError {
    BenchmarkError::Parquet { path: path.to_owned(), cause: cause.to_string() }
}
