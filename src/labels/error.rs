//! Why labels could not be made of a table of queries.

use std::io;
use std::path::PathBuf;

use crate::benchmark::RecordError;
use crate::features::FeatureError;
use crate::ids::ClipUid;

/// Why labels could not be made of a table of queries.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// The features that they are about could not be read.
    #[error("{0}")]
    Features(#[from] FeatureError),
    /// The table of queries lacks a column.
    #[error("{reader} needs a table of queries with the column {column:?}, found {found}")]
    NoColumn {
        /// Who asks for it.
        reader: &'static str,
        /// The column.
        column: &'static str,
        /// The further columns of the table.
        found: String,
    },
    /// A row that does not say what the benchmark's rows say.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A cell that means nothing in its column.
    #[error("query {query_id:?}: {column}: expected {expected}, found {found:?}")]
    Cell {
        /// The row.
        query_id: String,
        /// The column.
        column: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The cell.
        found: String,
    },
    /// A video's shots cannot be cut or packed.
    #[error("video {video}: {why}")]
    Shots {
        /// The video.
        video: ClipUid,
        /// What is wrong with its shots.
        why: String,
    },
    /// The operating system did not let a file be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
