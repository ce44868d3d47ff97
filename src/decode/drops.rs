//! Packets that are dropped in front of the decoder, because nobody wants their frames and no other frame needs them: which, and
//! how ffmpeg is told.
//!
//! Not for finding frames that no other needs, see `disposable`. Invariant: neither a wanted frame is dropped nor the one by which a
//! seek is proved.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::command::FfmpegSource;
use super::seek::SeekPoint;
use super::{VideoInfo, select};

/// Frames after the last wanted one of which packets are dropped too: a decoder takes some more packets before it gives a frame.
const REST_FRAMES: u64 = 64;

/// What an ffmpeg drops.
pub(super) struct Drops {
    /// Frames, ascending.
    indices: Vec<u64>,
    /// The filter of packets. It is longer than an argument may be, and stdin is taken.
    filter: File,
}

impl Drops {
    /// What is dropped where the frames of `wanted` are decoded from `seek_point` on; `None` if that is nothing.
    pub fn of(video: &VideoInfo, wanted: &[u64], seek_point: Option<SeekPoint>) -> Option<Self> {
        let (from, mark) = seek_point.map_or((0, None), |point| (point.target, Some(point.mark)));
        let end = wanted.last()?.saturating_add(REST_FRAMES).min(video.timeline.frames());
        let mut indices = droppable(video, wanted, from, end);
        indices.retain(|&index| mark != Some(index));
        let is_dropped = |index: u64| indices.binary_search(&index).is_ok();
        let marked = (from..end).map(|index| Some((video.timeline.pts(index)?, is_dropped(index))));
        let marked: Vec<(i64, bool)> = marked.collect::<Option<_>>()?;
        let filter = format!("noise=amount=0:drop='{}'", select::marks(&marked));
        let filter = in_memory(&filter).inspect_err(|error| log::debug!("no packets are dropped: {error}")).ok()?;
        (!indices.is_empty()).then_some(Self { indices, filter })
    }

    /// The options, in front of the input, that have ffmpeg drop them.
    pub fn options(&self) -> [OsString; 2] {
        let path: PathBuf = format!("/proc/{}/fd/{}", std::process::id(), self.filter.as_raw_fd()).into();
        ["-/bsf:v".into(), path.into()]
    }

    /// The place of frame `index` among those that are not dropped.
    pub fn place_of(&self, index: u64) -> Option<u64> {
        self.indices.binary_search(&index).err().map(|before| index - before as u64)
    }
}

/// A file without a name that holds `text`.
fn in_memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("egofx", MemfdFlags::CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// The frames from `from` until before `end` that nobody wants and no other refers to.
fn droppable(video: &VideoInfo, wanted: &[u64], from: u64, end: u64) -> Vec<u64> {
    let is_unwanted = |index: &u64| wanted.binary_search(index).is_err();
    (from..end).filter(|&index| video.disposable.contains(index)).filter(is_unwanted).collect()
}

/// Whether packets of `video` can be dropped.
fn is_possible(source: &FfmpegSource, video: &VideoInfo) -> bool {
    source.drops_packets() && !video.counted && !video.disposable.is_empty()
}

/// How many frames are dropped until the last one of `wanted`, from where decoding starts.
pub(super) fn count(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64]) -> u64 {
    let (Some(&first), Some(&last)) = (wanted.first(), wanted.last()) else { return 0 };
    if !is_possible(source, video) {
        return 0;
    }
    droppable(video, wanted, video.start_before(first), last + 1).len() as u64
}
