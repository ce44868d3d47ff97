//! All units in one Parquet file, a row for each row.
//!
//! For data frames; the store's own files are one per unit. Memory is bounded by the row groups, which are closed as they
//! fill. Invariant: rows of a unit stand together and in their order.

use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::WriterProperties;
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::hdf5::EVERY_KIND;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, joined};
use crate::features::{Features, Source};
use crate::store::Dtype;
use crate::store::parquet::{element, row_columns, row_fields, writer_properties};

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
        let features = source.read_timed(entry)?;
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

fn schema(dim: usize) -> Result<SchemaRef, ParquetError> {
    let dim = i32::try_from(dim).map_err(|error| ParquetError::General(error.to_string()))?;
    let names = [("unit_uid", false), ("video_uid", false), ("clip_uid", true), ("query_id", true)];
    let names = names.map(|(name, nullable)| Field::new(name, DataType::Utf8, nullable));
    let rows = row_fields(Dtype::F32, dim).map(|(name, data_type)| Field::new(name, data_type, false));
    Ok(Arc::new(Schema::new([&names[..], &rows[..]].concat())))
}

fn properties(source: &Source) -> Result<WriterProperties, ParquetError> {
    let contract = source.contract();
    let metadata = [
        ("feature_set", contract.feature_set.clone()),
        ("backbone", contract.backbone.clone()),
        ("fingerprint", contract.fingerprint.clone()),
        ("rows_per_sec", source.rows_per_sec().to_string()),
    ];
    let joined = joined(source, false).map(|joined| ("joined", joined.to_string()));
    let metadata =
        metadata.into_iter().chain(joined).map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
    writer_properties(1, metadata)
}

fn batch(schema: &SchemaRef, features: &Features) -> Result<RecordBatch, ParquetError> {
    let meta = &features.meta;
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; meta.len()])) };
    let clips = meta.iter().map(|row| row.clip_uid.as_ref().or(features.clip_uid.as_ref()).map(|uid| uid.as_str()));
    let queries = meta.iter().map(|row| row.query_id.as_deref().or(features.query_id.as_deref()));
    let mut columns = vec![
        same(features.unit.as_str()),
        same(features.video_uid.as_str()),
        Arc::new(clips.collect::<StringArray>()),
        Arc::new(queries.collect::<StringArray>()),
    ];
    columns.extend(row_columns(0, meta));
    columns.push(list(features)?);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

fn list(features: &Features) -> Result<ArrayRef, ParquetError> {
    let values: ArrayRef = Arc::new(Float32Array::from_iter_values(features.values.iter().copied()));
    Ok(Arc::new(FixedSizeListArray::try_new(element(Dtype::F32), features.values.ncols() as i32, values, None)?))
}
