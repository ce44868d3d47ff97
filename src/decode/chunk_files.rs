//! A video in chunks, `folder/0.mp4`, `1.mp4`, ..., as `egofx chunk` and EgoVLP's scripts leave it: one timeline, one
//! stream of frames.
//!
//! Not for cutting. Invariant: a frame has the index that it has in the whole video, or the folder is refused.

use std::path::{Path, PathBuf};

use super::transform::Transform;
use super::{Fault, FfmpegSource, FrameSet, FrameSource, FrameStream, ProbeError, VideoInfo};
use crate::time::Timeline;

/// How much the lengths of chunks may differ, in seconds: cuts fall on frames.
const TOLERANCE_SEC: f64 = 0.1;

/// The chunks in `folder`, in order, if it holds any.
pub(super) fn files(folder: &Path) -> Option<Vec<PathBuf>> {
    let named = |k: usize| Some(folder.join(format!("{k}.mp4"))).filter(|path| path.is_file());
    let files: Vec<PathBuf> = (0..).map_while(named).collect();
    (!files.is_empty()).then_some(files)
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
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".mp4")?.parse::<usize>().ok();
    let highest = entries.flatten().filter_map(|entry| number(entry.path())).max().unwrap_or(0);
    if highest >= chunks.len() {
        return Err(format!("{}.mp4 is missing, there is a chunk {highest}", chunks.len()));
    }
    for (k, chunk) in chunks.iter().enumerate() {
        let size = |of: &VideoInfo| (of.width, of.height);
        if size(chunk) != size(&chunks[0]) {
            return Err(format!("{k}.mp4 is {:?} pixels, 0.mp4 is {:?}", size(chunk), size(&chunks[0])));
        }
        let (length_sec, whole_sec) = (chunk.timeline.end_sec(), chunks[0].timeline.end_sec());
        let cut_short = (length_sec - whole_sec).abs() > TOLERANCE_SEC.max(1.5 / chunk.timeline.mean_fps());
        if k + 1 < chunks.len() && (cut_short || chunk.declared_end_sec.is_some()) {
            return Err(format!(
                "{k}.mp4 ends at {length_sec:.2} s and is not the last one, 0.mp4 ends at {whole_sec:.2} s"
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
