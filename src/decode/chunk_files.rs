//! A video in chunks, `folder/0.mp4`, `1.mp4`, ..., as `egofx chunk` and EgoVLP's scripts leave it, or in chapters,
//! `GX010123.MP4`, `GX020123.MP4`, ..., as GoPros write it, which the pattern `GX%02d0123.MP4` names: one timeline, one stream of
//! frames.
//!
//! Not for cutting. Invariant: a frame has the index that it has in the whole video, or the folder is refused.

use std::path::{Path, PathBuf};

use super::image_sequence::is_video;
use super::transform::Transform;
use super::{Fault, FfmpegSource, FrameSet, FrameSource, FrameStream, ProbeError, VideoInfo};
use crate::time::Timeline;

/// How much the lengths of chunks may differ, in seconds: cuts fall on frames.
const TOLERANCE_SEC: f64 = 0.1;

/// What stands for the number of a chapter, from 1.
const NUMBER: &str = "%02d";
/// Chapters of a recording, at most.
const MOST_CHAPTERS: usize = 99;

/// How the files of a video are named.
#[derive(Clone, Copy)]
enum Names<'p> {
    /// By their numbers from 0, in this folder.
    Chunks(&'p Path),
    /// By what is around the number of a chapter, from 1, beside this path.
    Chapters(&'p Path, [&'p str; 2]),
}

impl<'p> Names<'p> {
    fn of(path: &'p Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str()).filter(|_| is_video(path));
        match name.and_then(|name| name.split_once(NUMBER)) {
            Some((before, after)) => Self::Chapters(path, [before, after]),
            None => Self::Chunks(path),
        }
    }

    /// The file that is number `k`, counted from 0.
    fn file(self, k: usize) -> PathBuf {
        match self {
            Self::Chunks(folder) => folder.join(format!("{k}.mp4")),
            Self::Chapters(path, [before, after]) => path.with_file_name(format!("{before}{:02}{after}", k + 1)),
        }
    }

    /// The highest number, counted from 0, of a file that is there.
    fn highest(self) -> Result<usize, String> {
        let highest = match self {
            Self::Chunks(folder) => {
                let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
                let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".mp4")?.parse::<usize>().ok();
                entries.flatten().filter_map(|entry| number(entry.path())).max()
            }
            Self::Chapters(..) => (0..MOST_CHAPTERS).rev().find(|&k| self.file(k).is_file()),
        };
        Ok(highest.unwrap_or(0))
    }

    /// The name of number `k`, for messages.
    fn shown(self, k: usize) -> String {
        self.file(k).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The files of the video in chunks or chapters that `path` names, in order, if there are any.
pub(super) fn files(path: &Path) -> Option<Vec<PathBuf>> {
    let names = Names::of(path);
    let files: Vec<PathBuf> = (0..).map(|k| names.file(k)).take_while(|file| file.is_file()).collect();
    (!files.is_empty()).then_some(files)
}

/// The chapters of the recording that `path` names by its pattern, in order; none where it names something else.
pub fn chapters(path: &Path) -> Vec<PathBuf> {
    let is_recording = matches!(Names::of(path), Names::Chapters(..));
    files(path).filter(|_| is_recording).unwrap_or_default()
}

/// Probes each of `files` and puts them one behind the other.
pub(super) fn probe(source: &FfmpegSource, folder: &Path, files: &[PathBuf]) -> Result<VideoInfo, ProbeError> {
    let chunks = files.iter().map(|file| source.probe(file, None)).collect::<Result<Vec<_>, _>>()?;
    check(folder, &chunks).map_err(|why| ProbeError::ChunkFiles { path: folder.to_owned(), why })?;
    let lines: Vec<&Timeline> = chunks.iter().map(|chunk| &chunk.timeline).collect();
    let nothing = || ProbeError::NoFrames { path: folder.to_owned(), why: "no chunks".into() };
    let timeline = Timeline::joined(&lines).ok_or_else(nothing)?;
    let in_video = |of: fn(&VideoInfo) -> &Vec<u64>| {
        let shifted = starts(&chunks).zip(&chunks);
        shifted.flat_map(|(start, chunk)| of(chunk).iter().map(move |index| start + index)).collect()
    };
    let note = |chunk: &VideoInfo| {
        let name = chunk.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        chunk.notes.iter().map(move |note| format!("{name}: {note}")).collect::<Vec<_>>()
    };
    let (first, last) = chunks.first().zip(chunks.last()).ok_or_else(nothing)?;
    let beyond_sec = last.declared_end_sec.map(|declared| declared - last.timeline.end_sec());
    let mut video = VideoInfo {
        path: folder.to_owned(),
        bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
        keyframes: in_video(|chunk| &chunk.keyframes),
        lost: in_video(|chunk| &chunk.lost),
        declared_end_sec: beyond_sec.map(|beyond| timeline.end_sec() + beyond),
        damage: chunks.iter().find_map(|chunk| chunk.damage.clone()),
        disposable: FrameSet::default(),
        counted: false,
        notes: chunks.iter().flat_map(note).collect(),
        timeline,
        ..first.clone()
    };
    video.chunks = chunks;
    Ok(video)
}

/// Index in the video of each chunk's first frame.
fn starts(chunks: &[VideoInfo]) -> impl Iterator<Item = u64> {
    chunks.iter().scan(0, |next, chunk| {
        let start = *next;
        *next += chunk.timeline.frames();
        Some(start)
    })
}

/// Each chunk goes on where the one before ends. That is true only if none is missing or cut short.
fn check(folder: &Path, chunks: &[VideoInfo]) -> Result<(), String> {
    let names = Names::of(folder);
    let (highest, shown) = (names.highest()?, |k| names.shown(k));
    if highest >= chunks.len() {
        return Err(format!("{} is missing, there is {}", shown(chunks.len()), shown(highest)));
    }
    // Cameras begin a chapter by size, not by time.
    let are_alike = matches!(names, Names::Chunks(_));
    for (k, chunk) in chunks.iter().enumerate() {
        let size = |of: &VideoInfo| (of.width, of.height);
        if size(chunk) != size(&chunks[0]) {
            return Err(format!("{} is {:?} pixels, {} is {:?}", shown(k), size(chunk), shown(0), size(&chunks[0])));
        }
        let (length_sec, whole_sec) = (chunk.timeline.end_sec(), chunks[0].timeline.end_sec());
        let cut_short =
            are_alike && (length_sec - whole_sec).abs() > TOLERANCE_SEC.max(1.5 / chunk.timeline.mean_fps());
        let name = shown(k);
        if let Some(declared_sec) = chunk.declared_end_sec.filter(|_| k + 1 < chunks.len()) {
            return Err(format!(
                "{name} ends at {length_sec:.2} s, its header says at {declared_sec:.2} s, and it is not the last one"
            ));
        }
        if k + 1 < chunks.len() && cut_short {
            let first = shown(0);
            return Err(format!(
                "{name} ends at {length_sec:.2} s and is not the last one, {first} ends at {whole_sec:.2} s"
            ));
        }
    }
    Ok(())
}

/// The frames of `wanted`, one chunk after the other; a chunk is opened when its turn comes.
pub(super) fn open(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
    let (source, transforms) = (source.clone(), transforms.to_vec());
    let named = |(start, chunk, share): (u64, &VideoInfo, _)| (start, video.timeline.sec(start), chunk.clone(), share);
    let shares: Vec<_> = shares(video, wanted).map(named).collect();
    let frames = move |(start, start_sec, chunk, share): (u64, f64, VideoInfo, Vec<u64>)| {
        source.open(&chunk, &share, &transforms).map(move |next| match next {
            Ok(mut frame) => {
                frame.index += start;
                Ok(frame)
            }
            Err(fault) => Err(shift(fault, start, start_sec)),
        })
    };
    Box::new(shares.into_iter().flat_map(frames))
}

/// Each chunk, the index of its first frame, and which of its frames are `wanted`.
pub(super) fn shares<'v>(
    video: &'v VideoInfo,
    wanted: &'v [u64],
) -> impl Iterator<Item = (u64, &'v VideoInfo, Vec<u64>)> {
    starts(&video.chunks).zip(&video.chunks).map(move |(start, chunk)| {
        let range = start..start + chunk.timeline.frames();
        let share = wanted.iter().filter(|index| range.contains(index)).map(|index| index - start).collect();
        (start, chunk, share)
    })
}

/// How many frames of all chunks are left out.
pub(super) fn dropped(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64]) -> u64 {
    shares(video, wanted).map(|(_, chunk, share)| source.dropped(chunk, &share)).sum()
}

/// A fault of a chunk in terms of the video.
fn shift(fault: Fault, start: u64, start_sec: f64) -> Fault {
    match fault {
        Fault::Damage { near, line } => Fault::Damage { near: near + start, line },
        Fault::Restarted { sec, again } => Fault::Restarted { sec: sec + start_sec, again },
        Fault::Disorder { due, found } => Fault::Disorder { due: due + start, found: found.map(|found| found + start) },
        other => other,
    }
}
