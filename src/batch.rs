//! From clips of many videos to one dense model input.
//!
//! Not for deciding when a batch is full or for running it. Invariant: clip `i` of the input holds the bytes of clip `i`
//! and nothing of its neighbours.

use rayon::prelude::*;

use crate::backbone::ClipBatch;
use crate::sample::Clip;

/// Copies the frames of `clips` (equally many each, of equal size) behind one another: `[B, F, height, width, 3]`.
/// `spare` is the buffer of an earlier batch, so that one is not allocated for each.
pub fn pack(clips: &[Clip], mut spare: Vec<u8>) -> ClipBatch {
    let frames = clips.first().map_or(0, |clip| clip.frames.len());
    let frame_bytes = clips.first().and_then(|clip| clip.frames.first()).map_or(0, |pixels| pixels.len());
    spare.resize(clips.len() * frames * frame_bytes, 0);
    let sources: Vec<&[u8]> = clips.iter().flat_map(|clip| &clip.frames).map(|pixels| pixels.as_slice()).collect();
    spare.par_chunks_mut(frame_bytes.max(1)).zip(sources).for_each(|(to, from)| to.copy_from_slice(from));
    ClipBatch { clips: clips.len(), frames, pixels: spare }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn clips_stand_behind_one_another() {
        let clip = |n: u8| Clip { task: 0, window: 0, frames: vec![Arc::new(vec![n; 6]), Arc::new(vec![n + 1; 6])] };
        let batch = pack(&[clip(10), clip(20), clip(30)], vec![99; 100]);
        assert_eq!((batch.clips, batch.frames, batch.pixels.len()), (3, 2, 36));
        let starts: Vec<u8> = batch.pixels.chunks(6).map(|frame| frame[0]).collect();
        assert_eq!(starts, [10, 11, 20, 21, 30, 31]);
        assert!(batch.pixels.chunks(6).all(|frame| frame.iter().all(|&b| b == frame[0])));
    }
}
