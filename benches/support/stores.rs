//! What stores say of themselves that a benchmark fills without a video and without a model.

use egofx::ids::{ClipUid, UnitUid, VideoUid};
use egofx::measure::Measure;
use egofx::store::{Contract, Dtype, RowKind, SCHEMA_VERSION, UnitHeader};

use super::Fallible;

/// Of a unit that is all of the video `name`.
pub fn header(name: &str, rows: u64) -> Fallible<UnitHeader> {
    let clip_uid = ClipUid::parse(name)?;
    Ok(UnitHeader {
        unit_uid: UnitUid::from(&clip_uid),
        video_uid: VideoUid::parse(name)?,
        clip_uid: Some(clip_uid),
        query_id: None,
        query_text: None,
        split: None,
        rows,
        span: None,
        source_name: "made-up.mp4".into(),
        source_bytes: 1,
        source_sha256: "none".into(),
        source_fps: 30.0,
        source_frames: 0,
        provider: "none".into(),
        egofx_version: env!("CARGO_PKG_VERSION").into(),
        ffmpeg_version: "none".into(),
        onnxruntime_version: "none".into(),
        notes: vec![],
    })
}

/// Of a store of `dim` features.
pub fn contract(name: &str, dim: usize) -> Contract {
    let none = || "none".to_owned();
    Contract {
        schema_version: SCHEMA_VERSION,
        feature_set: name.into(),
        row_kind: RowKind::Window,
        backbone: none(),
        onnx_sha256: none(),
        precision: "fp32".into(),
        dim,
        dtype: Dtype::F32,
        format: "hdf5".into(),
        grid: none(),
        rows_per_sec: 1.875,
        window_frames: 16,
        compat: "fixed".into(),
        measure: Measure::default(),
        checkpoint: none(),
        checkpoint_sha256: none(),
        recipe: String::new(),
        fingerprint: name.into(),
    }
}
