//! Grids with one window for each clip: a clip becomes one row, for retrieval, multiple choice and classification.
//!
//! Not for windows that slide. Invariant: frame numbers are computed as the originals compute them, in integers and in
//! float64; [`Compat`] decides only how a number becomes a frame of the file.

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::egoclip::{EGOCLIP_CHUNKS, NarratedClip, Pick};
use super::segments::{edges, egoclip_edges, middle, middles};
use super::window::{EGOVLP_FPS, Window, ends_with, repeats, shown_at};
use crate::compat::Compat;
use crate::time::{TimeSpan, Timeline};

/// How the ends of equal segments become frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edges {
    /// Cut off: EgoVLP's and EgoVLPv2's Charades-Ego, EgoVLP's EPIC-KITCHENS, EgoTaskQA. Source: `sample_frames_start_end`
    /// and `sample_frames` in `base/base_dataset.py` of EgoVLP.
    ///
    /// Under `as-released` frame i - 1 is shown for frame i: OpenCV is sent to the frame before, and EPIC-KITCHENS' image
    /// files count from 1.
    Truncated,
    /// Rounded to the nearest: EgoVLPv2's EPIC-KITCHENS. Source: `get_frame_ids` in
    /// `data_loader/EpicKitchens_MIR_dataset.py` of EgoVLPv2.
    Rounded,
    /// The start rounded to the nearest, and from there as many frames as the clip's seconds hold, 30 each, at least those that
    /// are wanted: LaViLa's Ego4D. Source: `video_loader` and `get_frame_ids` in `lavila/data/datasets.py` of LaViLa.
    ///
    /// Under `as-released` a clip that goes on where its video has ended is sampled anew between its start and the last frame.
    /// The original does so at the end of each of its files of 300 seconds that has no next one.
    Counted,
}

impl Edges {
    /// The name that recipes use.
    pub fn name(self) -> &'static str {
        match self {
            Edges::Truncated => "truncated",
            Edges::Rounded => "rounded",
            Edges::Counted => "counted",
        }
    }
}

/// EgoVLPv2's frames of an EPIC-KITCHENS clip between positions `start` and `end` (seconds times rate): the middles of
/// `frames` segments of `(last - first - 1) / frames`, whose ends are rounded half to even.
pub fn rounded_frame_list(start: f64, end: f64, frames: u32) -> Vec<i64> {
    rounded_segments(start, end, frames).map(|(low, high)| middle(low, high.saturating_add(1))).collect()
}

/// First and last frame of each of those segments; neighbours share a frame.
fn rounded_segments(start: f64, end: f64, frames: u32) -> impl Iterator<Item = (i64, i64)> {
    let (first, last) = (start.round_ties_even(), end.ceil());
    let size = (last - first - 1.0) / f64::from(frames);
    let edge = move |k: u32| ((size * f64::from(k)).round_ties_even() + first) as i64;
    (0..frames).map(move |k| (edge(k), edge(k + 1).min(last as i64)))
}

/// The frame numbers in `start..end` that OSCC and PNR look at: the first `frames` multiples of the step rounded up, or of
/// the step rounded down where those are too few. Empty where the clip has fewer frames than that.
pub fn keyframe_list(start: u64, end: u64, frames: u32) -> Vec<u64> {
    let (wanted, count) = (u64::from(frames), end.saturating_sub(start));
    let multiples = |step: u64| -> Vec<u64> {
        let first = start.div_ceil(step).saturating_mul(step);
        (0..wanted).map(|k| first.saturating_add(k.saturating_mul(step))).take_while(|&number| number < end).collect()
    };
    if count < wanted {
        return Vec::new();
    }
    let wide = multiples(count.div_ceil(wanted));
    if wide.len() as u64 == wanted { wide } else { multiples(count / wanted) }
}

/// EgoClip's window; `None` where the original finds no frame.
pub(super) fn egoclip(clock: Clock, span: TimeSpan, frames: u32, compat: Compat, pick: Pick<'_>) -> Option<Window> {
    if compat == Compat::Fixed {
        return Some(evenly(clock, span, frames, pick));
    }
    let number = |t: f64| (t * EGOVLP_FPS).max(0.0) as u64;
    let clip = NarratedClip::new(span.start_sec, span.end_sec);
    let picked = clip.pick(frames, pick).ok()?;
    let length = |chunk| EGOCLIP_CHUNKS.frames_of(chunk, clock.line.frames());
    let addresses = clip.addresses(&picked, EGOCLIP_CHUNKS, length, compat);
    let shown = addresses.into_iter().map(|address| address.whole(EGOCLIP_CHUNKS)).collect();
    filled(clock, shown, frames, number(span.start_sec)..number(span.end_sec))
}

/// The window of equal segments; `None` where the original finds no frame.
pub(super) fn segments(
    clock: Clock,
    span: TimeSpan,
    frames: u32,
    edges: Edges,
    compat: Compat,
    pick: Pick<'_>,
) -> Option<Window> {
    match (edges, compat) {
        (Edges::Rounded, _) => rounded(clock, span, frames, compat, pick),
        (Edges::Counted, _) => counted(clock, span, frames, compat, pick),
        (Edges::Truncated, Compat::Fixed) => Some(evenly(clock, span, frames, pick)),
        (Edges::Truncated, Compat::AsReleased) => {
            let (start, end) = file_numbers(clock.line, span);
            // One frame early, for both readers.
            let shown = |number: i64| (number - 1).max(0) as u64;
            let list = pick.of(&egoclip_edges(start, end, frames))?;
            filled(clock, list.into_iter().map(shown).collect(), frames, start..end)
        }
    }
}

/// First and last frame number as Charades-Ego's reader computes them: by the file's rate, not past its end.
fn file_numbers(line: &Timeline, span: TimeSpan) -> (u64, u64) {
    let number = |t: f64| (t * line.mean_fps()).max(0.0) as u64;
    // The seconds of a whole video are those of its last frame's end, which need not come out as a whole number again.
    let end = if span.end_sec >= line.end_sec() - 1e-9 { line.frames() } else { number(span.end_sec) };
    (number(span.start_sec), end.min(line.frames()))
}

fn rounded(clock: Clock, span: TimeSpan, frames: u32, compat: Compat, pick: Pick<'_>) -> Option<Window> {
    let (start, end) = match compat {
        Compat::AsReleased => (span.start_sec.max(0.0) * clock.rate(), span.end_sec * clock.rate()),
        // A thousandth of a frame absorbs the rounding of decimal seconds.
        Compat::Fixed => (clock.position(span.start_sec), clock.position(span.end_sec) - 1e-3),
    };
    let end = if ends_with(clock.line, span) { end.min(clock.end()) } else { end };
    between(clock, [start, end], frames, pick)
}

fn counted(clock: Clock, span: TimeSpan, frames: u32, compat: Compat, pick: Pick<'_>) -> Option<Window> {
    let seconds = span.end_sec - span.start_sec;
    let (start, count) = match compat {
        Compat::AsReleased => (span.start_sec * EGOVLP_FPS, seconds * EGOVLP_FPS),
        Compat::Fixed => (clock.position(span.start_sec), seconds * clock.rate()),
    };
    let start = start.round_ties_even().max(0.0);
    let end = start + count.trunc().max(f64::from(frames));
    let (last, is_cut) = (clock.end(), compat == Compat::AsReleased || ends_with(clock.line, span));
    // Frames that are wanted and not there: what is left is sampled anew.
    let is_over = rounded_frame_list(start, end, frames).last().is_some_and(|&frame| frame as f64 >= last);
    let bounds = if is_cut && is_over { [start.min(last - 1.0), last] } else { [start, end] };
    between(clock, bounds, frames, pick)
}

/// The window of segments between two numbers, whose ends are rounded.
fn between(clock: Clock, [start, end]: [f64; 2], frames: u32, pick: Pick<'_>) -> Option<Window> {
    let list: Vec<i64> = match pick {
        Pick::Uniform => rounded_frame_list(start, end, frames),
        Pick::Random(draw) => {
            rounded_segments(start, end, frames).map(|(low, high)| draw(low..high.max(low).saturating_add(1))).collect()
        }
    };
    let cover = start.round_ties_even() as u64..end.ceil() as u64;
    filled(clock, list.into_iter().map(|number| number.max(0) as u64).collect(), frames, cover)
}

/// As the samplers are meant: the middles of equal segments of the clip, by the file's timestamps.
fn evenly(clock: Clock, span: TimeSpan, frames: u32, pick: Pick<'_>) -> Window {
    // A thousandth of a frame absorbs the rounding of decimal seconds.
    let number = |t: f64| (clock.position(t) + 1e-3) as u64;
    let (start, end) = (number(span.start_sec), number(span.end_sec));
    let end = if ends_with(clock.line, span) { end.min((clock.end() + 1e-3) as u64) } else { end };
    let last = end.saturating_sub(1).max(start);
    let edges = edges(u64::from(frames), start as f64, end as f64);
    let list: Vec<i64> = match pick {
        Pick::Uniform => middles(&edges),
        Pick::Random(draw) => edges.windows(2).map(|g| draw(g[0]..g[1].max(g[0].saturating_add(1)))).collect(),
    };
    let chosen: Vec<u64> = list.into_iter().map(|number| (number.max(0) as u64).clamp(start, last)).collect();
    clock.window(&chosen, start..last.saturating_add(1))
}

/// OSCC's window: frames are named by their numbers on a clock of 30 a second, so those of other rates and those of a
/// clip's own image files are found too. `None` where the clip has fewer frames than are wanted.
pub(super) fn keyframes(clock: Clock, span: TimeSpan, frames: u32) -> Option<Window> {
    let number = |t: f64| (t * EGOVLP_FPS).round().max(0.0) as u64;
    // The middle of a frame's time: its ends are rounded to the container's ticks.
    let shown = |number: u64| shown_at(clock.line, (number as f64 + 0.5) / EGOVLP_FPS);
    let (start, end) = (number(span.start_sec), number(span.end_sec));
    let list: Vec<u64> = keyframe_list(start, end, frames).into_iter().map(shown).collect();
    if list.is_empty() {
        return None;
    }
    let (start_sec, end_sec) = if clock.is_framewise() {
        (clock.sec(shown(start)), clock.sec(shown(end.saturating_sub(1)).saturating_add(1)))
    } else {
        (start as f64 / EGOVLP_FPS, end as f64 / EGOVLP_FPS)
    };
    Some(Window { padded: repeats(&list), frames: list, start_sec, end_sec })
}

/// A window of `frames` numbers: where there are fewer, the last one is repeated, as EgoVLP's reader does.
fn filled(clock: Clock, mut chosen: Vec<u64>, frames: u32, cover: std::ops::Range<u64>) -> Option<Window> {
    let last = *chosen.last()?;
    let short = (chosen.len() as u64) < u64::from(frames);
    chosen.resize(frames as usize, last);
    let window = clock.window(&chosen, cover);
    Some(Window { padded: short || window.padded, ..window })
}

#[cfg(test)]
mod tests;
