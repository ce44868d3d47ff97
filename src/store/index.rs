//! The index: one row per committed unit, as Parquet, for people and their data frames.
//!
//! Not for the store itself, which believes only its ledgers. Invariant: it can be deleted and written anew at any time.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::contract::Contract;
use super::error::{StoreError, io_error};
use super::fields;
use super::ledger::{Committed, LedgerEntry};
use super::parquet::{file_metadata, schema_metadata, write_error};
use crate::foreign;
use crate::ids::ClipUid;

/// Writes the rows of `committed`, in the order of their uids, to a new file at `path`.
///
/// # Errors
/// [`StoreError::Write`], [`StoreError::DiskFull`].
pub fn write(path: &Path, contract: &Contract, committed: &Committed) -> Result<(), StoreError> {
    let file = File::create(path).map_err(io_error("create", path))?;
    let entries: Vec<&LedgerEntry> = committed.iter().collect();
    write_rows(file, contract, &entries).map_err(|error| write_error(path, error))
}

fn write_rows(file: File, contract: &Contract, entries: &[&LedgerEntry]) -> Result<(), ParquetError> {
    let fields = fields::of_contract(contract).map_err(|error| ParquetError::General(error.to_string()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_key_value_metadata(Some(file_metadata(&fields)))
        .build();
    let batch = batch(schema_metadata(&fields), entries)?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close().map(drop)
}

fn batch(metadata: HashMap<String, String>, entries: &[&LedgerEntry]) -> Result<RecordBatch, ParquetError> {
    let field = |(name, data_type, nullable)| Field::new(name, data_type, nullable);
    let fields = [
        ("unit_uid", DataType::Utf8, false),
        ("video_uid", DataType::Utf8, false),
        ("clip_uid", DataType::Utf8, true),
        ("query_id", DataType::Utf8, true),
        ("split", DataType::Utf8, true),
        ("file", DataType::Utf8, false),
        ("rows", DataType::Int64, false),
        ("dim", DataType::Int64, false),
        ("start_sec", DataType::Float64, true),
        ("end_sec", DataType::Float64, true),
        ("padded_rows", DataType::Int64, false),
        ("missing_rows", DataType::Int64, false),
        ("bytes", DataType::Int64, false),
        ("sha256", DataType::Utf8, false),
    ];
    let schema = Schema::new_with_metadata(fields.map(field).to_vec(), metadata);
    let columns = vec![
        texts(entries, |entry| entry.unit_uid.as_str()),
        texts(entries, |entry| entry.video_uid.as_str()),
        names(entries, |entry| entry.clip_uid.as_ref().map(ClipUid::as_str)),
        names(entries, |entry| entry.query_id.as_deref()),
        names(entries, |entry| entry.split.as_deref()),
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

fn names(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> Option<&str>) -> ArrayRef {
    Arc::new(entries.iter().map(|entry| value(entry)).collect::<StringArray>())
}

fn counts(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> u64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(entries.iter().map(|entry| value(entry) as i64)))
}

fn seconds(entries: &[&LedgerEntry], value: fn(&LedgerEntry) -> Option<f64>) -> ArrayRef {
    Arc::new(entries.iter().map(|entry| value(entry)).collect::<Float64Array>())
}

/// What is wrong with the index at `path`, in words that follow its name.
///
/// # Errors
/// [`StoreError::Io`] if the file system fails; what is wrong with the table is no error.
pub fn fault(path: &Path, committed: &Committed) -> Result<Option<String>, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Some("is absent".to_owned())),
        file => file.map_err(io_error("open", path))?,
    };
    let listed = foreign::parse(|| read(file)).unwrap_or_else(|panicked| Err(panicked.to_string()));
    let listed = match listed {
        Ok(listed) => listed,
        Err(why) => return Ok(Some(format!("is damaged ({why})"))),
    };
    if listed.len() != committed.len() {
        return Ok(Some(format!("lists {} units, expected {}", listed.len(), committed.len())));
    }
    let wrong = committed.iter().zip(&listed).find(|(entry, (unit_uid, sha256))| {
        (entry.unit_uid.as_str(), entry.sha256.as_str()) != (unit_uid.as_str(), sha256.as_str())
    });
    Ok(wrong.map(|(entry, (unit_uid, sha256))| {
        format!("lists unit {unit_uid} with sha256 {sha256}, expected {} with {}", entry.unit_uid, entry.sha256)
    }))
}

/// Units and their files' sha256, in the order of the index.
fn read(file: File) -> Result<Vec<(String, String)>, String> {
    let words = |error: ParquetError| error.to_string();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()).map_err(words)?;
    let mut listed = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let texts = |name: &'static str| {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| format!("it has no column of texts {name:?}"))
        };
        let rows = texts("unit_uid")?.iter().zip(texts("sha256")?);
        listed.extend(rows.map(|(unit_uid, sha256)| {
            (unit_uid.unwrap_or_default().to_owned(), sha256.unwrap_or_default().to_owned())
        }));
    }
    Ok(listed)
}

/// Rows of the index at `path`, that is, how many units were committed when it was written.
///
/// # Errors
/// [`StoreError::Io`], [`StoreError::Corrupt`].
pub fn count_rows(path: &Path) -> Result<u64, StoreError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let corrupt = |error: ParquetError| StoreError::Corrupt { path: path.to_owned(), why: error.to_string() };
    let opened = foreign::parse(|| SerializedFileReader::new(file));
    let opened = opened.unwrap_or_else(|panicked| Err(ParquetError::General(panicked.to_string())));
    let rows = opened.map_err(corrupt)?.metadata().file_metadata().num_rows();
    u64::try_from(rows).map_err(|_| corrupt(ParquetError::General(format!("{rows} rows"))))
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use arrow_array::types::{Float64Type, Int64Type};

    use super::super::{INDEX_FILE, MASTER_FILE, samples};
    use super::*;

    #[test]
    fn the_index_has_a_row_per_unit() {
        let (_out, mut store) = samples::store("parquet", &["b", "a"]);
        let mut header = samples::header("c", 6);
        header.span = crate::time::TimeSpan::new(0.0, 9.5);
        header.split = Some("val".into());
        let mut unit = store.begin(header).unwrap();
        unit.append(&samples::block(0, 6)).unwrap();
        let entry = store.commit(unit).unwrap();
        store.finish().unwrap();
        let file = File::open(store.path().join(INDEX_FILE)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.schema().metadata()["backbone"].as_str(), "model");
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 3);
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!(text("unit_uid").iter().flatten().collect::<String>(), "abc");
        assert_eq!(text("file").value(1), "units/b.parquet");
        assert_eq!(text("sha256").value(2), entry.sha256);
        for (column, found) in [("clip_uid", ["a", "b", "c"]), ("query_id", [""; 3]), ("split", ["", "", "val"])] {
            assert_eq!(text(column).iter().map(Option::unwrap_or_default).collect::<Vec<_>>(), found, "{column}");
        }
        assert!(text("split").is_null(0));
        let end = batch.column_by_name("end_sec").unwrap().as_primitive::<Float64Type>();
        assert_eq!((end.is_null(0), end.value(2)), (true, 9.5));
        assert_eq!(batch.column_by_name("rows").unwrap().as_primitive::<Int64Type>().value(2), 6);
        assert!(!store.path().join(MASTER_FILE).exists());
    }

    #[test]
    fn a_query_of_its_own_is_named() {
        let entry = LedgerEntry { query_id: Some("a_0".into()), ..samples::entry("a", 1) };
        let batch = batch(HashMap::new(), &[&entry, &samples::entry("b", 1)]).unwrap();
        let names = batch.column_by_name("query_id").unwrap().as_string::<i32>();
        assert_eq!((names.value(0), names.is_null(1)), ("a_0", true));
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
