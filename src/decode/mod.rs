//! Decoding: ordered, already resized frames with their real timestamps, or exactly how that failed.
//!
//! Not for plans, stores or backbones. Invariant: a frame that a source delivers is the frame of that index, unharmed as
//! far as its decoder can tell; frames that cannot be had are absent and a [`Fault`] says why, never replaced. What no
//! decoder can tell is damage inside one coded picture that happens to be a valid code of another: of some flipped bytes
//! in H.264 or HEVC nothing is said, because those formats have no checksums. Lost and overwritten blocks are noticed.

mod certified;
mod child;
mod chunk_files;
mod command;
mod conversion;
mod crop;
mod demuxer;
mod disposable;
mod dropping;
mod drops;
mod error;
mod ffmpeg;
mod geometry;
mod graph;
mod header;
mod image;
mod image_sequence;
mod image_stream;
mod input;
mod listing;
mod log_line;
mod matroska;
mod nal;
mod order;
mod outline;
mod packets;
mod probe;
mod sample_table;
mod seek;
mod select;
mod stream;
mod synthetic;
mod together;
mod tools;
mod transform;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use certified::CertifiedSource;
pub(crate) use child::Child;
pub use chunk_files::chapters;
pub use command::{FfmpegSource, HwAccel, hwaccel_fault};
pub(crate) use conversion::keeping;
pub use crop::random_region;
pub use disposable::FrameSet;
pub use error::{ProbeError, ToolsError};
pub use ffmpeg::inputs;
pub use geometry::Geometry;
pub(crate) use image::Image;
pub use image_sequence::ImageSequence;
pub(crate) use input::{file_url, read_video};
pub(crate) use log_line::{About, LogLine, REPORTS_FRAMES};
pub use outline::{Outline, declared_sec, outline};
pub use probe::RULES;
pub use synthetic::SyntheticSource;
pub use together::Clip;
pub use tools::{Tools, version_of};
pub use transform::{Channels, Filter, Place, Prepare, Reader, Stereo, Transform};

pub use crate::child::Crash;
use crate::pixels::Pixels;
pub use crate::pixels::Region;
use crate::time::{Fps, Timeline};

/// One decoded frame, in each of the sizes asked for.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its index in presentation order.
    pub index: u64,
    /// `crop * crop * 3` values per transform, those of a whole frame for [`Transform::whole`]; in the order of the request,
    /// shared between the windows that show the frame. `uint8`, unless [`Transform::scales_floats`] and the frame was scaled.
    pub pixels: Vec<Arc<Pixels>>,
}

/// What is known of a video before any frame is decoded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VideoInfo {
    /// The file, the folder of the chunks, or what names the images.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The files of a video in chunks, each as a video of its own; empty for a video in one file.
    pub chunks: Vec<VideoInfo>,
    /// Index of the chosen stream in the container.
    pub stream: u32,
    /// The codec's name.
    pub codec: String,
    /// Width in pixels as shown, after rotation.
    pub width: u32,
    /// Height in pixels as shown, after rotation.
    pub height: u32,
    /// Clockwise rotation that players and viewers apply, in degrees.
    pub rotation: i32,
    /// ffmpeg's name of the matrix between its colours and red, green and blue, if the container or the codec says which.
    #[serde(deserialize_with = "header::known_color_space")]
    pub color_space: Option<ColorSpace>,
    /// How two eyes share a frame, if the container says so ("side by side").
    pub stereo: Option<String>,
    /// When each frame is shown.
    pub timeline: Timeline,
    /// Indices of the frames that a decoder can start at, ascending.
    #[serde(with = "crate::time::written")]
    pub keyframes: Vec<u64>,
    /// Frames that no other refers to, as far as that is proved and they can be left out before decoding. A video in chunks has
    /// them in its chunks.
    pub disposable: FrameSet,
    /// Whether its frames are known by their number alone, because the container stores no timestamp for each of them, or
    /// counts timestamps while it is read. Then nothing is proved after a seek, and decoding starts at the first frame.
    pub counted: bool,
    /// Second at which the container says that the video ends, if it says so and more than the frames reach.
    pub declared_end_sec: Option<f64>,
    /// Frames that are on the timeline for the gap that they left in a damaged container, and nowhere else; ascending.
    #[serde(with = "crate::time::written")]
    pub lost: Vec<u64>,
    /// What was said of damage while its packets were listed: some frames will not be had, but not which.
    pub damage: Option<String>,
    /// What else the probe saw that a person should know (a guessed timeline, a complaint).
    pub notes: Vec<String>,
    /// The files of its frames, if it is a folder of images.
    #[serde(skip)]
    pub images: Option<Arc<ImageSequence>>,
    /// What its file is a passing copy of, if it lies elsewhere.
    #[serde(skip)]
    pub origin: Option<Origin>,
    /// [`ends_of`](crate::digest::ends_of) its files, if somebody has asked for that already.
    #[serde(skip)]
    pub ends: Option<String>,
}

/// ffmpeg's name of a matrix of colours.
pub type ColorSpace = &'static str;

/// The object that a video's file is a copy of; the copy is there as long as this or a clone of it.
#[derive(Debug, Clone)]
pub struct Origin {
    url: PathBuf,
    _copy: Arc<dyn Any + Send + Sync>,
}

impl Origin {
    /// That of a copy of the object at `url`, which is kept by `copy`.
    pub fn new(url: &str, copy: Arc<dyn Any + Send + Sync>) -> Self {
        Self { url: url.into(), _copy: copy }
    }
}

impl VideoInfo {
    /// What to call it: its path, or the URL of what that is a copy of.
    pub fn name(&self) -> &Path {
        self.origin.as_ref().map_or(&self.path, |origin| &origin.url)
    }

    /// Its files, in order.
    pub fn files(&self) -> Vec<&Path> {
        if self.chunks.is_empty() {
            return vec![&self.path];
        }
        self.chunks.iter().map(|chunk| chunk.path.as_path()).collect()
    }

    /// All that a person should know of the file although it can be read: a broken promise of its header, and the notes.
    pub fn remarks(&self) -> Vec<String> {
        let there = self.timeline.end_sec();
        let promise = |end| format!("its header says that it ends at {end:.2} s, its frames end at {there:.2} s");
        self.declared_end_sec.map(promise).into_iter().chain(self.damage.clone()).chain(self.notes.clone()).collect()
    }

    /// The frame that decoding starts at in order to have frame `index`.
    pub fn start_before(&self, index: u64) -> u64 {
        if self.counted { 0 } else { self.keyframe_before(index) }
    }

    /// The filter, with a comma behind it, by which ffmpeg gives frames the times of the timeline where the container does
    /// not; empty where it does.
    pub(crate) fn timing_filter(&self) -> String {
        if !self.counted {
            return String::new();
        }
        let base = self.timeline.base();
        let pts: Vec<i64> = (0..self.timeline.frames()).filter_map(|index| self.timeline.ticks(index)).collect();
        format!("settb={}/{},setpts='{}',", base.num, base.den, select::times(&pts))
    }

    /// Width and height of a frame as the transform's reader gives it, before anything is cut or scaled: turned or not, and
    /// after what was done to the file.
    pub fn size_for(&self, transform: &Transform) -> (u32, u32) {
        let reader = transform.reader;
        let (prepared, turns) = match self.images {
            Some(_) => (None, reader.turns_images()),
            None => (transform.prepare.size(self.width, self.height), reader.turns_videos()),
        };
        let lies = self.rotation.rem_euclid(180) == 90 && !turns;
        prepared.unwrap_or(if lies { (self.height, self.width) } else { (self.width, self.height) })
    }

    /// The last frame at or before `index` that a decoder can start at.
    pub fn keyframe_before(&self, index: u64) -> u64 {
        let next = self.keyframes.partition_point(|&k| k <= index);
        next.checked_sub(1).map_or(0, |i| self.keyframes[i])
    }

    /// The first frame at or after `index` that a decoder can start at, or the number of frames.
    pub fn keyframe_from(&self, index: u64) -> u64 {
        let next = self.keyframes.partition_point(|&k| k < index);
        self.keyframes.get(next).copied().unwrap_or(self.timeline.frames())
    }
}

/// Something that went wrong while frames were decoded. The stream goes on after it where it can.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The decoder reported damage; frames that may be harmed are left out.
    #[error("damaged data near frame {near}: {line}")]
    Damage {
        /// Index of the last frame delivered before the report.
        near: u64,
        /// The decoder's first words.
        line: String,
    },
    /// Frames come in another order than their timestamps say, or are left out; those that nothing proves are left out.
    #[error(
        "frames cannot be told apart: {} came where frame {due} was due, and no complaint says why",
        found.map_or_else(|| "one without a known timestamp".to_owned(), |found| format!("frame {found}"))
    )]
    Disorder {
        /// Index of the frame that was to come.
        due: u64,
        /// Index of the one that came, if its timestamp is that of any.
        found: Option<u64>,
    },
    /// The decoder ended before it had delivered what was asked for.
    #[error("the decoder ended ({status}) after {got} of {wanted} frames{}", if line.is_empty() { String::new() } else { format!(": {line}") })]
    Short {
        /// Exit status of ffmpeg.
        status: String,
        /// Frames delivered.
        got: u64,
        /// Frames asked for.
        wanted: u64,
        /// Its last error line, if any.
        line: String,
    },
    /// The decoder crashed, and again when it was tried once more. That says nothing of the video.
    #[error("{0}; tried twice")]
    Crashed(Crash),
    /// A file of a frame cannot be read, for a reason that is not in it.
    #[error("{}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Seeking did not lead to the wanted frames; the stream begins again further ahead of them.
    #[error("seeking to {sec:.2} s was not exact; decoding begins again {again} frames earlier")]
    Restarted {
        /// The second that was sought.
        sec: f64,
        /// Frames that are decoded in addition.
        again: u64,
    },
    /// Something was wrong while frames that nobody wants were left out before the decoder. All are decoded, from the first one
    /// on, and what comes from then on is told by that.
    #[error("{why}; begun again without leaving frames out")]
    Undropped {
        /// What was wrong.
        why: String,
        /// Frames that are decoded, once more or after all.
        decoded: u64,
        /// Those of them that were to be left out.
        dropped: u64,
    },
    /// A hardware decoder was asked for and software decoded; frames are right all the same.
    #[error("not decoded by {wanted}: {why}")]
    Fallback {
        /// The decoder asked for.
        wanted: String,
        /// Its complaint.
        why: String,
    },
}

/// Ordered frames, and faults in between. `None` is the end, expected or not: what did not arrive does not exist.
pub type FrameStream = Box<dyn Iterator<Item = Result<Frame, Fault>> + Send>;

/// Delivers frames of videos.
pub trait FrameSource: Sync {
    /// Looks at a file (or a folder of chunks or images) without decoding it. `fps` is the rate of images; files have
    /// their own.
    ///
    /// # Errors
    /// [`ProbeError`] says why nothing can be decoded.
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError>;

    /// Says that a video will soon be probed: one that lies elsewhere may be fetched meanwhile, another one probed.
    fn prefetch(&self, _path: &Path) {}

    /// Takes [`prefetch`](Self::prefetch) back.
    fn forget(&self, _path: &Path) {}

    /// The frames of `wanted` (ascending indices, no repeats) in each of `transforms`.
    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream;

    /// How many frames [`open`](Self::open) leaves out before the decoder, of those from where it starts until the last wanted one.
    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64;

    /// Name and version of the decoder, for the store.
    fn version(&self) -> String;
}
