//! Small units for tests.
//!
//! Not for production: compiled into tests only. Invariant: the same call gives the same rows.

use std::path::{Path, PathBuf};

use half::f16;
use ndarray::Array2;

use super::*;
use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::measure::Measure;
use crate::shard::Shard;

/// Rows of [`unit`].
pub const ROWS: usize = 6;
/// Features per row.
pub const DIM: usize = 8;

pub fn contract(format: &str, dtype: Dtype) -> Contract {
    Contract {
        schema_version: SCHEMA_VERSION,
        feature_set: "sample".into(),
        backbone: "model".into(),
        onnx_sha256: "ab".repeat(32),
        precision: "fp32".into(),
        dim: DIM,
        dtype,
        row_kind: RowKind::Window,
        format: format.into(),
        grid: "regular".into(),
        rows_per_sec: 1.875,
        window_frames: 16,
        compat: "none".into(),
        measure: Measure::default(),
        checkpoint: "weights é".into(),
        checkpoint_sha256: "cd".repeat(32),
        recipe: "a = 1\nb = 2\n".into(),
        fingerprint: "f0".repeat(32),
    }
}

pub fn header(unit_uid: &str, rows: u64) -> UnitHeader {
    UnitHeader {
        unit_uid: UnitUid::parse(unit_uid).unwrap(),
        video_uid: VideoUid::parse("v").unwrap(),
        clip_uid: Some(ClipUid::parse(unit_uid).unwrap()),
        query_id: None,
        query_text: None,
        split: None,
        rows,
        span: None,
        source_name: "v.mp4".into(),
        source_bytes: 1 << 40,
        source_sha256: "ef".repeat(32),
        source_fps: 30000.0 / 1001.0,
        source_frames: 3000,
        provider: "cpu".into(),
        egofx_version: "0.1.0".into(),
        ffmpeg_version: "7.1".into(),
        onnxruntime_version: "1.24".into(),
        notes: Vec::new(),
    }
}

/// Rows `first..first + rows` of a unit, of which row 4 is padded.
pub fn block(first: u64, rows: usize) -> RowBlock {
    let meta = (first..).take(rows).map(|row| RowMeta {
        first_frame: row * 16,
        last_frame: row * 16 + 15,
        start_sec: row as f64 * 16.0 / 30.0,
        end_sec: (row + 1) as f64 * 16.0 / 30.0,
        padded: row == 4,
        ..RowMeta::default()
    });
    let value = |(row, column): (usize, usize)| (first as f32 + row as f32 + 1.0) / (column as f32 + 3.0);
    RowBlock { first_row: first, meta: meta.collect(), features: Array2::from_shape_fn((rows, DIM), value) }
}

/// All rows of a unit, of which row 3 is missing.
pub fn whole() -> RowBlock {
    let mut block = block(0, ROWS);
    block.meta[3].missing = true;
    block.features.row_mut(3).fill(f32::NAN);
    block
}

/// What a file with [`write_unit`] or [`commit`] of `a` holds when it is read back.
pub fn unit(format: &str, dtype: Dtype) -> Unit {
    let RowBlock { meta, mut features, .. } = whole();
    if dtype == Dtype::F16 {
        features.mapv_inplace(|value| f16::from_f32(value).to_f32());
    }
    Unit { contract: contract(format, dtype), header: header("a", ROWS as u64), meta, features }
}

/// A unit whose rows are of another kind than windows of one clip.
pub fn unit_of(format: &str, kind: RowKind) -> Unit {
    let mut unit = unit(format, Dtype::F32);
    unit.contract.row_kind = kind;
    let named = kind.names_clips() || kind.names_queries();
    unit.header.clip_uid = unit.header.clip_uid.filter(|_| !named);
    if kind == RowKind::FusedWindow {
        unit.header.query_id = Some("a_0".into());
        unit.header.query_text = Some("where is the \"d\u{e9}cor\"?".into());
    }
    for (i, row) in unit.meta.iter_mut().enumerate() {
        row.clip_uid = kind.names_clips().then(|| ClipUid::parse(&format!("clip-{}", i / 2)).unwrap());
        row.query_id = kind.names_queries().then(|| format!("query \u{e9} {i}").into());
    }
    unit
}

/// A form of a unit in which NaN equals NaN.
pub fn bits(unit: &Unit) -> (Contract, UnitHeader, Vec<RowMeta>, Array2<u32>) {
    (unit.contract.clone(), unit.header.clone(), unit.meta.clone(), unit.features.mapv(f32::to_bits))
}

/// Writes a unit without a store.
pub fn write_unit(folder: &Path, format: &Format, dtype: Dtype) -> PathBuf {
    let path = folder.join(format!("a-{dtype:?}.{}", format.extension));
    let mut sink = (format.create)(&path, &contract(format.name, dtype), &header("a", ROWS as u64)).unwrap();
    sink.append(&whole()).unwrap();
    sink.finish().unwrap();
    path
}

/// Writes a unit into a store.
pub fn commit(store: &mut Store, unit_uid: &str) -> LedgerEntry {
    let mut unit = store.begin(header(unit_uid, ROWS as u64)).unwrap();
    unit.append(&whole()).unwrap();
    store.commit(unit).unwrap()
}

/// A new store with the units named, promised and committed; it lives as long as the folder.
pub fn store(format: &str, units: &[&str]) -> (tempfile::TempDir, Store) {
    let out = tempfile::tempdir().unwrap();
    let mut store = Store::open(out.path(), &contract(format, Dtype::F32), Shard::WHOLE).unwrap();
    store.promise(&units.iter().map(|uid| planned(uid)).collect::<Vec<_>>()).unwrap();
    for uid in units {
        commit(&mut store, uid);
    }
    (out, store)
}

pub fn planned(unit_uid: &str) -> PlannedUnit {
    PlannedUnit {
        unit_uid: UnitUid::parse(unit_uid).unwrap(),
        video_uid: VideoUid::parse("v").unwrap(),
        span: None,
        content_sha256: None,
    }
}

pub fn entry(unit_uid: &str, revision: u32) -> LedgerEntry {
    LedgerEntry {
        unit_uid: UnitUid::parse(unit_uid).unwrap(),
        video_uid: VideoUid::parse("v").unwrap(),
        clip_uid: None,
        query_id: None,
        split: None,
        file: format!("units/{unit_uid}.h5"),
        rows: 6,
        dim: DIM,
        span: None,
        padded_rows: 1,
        missing_rows: 1,
        bytes: 1000,
        sha256: "00".repeat(32),
        fingerprint: "f0".repeat(32),
        revision,
    }
}
