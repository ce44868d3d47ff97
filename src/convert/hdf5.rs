//! All units in one HDF5 file, a group for each.
//!
//! For code that wants one file; the store's own files are one per unit. Features are stored as they are: compressing
//! floats takes ten times as long as writing them and saves little. Invariants: the file has no time in it, so equal
//! features make equal bytes; and no dataset is closed before it is flushed, because the library writes the rest of one that
//! is closed, and what goes wrong then reaches nobody.

use ::hdf5::{Dataset, File, Group, H5Type};
use ndarray::Array1;
use serde_json::Value;

use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written, joined};
use crate::features::Features;
use crate::store::hdf5::{create_file, unicode, write_attribute};
use crate::store::{RowKind, RowMeta, scales};

pub(super) const CONSUMER: Consumer = Consumer {
    name: "hdf5",
    about: "features.h5: one file, a group per unit with features and the times of their rows",
    takes: Takes { rows: EVERY_KIND, queries: Need::Unused, tokens: Need::Unused, clips: Need::Unused },
    write,
};

/// What the rows of a format may be that takes them all.
pub(super) const EVERY_KIND: &[RowKind] =
    &[RowKind::Window, RowKind::FusedWindow, RowKind::Clip, RowKind::Query, RowKind::Token, RowKind::Pair];

type Result5<T> = Result<T, ::hdf5::Error>;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let path = output.path("features.h5")?;
    let refused = || ConvertError::write::<::hdf5::Error>(&path);
    let file = create_file(&path).map_err(refused())?;
    let contract = source.contract();
    let texts = [
        ("feature_set", &contract.feature_set),
        ("backbone", &contract.backbone),
        ("fingerprint", &contract.fingerprint),
    ];
    let write_text = |(name, text): (&str, &String)| write_attribute(&file, name, &Value::from(text.as_str()));
    texts.into_iter().try_for_each(write_text).map_err(refused())?;
    if let Some(joined) = joined(source, false) {
        write_attribute(&file, "joined", &Value::from(joined.to_string())).map_err(refused())?;
    }
    write_attribute(&file, "rows_per_sec", &Value::from(source.rows_per_sec())).map_err(refused())?;
    let mut written = Written::default();
    for entry in source.entries() {
        let features = source.read_timed(entry)?;
        let open = write_unit(&file, &features, contract.row_kind).map_err(refused())?;
        file.flush().map_err(refused())?;
        drop(open);
        written.count(features.meta.len());
    }
    file.flush().and_then(|()| file.close()).map_err(refused())?;
    Ok(written)
}

/// The group of a unit; its datasets, to be kept open until the file is flushed.
fn write_unit(file: &File, features: &Features, kind: RowKind) -> Result5<Vec<Dataset>> {
    let group = file.create_group(features.unit.as_str())?;
    write_attribute(&group, "video_uid", &Value::from(features.video_uid.as_str()))?;
    if let Some(query_id) = &features.query_id {
        write_attribute(&group, "query_id", &Value::from(&**query_id))?;
    }
    let values = features.values.as_standard_layout();
    let builder = group.new_dataset_builder().obj_track_times(false);
    let mut open = vec![builder.with_data(values.view()).create("features")?];
    open.extend(write_columns(&group, &features.meta)?);
    if kind.names_clips() {
        open.push(names(&group, "clip_uid", features, RowMeta::clip_name)?);
    }
    if kind.names_queries() {
        open.push(names(&group, "query_id", features, RowMeta::query_name)?);
    }
    open.extend(scales::add(&group, [features.values.nrows(), features.values.ncols()])?);
    Ok(open)
}

fn write_columns(group: &Group, meta: &[RowMeta]) -> Result5<[Dataset; 6]> {
    fn column<T: H5Type>(
        group: &Group,
        name: &str,
        meta: &[RowMeta],
        value: impl Fn(&RowMeta) -> T,
    ) -> Result5<Dataset> {
        let values: Array1<T> = meta.iter().map(value).collect();
        group.new_dataset_builder().obj_track_times(false).with_data(values.view()).create(name)
    }
    Ok([
        column(group, "start_sec", meta, |row| row.start_sec)?,
        column(group, "end_sec", meta, |row| row.end_sec)?,
        column(group, "first_frame", meta, |row| row.first_frame as i64)?,
        column(group, "last_frame", meta, |row| row.last_frame as i64)?,
        column(group, "padded", meta, |row| row.padded)?,
        column(group, "missing", meta, |row| row.missing)?,
    ])
}

fn names(group: &Group, name: &str, features: &Features, value: fn(&RowMeta) -> &str) -> Result5<Dataset> {
    let values = features.meta.iter().map(|row| unicode(value(row))).collect::<Result5<Array1<_>>>()?;
    group.new_dataset_builder().obj_track_times(false).with_data(values.view()).create(name)
}
