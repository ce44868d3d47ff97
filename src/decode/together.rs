//! Frames of many clips out of one ffmpeg: it is started once, and looks into none of their files.
//!
//! The packets that a decoder needs are read here and handed over as one short video, clip behind clip. Not for clips of which that
//! cannot be done for certain, nor for faults. Invariant: all is as it was foreseen, each frame that comes out of the decoder one
//! that was to come, in its place, and nobody complains, or none of the frames is handed on: whoever wants them asks for each clip
//! alone, and hears then what is wrong with which.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

use super::child::Child;
use super::command::{FfmpegSource, HwAccel, reported};
use super::graph::Sizes;
use super::log_line::LogLine;
use super::matroska::Matroska;
use super::packets::{self, Gop};
use super::sample_table::Configuration;
use super::transform::{Place, Transform};
use super::{ColorSpace, Frame, VideoInfo, chunk_files, input};

/// Frames that are wanted of a video: ascending indices, no repeats, at least one.
#[derive(Debug, Clone, Copy)]
pub struct Clip<'v> {
    /// The video.
    pub video: &'v VideoInfo,
    /// Its frames.
    pub wanted: &'v [u64],
}

/// What of a clip lies in one file.
struct Part<'v> {
    /// The clip's place among all.
    clip: usize,
    video: &'v VideoInfo,
    /// What is added to its indices in the whole video.
    start: u64,
    wanted: Vec<u64>,
    configuration: Configuration,
    gops: Vec<Gop>,
}

impl FfmpegSource {
    /// All frames of each of `clips` in this transform, by the index of its clip; `None` for a clip that has to be
    /// [opened](super::FrameSource::open) alone.
    pub fn together(&self, clips: &[Clip], transform: &Transform) -> Vec<Option<Vec<Frame>>> {
        let mut found: Vec<Option<Vec<Frame>>> = clips.iter().map(|_| None).collect();
        // What is drawn of a frame depends on the name of its video, and a graph is of one.
        let is_drawn = matches!(transform.place, Place::Random { .. });
        if self.hwaccel != HwAccel::None || is_drawn {
            return found;
        }
        let mut groups: Vec<Vec<Part>> = Vec::new();
        for parts in clips.iter().enumerate().filter_map(|(at, clip)| parts(at, clip)) {
            // A clip that goes from one file into the next is decoded as a whole, or not at all.
            let fits = |group: &&mut Vec<Part>| parts.iter().all(|part| like(&group[0]) == like(part));
            match groups.iter_mut().find(fits) {
                Some(group) => group.extend(parts),
                None if parts.iter().all(|part| like(&parts[0]) == like(part)) => groups.push(parts),
                None => {}
            }
        }
        for group in groups {
            for (clip, frame) in self.decode(&group, transform).into_iter().flatten() {
                found[clip].get_or_insert_default().push(frame);
            }
        }
        found
    }

    /// The frames of all parts, each with its clip.
    fn decode(&self, parts: &[Part], transform: &Transform) -> Option<Vec<(usize, Frame)>> {
        let first = parts.first()?;
        let line = Line::of(parts);
        let file = in_memory(line.file(parts, &first.configuration)?.bytes())?;
        let sizes = Sizes::new(&[*transform], first.video);
        let graph = reported(&sizes.graph(&line.wanted(), HwAccel::None), false);
        let mut command = self.command();
        command.args(Self::OWN_TIMES);
        input::read_video(
            &mut command,
            &PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())),
        );
        command.args(["-map", "0:0", "-an", "-sn", "-dn"]);
        self.end_in_raw_frames(&mut command);
        let child = Child::spawn(command, self.tools.patience, graph).ok()?;
        let images = images(child, &line, sizes.bytes())?;
        let frame = |(image, shown): (Vec<u8>, &Shown)| {
            let part = &parts[shown.part];
            let pixels = sizes.pixels(image, shown.index);
            (part.clip, Frame { index: part.start + shown.index, pixels })
        };
        Some(images.into_iter().zip(line.frames.iter().filter(|shown| shown.is_wanted)).map(frame).collect())
    }
}

/// What has to be alike for two parts to be decoded by one decoder and converted by one graph.
fn like<'p>(part: &'p Part) -> (&'p Configuration, u32, u32, Option<ColorSpace>) {
    (&part.configuration, part.video.width, part.video.height, part.video.color_space)
}

/// A clip's parts, if the packets of all are known.
fn parts<'v>(at: usize, clip: &Clip<'v>) -> Option<Vec<Part<'v>>> {
    let whole = || vec![(0, clip.video, clip.wanted.to_vec())];
    let shares =
        if clip.video.chunks.is_empty() { whole() } else { chunk_files::shares(clip.video, clip.wanted).collect() };
    let part = |(start, video, wanted): (u64, &'v VideoInfo, Vec<u64>)| {
        let (configuration, gops) = packets::of(video, &wanted)?;
        Some(Part { clip: at, video, start, wanted, configuration, gops })
    };
    let parts: Vec<Part> = shares.into_iter().filter(|share| !share.2.is_empty()).map(part).collect::<Option<_>>()?;
    (!parts.is_empty()).then_some(parts)
}

/// A frame that is to come out of the decoder.
struct Shown {
    /// Its time in the short video.
    tick: u64,
    part: usize,
    /// Its index in the part's file.
    index: u64,
    is_wanted: bool,
}

/// All of them, in the order in which they are to come, and the times at which gops begin.
struct Line {
    frames: Vec<Shown>,
    starts: Vec<u64>,
}

impl Line {
    fn of(parts: &[Part]) -> Self {
        let (mut frames, mut starts, mut next) = (Vec::new(), Vec::new(), 0);
        for (part, of) in parts.iter().enumerate() {
            for gop in &of.gops {
                starts.push(next);
                let shown = |index: u64| {
                    let is_wanted = of.wanted.binary_search(&index).is_ok();
                    Shown { tick: next + index - gop.key, part, index, is_wanted }
                };
                frames.extend(gop.shown().into_iter().map(shown));
                next = frames.last().map_or(next, |last: &Shown| last.tick + 1);
            }
        }
        Self { frames, starts }
    }

    /// The short video.
    fn file(&self, parts: &[Part], configuration: &Configuration) -> Option<Matroska> {
        let mut file = Matroska::new(configuration)?;
        let gops = parts.iter().flat_map(|part| &part.gops);
        for (gop, &start) in gops.zip(&self.starts) {
            let packets = gop.packets.iter();
            file.add(start, packets.map(|packet| (start + packet.index - gop.key, packet.is_key, &packet.bytes[..])));
        }
        Some(file)
    }

    /// When the wanted ones are shown.
    fn wanted(&self) -> Vec<i64> {
        self.frames.iter().filter(|shown| shown.is_wanted).map(|shown| shown.tick as i64).collect()
    }
}

/// The images of the wanted frames, of `bytes` each, if all is as it was foreseen.
fn images(mut child: Child, line: &Line, bytes: usize) -> Option<Vec<Vec<u8>>> {
    let mut images = Vec::new();
    for _ in line.wanted() {
        let mut image = vec![0; bytes];
        if !child.read_frame(&mut image).ok()? {
            return None;
        }
        images.push(image);
    }
    // One more, and they are not what they were taken for.
    if child.read_frame(&mut vec![0; bytes]).ok()? {
        return None;
    }
    let mut due = line.frames.iter();
    while let Some(said) = child.next_line() {
        match said {
            LogLine::Opened | LogLine::Encoded(_) => {}
            LogLine::Frame(shown) => {
                let tick = due.next().and_then(|due| i64::try_from(due.tick).ok());
                if tick.is_none() || shown.pts != tick {
                    log::debug!("clips are decoded one by one: {:?} came for {tick:?}", shown.pts);
                    return None;
                }
            }
            LogLine::Complaint(complaint) => {
                log::debug!("clips are decoded one by one: {}", complaint.words);
                return None;
            }
            LogLine::Fallback(_) => return None,
        }
    }
    let is_sound = child.end().is_ok_and(|status| status.success()) && due.next().is_none();
    is_sound.then_some(images)
}

/// A file without a name that holds `bytes`.
fn in_memory(bytes: &[u8]) -> Option<File> {
    let mut file = File::from(memfd_create("egofx", MemfdFlags::CLOEXEC).ok()?);
    file.write_all(bytes).ok()?;
    Some(file)
}
