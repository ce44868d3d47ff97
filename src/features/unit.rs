//! The rows of one unit, in memory.

use ndarray::Array2;

use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::store::RowMeta;
use crate::time::TimeSpan;

/// A unit's rows after what the options ask for was done to them.
#[derive(Debug, Clone)]
pub struct Features {
    /// Name of the unit.
    pub unit: UnitUid,
    /// The clip that all rows belong to.
    pub clip_uid: Option<ClipUid>,
    /// The query that all rows have met.
    pub query_id: Option<String>,
    /// Its video.
    pub video_uid: VideoUid,
    /// The part of the video that it covers; `None` for all of it.
    pub span: Option<TimeSpan>,
    /// Frame rate of the video; 0 if not known.
    pub source_fps: f64,
    /// One per row.
    pub meta: Vec<RowMeta>,
    /// Shape `[meta.len(), dim]`.
    pub values: Array2<f32>,
}
