//! Packets that are dropped in front of the decoder, because nobody wants their frames and no other frame needs them.
//!
//! Not for finding those, see `disposable`. Invariant: dropping is believed as long as every other frame comes in its place and
//! nobody complains. At the first sign of anything else decoding begins anew with all packets, and what is said then is what would
//! have been said without; but for damage that is in dropped packets alone, of which nobody hears.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::command::FfmpegSource;
use super::seek::SeekPoint;
use super::stream::Stream;
use super::transform::Transform;
use super::{Fault, Frame, VideoInfo, select};

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
pub(super) fn is_possible(source: &FfmpegSource, video: &VideoInfo) -> bool {
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

/// The wanted frames of a video, in order, out of as few packets as possible.
pub(super) struct DroppingStream {
    stream: Stream,
    /// Makes the stream without dropping; used once.
    whole: Option<Box<dyn FnOnce() -> Stream + Send>>,
    /// Frames that are decoded without dropping, and those of them that were to be dropped.
    decoded: u64,
    dropped: u64,
    /// The last frame that was handed on.
    last: Option<u64>,
}

impl DroppingStream {
    /// The frames of `wanted`, which is not empty, in each of `transforms`.
    pub fn new(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> Self {
        let decoded =
            wanted.first().zip(wanted.last()).map_or(0, |(&first, last)| last + 1 - video.start_before(first));
        let dropped = count(source, video, wanted);
        let stream = Stream::new(source, video, wanted, transforms, true);
        let (source, video) = (source.clone(), video.clone());
        let (wanted, transforms) = (wanted.to_vec(), transforms.to_vec());
        let whole = move || Stream::new(&source, &video, &wanted, &transforms, false);
        Self { stream, whole: Some(Box::new(whole)), decoded, dropped, last: None }
    }
}

impl Iterator for DroppingStream {
    type Item = Result<Frame, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = self.stream.next();
            let doubt = match &next {
                _ if self.whole.is_none() => None,
                Some(Err(fault @ (Fault::Damage { .. } | Fault::Disorder { .. } | Fault::Short { .. }))) => Some(fault),
                Some(_) => None,
                None => self.stream.doubt(),
            };
            if let Some((why, whole)) = doubt.map(Fault::to_string).zip(self.whole.take_if(|_| doubt.is_some())) {
                self.stream = whole();
                return Some(Err(Fault::Undropped { why, decoded: self.decoded, dropped: self.dropped }));
            }
            match next {
                // It was handed on before.
                Some(Ok(frame)) if self.last.is_some_and(|last| frame.index <= last) => {}
                Some(Ok(frame)) => {
                    self.last = Some(frame.index);
                    return Some(Ok(frame));
                }
                // That says nothing of the video, and nothing comes after it.
                Some(Err(Fault::Crashed(_))) => {
                    self.whole = None;
                    return next;
                }
                other => return other,
            }
        }
    }
}
