//! The frames of one video, decoded once and written as they come.
//!
//! Not for several videos at a time: who calls it does that. Invariant: a file gets its name when it is whole, and what cannot be
//! had is told by the frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::image::{self, Format, Kept, OURS};
use super::{FramesError, Wanted};
use crate::decode::{FrameSource, Reader, Transform, VideoInfo};
use crate::digest;
use crate::durable;
use crate::ids::VideoUid;
use crate::time::Fps;

/// A video of which frames are wanted.
#[derive(Debug, Clone)]
pub struct Video {
    /// Its name, which is that of its folder.
    pub uid: VideoUid,
    /// Its file, or what names its images.
    pub path: PathBuf,
    /// The rate of images.
    pub fps: Option<Fps>,
}

/// How frames are written.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The folder in which each video has one.
    pub out: PathBuf,
    /// The form of the files.
    pub format: Format,
    /// Whose arithmetic makes colours of coded frames.
    pub reader: Reader,
    /// Whether files of other frames are replaced.
    pub force: bool,
}

/// A frame as it is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Had {
    /// Its index in presentation order.
    pub index: u64,
    /// Second at which it is shown.
    pub sec: f64,
    /// Its file, below the writer's folder.
    pub file: PathBuf,
    /// Whether it was there already.
    pub kept: bool,
}

/// What becomes of the frames that are wanted of a video: one answer for each, in the order of the request.
pub struct Requested<'r> {
    writer: &'r Writer,
    info: VideoInfo,
    ends: String,
    uid: VideoUid,
    /// The index of each frame, or why there is none.
    indices: Vec<Result<u64, String>>,
    /// What is found where each is written.
    found: BTreeMap<u64, Kept>,
}

impl Writer {
    /// Looks at a video and at what is there of the `wanted` frames; nothing is written.
    ///
    /// # Errors
    /// Why the video cannot be read, in words; [`FramesError`] is for what is not a matter of the video.
    pub fn look_at(
        &self,
        source: &dyn FrameSource,
        video: &Video,
        wanted: &[&Wanted],
    ) -> Result<Result<Requested<'_>, String>, FramesError> {
        let info = match source.probe(&video.path, video.fps) {
            Ok(info) => info,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let of_files = info.ends.clone().map_or_else(|| digest::ends_of(&info.files()), Ok);
        // A folder of images is named, its files are not hashed.
        let ends = of_files.unwrap_or_else(|_| format!("{} bytes", info.bytes));
        let indices = wanted.iter().map(|wanted| wanted.at.index(&info.timeline)).collect();
        let (uid, found) = (video.uid.clone(), BTreeMap::new());
        let mut requested = Requested { writer: self, info, ends, uid, indices, found };
        requested.found = requested.look()?;
        Ok(Ok(requested))
    }
}

impl Requested<'_> {
    fn look(&self) -> Result<BTreeMap<u64, Kept>, FramesError> {
        let indices: BTreeSet<u64> = self.indices.iter().filter_map(|index| index.as_ref().ok().copied()).collect();
        let look = |index: u64| {
            let path = self.writer.out.join(self.file(index));
            let found = image::look_at(&path, &self.comment(index));
            match found.map_err(|source| FramesError::Write { path: path.clone(), source })? {
                Kept::Other(found) if !self.writer.force => Err(FramesError::Other { path, found }),
                found => Ok((index, found)),
            }
        };
        indices.into_iter().map(look).collect()
    }

    /// The answer for each frame as far as it is known before anything is decoded.
    pub fn forecast(&self) -> Vec<Result<Had, String>> {
        self.indices.iter().map(|index| index.clone().map(|index| self.had(index))).collect()
    }

    fn had(&self, index: u64) -> Had {
        let kept = self.found.get(&index) == Some(&Kept::Whole);
        Had { index, sec: self.info.timeline.sec(index), file: self.file(index), kept }
    }

    /// Where a frame lies below the folder.
    fn file(&self, index: u64) -> PathBuf {
        Path::new(self.uid.as_str()).join(format!("{index:07}.{}", self.writer.format.extension()))
    }

    /// Names the frame, the file that it is of, and how it was made.
    fn comment(&self, index: u64) -> String {
        let Writer { format, reader, .. } = self.writer;
        format!("{OURS}{index} of {} ({}); {}; {};", self.uid, self.ends, reader.name(), format.words())
    }

    /// Decodes and writes what is not there.
    ///
    /// # Errors
    /// [`FramesError`] of the disk; frames that cannot be decoded are answers.
    pub fn write(&self, source: &dyn FrameSource) -> Result<Vec<Result<Had, String>>, FramesError> {
        let transform = Transform::whole(self.writer.reader);
        let wanted: Vec<u64> =
            self.found.iter().filter(|(_, kept)| **kept != Kept::Whole).map(|(index, _)| *index).collect();
        let (mut open, mut faults) = (wanted.iter().copied().collect::<BTreeSet<u64>>(), Vec::new());
        for frame in source.open(&self.info, &wanted, &[transform]) {
            match frame {
                Ok(frame) => {
                    self.write_frame(frame.index, &frame.pixels[0].levels())?;
                    open.remove(&frame.index);
                }
                Err(fault) => faults.push(fault.to_string()),
            }
        }
        let why = if faults.is_empty() { "the decoder gave no such frame".to_owned() } else { faults.join("; ") };
        let answer = |index: u64| match open.contains(&index) {
            true => Err(format!("frame {index}: {why}")),
            false => Ok(self.had(index)),
        };
        Ok(self.indices.iter().map(|index| index.clone().and_then(answer)).collect())
    }

    fn write_frame(&self, index: u64, rgb: &[u8]) -> Result<(), FramesError> {
        let path = self.writer.out.join(self.file(index));
        let size = self.info.size_for(&Transform::whole(self.writer.reader));
        let encoded = self.writer.format.encode(rgb, size, &self.comment(index));
        let bytes = encoded.map_err(|why| FramesError::Encode { path: path.clone(), why })?;
        durable::write_bytes(&path, &bytes).map_err(|source| FramesError::Write { path, source })
    }
}
