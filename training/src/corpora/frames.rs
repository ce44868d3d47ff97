//! Frames of clips, decoded as they are asked for.
//!
//! Not for batches. Only wanted frames are decoded, from the key frame before them; what is known of a file is kept.
//! Invariant: a clip has the same frames whether its video is whole or in pieces, and it has all of them or is an error.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use egofx::compat::Compat;
use egofx::decode::{
    Channels, Fault, FfmpegSource, Frame, FrameSource, HwAccel, Reader, Transform, VideoInfo, random_region,
};
use egofx_pixels::{Picture, Planes};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::ahead::{Ahead, Pictures, Plan, Refused, Together, bytes};
use super::cached::CachedClips;
use super::choice::Choice;
use super::error::ClipError;
use super::kept::Kept;
use super::known::KnownVideos;
use super::listed::ClipRef;
use crate::error::TrainError;
use crate::rng::Generator;
use crate::rng::unit;
use crate::sources::Sources;

/// The `[clips]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipSettings {
    /// Frames of a clip.
    pub frames: u32,
    /// Whether every other training clip is shown hflip. The originals do so, and leave `left` and `right` in sentences
    /// as they are.
    pub hflip: bool,
    /// The shorter side, in pixels, before the middle is cut out, where nothing is learnt. Published: 256, but 224 for EgoVLPv2
    /// on EPIC-KITCHENS.
    #[serde(default = "usual_side", skip_serializing_if = "is_usual_side")]
    pub short_side: usize,
    /// The least and the greatest share of a frame's area that a training crop has. Published: 0.5 and 1.
    #[serde(default = "usual_crop", skip_serializing_if = "is_usual_crop")]
    pub crop_scale: (f64, f64),
    /// Which colour comes first. EgoVLP saw EPIC-KITCHENS blue first until January 2023.
    #[serde(default = "usual_channels", skip_serializing_if = "is_usual_channels")]
    pub channels: Channels,
    /// Whose arithmetic turns a file into red, green and blue. The originals read with OpenCV, but for EgoTaskQA and for
    /// EgoVLPv2's EPIC-KITCHENS, which they read with decord.
    #[serde(default = "usual_reader", skip_serializing_if = "is_usual_reader")]
    pub reader: Reader,
}

fn usual_side() -> usize {
    256
}

fn is_usual_side(side: &usize) -> bool {
    *side == usual_side()
}

fn usual_crop() -> (f64, f64) {
    (0.5, 1.0)
}

fn is_usual_crop(share: &(f64, f64)) -> bool {
    *share == usual_crop()
}

fn usual_channels() -> Channels {
    Channels::Rgb
}

fn is_usual_channels(channels: &Channels) -> bool {
    *channels == usual_channels()
}

fn usual_reader() -> Reader {
    Reader::Opencv
}

fn is_usual_reader(reader: &Reader) -> bool {
    *reader == usual_reader()
}

/// Reads clips.
pub struct Clips {
    known: KnownVideos,
    refused: Refused,
    settings: ClipSettings,
    side: usize,
    compat: Compat,
    kept: Kept,
    cached: CachedClips,
}

impl Clips {
    /// Clips of `settings.frames` frames of `side` by `side` pixels; videos stay decoded as far as `sources` allows.
    ///
    /// # Errors
    /// [`TrainError::Tools`]: there is no ffmpeg.
    pub fn new(settings: &ClipSettings, side: i64, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let tools = sources.ffmpeg.tools()?.clone();
        // Threads that make batches decode side by side.
        let source = FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None };
        Ok(Self {
            known: KnownVideos::new(source, sources.probes.as_deref()),
            refused: Refused::default(),
            settings: settings.clone(),
            side: side as usize,
            compat,
            kept: Kept::new(sources.memory_bytes),
            cached: CachedClips::default(),
        })
    }

    /// With clips that were decoded beforehand by that rule, in these folders.
    ///
    /// # Errors
    /// As for [`CachedClips::open`].
    pub fn with_cache(self, folders: &[PathBuf], choice: Choice) -> Result<Self, TrainError> {
        let cached = if folders.is_empty() {
            CachedClips::default()
        } else {
            CachedClips::open(folders, choice, self.compat, self.reader())?
        };
        Ok(Self { cached, ..self })
    }

    /// Frames `[F, 3, S, S]` of a clip, normalised. With `draw` they are chosen, cropped and hflip at random, as in training;
    /// without it they are the middles of equal segments, and the centre crop. Whole videos are never cropped at
    /// random. What is read `ahead` is not decoded anew.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn clip(
        &self,
        ahead: &mut Ahead,
        wanted: ClipRef,
        choice: Choice,
        draw: Option<&mut Generator>,
    ) -> Result<Tensor, ClipError> {
        let (frames, mut draw) = (self.settings.frames, draw);
        let pictures = match self.cached.pictures(&wanted, frames, draw.as_deref_mut()) {
            Some(cached) => cached?,
            None => {
                let video = self.video(wanted.path)?;
                let indices = choice.indices(&video, wanted, frames, self.compat, draw.as_deref_mut())?;
                self.decode(ahead, &video, &indices)?
            }
        };
        Ok(self.shown(&pictures, draw.filter(|_| choice != Choice::Whole)))
    }

    /// The middles of `frames` equal segments of a clip, scaled to the shorter side of the test where they are larger.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn pictures_of(
        &self,
        ahead: &mut Ahead,
        wanted: ClipRef,
        choice: Choice,
        frames: u32,
    ) -> Result<Vec<Picture>, ClipError> {
        let video = self.video(wanted.path)?;
        let indices = choice.indices(&video, wanted, frames, self.compat, None)?;
        let side = self.settings.short_side;
        Ok(self.decode(ahead, &video, &indices)?.into_iter().map(|picture| picture.at_most(side)).collect())
    }

    /// What [`Clips::clip`] will decode if it is asked the same; nothing where it need not decode, or cannot.
    pub fn plan(&self, wanted: ClipRef, choice: Choice, draw: Option<Generator>) -> Option<Plan> {
        self.plan_frames(wanted, choice, self.settings.frames, draw)
    }

    /// The same with another number of frames, as for [`Clips::pictures_of`].
    pub fn plan_frames(&self, wanted: ClipRef, choice: Choice, frames: u32, draw: Option<Generator>) -> Option<Plan> {
        if self.cached.has(&wanted) {
            return None;
        }
        let (video, mut draw) = (self.video(wanted.path).ok()?, draw);
        let indices = choice.indices(&video, wanted, frames, self.compat, draw.as_mut()).ok()?;
        self.planned(video, &indices)
    }

    /// What [`Clips::numbered`] will decode.
    pub fn plan_numbered(&self, path: &Path, numbers: &[u64]) -> Option<Plan> {
        let video = self.video(path).ok()?;
        let indices = in_video(&video, numbers);
        self.planned(video, &indices)
    }

    fn planned(&self, video: Arc<VideoInfo>, indices: &[u64]) -> Option<Plan> {
        let is_kept = self.kept.place(&video, video.size_for(&self.whole()).into()).is_some();
        let is_apart = is_kept || self.refused.has(&video.path);
        (!is_apart && !indices.is_empty()).then(|| Plan { video, wanted: ascending(indices) })
    }

    /// Whose frames they are.
    pub fn reader(&self) -> Reader {
        self.settings.reader
    }

    /// How whole frames are asked for.
    fn whole(&self) -> Transform {
        Transform::whole(self.settings.reader)
    }

    /// The seconds of the video at which the frames of [`Clips::clip`] without `draw` are shown.
    ///
    /// # Errors
    /// [`ClipError`].
    pub fn times_sec(&self, wanted: ClipRef, choice: Choice) -> Result<Vec<f64>, ClipError> {
        let video = self.video(wanted.path)?;
        let indices = choice.indices(&video, wanted, self.settings.frames, self.compat, None)?;
        Ok(indices.into_iter().map(|index| video.timeline.sec(index)).collect())
    }

    /// Whether faults of the originals are reproduced.
    pub fn compat(&self) -> Compat {
        self.compat
    }

    /// Frames of a clip.
    pub fn frames(&self) -> u32 {
        self.settings.frames
    }

    /// The shorter side of a frame in pixels before the centre crop.
    pub fn short_side(&self) -> usize {
        self.settings.short_side
    }

    /// Frames `[F, 3, S, S]` of these numbers, counted as the video's own frames; the last one stands for those beyond it.
    /// With `draw` cropped and hflip at random.
    ///
    /// # Errors
    /// [`ClipError`]; there are no numbers.
    pub fn numbered(
        &self,
        ahead: &mut Ahead,
        path: &Path,
        numbers: &[u64],
        draw: Option<&mut Generator>,
    ) -> Result<Tensor, ClipError> {
        let video = self.video(path)?;
        if numbers.is_empty() {
            let why = format!("the clip has fewer than {} frames", self.settings.frames);
            return Err(ClipError::Video { path: path.to_owned(), why });
        }
        Ok(self.shown(&self.decode(ahead, &video, &in_video(&video, numbers))?, draw))
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
    /// [`ClipError::Video`], [`ClipError::Crashed`].
    pub fn video(&self, path: &Path) -> Result<Arc<VideoInfo>, ClipError> {
        self.known.video(path)
    }

    /// What a person should know of how clips are read, once.
    pub fn remarks(&self) -> Vec<String> {
        [self.known.remarks(), self.refused.remarks()].concat()
    }

    /// Frames `[F, 3, S, S]`, normalised; cropped and hflip at random with `draw`.
    fn shown(&self, pictures: &[Picture], draw: Option<&mut Generator>) -> Tensor {
        let view = View::of(&pictures[0], &self.settings, draw);
        let mut values = Vec::with_capacity(pictures.len() * 3 * self.side * self.side);
        for picture in pictures {
            view.show(Planes::of(picture, self.settings.channels), self.side).normalised(&mut values);
        }
        let side = self.side as i64;
        Tensor::from_slice(&values).view([pictures.len() as i64, 3, side, side])
    }

    /// Frames of these indices, at least one, in this order.
    fn decode(&self, ahead: &mut Ahead, video: &VideoInfo, indices: &[u64]) -> Result<Vec<Picture>, ClipError> {
        let pictures = self.pictures(ahead, video, indices)?;
        let (width, height) = video.size_for(&self.whole());
        Ok(indices.iter().map(|index| Picture { width, height, bytes: pictures[index].clone() }).collect())
    }

    /// Pictures of all `indices`, out of a video that is kept if there is room for it.
    fn pictures(&self, ahead: &mut Ahead, video: &VideoInfo, indices: &[u64]) -> Result<Arc<Pictures>, ClipError> {
        let mut fault = None;
        let mut decode = |wanted: &[u64]| -> Result<Arc<Pictures>, ClipError> {
            let (pictures, why) = self.decoded(video, wanted)?;
            fault = why;
            Ok(Arc::new(pictures))
        };
        let pictures = if let Some(place) = self.kept.place(video, video.size_for(&self.whole()).into()) {
            let mut kept = place.lock().unwrap_or_else(PoisonError::into_inner);
            match &*kept {
                Some(pictures) => pictures.clone(),
                None => kept.insert(decode(&(0..video.timeline.frames()).collect::<Vec<_>>())?).clone(),
            }
        } else {
            let wanted = ascending(indices);
            let together = Together { source: self.known.source(), whole: self.whole(), refused: &self.refused };
            match ahead.take(&together, video, &wanted) {
                Some(pictures) => pictures,
                None => decode(&wanted)?,
            }
        };
        let Some(index) = indices.iter().find(|index| !pictures.contains_key(index)) else { return Ok(pictures) };
        let why = fault.unwrap_or_else(|| "it did not come".to_owned());
        let why = format!("frame {index} cannot be decoded: {why}");
        Err(ClipError::Video { path: video.path.clone(), why })
    }

    /// Those of `wanted` that can be decoded, and why others cannot.
    fn decoded(&self, video: &VideoInfo, wanted: &[u64]) -> Result<(Pictures, Option<String>), ClipError> {
        let (mut found, mut fault) = (Pictures::new(), None);
        for frame in self.known.source().open(video, wanted, &[self.whole()]) {
            match frame {
                Ok(Frame { index, mut pixels }) => {
                    found.insert(index, bytes(pixels.remove(0)));
                }
                Err(why @ (Fault::Crashed(_) | Fault::Unreadable { .. })) => {
                    return Err(ClipError::Crashed { path: video.path.clone(), why: why.to_string() });
                }
                Err(why) => fault = Some(why.to_string()),
            }
        }
        Ok((found, fault))
    }
}

/// Frames of these numbers; the last one stands for those beyond it.
fn in_video(video: &VideoInfo, numbers: &[u64]) -> Vec<u64> {
    let last = video.timeline.frames() - 1;
    numbers.iter().map(|&number| number.min(last)).collect()
}

/// Without repeats.
fn ascending(indices: &[u64]) -> Vec<u64> {
    let mut wanted = indices.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// How all frames of a clip are shown.
enum View {
    /// A part, hflip or not: training.
    Part { region: egofx::decode::Region, hflip: bool },
    /// The middle, of what is scaled to this shorter side.
    Middle { short_side: usize },
}

impl View {
    fn of(picture: &Picture, settings: &ClipSettings, draw: Option<&mut Generator>) -> Self {
        let Some(draw) = draw else { return Self::Middle { short_side: settings.short_side } };
        let region = random_region(settings.crop_scale, picture.width, picture.height, draw);
        Self::Part { region, hflip: settings.hflip && unit(draw) < 0.5 }
    }

    fn show(&self, planes: Planes, side: usize) -> Planes {
        match *self {
            Self::Middle { short_side } => planes.shorter(short_side).middle(short_side, side),
            Self::Part { region, hflip } => {
                let mut part = planes.scaled(region, side, side);
                if hflip {
                    part.hflip();
                }
                part
            }
        }
    }
}
