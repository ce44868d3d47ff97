//! QFVS: a video's shots become segments, and rows of shots become what the summary head takes.
//!
//! Not for extracting features or for scoring summaries. Invariant: every shot is in exactly one segment, and segments are
//! in order of time.

mod kts;
mod layout;

pub use kts::{KtsError, Limits, Segmentation, segment};
pub use layout::{LayoutError, Packed, SEGMENTS, SHOTS, bounds, pack};
