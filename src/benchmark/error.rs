//! What ends the building of a benchmark.
//!
//! Not for single entries that cannot be used: those are counted, and the others go on. Every message names the file and
//! is complete: a cause is part of the text.

use std::io;
use std::path::PathBuf;

use super::record::RecordError;
use super::tally::Finding;
use crate::manifest::ManifestError;

/// Annotations that cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// A list of videos or a folder is at fault.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The annotations could not be opened or read.
    #[error("{}: cannot read the annotations: {cause}", .path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Malformed JSON, or a field of another type; the cause names line and column.
    #[error("{}: {at}: {cause}", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The path of the field: `videos[0].clips[2].clip_uid`.
        at: String,
        /// What the JSON reader said.
        cause: serde_json::Error,
    },
    /// Rows could not be split into columns.
    #[error("{}: cannot be read as a table: {cause}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What the csv reader said.
        cause: csv::Error,
    },
    /// A table lacks a column.
    #[error("{}: no column {column}, found {found}", .path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The name that is missing.
        column: String,
        /// The header.
        found: String,
    },
    /// No Parquet file that can be read.
    #[error("{}: cannot be read as Parquet: {cause}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What its reader said.
        cause: String,
    },
    /// A file or folder that is of another kind, version or type than the benchmark reads.
    #[error("{}: {at}: expected {expected}, found {found}", .path.display())]
    Unfit {
        /// The file or folder.
        path: PathBuf,
        /// The field or column.
        at: String,
        /// What it holds where it can be read.
        expected: String,
        /// What it holds, and what can be done about it.
        found: String,
    },
    /// A row of a table that does not say what the benchmark's rows say.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// More files than the benchmark can put together.
    #[error("benchmark {benchmark} takes one annotation file, {given} were given")]
    OneFile {
        /// The benchmark.
        benchmark: &'static str,
        /// How many were given.
        given: usize,
    },
    /// Not one unit is left.
    #[error("benchmark {benchmark}: no usable clip{}", because(.dropped))]
    Nothing {
        /// The benchmark.
        benchmark: &'static str,
        /// Why.
        dropped: Vec<Finding>,
    },
}

fn because(dropped: &[Finding]) -> String {
    let reasons: Vec<String> = dropped.iter().map(|finding| format!("; dropped: {finding}")).collect();
    reasons.concat()
}
