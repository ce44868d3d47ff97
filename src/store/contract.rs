//! What all rows of a store share, and what one of its files adds.
//!
//! Not for how these are laid out in a file: see `hdf5` and `parquet`. Invariant: two runs may write into one store only
//! if every field of their contracts is equal.

use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::measure::Measure;
use crate::time::TimeSpan;

/// Version of the layout of a new store; it rises when old readers would misread new files.
pub const SCHEMA_VERSION: u32 = 3;

/// The oldest version that is still read, and in which a store that was begun so is gone on with.
///
/// It calls [`Contract::rows_per_sec`] `fps`, keeps flags as bytes and counts as unsigned numbers, and its grids count
/// frames where those of schema 3 follow the clock.
pub const OLDEST_SCHEMA: u32 = 2;

/// How features are stored; they are computed and read as `f32` either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision; a value beyond ±65504 is an error, not an infinity.
    F16,
}

impl Dtype {
    /// Bytes per value.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// What a row of a store stands for, and with it what a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// A window of a clip; a unit is the clip.
    Window,
    /// A window of a clip after it has met a sentence; a unit is that query.
    FusedWindow,
    /// A clip, one window each; a unit is the video, its clips in order of time.
    Clip,
    /// A sentence; a unit is the video that it is about.
    Query,
    /// A token of a sentence, sentences behind one another; a unit is the video that they are about.
    Token,
    /// A clip, one window each, after it has met a sentence; a unit is the video.
    Pair,
}

impl RowKind {
    /// Whether the rows of a unit belong to different clips, so that each has to name its own.
    pub fn names_clips(self) -> bool {
        !matches!(self, Self::Window | Self::FusedWindow)
    }

    /// Whether the rows of a unit belong to different queries, so that each has to name its own.
    pub fn names_queries(self) -> bool {
        matches!(self, Self::Query | Self::Token | Self::Pair)
    }

    /// The name that stores use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::FusedWindow => "fused-window",
            Self::Clip => "clip",
            Self::Query => "query",
            Self::Token => "token",
            Self::Pair => "pair",
        }
    }
}

/// The identity of a store: what every one of its rows has in common. Fields are compared in the order given here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// Version of the layout, from [`OLDEST_SCHEMA`] to [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the feature set, which is the name of the store's folder.
    pub feature_set: String,
    /// Name of the model that computes the features.
    pub backbone: String,
    /// sha256 of the ONNX file, lower-case hex.
    pub onnx_sha256: String,
    /// Arithmetic of the model: `fp32`, `fp16`, ...
    pub precision: String,
    /// Features per row.
    pub dim: usize,
    /// Type of a stored feature.
    pub dtype: Dtype,
    /// What a row stands for.
    pub row_kind: RowKind,
    /// Name of the output format, one of [`FORMATS`](super::FORMATS).
    pub format: String,
    /// Name of the rule that says which frames a row sees; for sentences, of the rule of their length.
    pub grid: String,
    /// Rows per second; 0 where rows do not follow one another in time. Schema 2 calls it `fps`.
    #[serde(alias = "fps")]
    pub rows_per_sec: f64,
    /// Frames that the model sees per row; 0 for sentences.
    pub window_frames: u32,
    /// Which published behaviour, quirks included, is reproduced.
    pub compat: String,
    /// How rows are compared with those of the model's other tower; absent in files: by their cosine.
    #[serde(default, skip_serializing_if = "Measure::is_usual")]
    pub measure: Measure,
    /// Name of the checkpoint that the ONNX file was exported from.
    pub checkpoint: String,
    /// sha256 of that checkpoint, lower-case hex.
    pub checkpoint_sha256: String,
    /// The whole recipe, as TOML.
    pub recipe: String,
    /// Digest of everything above and of whatever else changes a row.
    pub fingerprint: String,
}

/// Rows are grouped into chunks of about this many bytes before they are stored.
const CHUNK_BYTES: usize = 256 * 1024;

impl Contract {
    /// Rows per chunk of a file: about 256 KiB of whole rows, at least one row.
    pub fn chunk_rows(&self) -> usize {
        (CHUNK_BYTES / (self.dim * self.dtype.bytes()).max(1)).max(1)
    }

    /// All of it as text, for the fingerprint of rows that no recipe describes. The usual measure is unsaid, as it was before
    /// contracts had one: the text, and with it the fingerprint of a store that is gone on with, stays what it was.
    pub fn described(&self) -> String {
        format!("{self:?}").replace(&format!("measure: {:?}, ", Measure::default()), "")
    }

    /// Whether its files have the layout of schema 2.
    pub(crate) fn is_schema_2(&self) -> bool {
        self.schema_version == 2
    }
}

/// What the file of one unit adds to the [`Contract`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitHeader {
    /// The unit, which is also the name of its file.
    pub unit_uid: UnitUid,
    /// The video it was cut from, or that its sentences are about.
    pub video_uid: VideoUid,
    /// The clip that all rows belong to; `None` where each row names its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_uid: Option<ClipUid>,
    /// The query that all rows have met; `None` where there is none, or each row names its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// Its sentence, as annotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_text: Option<String>,
    /// Training, validation or test, as manifest and queries say it; `None` where they do not, or of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Rows of the unit, at least 1.
    pub rows: u64,
    /// The part of the video that the unit covers; `None` for all of it.
    #[serde(flatten)]
    pub span: Option<TimeSpan>,
    /// File name of the source video.
    pub source_name: String,
    /// Its length in bytes.
    pub source_bytes: u64,
    /// sha256 over its length and its first and last MiB.
    pub source_sha256: String,
    /// Its average frame rate.
    pub source_fps: f64,
    /// Its frames; 0 if not known.
    pub source_frames: u64,
    /// ONNX Runtime execution provider that computed the rows.
    pub provider: String,
    /// Version of the writer.
    pub egofx_version: String,
    /// Version of the decoder.
    pub ffmpeg_version: String,
    /// Version of ONNX Runtime.
    pub onnxruntime_version: String,
    /// Remarks a reader of the features should know, a gap in the video for instance.
    pub notes: Vec<String>,
}

/// Where a row comes from. A row of a sentence has no frames and no time: these are 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowMeta {
    /// First frame that the row sees, in presentation order of the video, from 0.
    pub first_frame: u64,
    /// Last frame that it sees, inclusive.
    pub last_frame: u64,
    /// Start of the time that the row stands for, in seconds of container time.
    pub start_sec: f64,
    /// End of it, exclusive.
    pub end_sec: f64,
    /// Frames were repeated to fill the window; of a token, that it only fills up its sentence.
    pub padded: bool,
    /// The frames could not be decoded: the features are NaN.
    pub missing: bool,
    /// Its clip, where the rows of a unit belong to several.
    pub clip_uid: Option<ClipUid>,
    /// Its query, where the rows of a unit belong to several.
    pub query_id: Option<Arc<str>>,
}

impl RowMeta {
    /// Its clip, or nothing.
    pub(crate) fn clip_name(&self) -> &str {
        self.clip_uid.as_ref().map_or("", ClipUid::as_str)
    }

    /// Its query, or nothing.
    pub(crate) fn query_name(&self) -> &str {
        self.query_id.as_deref().unwrap_or_default()
    }
}

/// The clip that a row names, in words of what is wrong with it; `None` where it names none.
pub(super) fn clip_of_row(name: &str) -> Result<Option<ClipUid>, String> {
    let parsed = (!name.is_empty()).then(|| ClipUid::parse(name)).transpose();
    parsed.map_err(|why| format!("column clip_uid: {why}"))
}

/// Consecutive rows of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct RowBlock {
    /// Index of the first of them in the unit, from 0.
    pub first_row: u64,
    /// One per row.
    pub meta: Vec<RowMeta>,
    /// Shape `[meta.len(), dim]`.
    pub features: Array2<f32>,
}

/// The whole content of a unit's file.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// What it shares with the other units.
    pub contract: Contract,
    /// What it adds.
    pub header: UnitHeader,
    /// One per row.
    pub meta: Vec<RowMeta>,
    /// Shape `[meta.len(), dim]`; rows flagged missing are NaN.
    pub features: Array2<f32>,
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn the_usual_measure_is_not_described() {
        let usual = samples::contract("hdf5", Dtype::F32);
        assert!(usual.described().contains("compat: ") && !usual.described().contains("measure"));
        let other = Contract { measure: Measure::Product, ..usual };
        assert!(other.described().contains("measure: Product, checkpoint: "));
    }

    #[test]
    fn a_chunk_has_whole_rows_and_at_least_one() {
        let mut contract = samples::contract("hdf5", Dtype::F32);
        for (dim, rows) in [(256, 256), (768, 85), (1 << 20, 1)] {
            contract.dim = dim;
            assert_eq!(contract.chunk_rows(), rows);
        }
    }
    #[test]
    fn a_row_names_a_clip_none_or_something_that_is_refused() {
        assert_eq!(clip_of_row("a-1").unwrap(), ClipUid::parse("a-1").ok());
        assert_eq!(clip_of_row("").unwrap(), None);
        assert!(clip_of_row("a/b").unwrap_err().contains("column clip_uid: uid \"a/b\" contains '/'"));
    }
}
