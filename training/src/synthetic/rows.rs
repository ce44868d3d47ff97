//! Stores of synthetic rows, written by the library that writes the real ones.
//!
//! Not for what the rows are. Invariant: a unit has the rows that its header says, in order of time.

use std::path::{Path, PathBuf};

use egofx::digest;
use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::measure::Measure;
use egofx::ndarray::Array2;
use egofx::shard::Shard;
use egofx::store::{Contract, Dtype, PlannedUnit, RowBlock, RowKind, RowMeta, SCHEMA_VERSION, Store, UnitHeader};
use egofx::time::TimeSpan;

use super::error::SyntheticError;

/// What stands wherever a real store names a model, a file or a program.
const SYNTHETIC: &str = "synthetic";
/// Frames per second of the videos that nobody ever saw.
const VIDEO_FPS: f64 = 30.0;

/// A feature set.
pub(super) struct FeatureSet<'s> {
    pub name: &'s str,
    pub row_kind: RowKind,
    pub dim: usize,
    /// Rows per second; 0 for sentences.
    pub fps: f64,
    /// All that the values follow from, for the fingerprint.
    pub settings: String,
}

/// A unit of it.
pub(super) struct Rows {
    pub unit_uid: UnitUid,
    pub video_uid: VideoUid,
    pub clip_uid: Option<ClipUid>,
    /// Id and text, where the whole unit has met one query.
    pub query: Option<(String, String)>,
    pub meta: Vec<RowMeta>,
    /// Shape `[meta.len(), dim]`.
    pub features: Array2<f32>,
}

impl FeatureSet<'_> {
    /// Writes the store `<out>/<name>`.
    pub(super) fn write<U>(&self, out: &Path, units: U) -> Result<PathBuf, SyntheticError>
    where
        U: IntoIterator<Item = Result<Rows, SyntheticError>>,
    {
        let mut store = Store::open(out, &self.contract(), Shard::WHOLE)?;
        for rows in units {
            add(&mut store, rows?)?;
        }
        store.finish()?;
        Ok(store.path().to_owned())
    }

    fn contract(&self) -> Contract {
        let named = || SYNTHETIC.to_owned();
        let mut contract = Contract {
            schema_version: SCHEMA_VERSION,
            feature_set: self.name.to_owned(),
            backbone: named(),
            onnx_sha256: named(),
            precision: "fp32".to_owned(),
            dim: self.dim,
            dtype: Dtype::F32,
            row_kind: self.row_kind,
            format: "hdf5".to_owned(),
            grid: named(),
            rows_per_sec: self.fps,
            window_frames: if self.fps > 0.0 { (VIDEO_FPS / self.fps) as u32 } else { 0 },
            compat: named(),
            measure: Measure::default(),
            checkpoint: named(),
            checkpoint_sha256: named(),
            recipe: self.settings.clone(),
            fingerprint: String::new(),
        };
        contract.fingerprint = digest::text(&contract.described());
        contract
    }
}

fn add(store: &mut Store, rows: Rows) -> Result<(), SyntheticError> {
    let span = rows.meta.last().and_then(|last| TimeSpan::new(0.0, last.end_sec));
    let (unit_uid, video_uid) = (rows.unit_uid.clone(), rows.video_uid.clone());
    store.promise(&[PlannedUnit { unit_uid, video_uid, span, content_sha256: None }])?;
    let mut unit = store.begin(header(&rows, span))?;
    unit.append(&RowBlock { first_row: 0, meta: rows.meta, features: rows.features })?;
    store.commit(unit)?;
    Ok(())
}

fn header(rows: &Rows, span: Option<TimeSpan>) -> UnitHeader {
    let named = || SYNTHETIC.to_owned();
    let (query_id, query_text) = rows.query.clone().unzip();
    UnitHeader {
        unit_uid: rows.unit_uid.clone(),
        video_uid: rows.video_uid.clone(),
        clip_uid: rows.clip_uid.clone(),
        query_id,
        query_text,
        split: None,
        rows: rows.meta.len() as u64,
        span,
        source_name: named(),
        source_bytes: 0,
        source_sha256: named(),
        source_fps: VIDEO_FPS,
        source_frames: span.map_or(0, |span| (span.end_sec * VIDEO_FPS).round() as u64),
        provider: named(),
        egofx_version: env!("CARGO_PKG_VERSION").to_owned(),
        ffmpeg_version: named(),
        onnxruntime_version: named(),
        notes: vec!["made up, not extracted".to_owned()],
    }
}

/// Where `count` rows side by side lie, at `fps` rows per second from the beginning of the video.
pub(super) fn times(count: usize, fps: f64) -> Vec<RowMeta> {
    let frame = |row: usize| (row as f64 * VIDEO_FPS / fps).round() as u64;
    let row = |row: usize| RowMeta {
        first_frame: frame(row),
        last_frame: frame(row + 1) - 1,
        start_sec: row as f64 / fps,
        end_sec: (row + 1) as f64 / fps,
        ..RowMeta::default()
    };
    (0..count).map(row).collect()
}
