//! Where the frames of an EgoClip or EgoMCQ clip are: in chunks of 600 seconds, as `egofx chunk` makes them, or in the
//! whole file.
//!
//! Not for reading them, and not for the window grids of feature sets. Invariant: a clip has the same frames by either way,
//! whichever [`Compat`] it is. Source: `data_loader/EgoClip_EgoMCQ_dataset.py` and `base/base_dataset.py` of EgoVLP, which
//! EgoVLPv2 shares. All of it counts 30 frames a second, the rate of Ego4D's canonical videos.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::segments::{draws, egoclip_edges, middles};
use super::window::EGOVLP_FPS;
use crate::compat::Compat;

/// How a video is cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLength {
    /// Length of a chunk in seconds; the last one may be shorter.
    pub sec: u32,
}

/// The chunks of EgoVLP: 600 seconds, 18000 frames.
pub const EGOCLIP_CHUNKS: ChunkLength = ChunkLength { sec: 600 };

impl ChunkLength {
    /// Frames of a whole chunk, at 30 a second.
    pub fn frames(self) -> u64 {
        u64::from(self.sec) * EGOVLP_FPS as u64
    }

    /// Frames of chunk `chunk` of a video of `total` frames.
    pub fn frames_of(self, chunk: u64, total: u64) -> u64 {
        total.saturating_sub(chunk.saturating_mul(self.frames())).min(self.frames())
    }

    fn holding(self, sec: f64) -> u64 {
        (sec / f64::from(self.sec)) as u64
    }
}

/// One frame to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The file: `{video_uid}/{chunk}.mp4`.
    pub chunk: u64,
    /// The position that is sought in it. -1, which the original seeks for the first two frames, reads frame 0 (OpenCV).
    pub position: i64,
}

impl Address {
    /// Index of the frame in its chunk.
    pub fn frame(self) -> u64 {
        self.position.max(0) as u64
    }

    /// Index of the same frame in the whole file.
    pub fn whole(self, chunks: ChunkLength) -> u64 {
        self.chunk.saturating_mul(chunks.frames()).saturating_add(self.frame())
    }
}

/// How one frame of each segment is chosen.
pub enum Pick<'a> {
    /// The middle one: validation and test.
    Uniform,
    /// One at random, drawn from the range given: training. [`seeded`] makes such a function.
    Random(&'a mut dyn FnMut(Range<i64>) -> i64),
}

impl Pick<'_> {
    /// A frame of each segment between `edges`; `None` if one is to be drawn where there is none to draw.
    pub(super) fn of(self, edges: &[i64]) -> Option<Vec<i64>> {
        match self {
            Pick::Uniform => Some(middles(edges)),
            Pick::Random(draw) => Some(draws(edges)?.into_iter().map(draw).collect()),
        }
    }
}

/// Why a clip has no frames.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EgoclipError {
    /// It ends before the first frame of its video has passed.
    #[error("the clip from {start_sec} s to {end_sec} s ends before one frame has passed")]
    Empty {
        /// Its start as given.
        start_sec: f64,
        /// Its end as given.
        end_sec: f64,
    },
    /// A segment has no frame to draw. The original trains on a black clip then.
    #[error("the clip from {start_sec} s to {end_sec} s is too short to draw {frames} frames: two for each are needed")]
    TooShort {
        /// Its start as given.
        start_sec: f64,
        /// Its end as given.
        end_sec: f64,
        /// Frames that were to be drawn.
        frames: u32,
    },
}

/// A narrated clip of a video, as `clip_start` and `clip_end` of EgoClip and EgoMCQ give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NarratedClip {
    start_sec: f64,
    end_sec: f64,
}

impl NarratedClip {
    /// Takes seconds of the video. Some clips begin a little before it: times below 0 count as 0.
    pub fn new(start_sec: f64, end_sec: f64) -> Self {
        Self { start_sec, end_sec }
    }

    /// The first and the last chunk that are needed.
    pub fn chunks(self, chunks: ChunkLength) -> (u64, u64) {
        (chunks.holding(self.start_sec), chunks.holding(self.end_sec))
    }

    /// Numbers of `frames` frames of the video, before any file is looked at; fewer for a clip that ends within the first
    /// `frames` frames.
    ///
    /// # Errors
    /// [`EgoclipError::Empty`]; with [`Pick::Random`] also [`EgoclipError::TooShort`].
    pub fn pick(self, frames: u32, pick: Pick<'_>) -> Result<Vec<i64>, EgoclipError> {
        let Self { start_sec, end_sec } = self;
        // A cast of a negative number gives 0.
        let edges = egoclip_edges((start_sec * EGOVLP_FPS) as u64, (end_sec * EGOVLP_FPS) as u64, frames);
        let picked = pick.of(&edges).ok_or(EgoclipError::TooShort { start_sec, end_sec, frames })?;
        if picked.is_empty() { Err(EgoclipError::Empty { start_sec, end_sec }) } else { Ok(picked) }
    }

    /// Where each of `picked` is read; `length(chunk)` is the number of frames of a chunk. Frames past the end of a chunk
    /// become its last one.
    ///
    /// [`Compat::AsReleased`] is off by one: frame i is read as frame i - 1, and the first frame of the second chunk
    /// is the first frame of the *first* chunk.
    pub fn addresses(
        self,
        picked: &[i64],
        chunks: ChunkLength,
        length: impl Fn(u64) -> u64,
        compat: Compat,
    ) -> Vec<Address> {
        let (first, last) = self.chunks(chunks);
        let bound = first.saturating_add(1).saturating_mul(chunks.frames());
        let address = |&frame: &i64| {
            let frame = frame.max(0) as u64;
            let in_last = match compat {
                Compat::AsReleased => frame > bound,
                Compat::Fixed => frame >= bound,
            };
            let chunk = if in_last { last } else { first };
            let (local, length) = (frame % chunks.frames(), length(chunk));
            let position = match compat {
                Compat::AsReleased => local.min(length) as i64 - 1,
                Compat::Fixed => local.min(length.saturating_sub(1)) as i64,
            };
            Address { chunk, position }
        };
        picked.iter().map(address).collect()
    }
}

/// Fills `addresses` up to `frames` with repeats of the last one, as the original does.
pub fn fill(mut addresses: Vec<Address>, frames: u32) -> Vec<Address> {
    if let Some(&last) = addresses.last() {
        addresses.resize(addresses.len().max(frames as usize), last);
    }
    addresses
}

/// A function that draws from ranges, for [`Pick::Random`]: the same draws for the same seed on every machine. They are
/// not the original's, which come from Python's generator.
pub fn seeded(seed: u64) -> impl FnMut(Range<i64>) -> i64 {
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(seed);
    move |range| {
        let width = range.end.abs_diff(range.start).max(1);
        // The high half of the product is uniform up to a part in 2^64 / width.
        let drawn = ((u128::from(generator.next_u64()) * u128::from(width)) >> 64) as i64;
        range.start + drawn
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn golden() -> Vec<Value> {
        let golden: Value = serde_json::from_str(include_str!("../../tests/data/sampling/egoclip.json")).unwrap();
        golden["cases"].as_array().unwrap().clone()
    }

    fn integers(value: &Value) -> Vec<i64> {
        value.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect()
    }

    #[test]
    fn every_seek_of_the_original_is_reproduced_as_released() {
        let cases = golden();
        assert_eq!(cases.len(), 19);
        for case in cases {
            let clip = NarratedClip::new(case["clip_start"].as_f64().unwrap(), case["clip_end"].as_f64().unwrap());
            let frames = case["num_frames"].as_u64().unwrap() as u32;
            let (first, last) = clip.chunks(EGOCLIP_CHUNKS);
            assert_eq!(integers(&case["chunks"]), [first as i64, last as i64], "{case}");
            assert_eq!(case["bound_sec"], (first + 1) * 600, "{case}");
            let picked = clip.pick(frames, Pick::Uniform);
            if case["error"].is_string() {
                assert!(matches!(picked, Err(EgoclipError::Empty { .. })), "{case}");
                continue;
            }
            let picked = picked.unwrap();
            assert_eq!(picked, integers(&case["global_frames_read"]), "{case}");
            let length = |chunk: u64| case["chunk_frames"][chunk.to_string()].as_u64().unwrap();
            let read = clip.addresses(&picked, EGOCLIP_CHUNKS, length, Compat::AsReleased);
            let seeks: Vec<Vec<i64>> = case["seeks"].as_array().unwrap().iter().map(integers).collect();
            assert_eq!(read.iter().map(|a| vec![a.chunk as i64, a.position]).collect::<Vec<_>>(), seeks, "{case}");
            assert_eq!(fill(read, frames).len() as u64, case["returned"].as_u64().unwrap(), "{case}");
        }
    }

    #[test]
    fn fixed_reads_the_frames_that_are_named_across_the_bound_too() {
        let clip = NarratedClip::new(599.9, 600.1);
        let picked = clip.pick(4, Pick::Uniform).unwrap();
        assert_eq!(picked, [17_997, 17_998, 18_000, 18_001]);
        let whole = |compat| -> Vec<u64> {
            let read = clip.addresses(&picked, EGOCLIP_CHUNKS, |_| 18_000, compat);
            read.iter().map(|a| a.whole(EGOCLIP_CHUNKS)).collect()
        };
        assert_eq!(whole(Compat::Fixed), [17_997, 17_998, 18_000, 18_001]);
        assert_eq!(whole(Compat::AsReleased), [17_996, 17_997, 0, 18_000], "off by one, and wrapped at the bound");
    }

    #[test]
    fn frames_past_the_end_become_the_last_one() {
        let clip = NarratedClip::new(1250.0, 1262.0);
        let picked = clip.pick(4, Pick::Uniform).unwrap();
        for compat in [Compat::Fixed, Compat::AsReleased] {
            let read = clip.addresses(&picked, EGOCLIP_CHUNKS, |k| EGOCLIP_CHUNKS.frames_of(k, 37_505), compat);
            assert_eq!(read.iter().map(|a| (a.chunk, a.frame())).collect::<Vec<_>>(), [(2, 1504); 4], "{compat:?}");
        }
    }

    #[test]
    fn random_frames_stay_in_their_ranges_and_are_the_same_for_one_seed() {
        let clip = NarratedClip::new(10.0, 12.0);
        let drawn = |seed| clip.pick(4, Pick::Random(&mut seeded(seed))).unwrap();
        let edges = egoclip_edges(300, 360, 4);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let picked = drawn(seed);
            assert!(
                picked.iter().zip(draws(&edges).unwrap()).all(|(frame, range)| range.contains(frame)),
                "{picked:?}"
            );
            assert_eq!(picked, drawn(seed));
            seen.extend(picked);
        }
        assert_eq!(seen.len(), 4 * 14, "each frame but the last of each segment is drawn by some seed");
        let short = NarratedClip::new(0.0, 0.2);
        assert!(matches!(short.pick(4, Pick::Random(&mut seeded(1))), Err(EgoclipError::TooShort { frames: 4, .. })));
    }
}
