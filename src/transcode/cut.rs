//! Which frames of a video a chunk holds.
//!
//! Not for cutting. Invariant: chunks are disjoint, in order, together the whole video, and none is empty.

use std::ops::Range;

use crate::grid::egoclip::ChunkLength;
use crate::time::Timeline;

/// One chunk to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Its number, which is its file's name.
    pub chunk: u64,
    /// Its frames, by their index in the video.
    pub frames: Range<u64>,
}

/// ChunkFile k holds the frames shown at seconds `[k * sec, (k + 1) * sec)`: 18000 of them at 30 frames a second and 600
/// seconds. A chunk without frames, in the middle of a gap, does not exist; nor does one after the end, where the original
/// makes a file without frames if the length is a multiple of 600 s. Without `chunks` all is one.
pub fn cuts(timeline: &Timeline, chunks: Option<ChunkLength>) -> Vec<Cut> {
    let Some(chunks) = chunks else { return vec![Cut { chunk: 0, frames: 0..timeline.frames() }] };
    // Frames before second 0 belong to chunk 0: the cast gives it.
    let holding = |frame: u64| (timeline.sec(frame) / f64::from(chunks.sec)) as u64;
    let mut cuts: Vec<Cut> = Vec::new();
    for frame in 0..timeline.frames() {
        let chunk = holding(frame);
        match cuts.last_mut() {
            Some(cut) if cut.chunk == chunk => cut.frames.end = frame + 1,
            _ => cuts.push(Cut { chunk, frames: frame..frame + 1 }),
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Fps, TimeBase};

    fn of(timeline: &Timeline) -> Vec<(u64, Range<u64>)> {
        cuts(timeline, Some(ChunkLength { sec: 600 })).into_iter().map(|cut| (cut.chunk, cut.frames)).collect()
    }

    fn constant(frames: u64, num: u32, den: u32) -> Timeline {
        Timeline::constant(frames, Fps::new(num, den).unwrap()).unwrap()
    }

    #[test]
    fn chunks_of_600_seconds_hold_18000_frames() {
        assert_eq!(of(&constant(36_001, 30, 1)), [(0, 0..18_000), (1, 18_000..36_000), (2, 36_000..36_001)]);
        assert_eq!(of(&constant(18_000, 30, 1)), [(0, 0..18_000)], "no empty chunk at a multiple");
        assert_eq!(of(&constant(20_000, 30_000, 1001)), [(0, 0..17_983), (1, 17_983..20_000)]);
        assert_eq!(cuts(&constant(36_001, 30, 1), None), [Cut { chunk: 0, frames: 0..36_001 }]);
    }

    #[test]
    fn a_gap_leaves_a_number_out() {
        let base = TimeBase { num: 1, den: 1 };
        assert_eq!(of(&Timeline::new(vec![-1, 0, 599, 1800, 1801], base, 0).unwrap()), [(0, 0..3), (3, 3..5)]);
    }
}
