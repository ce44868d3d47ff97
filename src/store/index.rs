//! The index: one row per committed unit, as Parquet, for people and their data frames.
//!
//! Not for the store itself, which believes only its ledgers. Invariant: it can be deleted and written anew at any time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};

use super::error::{StoreError, io_error};
use super::ledger::{Committed, LedgerEntry};
use super::parquet::write_error;

/// Writes the rows of `committed`, in the order of their uids, to a new file at `path`.
pub fn write(path: &Path, feature_set: &str, committed: &Committed) -> Result<(), StoreError> {
    let file = File::create(path).map_err(io_error("create", path))?;
    let entries: Vec<&LedgerEntry> = committed.iter().collect();
    write_rows(file, feature_set, &entries).map_err(|error| write_error(path, error))
}

fn write_rows(file: File, feature_set: &str, entries: &[&LedgerEntry]) -> Result<(), ParquetError> {
    let metadata = ::parquet::file::metadata::KeyValue::new("feature_set".to_owned(), feature_set.to_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(vec![metadata]))
        .build();
    let batch = batch(entries)?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close().map(drop)
}

fn batch(entries: &[&LedgerEntry]) -> Result<RecordBatch, ParquetError> {
    let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
    let schema = Schema::new(vec![
        field("unit_uid", DataType::Utf8, false),
        field("video_uid", DataType::Utf8, false),
        field("file", DataType::Utf8, false),
        field("rows", DataType::UInt64, false),
        field("dim", DataType::UInt64, false),
        field("start_sec", DataType::Float64, true),
        field("end_sec", DataType::Float64, true),
        field("padded_rows", DataType::UInt64, false),
        field("missing_rows", DataType::UInt64, false),
        field("bytes", DataType::UInt64, false),
        field("sha256", DataType::Utf8, false),
    ]);
    let columns = vec![
        texts(entries, |entry| entry.unit_uid.as_str()),
        texts(entries, |entry| entry.video_uid.as_str()),
        texts(entries, |entry| &entry.file),
        counts(entries, |entry| entry.rows),
        counts(entries, |entry| entry.dim as u64),
        seconds(entries, |entry| entry.span.map(|span| span.start_sec)),
        seconds(entries, |entry| entry.span.map(|span| span.end_sec)),
        counts(entries, |entry| entry.padded_rows),
        counts(entries, |entry| entry.missing_rows),
        counts(entries, |entry| entry.bytes),
        texts(entries, |entry| &entry.sha256),
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn texts(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> &str) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(entries.iter().map(|entry| value(entry))))
}

fn counts(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> u64) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(entries.iter().map(|entry| value(entry))))
}

fn seconds(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> Option<f64>) -> ArrayRef {
    Arc::new(entries.iter().map(|entry| value(entry)).collect::<Float64Array>())
}

/// Rows of the index at `path`, that is, how many units were committed when it was written.
pub fn count_rows(path: &Path) -> Result<u64, StoreError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let corrupt = |error: ParquetError| StoreError::Corrupt { path: path.to_owned(), why: error.to_string() };
    let reader = SerializedFileReader::new(file).map_err(corrupt)?;
    Ok(reader.metadata().file_metadata().num_rows().try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, UInt64Type};

    use super::super::{INDEX_FILE, MASTER_FILE, samples};
    use super::*;

    #[test]
    fn the_index_has_a_row_per_unit() {
        let (_out, mut store) = samples::store("parquet", &["b", "a"]);
        let mut header = samples::header("c", 6);
        header.span = crate::time::TimeSpan::new(0.0, 9.5);
        let mut unit = store.begin(header).unwrap();
        unit.append(&samples::block(0, 6)).unwrap();
        let entry = store.commit(unit).unwrap();
        store.finish().unwrap();
        let file = File::open(store.path().join(INDEX_FILE)).unwrap();
        let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 3);
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!(text("unit_uid").iter().flatten().collect::<String>(), "abc");
        assert_eq!(text("file").value(1), "units/b.parquet");
        assert_eq!(text("sha256").value(2), entry.sha256);
        let end = batch.column_by_name("end_sec").unwrap().as_primitive::<Float64Type>();
        assert_eq!((end.is_null(0), end.value(2)), (true, 9.5));
        assert_eq!(batch.column_by_name("rows").unwrap().as_primitive::<UInt64Type>().value(2), 6);
        assert!(!store.path().join(MASTER_FILE).exists());
    }

    #[test]
    fn the_master_file_links_all_units() {
        let (_out, store) = samples::store("hdf5", &["b", "a"]);
        store.finish().unwrap();
        let first = std::fs::read(store.path().join(MASTER_FILE)).unwrap();
        let master = ::hdf5::File::open(store.path().join(MASTER_FILE)).unwrap();
        assert_eq!(master.member_names().unwrap(), ["a", "b"]);
        let features = master.dataset("b/features").unwrap().read_2d::<f32>().unwrap();
        assert_eq!(features.dim(), (samples::ROWS, samples::DIM));
        drop(master);
        store.finish().unwrap();
        assert_eq!(std::fs::read(store.path().join(MASTER_FILE)).unwrap(), first);
    }
}
