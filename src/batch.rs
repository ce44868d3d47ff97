//! From clips of many videos to one dense model input.
//!
//! Not for deciding when a batch is full or for running it. Invariant: clip `i` of the input holds the values of clip `i`
//! and nothing of its neighbours.

use rayon::prelude::*;

use crate::backbone::ClipBatch;
use crate::pixels::Pixels;
use crate::sample::Clip;

/// Copies the frames of `clips` (equally many each, of equal size) behind one another: `[B, F, height, width, 3]`, as `uint8`
/// if all of them are, else as `float32`. `spare` is the buffer of an earlier batch, so that one is not allocated for each.
pub fn pack(clips: &[Clip], spare: Pixels) -> ClipBatch {
    let frames = clips.first().map_or(0, |clip| clip.frames.len());
    let sources: Vec<&Pixels> = clips.iter().flat_map(|clip| &clip.frames).map(|pixels| &**pixels).collect();
    let pixels = if sources.iter().all(|pixels| matches!(pixels, Pixels::U8(_))) {
        let room = if let Pixels::U8(spare) = spare { spare } else { Vec::new() };
        Pixels::U8(gathered(&sources, room, |pixels, to| to.copy_from_slice(&pixels.levels())))
    } else {
        let room = if let Pixels::F32(spare) = spare { spare } else { Vec::new() };
        Pixels::F32(gathered(&sources, room, |pixels, to| to.copy_from_slice(&pixels.floats())))
    };
    ClipBatch { clips: clips.len(), frames, pixels }
}

/// The values of `sources`, equally many each, behind one another in `room`.
fn gathered<T: Copy + Default + Send>(
    sources: &[&Pixels],
    mut room: Vec<T>,
    copy: impl Fn(&Pixels, &mut [T]) + Sync,
) -> Vec<T> {
    let frame = sources.first().map_or(0, |pixels| pixels.len());
    let values = sources.len() * frame;
    if room.len() < values {
        // The system gives zeros for nothing; to append them would be to write everything twice.
        room = vec![T::default(); values];
    }
    room.truncate(values);
    room.par_chunks_mut(frame.max(1)).zip(sources).for_each(|(to, from)| copy(from, to));
    room
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::TaskId;

    fn clip(frames: [Pixels; 2]) -> Clip {
        Clip { task: TaskId::new(0), window: 0, frames: frames.map(Arc::new).into() }
    }

    #[test]
    fn clips_stand_behind_one_another() {
        let levels = |n: u8| clip([Pixels::U8(vec![n; 6]), Pixels::U8(vec![n + 1; 6])]);
        let batch = pack(&[levels(10), levels(20), levels(30)], Pixels::U8(vec![99; 100]));
        let expected: Vec<u8> = [10, 11, 20, 21, 30, 31].into_iter().flat_map(|n| [n; 6]).collect();
        assert_eq!((batch.clips, batch.frames, batch.pixels), (3, 2, Pixels::U8(expected)));
    }

    #[test]
    fn frames_between_levels_make_the_batch_one_of_floats() {
        let cut = || clip([Pixels::U8(vec![7; 3]), Pixels::U8(vec![8; 3])]);
        let scaled = clip([Pixels::F32(vec![0.25; 3]), Pixels::U8(vec![9; 3])]);
        let expected: Vec<f32> = [7.0, 8.0, 0.25, 9.0].into_iter().flat_map(|value| [value; 3]).collect();
        for spare in [Pixels::U8(vec![99; 3]), Pixels::F32(vec![99.0; 60])] {
            assert_eq!(pack(&[cut(), scaled.clone()], spare).pixels, Pixels::F32(expected.clone()));
        }
    }
}
