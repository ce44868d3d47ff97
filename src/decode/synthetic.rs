//! Frames without a file: what benchmarks and tests of later stages decode instead of video.
//!
//! Not a stand-in for decoding in any run of the tool. Invariant: a frame's bytes depend on its index and size alone.

use std::path::Path;
use std::sync::Arc;

use super::transform::Transform;
use super::{Frame, FrameSet, FrameSource, FrameStream, ProbeError, VideoInfo};
use crate::pixels::Pixels;
use crate::time::{Fps, Timeline};

/// A source in which every path is a video of `frames` frames at `fps`.
#[derive(Debug, Clone, Copy)]
pub struct SyntheticSource {
    /// Frames of each video, at least 1.
    pub frames: u64,
    /// Their rate.
    pub fps: Fps,
}

impl FrameSource for SyntheticSource {
    fn probe(&self, path: &Path, _fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        let nothing = || ProbeError::NoFrames { path: path.to_owned(), why: "0 frames asked for".into() };
        Ok(VideoInfo {
            path: path.to_owned(),
            bytes: 0,
            chunks: Vec::new(),
            stream: 0,
            codec: "synthetic".into(),
            width: 256,
            height: 256,
            rotation: 0,
            color_space: None,
            stereo: None,
            timeline: Timeline::constant(self.frames, self.fps).ok_or_else(nothing)?,
            keyframes: vec![0],
            disposable: FrameSet::default(),
            declared_end_sec: None,
            counted: false,
            damage: None,
            lost: Vec::new(),
            notes: Vec::new(),
            images: None,
            origin: None,
            ends: None,
        })
    }

    fn open(&self, _video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        let sides: Vec<u32> = transforms.iter().map(|t| t.crop).collect();
        let frame = move |index: u64| {
            let pixels = sides.iter().map(|&side| Arc::new(Pixels::U8(pattern(index, side)))).collect();
            Ok(Frame { index, pixels })
        };
        let wanted = wanted.to_vec();
        Box::new(wanted.into_iter().map(frame))
    }

    fn dropped(&self, _video: &VideoInfo, _wanted: &[u64]) -> u64 {
        0
    }

    fn version(&self) -> String {
        "synthetic".into()
    }
}

fn pattern(index: u64, side: u32) -> Vec<u8> {
    let bytes = side as usize * side as usize * 3;
    (0..bytes).map(|i| (i as u64).wrapping_mul(7).wrapping_add(index * 31) as u8).collect()
}
