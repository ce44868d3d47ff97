//! Frames from picture files: a few dozen files at a time through one ffmpeg, scaled and cropped as those of videos are.
//!
//! Not for finding the files. Invariant: a picture of which ffmpeg complains is a fault and never a frame. A complaint of
//! many files says not which one is meant, so then each is decoded alone.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffmpeg_sidecar::command::FfmpegCommand;

use super::child::Child;
use super::ffmpeg::FfmpegSource;
use super::graph::Sizes;
use super::log_line::LogLine;
use super::pictures::{self, Pictures};
use super::{Fault, Frame, VideoInfo, probe};
use crate::recipe::Transform;

/// Files per process: starting one costs as much as decoding some ten of them.
const FILES: usize = 64;

/// Bytes of pictures that may be held until all of a process are known to be sound; whole pictures, of which random crops
/// are cut, are large.
const HELD_BYTES: usize = 64 << 20;

/// The frames of some pictures.
pub struct PictureStream {
    source: FfmpegSource,
    pictures: Arc<Pictures>,
    /// Width and height that every picture is to have.
    size: (u32, u32),
    sizes: Sizes,
    wanted: VecDeque<u64>,
    ready: VecDeque<Result<Frame, Fault>>,
}

impl PictureStream {
    /// The frames of `wanted`, ascending, in the sizes of `transforms`.
    pub fn new(
        source: &FfmpegSource,
        video: &VideoInfo,
        pictures: Arc<Pictures>,
        wanted: &[u64],
        transforms: &[Transform],
    ) -> Self {
        let sizes = Sizes::new(transforms, video);
        let (size, wanted) = ((video.width, video.height), wanted.iter().copied().collect());
        Self { source: source.clone(), pictures, size, sizes, wanted, ready: VecDeque::new() }
    }

    /// Decodes the next few files.
    fn advance(&mut self) {
        let files = (HELD_BYTES / self.sizes.bytes().max(1)).clamp(1, FILES);
        let chosen: Vec<u64> = self.wanted.drain(..self.wanted.len().min(files)).collect();
        let checked: Vec<(u64, Result<PathBuf, String>)> = chosen.into_iter().map(|i| (i, self.check(i))).collect();
        let sound: Vec<&Path> = checked.iter().filter_map(|(_, file)| Some(file.as_ref().ok()?.as_path())).collect();
        let mut together = self.decode(&sound).ok().map(VecDeque::from);
        for (index, file) in checked {
            let picture = file.and_then(|file| match &mut together {
                Some(pictures) => pictures.pop_front().ok_or_else(|| "no picture came of it".to_owned()),
                None => self.decode_one(&file),
            });
            self.ready.push_back(match picture {
                Ok(picture) => Ok(Frame { index, pixels: self.sizes.pixels(picture, index) }),
                Err(line) => Err(Fault::Damage { near: index, line }),
            });
        }
    }

    /// The file of frame `index`, if it is as large as the others.
    fn check(&self, index: u64) -> Result<PathBuf, String> {
        let file = self.pictures.file(index).ok_or_else(|| format!("there is no picture {index}"))?;
        let (size, name) = (pictures::size(file)?, file.file_name().unwrap_or_default().to_string_lossy());
        if size != self.size {
            let ((w, h), (width, height)) = (size, self.size);
            return Err(format!("{name}: the picture is {w}x{h}, the first one of its folder {width}x{height}"));
        }
        Ok(file.to_owned())
    }

    fn decode_one(&self, file: &Path) -> Result<Vec<u8>, String> {
        let name = || file.file_name().unwrap_or_default().to_string_lossy();
        let mut pictures = self.decode(&[file]).map_err(|why| format!("{}: {why}", name()))?;
        pictures.pop().ok_or_else(|| format!("{}: no picture came of it", name()))
    }

    /// What comes of `files`, one picture each; an error if anything is wrong with any of them.
    fn decode(&self, files: &[&Path]) -> Result<Vec<Vec<u8>>, String> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let words = |e: io::Error| e.to_string();
        // Links give the files plain numbered names, whatever their own are.
        let links = tempfile::tempdir().map_err(words)?;
        for (number, file) in files.iter().enumerate() {
            let target = std::path::absolute(file).map_err(words)?;
            symlink(target, links.path().join(format!("{number}.jpg"))).map_err(words)?;
        }
        let pts: Vec<i64> = (0..files.len() as i64).collect();
        let mut child = Child::spawn(self.command(links.path()), self.sizes.graph(&pts)).map_err(words)?;
        let mut pictures = Vec::new();
        loop {
            let mut picture = vec![0; self.sizes.bytes()];
            if !child.read_frame(&mut picture).map_err(words)? {
                break;
            }
            pictures.push(picture);
        }
        let (mut shown, mut complaint) = (Vec::new(), None);
        while let Some(line) = child.next_line() {
            match line {
                LogLine::Frame(pts) => shown.push(pts),
                LogLine::Damage(words) | LogLine::Fallback(words) => _ = complaint.get_or_insert(words),
                LogLine::Encoded(_) => {} // nothing is encoded here
            }
        }
        let status = child.wait().map_err(words)?;
        match complaint {
            Some(words) => Err(words),
            None if shown == pts && pictures.len() == files.len() && status.success() => Ok(pictures),
            None => Err(format!("{} of {} pictures came out, {status}", pictures.len(), files.len())),
        }
    }

    fn command(&self, links: &Path) -> FfmpegCommand {
        let mut command = self.source.command();
        command.args(["-f", "image2", "-framerate", "1", "-start_number", "0", "-c:v", "mjpeg"]);
        command.arg("-i").arg(probe::file_url(&links.join("%d.jpg")));
        self.source.end_in_raw_frames(&mut command);
        command
    }
}

impl Iterator for PictureStream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.wanted.is_empty() {
            self.advance();
        }
        self.ready.pop_front()
    }
}
