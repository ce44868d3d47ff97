//! Units as Parquet files.
//!
//! A file has one row per row, features as a fixed-size list, and contract and header as metadata, both of its Arrow schema
//! (which pyarrow shows) and of the file itself. Not for when a file counts: that is the store's business. Invariant: the
//! bytes depend on rows and header only, as long as all blocks but the last have `Contract::chunk_rows` rows.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use half::f16;
use ndarray::Array2;
use serde_json::{Map, Value};

use super::contract::{Contract, Dtype, RowBlock, RowKind, RowMeta, Unit, UnitHeader, clip_of_row};
use super::error::{StoreError, io_error};
use super::{FeatureSink, Format, fields};
use crate::foreign;

/// The format `parquet`.
pub const FORMAT: Format = Format {
    name: "parquet",
    extension: "parquet",
    about: "one Parquet file per unit, features as a fixed-size list",
    create,
    read,
    read_header,
};

/// A row group is closed once it has this many encoded bytes, which bounds the memory of writer and reader.
const ROW_GROUP_BYTES: usize = 8 << 20;

struct Sink {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
    schema: SchemaRef,
    dtype: Dtype,
    row_kind: RowKind,
    /// Counts have no sign: schema 2.
    unsigned: bool,
    header: UnitHeader,
}

fn create(path: &Path, contract: &Contract, header: &UnitHeader) -> Result<Box<dyn FeatureSink>, StoreError> {
    let failed = |error| write_error(path, error);
    let fields = fields::of(contract, header).map_err(|error| failed(ParquetError::General(error.to_string())))?;
    let schema = Arc::new(schema(contract, &fields).map_err(|error| failed(error.into()))?);
    let properties = writer_properties(3, file_metadata(&fields)).map_err(failed)?;
    let file = File::create(path).map_err(io_error("create", path))?;
    let writer = ArrowWriter::try_new(BufWriter::new(file), schema.clone(), Some(properties)).map_err(failed)?;
    let Contract { dtype, row_kind, .. } = *contract;
    let unsigned = contract.is_schema_2();
    Ok(Box::new(Sink { path: path.to_owned(), writer, schema, dtype, row_kind, unsigned, header: header.clone() }))
}

/// The values of the column `features`.
pub(crate) fn element(dtype: Dtype) -> FieldRef {
    let data_type = match dtype {
        Dtype::F32 => DataType::Float32,
        Dtype::F16 => DataType::Float16,
    };
    Arc::new(Field::new("element", data_type, false))
}

fn schema(contract: &Contract, fields: &Map<String, Value>) -> Result<Schema, arrow_schema::ArrowError> {
    let dim = i32::try_from(contract.dim).map_err(|error| arrow_schema::ArrowError::SchemaError(error.to_string()))?;
    let field = |(name, data_type)| Field::new(name, data_type, false);
    let has_query = contract.row_kind.names_queries() || contract.row_kind == RowKind::FusedWindow;
    let names = ["video_uid", "unit_uid", "clip_uid"].into_iter().chain(has_query.then_some("query_id"));
    let columns = names.map(|name| (name, DataType::Utf8)).chain(row_fields(contract.dtype, dim));
    let columns = columns.map(|(name, data_type)| (name, stored_as(data_type, contract))).map(field);
    // Schema 2 has none here, so that pyarrow shows none.
    let metadata = if contract.is_schema_2() { HashMap::new() } else { schema_metadata(fields) };
    Ok(Schema::new_with_metadata(columns.collect::<Vec<_>>(), metadata))
}

/// Counts of schema 2 have no sign.
fn stored_as(data_type: DataType, contract: &Contract) -> DataType {
    if contract.is_schema_2() && data_type == DataType::Int64 { DataType::UInt64 } else { data_type }
}

/// Contract and header as metadata of an Arrow schema, which pyarrow and pandas show; sorted when it is written.
pub(super) fn schema_metadata(fields: &Map<String, Value>) -> HashMap<String, String> {
    fields.iter().map(|(name, value)| (name.clone(), fields::to_text(value))).collect()
}

/// The same as metadata of a Parquet file, which is read without Arrow.
pub(super) fn file_metadata(fields: &Map<String, Value>) -> Vec<KeyValue> {
    fields.iter().map(|(name, value)| KeyValue::new(name.clone(), fields::to_text(value))).collect()
}

/// The columns that every file of rows ends with, in this order.
pub(crate) fn row_fields(dtype: Dtype, dim: i32) -> [(&'static str, DataType); 8] {
    [
        ("row", DataType::Int64),
        ("first_frame", DataType::Int64),
        ("last_frame", DataType::Int64),
        ("start_sec", DataType::Float64),
        ("end_sec", DataType::Float64),
        ("padded", DataType::Boolean),
        ("missing", DataType::Boolean),
        ("features", DataType::FixedSizeList(element(dtype), dim)),
    ]
}

/// The values of [`row_fields`] but for the last one, from `first_row` on.
pub(crate) fn row_columns(first_row: u64, meta: &[RowMeta]) -> [ArrayRef; 7] {
    let counts = |values: &mut dyn Iterator<Item = u64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values.map(|value| value as i64)))
    };
    let seconds =
        |value: fn(&RowMeta) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(meta.iter().map(value))) };
    let flag = |value: fn(&RowMeta) -> bool| -> ArrayRef {
        Arc::new(meta.iter().map(value).map(Some).collect::<BooleanArray>())
    };
    [
        counts(&mut (first_row..).take(meta.len())),
        counts(&mut meta.iter().map(|row| row.first_frame)),
        counts(&mut meta.iter().map(|row| row.last_frame)),
        seconds(|row| row.start_sec),
        seconds(|row| row.end_sec),
        flag(|row| row.padded),
        flag(|row| row.missing),
    ]
}

/// How files of features are written, by zstd of `level`.
///
/// # Errors
/// A level that zstd does not have.
pub(crate) fn writer_properties(level: i32, metadata: Vec<KeyValue>) -> Result<WriterProperties, ParquetError> {
    let features = ColumnPath::from(["features", "list", "element"].map(str::to_owned).to_vec());
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_key_value_metadata(Some(metadata))
        // Floats hardly repeat: a dictionary would be built and thrown away, and minima of features mean nothing.
        .set_column_dictionary_enabled(features.clone(), false)
        .set_column_statistics_enabled(features.clone(), EnabledStatistics::None)
        .set_column_encoding(features, Encoding::BYTE_STREAM_SPLIT)
        .build())
}

/// A column of counts as schema 2 has it; any other as it is.
fn without_sign(column: ArrayRef) -> ArrayRef {
    let Some(counts) = column.as_primitive_opt::<Int64Type>() else { return column };
    Arc::new(UInt64Array::from_iter_values(counts.values().iter().map(|&count| count as u64)))
}

impl Sink {
    fn batch(&self, block: &RowBlock) -> Result<RecordBatch, ParquetError> {
        let mut columns = self.names(&block.meta);
        let own = row_columns(block.first_row, &block.meta);
        columns.extend(own.into_iter().map(|column| if self.unsigned { without_sign(column) } else { column }));
        columns.push(self.features(&block.features)?);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// Whose rows these are: of one clip and query, or each row of its own.
    fn names(&self, meta: &[RowMeta]) -> Vec<ArrayRef> {
        let UnitHeader { video_uid, unit_uid, clip_uid, query_id, .. } = &self.header;
        let same = |name: &str| -> ArrayRef { Arc::new(StringArray::from(vec![name; meta.len()])) };
        let own =
            |name: fn(&RowMeta) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(meta.iter().map(name))) };
        let clips = match clip_uid {
            Some(clip_uid) => same(clip_uid.as_str()),
            None => own(RowMeta::clip_name),
        };
        let queries = match query_id {
            Some(query_id) => Some(same(query_id)),
            None => self.row_kind.names_queries().then(|| own(RowMeta::query_name)),
        };
        [same(video_uid.as_str()), same(unit_uid.as_str()), clips].into_iter().chain(queries).collect()
    }

    fn features(&self, features: &Array2<f32>) -> Result<ArrayRef, ParquetError> {
        let values: ArrayRef = match self.dtype {
            Dtype::F32 => Arc::new(Float32Array::from_iter_values(features.iter().copied())),
            Dtype::F16 => Arc::new(Float16Array::from_iter_values(features.iter().map(|&value| f16::from_f32(value)))),
        };
        let list = FixedSizeListArray::try_new(element(self.dtype), features.ncols() as i32, values, None)?;
        Ok(Arc::new(list))
    }

    fn write(&mut self, block: &RowBlock) -> Result<(), ParquetError> {
        self.writer.write(&self.batch(block)?)?;
        if self.writer.in_progress_size() > ROW_GROUP_BYTES { self.writer.flush() } else { Ok(()) }
    }
}

impl FeatureSink for Sink {
    fn append(&mut self, block: &RowBlock) -> Result<(), StoreError> {
        self.write(block).map_err(|error| write_error(&self.path, error))
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self { path, writer, .. } = *self;
        let mut file = writer.into_inner().map_err(|error| write_error(&path, error))?;
        // A BufWriter that is merely dropped swallows its last error.
        file.flush().map_err(io_error("write", &path))
    }
}

fn open(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>, StoreError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| read_error(path, error))
}

fn read_header(path: &Path) -> Result<(Contract, UnitHeader), StoreError> {
    foreign::parse(|| parsed_header(path)).unwrap_or_else(|panicked| Err(read_error(path, panicked)))
}

fn parsed_header(path: &Path) -> Result<(Contract, UnitHeader), StoreError> {
    header_of(&open(path)?).map_err(|error| read_error(path, error))
}

fn header_of(file: &ParquetRecordBatchReaderBuilder<File>) -> serde_json::Result<(Contract, UnitHeader)> {
    let metadata = file.metadata().file_metadata().key_value_metadata();
    let texts = metadata.into_iter().flatten().filter_map(|pair| Some((&pair.key, pair.value.as_deref()?)));
    let value = |(name, text): (&String, &str)| Ok((name.clone(), fields::from_text(name, text)?));
    fields::parse(texts.map(value).collect::<serde_json::Result<Map<_, _>>>()?)
}

fn read(path: &Path) -> Result<Unit, StoreError> {
    foreign::parse(|| parsed(path)).unwrap_or_else(|panicked| Err(read_error(path, panicked)))
}

fn parsed(path: &Path) -> Result<Unit, StoreError> {
    let file = open(path)?;
    let (contract, header) = header_of(&file).map_err(|error| read_error(path, error))?;
    let reader = file.with_batch_size(1024).build().map_err(|error| read_error(path, error))?;
    let (meta, values) =
        read_rows(reader, contract.row_kind).map_err(|why| StoreError::Corrupt { path: path.to_owned(), why })?;
    let dim = if meta.is_empty() { contract.dim } else { values.len() / meta.len() };
    let features = Array2::from_shape_vec((meta.len(), dim), values).map_err(|error| read_error(path, error))?;
    Ok(Unit { contract, header, meta, features })
}

fn read_rows(reader: ParquetRecordBatchReader, kind: RowKind) -> Result<(Vec<RowMeta>, Vec<f32>), String> {
    let (mut meta, mut values) = (Vec::new(), Vec::new());
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        read_meta(&batch, kind, &mut meta)?;
        read_features(&batch, &mut values)?;
    }
    Ok((meta, values))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}"))
}

fn numbers<'a, T: arrow_array::types::ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
) -> Result<&'a PrimitiveArray<T>, String> {
    let column = column(batch, name)?;
    let found = || format!("column {name} is of type {}, expected {}", column.data_type(), T::DATA_TYPE);
    column.as_primitive_opt::<T>().ok_or_else(found)
}

fn flags<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray, String> {
    let column = column(batch, name)?;
    column.as_boolean_opt().ok_or_else(|| format!("column {name} is of type {}, expected bool", column.data_type()))
}

fn names<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, String> {
    let column = column(batch, name)?;
    column.as_string_opt().ok_or_else(|| format!("column {name} is of type {}, expected text", column.data_type()))
}

/// A column of counts, with a sign or, of schema 2, without.
fn counts(batch: &RecordBatch, name: &str) -> Result<Vec<u64>, String> {
    if column(batch, name)?.data_type() == &DataType::UInt64 {
        return Ok(numbers::<UInt64Type>(batch, name)?.values().to_vec());
    }
    let negative = |_| format!("column {name} holds a negative number");
    let counts = numbers::<Int64Type>(batch, name)?.values();
    counts.iter().map(|&count| u64::try_from(count).map_err(negative)).collect()
}

fn read_meta(batch: &RecordBatch, kind: RowKind, meta: &mut Vec<RowMeta>) -> Result<(), String> {
    let (first_frame, last_frame) = (counts(batch, "first_frame")?, counts(batch, "last_frame")?);
    let start_sec = numbers::<Float64Type>(batch, "start_sec")?;
    let end_sec = numbers::<Float64Type>(batch, "end_sec")?;
    let (padded, missing) = (flags(batch, "padded")?, flags(batch, "missing")?);
    let clips = kind.names_clips().then(|| names(batch, "clip_uid")).transpose()?;
    let queries = kind.names_queries().then(|| names(batch, "query_id")).transpose()?;
    for i in 0..batch.num_rows() {
        let row = RowMeta {
            first_frame: first_frame[i],
            last_frame: last_frame[i],
            start_sec: start_sec.value(i),
            end_sec: end_sec.value(i),
            padded: padded.value(i),
            missing: missing.value(i),
            clip_uid: clips.map(|names| clip_of_row(names.value(i))).transpose()?.flatten(),
            query_id: queries.map(|names| names.value(i).into()),
        };
        meta.push(row);
    }
    Ok(())
}

fn read_features(batch: &RecordBatch, values: &mut Vec<f32>) -> Result<(), String> {
    let column = column(batch, "features")?;
    let unexpected = || format!("column features is of type {}, expected a list of floats", column.data_type());
    let list = column.as_fixed_size_list_opt().ok_or_else(unexpected)?.values();
    if let Some(floats) = list.as_primitive_opt::<Float32Type>() {
        values.extend_from_slice(floats.values());
    } else {
        let halves = list.as_primitive_opt::<Float16Type>().ok_or_else(unexpected)?;
        values.extend(halves.values().iter().map(|value| value.to_f32()));
    }
    Ok(())
}

fn read_error(path: &Path, error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), why: error.to_string() }
}

/// Tells errors of the device, a full one above all, from errors of the library.
pub(super) fn write_error(path: &Path, error: ParquetError) -> StoreError {
    let why = error.to_string();
    if let ParquetError::External(source) = error
        && let Ok(source) = source.downcast::<std::io::Error>()
    {
        return StoreError::io("write", path, *source);
    }
    StoreError::Write { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn features_are_split_into_byte_streams_without_dictionary() {
        let folder = tempfile::tempdir().unwrap();
        for dtype in [Dtype::F32, Dtype::F16] {
            let path = samples::write_unit(folder.path(), &FORMAT, dtype);
            let file = open(&path).unwrap();
            let group = file.metadata().row_group(0);
            let column = group.columns().iter().find(|c| c.column_path().parts()[0] == "features").unwrap();
            assert_eq!(column.column_path().string(), "features.list.element");
            let encodings: Vec<_> = column.encodings().collect();
            assert!(encodings.contains(&Encoding::BYTE_STREAM_SPLIT), "{encodings:?}");
            assert!(!encodings.contains(&Encoding::RLE_DICTIONARY), "{encodings:?}");
            assert!(column.statistics().is_none());
            assert_eq!(column.compression(), Compression::ZSTD(ZstdLevel::try_new(1).unwrap()));
        }
    }

    #[test]
    fn long_units_have_several_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long.parquet");
        let mut contract = samples::contract("parquet", Dtype::F32);
        contract.dim = 1 << 20;
        let mut sink = create(&path, &contract, &samples::header("a", 6)).unwrap();
        for row in 0..6 {
            let mut block = samples::block(row, 1);
            block.features = Array2::from_shape_fn((1, contract.dim), |(_, i)| (i as f32).sin());
            sink.append(&block).unwrap();
        }
        sink.finish().unwrap();
        assert!(open(&path).unwrap().metadata().num_row_groups() > 1);
        assert_eq!(read(&path).unwrap().features[[5, 3]], 3f32.sin());
    }
}
