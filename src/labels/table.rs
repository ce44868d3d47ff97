//! Columns of a table of queries.

use super::error::LabelError;
use crate::benchmark::{Record, records};
use crate::queries::Queries;

/// The cells of a column, one per query; `reader` is who asks, for messages.
///
/// # Errors
/// [`LabelError::NoColumn`].
pub fn cells<'q>(
    reader: &'static str,
    queries: &'q Queries,
    column: &'static str,
) -> Result<impl Iterator<Item = &'q str>, LabelError> {
    let found = || queries.columns().collect::<Vec<_>>().join(", ");
    queries.column(column).ok_or_else(|| LabelError::NoColumn { reader, column, found: found() })
}

/// What all rows say by a benchmark's record, where `reader` cannot do without `columns`.
///
/// # Errors
/// [`LabelError::NoColumn`], [`LabelError::Record`].
pub fn records_of<R: Record>(
    reader: &'static str,
    queries: &Queries,
    columns: &[&'static str],
) -> Result<Vec<R>, LabelError> {
    columns.iter().try_for_each(|column| cells(reader, queries, column).map(drop))?;
    Ok(records(queries)?)
}
