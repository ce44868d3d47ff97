//! What the further columns of a table of queries mean: typed records, which the tables are a view of.
//!
//! A benchmark's file declares its record beside the code that writes its columns; [`records`] reads all of a table. Invariant:
//! a cell that means nothing in its column is an error that names the query, never a default.

use std::str::FromStr;

use crate::queries::Queries;

/// What one row of a benchmark's table says beside its sentence and its window.
pub trait Record: Sized {
    /// Reads it off a row.
    ///
    /// # Errors
    /// [`RecordError`] for a column that the table lacks, or a cell that means nothing in it.
    fn read(row: Row<'_>) -> Result<Self, RecordError>;
}

/// A cell that is not what its column holds, or a column that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("query {query_id:?}: {column}: expected {expected}, found {found}")]
pub struct RecordError {
    /// The row.
    pub query_id: String,
    /// The column.
    pub column: &'static str,
    /// What it holds.
    pub expected: &'static str,
    /// The cell, or that there is no such column.
    pub found: String,
}

/// The records of all rows, in the order of the table.
///
/// # Errors
/// The first [`RecordError`].
pub fn records<R: Record>(queries: &Queries) -> Result<Vec<R>, RecordError> {
    (0..queries.len()).map(|row| record(queries, row)).collect()
}

/// The record of a row that exists.
///
/// # Errors
/// [`RecordError`].
pub fn record<R: Record>(queries: &Queries, row: usize) -> Result<R, RecordError> {
    R::read(Row { queries, row })
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'q> {
    queries: &'q Queries,
    row: usize,
}

impl<'q> Row<'q> {
    /// The text of a cell.
    pub(super) fn text(self, column: &'static str) -> Result<&'q str, RecordError> {
        let cell = self.queries.cell(column, self.row);
        cell.ok_or_else(|| self.error(column, "a column of that name", "none".to_owned()))
    }

    /// The value of a cell; `None` if it is empty.
    pub(super) fn optional<T: FromStr>(
        self,
        column: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, RecordError> {
        let text = self.text(column)?;
        let value = Some(text).filter(|text| !text.is_empty()).map(str::parse);
        value.transpose().map_err(|_| self.error(column, expected, format!("{text:?}")))
    }

    /// The value of a cell that is never empty.
    pub(super) fn value<T: FromStr>(self, column: &'static str, expected: &'static str) -> Result<T, RecordError> {
        self.optional(column, expected)?.ok_or_else(|| self.error(column, expected, "nothing".to_owned()))
    }

    /// The values of a cell, separated by blanks.
    pub(super) fn list<T: FromStr>(self, column: &'static str, expected: &'static str) -> Result<Vec<T>, RecordError> {
        let text = self.text(column)?;
        let values: Result<Vec<T>, T::Err> = text.split_whitespace().map(str::parse).collect();
        values.map_err(|_| self.error(column, expected, format!("{text:?}")))
    }

    pub(super) fn error(self, column: &'static str, expected: &'static str, found: String) -> RecordError {
        let query_id =
            self.queries.get(self.row).map_or_else(|| format!("row {}", self.row), |query| query.id.to_owned());
        RecordError { query_id, column, expected, found }
    }
}
