//! Which frames of a clip are shown, by the rules of the originals.
//!
//! Not for decoding. Invariant: a clip has as many frames as were asked for, all of them in its video, or it is an error.

use egofx::compat::Compat;
use egofx::decode::VideoInfo;
use egofx::grid::egoclip::{EGOCLIP_CHUNKS, EgoclipError, NarratedClip, Pick, fill};
use egofx::grid::segments::{draws, egoclip_edges, middles};
use egofx::grid::{Edges, Grid};
use egofx::time::TimeSpan;

use super::error::ClipError;
use super::listed::ClipRef;
use crate::rng::Generator;
use crate::rng::within;

/// A rule: of each of equal stretches of a clip one frame, at random in training, else the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// EgoClip's and EgoMCQ's, on a clock of 30 frames a second and in pieces of ten minutes. As released a training clip of
    /// fewer than two frames a stretch has none to choose from; `fixed` takes the middles.
    Narrated,
    /// By the video's own rate.
    Segments(Edges),
    /// Of a whole video, as EgoTaskQA has it; one that is too short to choose from shows its middles.
    Whole,
}

impl Choice {
    /// The name that stored clips have.
    pub fn name(self) -> String {
        match self {
            Self::Narrated => "narrated".to_owned(),
            Self::Segments(edges) => format!("segments, edges {}", edges.name()),
            Self::Whole => "whole".to_owned(),
        }
    }

    /// Indices of `frames` frames of a clip; chosen at random with `draw`.
    ///
    /// # Errors
    /// [`ClipError`]: a clip that is too short, or that lies outside of its video.
    pub fn indices(
        self,
        video: &VideoInfo,
        wanted: ClipRef,
        frames: u32,
        compat: Compat,
        draw: Option<&mut Generator>,
    ) -> Result<Vec<u64>, ClipError> {
        let span = wanted.clip.span.unwrap_or([0.0, video.timeline.end_sec()]);
        match self {
            Self::Narrated => narrated(video, span, frames, compat, draw)
                .map_err(|why| ClipError::Place { path: wanted.path.to_owned(), why }),
            Self::Segments(edges) => segments(video, span, Grid::Segments { frames, edges }, compat, draw)
                .map_err(|why| ClipError::Video { path: wanted.path.to_owned(), why }),
            Self::Whole => Ok(whole(video, frames, draw)),
        }
    }
}

fn narrated(
    video: &VideoInfo,
    [start, end]: [f64; 2],
    frames: u32,
    compat: Compat,
    draw: Option<&mut Generator>,
) -> Result<Vec<u64>, EgoclipError> {
    let total = video.timeline.frames();
    let narrated = NarratedClip::new(start, end);
    let middles = || narrated.pick(frames, Pick::Uniform);
    let picked = match draw {
        None => middles(),
        Some(draw) => match narrated.pick(frames, Pick::Random(&mut |range| within(draw, range))) {
            Err(EgoclipError::TooShort { .. }) if compat == Compat::Fixed => middles(),
            picked => picked,
        },
    };
    let length = |piece: u64| EGOCLIP_CHUNKS.frames_of(piece, total);
    let addresses = narrated.addresses(&picked?, EGOCLIP_CHUNKS, length, compat);
    let whole = |address: &egofx::grid::egoclip::Address| address.whole(EGOCLIP_CHUNKS).min(total - 1);
    Ok(fill(addresses, frames).iter().map(whole).collect())
}

fn segments(
    video: &VideoInfo,
    [start, end]: [f64; 2],
    grid: Grid,
    compat: Compat,
    draw: Option<&mut Generator>,
) -> Result<Vec<u64>, String> {
    let (line, total) = (&video.timeline, video.timeline.frames());
    let window = TimeSpan::new(start, end).and_then(|span| match draw {
        Some(draw) => grid.drawn(line, span, compat, &mut |range| within(draw, range)),
        None => grid.windows(line, span, compat).into_iter().next(),
    });
    let there = window.filter(|window| window.frames.iter().all(|&index| index < total));
    let why = || format!("there is no window of the grid \"{grid}\" in {total} frames from second {start} to {end}");
    there.map(|window| window.frames).ok_or_else(why)
}

fn whole(video: &VideoInfo, frames: u32, draw: Option<&mut Generator>) -> Vec<u64> {
    let edges = egoclip_edges(0, video.timeline.frames(), frames);
    let drawn =
        draw.and_then(|draw| Some(draws(&edges)?.into_iter().map(|range| within(draw, range)).collect::<Vec<_>>()));
    let mut picked = drawn.unwrap_or_else(|| middles(&edges));
    picked.resize(frames as usize, picked.last().copied().unwrap_or(0));
    let last = video.timeline.frames() - 1;
    picked.iter().map(|&index| (index.max(0) as u64).min(last)).collect()
}
