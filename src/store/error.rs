//! What can go wrong with a store.
//!
//! Every variant carries what a person needs to act: the file, what was expected and what was found. Not for findings of
//! `verify`, which are reported, not raised. No variant means that something already committed was harmed.

use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{IdError, UnitUid};
use crate::shard::Shard;

/// Why a store could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something that no other variant describes.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `rename`, ...
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder or file system does not let this user write.
    #[error("cannot {doing} {}: it is not writable for this user; have it made writable, or write to another folder", path.display())]
    ReadOnly {
        /// What was tried.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The device or the quota is full; what was committed before is intact.
    #[error("no space is left for {}; free some and run the same command again, committed units stay", path.display())]
    DiskFull {
        /// The file that did not fit.
        path: PathBuf,
    },
    /// Another run was given the same part of the store while this one wrote it.
    #[error(
        "another run has taken over what this one writes ({} is held by {holder}), which locks of files should prevent: this file \
         system has none that work; what is committed stays, and no two runs may write the same shard",
        lock.display()
    )]
    TakenOver {
        /// The lock file.
        lock: PathBuf,
        /// What it says about the other run.
        holder: String,
    },
    /// Another live run writes the same part of the store.
    #[error(
        "another run writes to this store: {} is held by {holder}; wait until it has ended, or stop it: what it committed stays",
        lock.display()
    )]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// Host, process and time that its owner wrote into it.
        holder: String,
    },
    /// Another live run divides the store into another number of parts.
    #[error(
        "another run writes to this store: {} is held by {holder}; it does part {live} and this one would do {wanted}, and parts of \
         different counts overlap: give --shard I/{} as it does, or wait until it has ended, what it committed stays",
        lock.display(),
        live.count()
    )]
    DividedOtherwise {
        /// The lock file.
        lock: PathBuf,
        /// Host, process and time that its owner wrote into it.
        holder: String,
        /// The part of the live run.
        live: Shard,
        /// The part of this run.
        wanted: Shard,
    },
    /// The store was made by a run whose rows are not comparable with the rows of this one.
    #[error(
        "{} holds rows with {field} = {stored}, this run would write {field} = {wanted}; use another output folder",
        store.display()
    )]
    DifferentContract {
        /// The folder of the store.
        store: PathBuf,
        /// The first field of the contract that differs.
        field: String,
        /// Its value in the store, shortened to the first differing line.
        stored: String,
        /// Its value in this run, shortened likewise.
        wanted: String,
    },
    /// Another provider than the one that the store was begun with, and nobody has asked for it by name.
    #[error(
        "{} was begun with {begun}, this run would go on with {wanted}, whose rows differ in their last bits: give the command again, \
         so that it takes {begun}, or ask for {wanted} by name (--device {wanted})",
        store.display()
    )]
    OtherProvider {
        /// The folder of the store.
        store: PathBuf,
        /// What it was begun with.
        begun: String,
        /// What this run would compute with.
        wanted: String,
    },
    /// A unit was promised before, as something else.
    #[error("unit {unit_uid} was planned as {planned}, this run plans it as {wanted}")]
    DifferentPlan {
        /// The unit.
        unit_uid: UnitUid,
        /// Video and span on record.
        planned: String,
        /// Video and span of this run.
        wanted: String,
    },
    /// A complete line of `ledger/*.jsonl` or `planned.jsonl` is not a record.
    #[error("{} line {line} is damaged: {why}", file.display())]
    Ledger {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A committed file is no longer what the ledger says.
    #[error("{} is not the file that was committed: expected {expected}, found {found}; `egofx verify` lists every unit like this", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// Length or sha256 on record.
        expected: String,
        /// Length or sha256 now.
        found: String,
    },
    /// The unit asked for is not in the store.
    #[error("{} holds no unit {unit_uid}", store.display())]
    NotCommitted {
        /// The folder of the store.
        store: PathBuf,
        /// The unit.
        unit_uid: UnitUid,
    },
    /// The same unit is being written twice at once.
    #[error("unit {unit_uid} is already being written to {}", path.display())]
    AlreadyBegun {
        /// The unit.
        unit_uid: UnitUid,
        /// Its temporary file.
        path: PathBuf,
    },
    /// A unit without rows: a file of it would say nothing.
    #[error("unit {unit_uid} has no rows")]
    NoRows {
        /// The unit.
        unit_uid: UnitUid,
    },
    /// Rows did not arrive one after the other.
    #[error("unit {unit_uid}: expected row {expected} next, got a block that begins at row {found}")]
    OutOfOrder {
        /// The unit.
        unit_uid: UnitUid,
        /// The row that was due.
        expected: u64,
        /// The row that came.
        found: u64,
    },
    /// More or fewer rows than the header of the unit says.
    #[error("unit {unit_uid}: {planned} rows were planned, {got} arrived")]
    RowCount {
        /// The unit.
        unit_uid: UnitUid,
        /// Rows in the header.
        planned: u64,
        /// Rows that arrived.
        got: u64,
    },
    /// A block whose features do not have the shape `[meta.len(), dim]`.
    #[error("unit {unit_uid}: expected a block of {} rows of {} features, got {} of {}", expected.0, expected.1, found.0, found.1)]
    Shape {
        /// The unit.
        unit_uid: UnitUid,
        /// Rows and features per row that were due.
        expected: (usize, usize),
        /// Rows and features per row that came.
        found: (usize, usize),
    },
    /// A row that is not flagged missing holds NaN or an infinity.
    #[error("unit {unit_uid} row {row}: feature {column} is {value}, expected a finite number")]
    NotFinite {
        /// The unit.
        unit_uid: UnitUid,
        /// The row, from 0.
        row: u64,
        /// The feature, from 0.
        column: usize,
        /// What it holds.
        value: f32,
    },
    /// A value that half precision cannot hold.
    #[error("unit {unit_uid} row {row}: feature {column} is {value}, which f16 cannot hold; store f32 instead")]
    Overflow {
        /// The unit.
        unit_uid: UnitUid,
        /// The row, from 0.
        row: u64,
        /// The feature, from 0.
        column: usize,
        /// The value before conversion.
        value: f32,
    },
    /// A folder without `store.json`.
    #[error("{} is not a feature store: it has no {}", path.display(), super::STORE_FILE)]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// A file is there and is not what its name promises.
    #[error("{} is damaged: {why}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The HDF5 or Parquet library could not write a file, and not for want of space.
    #[error("cannot write {}: {why}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the library said.
        why: String,
    },
    /// No output format bears this name.
    #[error("unknown output format {found:?}, expected one of: {known}")]
    UnknownFormat {
        /// The name given.
        found: String,
        /// The names in use.
        known: String,
    },
    /// The name of a feature set becomes a folder and is not fit for one.
    #[error("the name of the feature set cannot be a folder")]
    FeatureSetName(#[source] IdError),
}

impl StoreError {
    /// The variant that fits an error of the operating system, met while `doing` something to `path`.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { doing, path, source }
            }
            _ => Self::Io { doing, path, source },
        }
    }
}

/// For `map_err`: [`StoreError::io`] that waits for its error.
pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::io(doing, path, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_become_what_a_person_can_act_on() {
        let of = |kind: io::ErrorKind| StoreError::io("write", Path::new("/x/y"), kind.into());
        assert!(matches!(of(io::ErrorKind::StorageFull), StoreError::DiskFull { .. }));
        assert!(matches!(of(io::ErrorKind::QuotaExceeded), StoreError::DiskFull { .. }));
        assert!(matches!(of(io::ErrorKind::ReadOnlyFilesystem), StoreError::ReadOnly { .. }));
        assert!(of(io::ErrorKind::PermissionDenied).to_string().starts_with("cannot write /x/y: it is not writable"));
        assert_eq!(of(io::ErrorKind::TimedOut).to_string(), "cannot write /x/y");
    }
}
