//! Frames of clips, decoded as they are asked for.
//!
//! Not for batches. Only wanted frames are decoded, from the key frame before them; what is known of a file is kept.
//! Invariant: a clip has the same frames whether its video is whole or in pieces, and it has all of them or is an error.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use egofx::decode::{FfmpegSource, Frame, FrameSource, HwAccel, Pixels, Tools, VideoInfo, random_region};
use egofx::grid::egoclip::{EGOCLIP_PIECES, EgoclipError, NarratedClip, Pick, fill};
use egofx::grid::segments::{draws, egoclip_edges, middles};
use egofx::recipe::Transform;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::listed::Clip;
use super::pixels::Planes;
use crate::behaviour::Behaviour;
use crate::draws::{unit, within};
use crate::error::TrainError;
use crate::learner::Draw;
use crate::sources::Sources;

/// Share of a frame's area that a training crop has at least (`RandomResizedCrop` of the originals).
const CROP_SHARE: (f64, f64) = (0.5, 1.0);
/// The shorter side before the middle is cut out, where nothing is learnt.
const TEST_SIDE: usize = 256;
/// Videos of which it is kept what was probed: an hour of one takes about a megabyte.
const KNOWN_VIDEOS: usize = 2000;

/// The `[clips]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipSettings {
    /// Frames of a clip.
    pub frames: u32,
    /// Whether every other training clip is shown mirrored. The originals do so, and leave `left` and `right` in sentences
    /// as they are.
    pub mirrored: bool,
}

/// A clip that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'w> {
    /// The video's file, or the folder of its pieces.
    pub path: &'w Path,
    /// Where it lies in it.
    pub clip: Clip,
}

/// Why a clip has no frames.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Its video cannot be read.
    #[error("{}: {why}", .path.display())]
    Video {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is too short, or lies outside of its video.
    #[error("{}: {why}", .path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What is wrong with the place.
        why: EgoclipError,
    },
}

/// Reads clips.
pub struct Clips {
    source: FfmpegSource,
    settings: ClipSettings,
    side: usize,
    behaviour: Behaviour,
    known: Mutex<HashMap<PathBuf, Arc<VideoInfo>>>,
    kept: Kept,
}

/// Frames of whole videos that stay decoded in memory as long as there is room: small data sets would be decoded again in
/// each epoch. Clips are drawn evenly, so that the videos that came first are as good to keep as any others.
struct Kept {
    room_bytes: Mutex<u64>,
    videos: Mutex<HashMap<PathBuf, Arc<OnceLock<Arc<Pictures>>>>>,
}

/// Frames by index.
type Pictures = HashMap<u64, Pixels>;

impl Kept {
    /// The place of a video that is kept, or that there is room for.
    fn place(&self, video: &VideoInfo) -> Option<Arc<OnceLock<Arc<Pictures>>>> {
        let mut videos = self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = videos.get(&video.path) {
            return Some(place.clone());
        }
        let bytes = 3 * u64::from(video.width) * u64::from(video.height) * video.timeline.frames();
        let mut room = self.room_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *room = room.checked_sub(bytes)?;
        Some(videos.entry(video.path.clone()).or_default().clone())
    }
}

impl Clips {
    /// Clips of `settings.frames` frames of `side` by `side` pixels; videos stay decoded as far as `sources` allows.
    ///
    /// # Errors
    /// [`TrainError::Tools`]: there is no ffmpeg.
    pub fn new(
        settings: &ClipSettings,
        side: i64,
        behaviour: Behaviour,
        sources: &Sources,
    ) -> Result<Self, TrainError> {
        let tools = Tools::find(None, None, &sources.bases)?;
        // Threads that make batches decode side by side.
        let source = FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None };
        Ok(Self {
            source,
            settings: settings.clone(),
            side: side as usize,
            behaviour,
            known: Mutex::default(),
            kept: Kept { room_bytes: Mutex::new(sources.memory_bytes), videos: Mutex::default() },
        })
    }

    /// Frames `[F, 3, S, S]` of a narrated clip, normalised. With `draw` they are chosen, cropped and mirrored at random, as
    /// in training; without it they are the middles of equal stretches, and the middle of the picture.
    ///
    /// As released a training clip of fewer than eight frames has none to choose from; `fixed` takes the middles.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn narrated(&self, wanted: Wanted, draw: Option<&mut Draw>) -> Result<Tensor, ClipError> {
        let video = self.video(wanted.path)?;
        let total = video.timeline.frames();
        let [start, end] = wanted.clip.span.unwrap_or([0.0, video.timeline.end_sec()]);
        let narrated = NarratedClip::new(start, end);
        let place = |why| ClipError::Place { path: wanted.path.to_owned(), why };
        let middles = || narrated.pick(self.settings.frames, Pick::Uniform);
        let mut draw = draw;
        let picked = match &mut draw {
            None => middles(),
            Some(draw) => match narrated.pick(self.settings.frames, Pick::Random(&mut |range| within(*draw, range))) {
                Err(EgoclipError::TooShort { .. }) if self.behaviour == Behaviour::Fixed => middles(),
                picked => picked,
            },
        };
        let length = |piece: u64| EGOCLIP_PIECES.frames_of(piece, total);
        let addresses = narrated.addresses(&picked.map_err(place)?, EGOCLIP_PIECES, length, self.behaviour.compat());
        let whole = |address: &egofx::grid::egoclip::Address| address.whole(EGOCLIP_PIECES).min(total - 1);
        let indices: Vec<u64> = fill(addresses, self.settings.frames).iter().map(whole).collect();
        self.frames(&video, &indices, draw)
    }

    /// Frames `[F, 3, S, S]` of these numbers, counted as the video's own frames; the last one stands for those beyond it.
    /// With `draw` cropped and mirrored at random.
    ///
    /// # Errors
    /// [`ClipError`]; there are no numbers.
    pub fn numbered(&self, path: &Path, numbers: &[u64], draw: Option<&mut Draw>) -> Result<Tensor, ClipError> {
        let video = self.video(path)?;
        if numbers.is_empty() {
            let why = format!("the clip has fewer than {} frames", self.settings.frames);
            return Err(ClipError::Video { path: path.to_owned(), why });
        }
        let last = video.timeline.frames() - 1;
        self.frames(&video, &numbers.iter().map(|&number| number.min(last)).collect::<Vec<_>>(), draw)
    }

    /// Frames `[F, 3, S, S]` of a whole video: one at random out of each of equal stretches with `draw`, else their middles.
    /// The middle of the picture in any case.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn whole(&self, path: &Path, draw: Option<&mut Draw>) -> Result<Tensor, ClipError> {
        let video = self.video(path)?;
        let edges = egoclip_edges(0, video.timeline.frames(), self.settings.frames);
        let drawn =
            draw.and_then(|draw| Some(draws(&edges)?.into_iter().map(|range| within(draw, range)).collect::<Vec<_>>()));
        // A video that is too short to choose from shows its middles.
        let mut picked = drawn.unwrap_or_else(|| middles(&edges));
        picked.resize(self.settings.frames as usize, picked.last().copied().unwrap_or(0));
        let last = video.timeline.frames() - 1;
        let indices: Vec<u64> = picked.iter().map(|&index| (index.max(0) as u64).min(last)).collect();
        self.frames(&video, &indices, None)
    }

    /// In the shape of `clips` clips `[clips, F, 3, S, S]` that cannot be read.
    pub fn nothing(&self, clips: usize) -> Tensor {
        let side = self.side as i64;
        let size = [clips as i64, i64::from(self.settings.frames), 3, side, side];
        Tensor::zeros(size, (Kind::Float, Device::Cpu))
    }

    /// What a video holds.
    ///
    /// # Errors
    /// [`ClipError::Video`].
    pub fn video(&self, path: &Path) -> Result<Arc<VideoInfo>, ClipError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(video) = known().get(path) {
            return Ok(video.clone());
        }
        let why = |error: egofx::decode::ProbeError| ClipError::Video { path: path.to_owned(), why: error.to_string() };
        let video = Arc::new(self.source.probe(path, None).map_err(why)?);
        let mut known = known();
        // Clips are drawn evenly from all videos, so that any is as good to forget as another.
        if known.len() >= KNOWN_VIDEOS
            && let Some(some) = known.keys().next().cloned()
        {
            known.remove(&some);
        }
        known.insert(path.to_owned(), video.clone());
        Ok(video)
    }

    /// Frames `[F, 3, S, S]` of these indices, in this order, normalised; cropped and mirrored at random with `draw`.
    ///
    /// # Errors
    /// [`ClipError::Video`]: not all of them can be decoded.
    pub fn frames(&self, video: &VideoInfo, indices: &[u64], draw: Option<&mut Draw>) -> Result<Tensor, ClipError> {
        let pictures = self.pictures(video, indices)?;
        let view = View::of(video, self.settings.mirrored, draw);
        let mut values = Vec::with_capacity(indices.len() * 3 * self.side * self.side);
        for index in indices {
            view.show(Planes::of(&pictures[index], video.width, video.height), self.side).normalised(&mut values);
        }
        let side = self.side as i64;
        Ok(Tensor::from_slice(&values).view([indices.len() as i64, 3, side, side]))
    }

    /// Pictures of all `indices`, out of a video that is kept if there is room for it.
    fn pictures(&self, video: &VideoInfo, indices: &[u64]) -> Result<Arc<Pictures>, ClipError> {
        let mut fault = None;
        let mut decode = |wanted: &[u64]| {
            let (pictures, why) = self.decoded(video, wanted);
            fault = why;
            Arc::new(pictures)
        };
        let pictures = if let Some(place) = self.kept.place(video) {
            place.get_or_init(|| decode(&(0..video.timeline.frames()).collect::<Vec<_>>())).clone()
        } else {
            let mut wanted = indices.to_vec();
            wanted.sort_unstable();
            wanted.dedup();
            decode(&wanted)
        };
        let Some(index) = indices.iter().find(|index| !pictures.contains_key(index)) else { return Ok(pictures) };
        let why = fault.unwrap_or_else(|| "it did not come".to_owned());
        let why = format!("frame {index} cannot be decoded: {why}");
        Err(ClipError::Video { path: video.path.clone(), why })
    }

    fn decoded(&self, video: &VideoInfo, wanted: &[u64]) -> (Pictures, Option<String>) {
        let (mut found, mut fault) = (Pictures::new(), None);
        for frame in self.source.open(video, wanted, &[Transform::WHOLE]) {
            match frame {
                Ok(Frame { index, mut pixels }) => drop(found.insert(index, pixels.remove(0))),
                Err(why) => fault = Some(why.to_string()),
            }
        }
        (found, fault)
    }
}

/// How all frames of a clip are shown.
enum View {
    /// A part, mirrored or not: training.
    Part { region: egofx::decode::Region, mirrored: bool },
    /// The middle.
    Middle,
}

impl View {
    fn of(video: &VideoInfo, mirrored: bool, draw: Option<&mut Draw>) -> Self {
        let Some(draw) = draw else { return Self::Middle };
        let region = random_region(CROP_SHARE, video.width, video.height, draw);
        Self::Part { region, mirrored: mirrored && unit(draw) < 0.5 }
    }

    fn show(&self, planes: Planes, side: usize) -> Planes {
        match *self {
            Self::Middle => planes.shorter(TEST_SIDE).middle(TEST_SIDE, side),
            Self::Part { region, mirrored } => {
                let mut part = planes.scaled(region, side, side);
                if mirrored {
                    part.mirror();
                }
                part
            }
        }
    }
}
