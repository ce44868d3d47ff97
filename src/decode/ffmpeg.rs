//! Frames by an ffmpeg process: real decoding, exact frames, scaled and cropped by ffmpeg, piped as RGB24.
//!
//! Not for choosing frames. Invariant: a frame is delivered under the index that its own timestamp proves; neither
//! ffmpeg's exit status nor a frame count is trusted instead.

use std::path::Path;

use super::command::FfmpegSource;
use super::picture_stream::PictureStream;
use super::stream::Stream;
use super::transform::Transform;
use super::{FrameSource, FrameStream, ProbeError, VideoInfo, pictures, pieces, probe};
use crate::time::Fps;

impl FrameSource for FfmpegSource {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        match pieces::files(path) {
            Some(files) => pieces::probe(self, path, &files),
            None if pictures::are_named_by(path) => pictures::probe(path, fps),
            None if path.is_dir() => Err(pictures::refused(path)),
            None => probe::probe(self, path),
        }
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        if wanted.is_empty() || transforms.is_empty() {
            return Box::new(std::iter::empty());
        }
        if !video.pieces.is_empty() {
            return pieces::open(self, video, wanted, transforms);
        }
        if let Some(pictures) = &video.pictures {
            return Box::new(PictureStream::new(video, pictures.clone(), wanted, transforms));
        }
        Box::new(Stream::new(self, video, wanted, transforms))
    }

    fn version(&self) -> String {
        self.tools.version.clone()
    }
}
