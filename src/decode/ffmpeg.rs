//! Frames by an ffmpeg process: real decoding, exact frames, scaled and cropped by ffmpeg, piped as RGB24.
//!
//! Not for choosing frames. Invariant: a frame is delivered under the index that its own timestamp proves; neither
//! ffmpeg's exit status nor a frame count is trusted instead.

use std::path::{Path, PathBuf};

use super::command::FfmpegSource;
use super::dropping::DroppingStream;
use super::image_stream::ImageStream;
use super::stream::Stream;
use super::transform::Transform;
use super::{FrameSource, FrameStream, ProbeError, VideoInfo, chunk_files, drops, image_sequence, probe};
use crate::time::Fps;

impl FrameSource for FfmpegSource {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        match chunk_files::files(path) {
            Some(files) => chunk_files::probe(self, path, &files),
            None if image_sequence::are_named_by(path) => image_sequence::probe(path, fps),
            None if path.is_dir() => Err(image_sequence::refused(path)),
            None => probe::probe(self, path),
        }
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        if wanted.is_empty() || transforms.is_empty() {
            return Box::new(std::iter::empty());
        }
        if !video.chunks.is_empty() {
            return chunk_files::open(self, video, wanted, transforms);
        }
        if let Some(images) = &video.images {
            return Box::new(ImageStream::new(video, images.clone(), wanted, transforms));
        }
        if drops::count(self, video, wanted) > 0 {
            return Box::new(DroppingStream::new(self, video, wanted, transforms));
        }
        Box::new(Stream::new(self, video, wanted, transforms, false))
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        if video.chunks.is_empty() {
            return drops::count(self, video, wanted);
        }
        chunk_files::dropped(self, video, wanted)
    }

    fn version(&self) -> String {
        self.tools.version.clone()
    }
}

/// What decides what a probe of `path` finds: a file, or a folder of chunks and what is in it; nothing of images, which are not
/// read by ffmpeg.
pub fn inputs(path: &Path) -> Vec<PathBuf> {
    match chunk_files::files(path) {
        // A folder is one, for what comes into it; a pattern is none.
        Some(files) => Some(path.to_owned()).filter(|path| path.is_dir()).into_iter().chain(files).collect(),
        None if path.is_file() && !image_sequence::are_named_by(path) => vec![path.to_owned()],
        None => Vec::new(),
    }
}
