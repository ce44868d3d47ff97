//! Numbers along a video, in which the samplers of the originals count: its frames or, where those are not even in time, ticks
//! of a clock.
//!
//! The originals turn seconds into frame numbers at one rate, which is right for a file whose frames follow one another evenly.
//! For any other file `fixed` lets them count on a clock of [`EGOVLP_FPS`] and shows what is on the screen at each tick, so
//! that rows stand where they should in time. Not for which numbers a sampler chooses. Invariant: on a file with even frames
//! a number is a frame, so that nothing changes there.

use super::window::{EGOVLP_FPS, Window, ends_with, repeats, shown_at};
use crate::compat::Compat;
use crate::time::{TimeSpan, Timeline};

/// What the grids of [`Compat::Fixed`] are even in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// Time, as the file's timestamps tell it.
    #[default]
    Clock,
    /// Frames, however far apart they are: stores of schema 2.
    Frames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// Frames, wherever they are in time; rows begin and end with them.
    Frames,
    /// Frames, each within half a frame of its place in an even row.
    Even,
    /// Ticks of [`EGOVLP_FPS`], from the first frame on.
    Ticks,
}

/// A video's numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock<'l> {
    pub line: &'l Timeline,
    scale: Scale,
}

impl<'l> Clock<'l> {
    /// The numbers of `line`. The originals (`as-released`) know frames alone.
    pub fn new(line: &'l Timeline, compat: Compat, pace: Pace) -> Self {
        let scale = match (compat, pace) {
            (Compat::AsReleased, _) | (_, Pace::Frames) => Scale::Frames,
            _ if line.is_even() => Scale::Even,
            _ => Scale::Ticks,
        };
        Self { line, scale }
    }

    /// Whether rows begin and end with frames, and not where their grid says.
    pub fn is_framewise(self) -> bool {
        self.scale == Scale::Frames
    }

    /// Numbers a second.
    pub fn rate(self) -> f64 {
        if self.scale == Scale::Ticks { EGOVLP_FPS } else { self.line.mean_fps() }
    }

    /// The number, with fractions, at second `t`; never negative.
    pub fn position(self, t: f64) -> f64 {
        match self.scale {
            Scale::Ticks => ((t - self.line.start_sec()) * EGOVLP_FPS).max(0.0),
            _ => self.line.position(t),
        }
    }

    /// The number at which the video ends.
    pub fn end(self) -> f64 {
        match self.scale {
            Scale::Ticks => self.position(self.line.end_sec()),
            _ => self.line.frames() as f64,
        }
    }

    /// First and last position of `span`; annotations end a little after their video, and mean its end.
    pub fn bounds(self, span: TimeSpan) -> (f64, f64) {
        let end = self.position(span.end_sec);
        let end = if ends_with(self.line, span) { end.min(self.end()) } else { end };
        (self.position(span.start_sec), end)
    }

    /// The seconds that lie between these positions.
    pub fn seconds(self, span: TimeSpan) -> (f64, f64) {
        let end_sec = if ends_with(self.line, span) { span.end_sec.min(self.line.end_sec()) } else { span.end_sec };
        (span.start_sec.max(self.line.start_sec()), end_sec)
    }

    /// The first whole number at or after second `t`.
    pub fn number_from(self, t: f64) -> u64 {
        // A thousandth of a frame absorbs the rounding of decimal seconds.
        (self.position(t) - 1e-3).ceil().max(0.0) as u64
    }

    /// The frame of a number; past the end, one that is not there.
    pub fn frame(self, number: u64) -> u64 {
        match self.scale {
            Scale::Ticks => self.frame_of_tick(number),
            _ => number,
        }
    }

    /// The frame of `number`, which stands for a segment between two positions, where the grid wants `wanted` frames a second.
    ///
    /// Where a segment is empty because the file has fewer frames than are wanted, its number is that of the frame before
    /// it, which is gone by then: the one that is on the screen is shown. On a clock every frame is on the screen within its
    /// segment.
    pub fn frame_of_segment(self, number: i64, [start, end]: [f64; 2], wanted: f64) -> u64 {
        match self.scale {
            Scale::Even if self.rate() < wanted => number.max(start as i64).max(0) as u64,
            Scale::Ticks => self.shown((number.max(start as i64) as f64 + 0.5).min(end).max(start)),
            _ => number.max(0) as u64,
        }
    }

    /// What is on the screen in the middle of a tick, since its ends may be a rounding error away from a frame's; of the last
    /// tick, in which the video ends, at its beginning.
    fn frame_of_tick(self, number: u64) -> u64 {
        let (tick, middle) = (number as f64, number as f64 + 0.5);
        self.shown(if tick < self.end() && middle >= self.end() { tick } else { middle })
    }

    fn shown(self, position: f64) -> u64 {
        shown_at(self.line, self.line.start_sec() + position / EGOVLP_FPS)
    }

    /// Second at which a number begins.
    pub fn sec(self, number: u64) -> f64 {
        match self.scale {
            Scale::Ticks => self.line.start_sec() + number as f64 / EGOVLP_FPS,
            _ => self.line.sec(number),
        }
    }

    /// The window of these `numbers`, which stands for those of `cover`.
    pub fn window(self, numbers: &[u64], cover: std::ops::Range<u64>) -> Window {
        let frames: Vec<u64> = numbers.iter().map(|&number| self.frame(number)).collect();
        Window {
            padded: repeats(&frames),
            frames,
            start_sec: self.sec(cover.start),
            end_sec: self.sec(cover.end.max(cover.start.saturating_add(1))),
        }
    }
}
