//! Small stores of every kind of rows, made through the library: what the tests of readers and converters work on.
//!
//! Not for how rows are computed. Invariant: the same call gives the same rows.

use std::path::Path;

use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::measure::Measure;
use egofx::ndarray::Array2;
use egofx::shard::Shard;
use egofx::store::{Contract, Dtype, PlannedUnit, RowBlock, RowKind, RowMeta, SCHEMA_VERSION, Store, UnitHeader};
use egofx::time::TimeSpan;

use super::wait_for;

/// A unit to be written.
#[derive(Clone)]
pub struct Made {
    pub unit: String,
    pub video: String,
    pub clip: Option<String>,
    pub query: Option<String>,
    pub span: Option<(f64, f64)>,
    /// One per row: its query, and whether it only fills up.
    pub rows: Vec<(Option<String>, bool)>,
    pub missing: Vec<usize>,
}

impl Made {
    /// Windows of a clip, or of a whole video without `span`.
    pub fn windows(unit: &str, video: &str, span: Option<(f64, f64)>, rows: usize) -> Self {
        let (unit, video) = (unit.to_owned(), video.to_owned());
        Self {
            clip: Some(unit.clone()),
            unit,
            video,
            query: None,
            span,
            rows: vec![(None, false); rows],
            missing: vec![],
        }
    }

    /// The same windows after they have met a query: a unit of the query's own.
    pub fn fused(self, query_id: &str) -> Self {
        Self { unit: query_id.to_owned(), query: Some(query_id.to_owned()), ..self }
    }
}

/// The value in a row and column of a unit: different everywhere.
pub fn value(unit: &str, row: usize, column: usize) -> f32 {
    let name = unit.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    ((name % 1009) as f32 / 100.0 + row as f32 * 0.37 + column as f32 * 1.3).sin()
}

/// All rows of a unit.
pub fn values(unit: &str, rows: usize, dim: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, dim), |(row, column)| value(unit, row, column))
}

pub fn contract(name: &str, kind: RowKind, dim: usize, rows_per_sec: f64) -> Contract {
    Contract {
        schema_version: SCHEMA_VERSION,
        feature_set: name.into(),
        row_kind: kind,
        backbone: "made up".into(),
        onnx_sha256: "ab".repeat(32),
        precision: "fp32".into(),
        dim,
        dtype: Dtype::F32,
        format: "hdf5".into(),
        grid: "egovlp".into(),
        rows_per_sec,
        window_frames: 4,
        compat: "fixed".into(),
        measure: Measure::default(),
        checkpoint: "none".into(),
        checkpoint_sha256: "cd".repeat(32),
        recipe: "a = 1\n".into(),
        fingerprint: format!("{name} {kind:?} {dim}"),
    }
}

/// Opens a store to write. A process that a test beside has just started may hold the lock of the last one that did, for a moment.
pub fn opened(out: &Path, contract: &Contract) -> Store {
    let mut opened = None;
    wait_for("the store is given back", 60, || {
        let store = Store::open(out, contract, Shard::WHOLE);
        opened = store.inspect_err(|error| eprintln!("{error}")).ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// Writes the store `out/name`.
pub fn store(out: &Path, contract: &Contract, units: &[Made]) {
    let mut store = opened(out, contract);
    let planned = |made: &Made| PlannedUnit {
        unit_uid: UnitUid::parse(&made.unit).unwrap(),
        video_uid: VideoUid::parse(&made.video).unwrap(),
        span: made.span.and_then(|(start, end)| TimeSpan::new(start, end)),
        content_sha256: None,
    };
    store.promise(&units.iter().map(planned).collect::<Vec<_>>()).unwrap();
    for made in units {
        let mut unit = store.begin(header(made)).unwrap();
        let features = values(&made.unit, made.rows.len(), contract.dim);
        unit.append(&RowBlock { first_row: 0, meta: meta(made, contract), features }).unwrap();
        store.commit(unit).unwrap();
    }
    store.finish().unwrap();
}

fn header(made: &Made) -> UnitHeader {
    UnitHeader {
        unit_uid: UnitUid::parse(&made.unit).unwrap(),
        video_uid: VideoUid::parse(&made.video).unwrap(),
        clip_uid: made.clip.as_deref().map(|clip| ClipUid::parse(clip).unwrap()),
        query_id: made.query.clone(),
        query_text: made.query.clone(),
        split: None,
        rows: made.rows.len() as u64,
        span: made.span.and_then(|(start, end)| TimeSpan::new(start, end)),
        source_name: "v.mp4".into(),
        source_bytes: 1,
        source_sha256: "ef".repeat(32),
        source_fps: 30.0,
        source_frames: 0,
        provider: "cpu".into(),
        egofx_version: "0.1.0".into(),
        ffmpeg_version: "7.1".into(),
        onnxruntime_version: "1.24".into(),
        notes: vec![],
    }
}

fn meta(made: &Made, contract: &Contract) -> Vec<RowMeta> {
    let rows_per_sec = contract.rows_per_sec;
    let some_clip = if contract.row_kind == RowKind::Clip { made.clip.as_deref() } else { None };
    let some_clip = some_clip.unwrap_or("some-clip");
    let start = made.span.map_or(0.0, |(start, _)| start);
    let at = |row: usize| if rows_per_sec > 0.0 { start + row as f64 / rows_per_sec } else { 0.0 };
    let row = |(row, (query, padded)): (usize, &(Option<String>, bool))| RowMeta {
        first_frame: (at(row) * 30.0) as u64,
        last_frame: (at(row) * 30.0) as u64 + 15,
        start_sec: at(row),
        end_sec: if rows_per_sec > 0.0 { at(row + 1) } else { 0.0 },
        padded: *padded,
        missing: made.missing.contains(&row),
        clip_uid: query.as_ref().map(|_| ClipUid::parse(some_clip).unwrap()),
        query_id: query.as_deref().map(Into::into),
    };
    made.rows.iter().enumerate().map(row).collect()
}
