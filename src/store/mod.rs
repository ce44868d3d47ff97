//! The feature store: where rows end up, and the promise that comes with them.
//!
//! A store is one folder, `<out>/<feature-set>/`. Each unit (a clip, or a whole video) is a file of its own, written
//! beside its place, synced, renamed and only then recorded with its sha256 in an append-only ledger. Not for computing
//! rows, nor for deciding which units there are. Invariant: a unit is committed or absent; no reader ever sees half of
//! one, and nothing that a later run does or suffers harms what was committed.
//!
//! ```text
//! store.json                 the Contract; created once, compared ever after
//! planned.jsonl              every unit promised by any run
//! providers.jsonl            what computes its rows: what it was begun with, then what else was asked for by name
//! units/<unit_uid>.<ext>     the files
//! ledger/<I>-of-<N>.jsonl    one line per committed unit
//! locks/<I>-of-<N>.lock      held by the run that writes shard I of N; index.lock guards what all shards write
//! tmp/<I>-of-<N>/            files being written
//! claims/<video_uid>.claim   who is at a video, where several runs share the work
//! claims/<I>-of-<N>.run      what the run of shard I of N tells of itself while it goes on
//! index.parquet              one row per committed unit
//! features.h5                HDF5 only: an external link to each unit
//! search.index               made of the rows by `search`, and again when they change; nothing here reads it
//! ```

use std::path::Path;

mod contract;
pub(crate) mod disk;
mod error;
mod fields;
pub(crate) mod hdf5;
mod index;
mod ledger;
pub(crate) mod lock;
mod master;
pub(crate) mod parquet;
mod planned;
mod providers;
mod reader;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod scales;
mod snapshot;
mod unit;
mod watch;
mod writer;

pub use contract::{Contract, Dtype, OLDEST_SCHEMA, RowBlock, RowKind, RowMeta, SCHEMA_VERSION, Unit, UnitHeader};
pub use error::StoreError;
pub use fields::Difference;
pub use hdf5::library_version as hdf5_version;
pub use index::count_rows as count_index_rows;
pub use ledger::{Committed, LedgerEntry};
pub use master::answer as answer_about_master;
pub use planned::{PlannedUnit, PlannedUnits};
pub use providers::providers_of;
pub use reader::{Stale, StoreReader, feature_sets, schema_of, without_contract};
pub use snapshot::{Snapshot, is_record};
pub use unit::OpenUnit;
pub use watch::LedgerWatch;
pub use writer::Store;

/// The file whose presence makes a folder a store.
pub const STORE_FILE: &str = "store.json";
/// The table of all committed units, written at the end of each run.
pub const INDEX_FILE: &str = "index.parquet";
/// The HDF5 file that links all units.
pub const MASTER_FILE: &str = "features.h5";

/// The file of the providers that have computed rows.
pub const PROVIDERS_FILE: &str = "providers.jsonl";

const PLAN_FILE: &str = "planned.jsonl";
const UNITS: &str = "units";
const LEDGER: &str = "ledger";
const LOCKS: &str = "locks";
const TMP: &str = "tmp";
/// The folder of a store in which runs that share its work say who is at what.
pub const CLAIMS: &str = "claims";

/// Takes the rows of one unit into one file.
///
/// A sink trusts its caller, the store: blocks arrive in order, have the right shape, hold values that the dtype can
/// hold, and all but the last have [`Contract::chunk_rows`] rows.
pub trait FeatureSink: Send {
    /// Writes the next rows. [`StoreError::DiskFull`], or [`StoreError::Write`] with what the library says.
    ///
    /// # Errors
    /// [`StoreError`] of the device or of the format's library.
    fn append(&mut self, block: &RowBlock) -> Result<(), StoreError>;

    /// Hands everything to the operating system and closes the file; errors as for [`append`](Self::append).
    ///
    /// # Errors
    /// [`StoreError`] of the device or of the format's library.
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// Creates the file of a unit, which must not exist yet, and what takes its rows.
pub type CreateSink = fn(&Path, &Contract, &UnitHeader) -> Result<Box<dyn FeatureSink>, StoreError>;

/// An output format: adding one takes a file that has such a constant, and its line in [`FORMATS`].
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// Extension of its files, without dot.
    pub extension: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Creates the file of a unit.
    pub create: CreateSink,
    /// Reads a whole file; [`StoreError::Corrupt`] if it is damaged.
    pub read: fn(&Path) -> Result<Unit, StoreError>,
    /// Reads what precedes the rows.
    pub read_header: fn(&Path) -> Result<(Contract, UnitHeader), StoreError>,
}

/// All output formats, the default one first.
pub const FORMATS: &[Format] = &[hdf5::FORMAT, parquet::FORMAT];

impl Format {
    /// The format called `name`, or [`StoreError::UnknownFormat`].
    ///
    /// # Errors
    /// [`StoreError::UnknownFormat`].
    pub fn named(name: &str) -> Result<&'static Self, StoreError> {
        let names = || FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ");
        let unknown = || StoreError::UnknownFormat { found: name.to_owned(), known: names() };
        FORMATS.iter().find(|format| format.name == name).ok_or_else(unknown)
    }

    /// Where the file of a unit lies, relative to the store's folder.
    fn file_of(&self, unit_uid: &crate::ids::UnitUid) -> String {
        format!("{UNITS}/{unit_uid}.{}", self.extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip_in_every_format_and_dtype() {
        let folder = tempfile::tempdir().unwrap();
        for format in FORMATS {
            for dtype in [Dtype::F32, Dtype::F16] {
                let path = samples::write_unit(folder.path(), format, dtype);
                let unit = (format.read)(&path).unwrap();
                let wanted = samples::unit(format.name, dtype);
                assert_eq!(samples::bits(&unit), samples::bits(&wanted), "{} {dtype:?}", format.name);
                let (contract, header) = (format.read_header)(&path).unwrap();
                assert_eq!((contract, header), (wanted.contract, wanted.header));
            }
        }
    }

    #[test]
    fn rows_of_every_kind_keep_the_names_of_their_clips_and_queries() {
        use RowKind::{Clip, FusedWindow, Pair, Query, Token, Window};
        let folder = tempfile::tempdir().unwrap();
        for (format, kind) in
            FORMATS.iter().flat_map(|f| [Window, FusedWindow, Clip, Query, Token, Pair].map(|k| (f, k)))
        {
            let unit = samples::unit_of(format.name, kind);
            let path = folder.path().join(format!("{}.{}", kind.name(), format.extension));
            let mut sink = (format.create)(&path, &unit.contract, &unit.header).unwrap();
            let (meta, features) = (unit.meta.clone(), unit.features.clone());
            sink.append(&RowBlock { first_row: 0, meta, features }).unwrap();
            sink.finish().unwrap();
            assert_eq!(samples::bits(&(format.read)(&path).unwrap()), samples::bits(&unit), "{} {kind:?}", format.name);
        }
    }

    #[test]
    fn a_damaged_or_absent_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        for format in FORMATS {
            let path = samples::write_unit(folder.path(), format, Dtype::F32);
            let bytes = std::fs::read(&path).unwrap();
            for damaged in [&bytes[..bytes.len() / 2], &b"not a feature file"[..], &[]] {
                std::fs::write(&path, damaged).unwrap();
                for error in [(format.read)(&path).unwrap_err(), (format.read_header)(&path).unwrap_err()] {
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
                }
            }
            std::fs::remove_file(&path).unwrap();
            assert!(matches!((format.read)(&path), Err(StoreError::Io { doing: "open", .. })));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_recognised_in_every_format() {
        for format in FORMATS {
            let (contract, header) = (samples::contract(format.name, Dtype::F32), samples::header("a", 6));
            let written = (format.create)(Path::new("/dev/full"), &contract, &header).and_then(|mut sink| {
                sink.append(&samples::block(0, 6))?;
                sink.finish()
            });
            assert!(matches!(written, Err(StoreError::DiskFull { .. })), "{}: {written:?}", format.name);
        }
    }

    #[test]
    fn a_file_that_cannot_be_created_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for format in FORMATS {
            let (contract, header) = (samples::contract(format.name, Dtype::F32), samples::header("a", 6));
            let error = (format.create)(&folder.path().join("absent/x"), &contract, &header).err().unwrap();
            assert!(matches!(error, StoreError::Io { .. } | StoreError::Write { .. }), "{error}");
        }
    }

    #[test]
    fn a_text_that_hdf5_cannot_hold_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut header = samples::header("a", 6);
        header.notes = vec!["a\0b".into()];
        let contract = samples::contract("hdf5", Dtype::F32);
        let error = (hdf5::FORMAT.create)(&folder.path().join("x"), &contract, &header).err().unwrap();
        assert!(matches!(error, StoreError::Write { .. }), "{error}");
    }

    #[test]
    fn unknown_formats_are_refused_with_those_known() {
        let error = Format::named("csv").unwrap_err();
        assert_eq!(error.to_string(), "unknown output format \"csv\", expected one of: hdf5, parquet");
        assert_eq!(Format::named("parquet").unwrap().extension, "parquet");
    }
}
