//! A window of frame indices, and the arithmetic that all grids share.

use crate::time::{TimeSpan, Timeline};

/// Windows per second of EgoVLP and EgoVLPv2 (`1.87`, not 30/16 = 1.875).
pub const EGOVLP_WINDOWS_PER_SEC: f64 = 1.87;
/// The frame rate that EgoVLP's code assumes for every file.
pub const EGOVLP_FPS: f64 = 30.0;

/// How far an annotation may end after the last frame and still mean "the end", in seconds: one EgoVLP window. Ego4D's
/// clips end up to that much late, and the original sampler squeezes them by as much.
pub const END_TOLERANCE_SEC: f64 = 1.0 / EGOVLP_WINDOWS_PER_SEC;

/// One row to be: the frames that the backbone sees, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Frame indices in presentation order; equal neighbours are repeats. An index at or past the number of frames of
    /// the file names a frame that is not there.
    pub frames: Vec<u64>,
    /// Second at which the time begins that the row stands for.
    pub start_sec: f64,
    /// Second at which it ends, exclusive.
    pub end_sec: f64,
    /// Whether a frame is repeated to fill the window.
    pub padded: bool,
}

/// The frame on the screen at second `t`; past the end, the one that would be there at the mean rate.
pub(super) fn shown_at(timeline: &Timeline, t: f64) -> u64 {
    if t < timeline.end_sec() { timeline.frame_at(t) } else { timeline.position(t).ceil() as u64 }
}

/// Whether `span` ends with the video, give or take [`END_TOLERANCE_SEC`].
pub fn ends_with(timeline: &Timeline, span: TimeSpan) -> bool {
    span.end_sec <= timeline.end_sec() + END_TOLERANCE_SEC
}

/// Whether a frame stands next to itself.
pub(super) fn repeats<T: PartialEq>(frames: &[T]) -> bool {
    frames.windows(2).any(|pair| pair[0] == pair[1])
}
