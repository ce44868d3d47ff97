//! Whether an output is what it should be: its frames, counted and timed by its own packets, against the source's.
//!
//! Not for pixels: that they were decoded without complaint is ffmpeg's word. Invariant: no output passes with a frame too
//! many, too few or elsewhere in time.

use std::path::Path;

use super::TranscodeError;
use super::cut::Cut;
use crate::decode::{FfmpegSource, FrameSource, HwAccel, Tools, VideoInfo};

/// How far a frame may be from its place: containers round to a millisecond or finer.
const TOLERANCE_SEC: f64 = 1e-3;

/// What is to be proved of each file.
pub(super) struct Claim<'a> {
    /// The source.
    pub video: &'a VideoInfo,
    /// Width and height.
    pub size: (u32, u32),
    /// Whether the image is upright by itself.
    pub upright: bool,
    /// Whether the first frame of each chunk but the first is shown at second 0.
    pub restarts: bool,
}

impl Claim<'_> {
    /// Proves that `file` is `cut`.
    ///
    /// # Errors
    /// [`TranscodeError::Frames`], [`TranscodeError::Time`], [`TranscodeError::Image`], or what probing says.
    pub fn prove(&self, tools: &Tools, file: &Path, cut: &Cut) -> Result<(), TranscodeError> {
        let source = FfmpegSource { tools: tools.clone(), threads: 1, hwaccel: HwAccel::None };
        let made = source.probe(file, None)?;
        let path = || self.video.path.clone();
        let (found, rotation) = ((made.width, made.height), made.rotation);
        if found != self.size || (self.upright && rotation != 0) {
            return Err(TranscodeError::Image { path: path(), expected: self.size, found, rotation });
        }
        let (expected, found) = (cut.frames.end - cut.frames.start, made.timeline.frames());
        if found != expected {
            return Err(TranscodeError::Frames { path: path(), chunk: cut.chunk, expected, found });
        }
        if let Some(declared_sec) = made.declared_end_sec {
            return Err(TranscodeError::Truncated { path: made.path, declared_sec, end_sec: made.timeline.end_sec() });
        }
        self.prove_times(&made, cut)
    }

    fn prove_times(&self, made: &VideoInfo, cut: &Cut) -> Result<(), TranscodeError> {
        let line = &self.video.timeline;
        let origin_sec = if self.restarts && cut.frames.start > 0 { line.sec(cut.frames.start) } else { 0.0 };
        for (frame, of_video) in (0..).zip(cut.frames.clone()) {
            let (expected_sec, found_sec) = (line.sec(of_video) - origin_sec, made.timeline.sec(frame));
            if (expected_sec - found_sec).abs() > TOLERANCE_SEC {
                let (path, chunk) = (self.video.path.clone(), cut.chunk);
                return Err(TranscodeError::Time { path, chunk, frame, expected_sec, found_sec });
            }
        }
        Ok(())
    }
}
