//! A video in pieces, `folder/0.mp4`, `1.mp4`, ..., as `egofx chunk` and EgoVLP's scripts leave it: one timeline, one
//! stream of frames.
//!
//! Not for cutting. Invariant: a frame has the index that it has in the whole video, or the folder is refused.

use std::path::{Path, PathBuf};

use super::transform::Transform;
use super::{Fault, FfmpegSource, FrameSource, FrameStream, ProbeError, VideoInfo};
use crate::time::Timeline;

/// How much the lengths of pieces may differ, in seconds: cuts fall on frames.
const TOLERANCE_SEC: f64 = 0.1;

/// The pieces in `folder`, in order, if it holds any.
pub(super) fn files(folder: &Path) -> Option<Vec<PathBuf>> {
    let named = |k: usize| Some(folder.join(format!("{k}.mp4"))).filter(|path| path.is_file());
    let files: Vec<PathBuf> = (0..).map_while(named).collect();
    (!files.is_empty()).then_some(files)
}

/// Probes each of `files` and puts them one behind the other.
pub(super) fn probe(source: &FfmpegSource, folder: &Path, files: &[PathBuf]) -> Result<VideoInfo, ProbeError> {
    let pieces = files.iter().map(|file| source.probe(file, None)).collect::<Result<Vec<_>, _>>()?;
    check(folder, &pieces).map_err(|why| ProbeError::Pieces { path: folder.to_owned(), why })?;
    let lines: Vec<&Timeline> = pieces.iter().map(|piece| &piece.timeline).collect();
    let nothing = || ProbeError::NoFrames { path: folder.to_owned(), why: "no pieces".into() };
    let timeline = Timeline::joined(&lines).ok_or_else(nothing)?;
    let in_video = |of: fn(&VideoInfo) -> &Vec<u64>| {
        let shifted = starts(&pieces).zip(&pieces);
        shifted.flat_map(|(start, piece)| of(piece).iter().map(move |index| start + index)).collect()
    };
    let note = |piece: &VideoInfo| {
        let name = piece.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        piece.notes.iter().map(move |note| format!("{name}: {note}")).collect::<Vec<_>>()
    };
    let (first, last) = pieces.first().zip(pieces.last()).ok_or_else(nothing)?;
    let beyond_sec = last.declared_end_sec.map(|declared| declared - last.timeline.end_sec());
    let mut video = VideoInfo {
        path: folder.to_owned(),
        bytes: pieces.iter().map(|piece| piece.bytes).sum(),
        keyframes: in_video(|piece| &piece.keyframes),
        lost: in_video(|piece| &piece.lost),
        declared_end_sec: beyond_sec.map(|beyond| timeline.end_sec() + beyond),
        damage: pieces.iter().find_map(|piece| piece.damage.clone()),
        counted: false,
        notes: pieces.iter().flat_map(note).collect(),
        timeline,
        ..first.clone()
    };
    video.pieces = pieces;
    Ok(video)
}

/// Index in the video of each piece's first frame.
fn starts(pieces: &[VideoInfo]) -> impl Iterator<Item = u64> {
    pieces.iter().scan(0, |next, piece| {
        let start = *next;
        *next += piece.timeline.frames();
        Some(start)
    })
}

/// Each piece goes on where the one before ends. That is true only if none is missing or cut short.
fn check(folder: &Path, pieces: &[VideoInfo]) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".mp4")?.parse::<usize>().ok();
    let highest = entries.flatten().filter_map(|entry| number(entry.path())).max().unwrap_or(0);
    if highest >= pieces.len() {
        return Err(format!("{}.mp4 is missing, there is a piece {highest}", pieces.len()));
    }
    for (k, piece) in pieces.iter().enumerate() {
        let size = |of: &VideoInfo| (of.width, of.height);
        if size(piece) != size(&pieces[0]) {
            return Err(format!("{k}.mp4 is {:?} pixels, 0.mp4 is {:?}", size(piece), size(&pieces[0])));
        }
        let (length_sec, whole_sec) = (piece.timeline.end_sec(), pieces[0].timeline.end_sec());
        let cut_short = (length_sec - whole_sec).abs() > TOLERANCE_SEC.max(1.5 / piece.timeline.mean_fps());
        if k + 1 < pieces.len() && (cut_short || piece.declared_end_sec.is_some()) {
            return Err(format!(
                "{k}.mp4 ends at {length_sec:.2} s and is not the last one, 0.mp4 ends at {whole_sec:.2} s"
            ));
        }
    }
    Ok(())
}

/// The frames of `wanted`, one piece after the other; a piece is opened when its turn comes.
pub(super) fn open(source: &FfmpegSource, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
    let (source, transforms) = (source.clone(), transforms.to_vec());
    let mut shares = Vec::new();
    for (start, piece) in starts(&video.pieces).zip(&video.pieces) {
        let range = start..start + piece.timeline.frames();
        let share: Vec<u64> = wanted.iter().filter(|index| range.contains(index)).map(|index| index - start).collect();
        shares.push((start, video.timeline.sec(start), piece.clone(), share));
    }
    let frames = move |(start, start_sec, piece, share): (u64, f64, VideoInfo, Vec<u64>)| {
        source.open(&piece, &share, &transforms).map(move |next| match next {
            Ok(mut frame) => {
                frame.index += start;
                Ok(frame)
            }
            Err(fault) => Err(shift(fault, start, start_sec)),
        })
    };
    Box::new(shares.into_iter().flat_map(frames))
}

/// A fault of a piece in terms of the video.
fn shift(fault: Fault, start: u64, start_sec: f64) -> Fault {
    match fault {
        Fault::Damage { near, line } => Fault::Damage { near: near + start, line },
        Fault::Restarted { sec, again } => Fault::Restarted { sec: sec + start_sec, again },
        Fault::Disorder { due, found } => Fault::Disorder { due: due + start, found: found.map(|found| found + start) },
        other => other,
    }
}
