//! Columns of a table of queries.

use super::error::LabelError;
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
