//! All units in one Parquet file, a row for each row.
//!
//! For data frames; the store's own files are one per unit. Memory is bounded by the row groups, which are closed as they
//! fill. Invariant: rows of a unit stand together and in their order.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;
use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::hdf5::EVERY_KIND;
use super::source::{Features, Source};
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::store::RowMeta;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "parquet",
    about: "features.parquet: one file, a row per row with its unit, times and features as a fixed-size list",
    takes: Takes { rows: EVERY_KIND, queries: Need::Unused, tokens: Need::Unused, clips: Need::Unused },
    write,
};

/// Encoded bytes at which a row group is closed.
const ROW_GROUP_BYTES: usize = 16 << 20;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let path = output.path("features.parquet")?;
    let refused = || ConvertError::write::<ParquetError>(&path);
    let schema = schema(source.contract().dim).map_err(refused())?;
    let file = BufWriter::new(File::create(&path).map_err(ConvertError::io("create", &path))?);
    let properties = properties(source).map_err(refused())?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(refused())?;
    let mut written = Written::default();
    for entry in source.entries() {
        let features = source.read(entry)?;
        batch(&schema, &features).and_then(|batch| writer.write(&batch)).map_err(refused())?;
        if writer.in_progress_size() > ROW_GROUP_BYTES {
            writer.flush().map_err(refused())?;
        }
        written.count(features.meta.len());
    }
    let file = writer.into_inner().map_err(refused())?;
    file.into_inner().map_err(|error| ConvertError::io("write", &path)(error.into_error()))?;
    Ok(written)
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Float32, false))
}

fn schema(dim: usize) -> Result<SchemaRef, ParquetError> {
    let dim = i32::try_from(dim).map_err(|error| ParquetError::General(error.to_string()))?;
    let fields = [
        ("unit_uid", DataType::Utf8, false),
        ("video_uid", DataType::Utf8, false),
        ("clip_uid", DataType::Utf8, true),
        ("query_id", DataType::Utf8, true),
        ("row", DataType::UInt64, false),
        ("first_frame", DataType::UInt64, false),
        ("last_frame", DataType::UInt64, false),
        ("start_sec", DataType::Float64, false),
        ("end_sec", DataType::Float64, false),
        ("padded", DataType::Boolean, false),
        ("missing", DataType::Boolean, false),
        ("features", DataType::FixedSizeList(element(), dim), false),
    ];
    Ok(Arc::new(Schema::new(fields.map(|(name, data_type, nullable)| Field::new(name, data_type, nullable)).to_vec())))
}

fn properties(source: &Source) -> Result<WriterProperties, ParquetError> {
    let contract = source.contract();
    let metadata = [
        ("feature_set", contract.feature_set.clone()),
        ("backbone", contract.backbone.clone()),
        ("fingerprint", contract.fingerprint.clone()),
        ("rows_per_sec", source.fps().to_string()),
    ];
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
    let features = ColumnPath::from(["features", "list", "element"].map(str::to_owned).to_vec());
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_key_value_metadata(Some(metadata))
        .set_column_dictionary_enabled(features.clone(), false)
        .set_column_statistics_enabled(features.clone(), EnabledStatistics::None)
        .set_column_encoding(features, Encoding::BYTE_STREAM_SPLIT)
        .build())
}

fn batch(schema: &SchemaRef, features: &Features) -> Result<RecordBatch, ParquetError> {
    let (meta, rows) = (&features.meta, features.meta.len());
    let count =
        |value: fn(&RowMeta) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(meta.iter().map(value))) };
    let seconds =
        |value: fn(&RowMeta) -> f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(meta.iter().map(value))) };
    let flag = |value: fn(&RowMeta) -> bool| -> ArrayRef {
        Arc::new(meta.iter().map(value).map(Some).collect::<BooleanArray>())
    };
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows])) };
    let clips = meta.iter().map(|row| row.clip_uid.as_ref().or(features.clip_uid.as_ref()).map(|uid| uid.as_str()));
    let queries = meta.iter().map(|row| row.query_id.as_deref().or(features.query_id.as_deref()));
    let columns = vec![
        same(features.unit.as_str()),
        same(features.video_uid.as_str()),
        Arc::new(clips.collect::<StringArray>()),
        Arc::new(queries.collect::<StringArray>()),
        Arc::new(UInt64Array::from_iter_values((0..).take(rows))),
        count(|row| row.first_frame),
        count(|row| row.last_frame),
        seconds(|row| row.start_sec),
        seconds(|row| row.end_sec),
        flag(|row| row.padded),
        flag(|row| row.missing),
        list(features)?,
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn list(features: &Features) -> Result<ArrayRef, ParquetError> {
    let values: ArrayRef = Arc::new(Float32Array::from_iter_values(features.values.iter().copied()));
    Ok(Arc::new(FixedSizeListArray::try_new(element(), features.values.ncols() as i32, values, None)?))
}
