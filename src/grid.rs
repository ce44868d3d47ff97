//! Which frames each feature row is computed from: pure arithmetic, no I/O.
//!
//! A grid turns a timeline and a span of seconds into windows of frame indices. What [`Compat::Fixed`] means in time, for
//! files whose frames are not even in it: `egovlp` and `egovlpv2` divide the seconds of a clip evenly, `uniform` and `keyframes`
//! look at the screen at their own ticks, `egoclip` and `segments` count ticks of 30 a second in place of frames, and `ego4d`, whose
//! windows are consecutive frames, begins and ends with theirs. Not for reading frames or for choosing what happens when some are
//! missing. Invariant: a window names frames by their index in presentation order, and it says so when one of them stands in
//! for a frame that does not exist.

mod clock;
pub mod egoclip;
pub mod segments;
mod single;
mod window;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use clock::Clock;
pub use clock::Pace;
use egoclip::Pick;
use segments::{edges, middle, middles, positions};
pub use single::{Edges, keyframe_list, rounded_frame_list};
pub use window::{EGOVLP_FPS, EGOVLP_WINDOWS_PER_SEC, END_TOLERANCE_SEC, Window, ends_with};
use window::{repeats, shown_at};

use crate::compat::Compat;
use crate::time::{Fps, TimeSpan, Timeline};

/// Windows that EgoVLP's extractors compute at once.
pub const EGOVLP_BATCH: u64 = 4;
/// How windows are laid over a clip. Part of a recipe: every field changes the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grid {
    /// 1.87 windows a second, end to end, `frames` frames spread evenly over each (NLQ and MQ features of EgoVLP: 4).
    /// As released, the last rows stay zero; see [`Grid::zero_rows`]. Source: `run/test_nlq.py` and
    /// `base/base_dataset.py` of EgoVLP.
    Egovlp {
        /// Frames per window.
        frames: u32,
    },
    /// The same windows without that fault (MQ features of EgoVLPv2: 16 frames, NLQ: 4). Source: `run/test_mq.py` of EgoVLPv2.
    #[serde(rename = "egovlpv2")]
    EgovlpV2 {
        /// Frames per window.
        frames: u32,
    },
    /// Ego4D's own features: consecutive frames however far apart they are, the last window moved back so that it ends at the
    /// last frame (official sets: 32 frames, stride 16). A row is shown from its first frame on until its last one is gone.
    /// Source: `_num_fvs` in `ego4d/features/extract_features.py`.
    Ego4d {
        /// Frames per window.
        frames: u32,
        /// Frames from one window's start to the next one's.
        stride: u32,
    },
    /// Frames picked at a constant rate, whatever the rate of the file.
    Uniform {
        /// Picked frames per second.
        fps: Fps,
        /// Picked frames per window.
        frames: u32,
        /// Picked frames from one window's start to the next one's.
        stride: u32,
        /// What becomes of frames after the last whole window.
        tail: Tail,
    },
    /// One window for each clip, as EgoClip and EgoMCQ sample it: the middles of `frames` equal segments, counted on a
    /// clock of 30 frames a second. Source: `read_frames_cv2_egoclip` in `base/base_dataset.py` of EgoVLP.
    Egoclip {
        /// Frames per window.
        frames: u32,
    },
    /// One window for each clip: the middles of `frames` equal segments, at the video's own rate.
    Segments {
        /// Frames per window.
        frames: u32,
        /// How a segment's ends become frames.
        edges: Edges,
    },
    /// One window for each clip, as OSCC and PNR sample it: frames whose number in the whole video, at 30 frames a second,
    /// is a multiple of the step. Source: `_sample_frames` in `data_loader/Ego4D_OSCC_dataset.py` of EgoVLP.
    Keyframes {
        /// Frames per window; the original takes 16.
        frames: u32,
    },
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Grid::Egovlp { frames } => write!(f, "egovlp {EGOVLP_WINDOWS_PER_SEC}/s, {frames} frames"),
            Grid::EgovlpV2 { frames } => write!(f, "egovlpv2 {EGOVLP_WINDOWS_PER_SEC}/s, {frames} frames"),
            Grid::Ego4d { frames, stride } => write!(f, "ego4d {frames}/{stride}"),
            Grid::Uniform { fps, frames, stride, .. } => write!(f, "uniform {fps} fps, {frames}/{stride}"),
            Grid::Egoclip { frames } => write!(f, "egoclip, {frames} frames of a clip"),
            Grid::Segments { frames, edges } => {
                write!(f, "segments, {frames} frames of a clip, edges {}", edges.name())
            }
            Grid::Keyframes { frames } => write!(f, "keyframes, {frames} frames of a clip"),
        }
    }
}

/// What becomes of frames after the last whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tail {
    /// They get no row.
    Drop,
    /// One more window that ends at the last frame and overlaps the one before.
    Backpad,
    /// One more window, filled up with repeats of the last frame, and flagged as padded.
    Pad,
}

impl Grid {
    /// Frames per window.
    pub fn frames(&self) -> u32 {
        match *self {
            Grid::Egovlp { frames } | Grid::EgovlpV2 { frames } => frames,
            Grid::Ego4d { frames, .. } | Grid::Uniform { frames, .. } => frames,
            Grid::Egoclip { frames } | Grid::Segments { frames, .. } | Grid::Keyframes { frames } => frames,
        }
    }

    /// Whether a clip has one row, however long it is.
    pub fn is_single(&self) -> bool {
        matches!(self, Grid::Egoclip { .. } | Grid::Segments { .. } | Grid::Keyframes { .. })
    }

    /// How many of the last of `rows` rows the original code leaves zero: EgoVLP's extractors compute windows in batches of
    /// [`EGOVLP_BATCH`], and never the batch that is not full. Source: `run/test_nlq.py` of EgoVLP.
    pub fn zero_rows(&self, rows: u64, compat: Compat) -> u64 {
        match (self, compat) {
            (Grid::Egovlp { .. }, Compat::AsReleased) => rows % EGOVLP_BATCH,
            _ => 0,
        }
    }

    /// Rows per second on a file of `source_fps`; 0 where a clip has one row, however long it is.
    pub fn rows_per_sec(&self, source_fps: f64) -> f64 {
        match *self {
            Grid::Egovlp { .. } | Grid::EgovlpV2 { .. } => EGOVLP_WINDOWS_PER_SEC,
            Grid::Ego4d { stride, .. } => source_fps / f64::from(stride),
            Grid::Uniform { fps, stride, .. } => fps.as_f64() / f64::from(stride),
            Grid::Egoclip { .. } | Grid::Segments { .. } | Grid::Keyframes { .. } => 0.0,
        }
    }

    /// Rows that a span of `duration_sec` will have, for plans made before a file is opened.
    pub fn estimate_rows(&self, duration_sec: f64, source_fps: f64) -> u64 {
        match *self {
            Grid::Egovlp { frames } | Grid::EgovlpV2 { frames } => {
                egovlp_samples(duration_sec, frames) / u64::from(frames)
            }
            Grid::Ego4d { frames, stride } => {
                Slide { frames, stride, tail: Tail::Backpad }.count((duration_sec * source_fps).round() as u64)
            }
            Grid::Uniform { fps, frames, stride, tail } => {
                Slide { frames, stride, tail }.count((duration_sec * fps.as_f64()).round() as u64)
            }
            Grid::Egoclip { .. } | Grid::Segments { .. } | Grid::Keyframes { .. } => 1,
        }
    }

    /// Checks what no type can: windows of at least one frame that move on.
    ///
    /// # Errors
    /// The field, what it is and what was expected.
    pub fn validate(&self) -> Result<(), String> {
        let (frames, stride) = match *self {
            Grid::Egovlp { frames } | Grid::EgovlpV2 { frames } | Grid::Egoclip { frames } => (frames, 1),
            Grid::Segments { frames, .. } | Grid::Keyframes { frames } => (frames, 1),
            Grid::Ego4d { frames, stride } | Grid::Uniform { frames, stride, .. } => (frames, stride),
        };
        match (frames, stride) {
            (0, _) => Err("grid.frames is 0, at least 1 is needed".into()),
            (_, 0) => Err("grid.stride is 0, at least 1 is needed".into()),
            (1025.., _) => Err(format!("grid.frames is {frames}, at most 1024 are supported")),
            _ => Ok(()),
        }
    }

    /// The windows of `span` on `timeline`, in order of time; none if not one fits. `span` may end after the timeline does: under
    /// [`Compat::Fixed`] such windows name frames past the end, under [`Compat::AsReleased`] the same number of
    /// windows is squeezed into what is there.
    pub fn windows(&self, timeline: &Timeline, span: TimeSpan, compat: Compat) -> Vec<Window> {
        self.windows_at(Pace::Clock, timeline, span, compat)
    }

    /// The same where [`Compat::Fixed`] may be even in frames.
    pub fn windows_at(&self, pace: Pace, timeline: &Timeline, span: TimeSpan, compat: Compat) -> Vec<Window> {
        let clock = Clock::new(timeline, compat, pace);
        match *self {
            Grid::Egovlp { frames } | Grid::EgovlpV2 { frames } => egovlp_windows(clock, span, frames, compat),
            Grid::Egoclip { frames } => {
                single::egoclip(clock, span, frames, compat, Pick::Uniform).into_iter().collect()
            }
            Grid::Segments { frames, edges } => {
                single::segments(clock, span, frames, edges, compat, Pick::Uniform).into_iter().collect()
            }
            Grid::Keyframes { frames } => single::keyframes(clock, span, frames).into_iter().collect(),
            Grid::Ego4d { frames, stride } => ego4d_windows(timeline, span, frames, stride),
            Grid::Uniform { fps, frames, stride, tail } => {
                let slide = Slide { frames, stride, tail };
                uniform_windows(clock, span, fps, slide)
            }
        }
    }
}

impl Grid {
    /// As [`windows`](Self::windows), with one frame drawn at random from each segment instead of its middle: training.
    /// `draw` is given ranges that are not empty and says a number in each. Only for grids with one window for each clip;
    /// those of [`Grid::Keyframes`] have nothing to draw.
    ///
    /// Under [`Compat::AsReleased`] the last frame of a segment is never drawn, except from segments whose ends are
    /// rounded, and a clip with too few frames for that has no window (the original trains on a black one). Under
    /// [`Compat::Fixed`] every frame of a segment can be drawn, and a short clip repeats its frames.
    pub fn drawn(
        &self,
        timeline: &Timeline,
        span: TimeSpan,
        compat: Compat,
        draw: &mut dyn FnMut(Range<i64>) -> i64,
    ) -> Option<Window> {
        let clock = Clock::new(timeline, compat, Pace::Clock);
        match *self {
            Grid::Egoclip { frames } => single::egoclip(clock, span, frames, compat, Pick::Random(draw)),
            Grid::Segments { frames, edges } => {
                single::segments(clock, span, frames, edges, compat, Pick::Random(draw))
            }
            Grid::Keyframes { frames } => single::keyframes(clock, span, frames),
            Grid::Egovlp { .. } | Grid::EgovlpV2 { .. } | Grid::Ego4d { .. } | Grid::Uniform { .. } => None,
        }
    }
}

/// N of EgoVLP's formula: sampled frames of a clip, `trunc(duration * 1.87 * frames + 1)` in float64.
fn egovlp_samples(duration_sec: f64, frames: u32) -> u64 {
    (duration_sec * EGOVLP_WINDOWS_PER_SEC * f64::from(frames) + 1.0) as u64
}

/// The frame list of the original sampler, before it is cut into windows: the middle of each segment between two edges,
/// rounded down. -1 is possible where a segment is empty at frame 0.
///
/// `total_frames` is the frame count of the file; the rate is taken to be 30 whatever it is.
pub fn egovlp_frame_list(span: TimeSpan, total_frames: u64, frames: u32) -> Vec<i64> {
    let (a, b) = egovlp_bounds(span, total_frames);
    middles(&edges(egovlp_samples(span.duration_sec(), frames), a, b))
}

fn egovlp_bounds(span: TimeSpan, total_frames: u64) -> (f64, f64) {
    ((EGOVLP_FPS * span.start_sec).max(0.0), (EGOVLP_FPS * span.end_sec).min(total_frames as f64))
}

fn egovlp_windows(clock: Clock, span: TimeSpan, frames: u32, compat: Compat) -> Vec<Window> {
    let samples = egovlp_samples(span.duration_sec(), frames);
    let (a, b) = match compat {
        Compat::AsReleased => egovlp_bounds(span, clock.line.frames()),
        Compat::Fixed => clock.bounds(span),
    };
    let edges: Vec<f64> = positions(samples, a, b).collect();
    let (start_sec, end_sec) = clock.seconds(span);
    let seconds: Vec<f64> = positions(samples, start_sec, end_sec).collect();
    let wanted = EGOVLP_WINDOWS_PER_SEC * f64::from(frames);
    let frame = |segment: &[f64]| match middle(segment[0] as i64, segment[1] as i64) {
        // decord reads index -1 as the last frame of the file.
        number if number < 0 && compat == Compat::AsReleased => clock.line.frames() - 1,
        number => clock.frame_of_segment(number, [segment[0], segment[1]], wanted),
    };
    let width = frames as usize;
    (0..samples as usize / width)
        .map(|w| {
            let (own, next) = (&edges[w * width..=(w + 1) * width], (w + 1) * width);
            let frames: Vec<u64> = own.windows(2).map(frame).collect();
            // The first segment of a video may be empty: frame -1.
            let wrapped = clock.is_framewise() && middle(own[0] as i64, own[1] as i64) < 0;
            let padded = wrapped || repeats(&frames);
            let (start_sec, end_sec) = if clock.is_framewise() {
                let (first, next) = (own[0] as u64, edges[next] as u64);
                (clock.sec(first), clock.sec(next.max(first.saturating_add(1))))
            } else {
                (seconds[w * width], seconds[next])
            };
            Window { frames, start_sec, end_sec, padded }
        })
        .collect()
}

fn ego4d_windows(line: &Timeline, span: TimeSpan, frames: u32, stride: u32) -> Vec<Window> {
    let clock = Clock::new(line, Compat::Fixed, Pace::Frames);
    let (start, end) = (clock.number_from(span.start_sec), clock.number_from(clock.seconds(span).1));
    let slide = Slide { frames, stride, tail: Tail::Backpad };
    let window = |numbers: Vec<u64>| {
        let numbers: Vec<u64> = numbers.into_iter().map(|number| start.saturating_add(number)).collect();
        clock.window(&numbers, numbers[0]..numbers[numbers.len() - 1].saturating_add(1))
    };
    slide.over(end.saturating_sub(start)).map(window).collect()
}

fn uniform_windows(clock: Clock, span: TimeSpan, fps: Fps, slide: Slide) -> Vec<Window> {
    let (line, end_sec) = (clock.line, clock.seconds(span).1);
    let ticks = ((end_sec - span.start_sec) * fps.as_f64() - 1e-6).ceil().max(0.0) as u64;
    let tick = |k: u64| span.start_sec + fps.sec_of(k);
    let window = |ticks: Vec<u64>| {
        let frames: Vec<u64> = ticks.iter().map(|&k| shown_at(line, tick(k))).collect();
        let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
        let (start_sec, end_sec) = if clock.is_framewise() {
            (line.sec(frames[0]), line.sec(frames[frames.len() - 1].saturating_add(1)))
        } else {
            (tick(first), tick(last + 1).min(end_sec))
        };
        Window { padded: repeats(&frames), frames, start_sec, end_sec }
    };
    slide.over(ticks).map(window).collect()
}

/// Windows of `frames` picks, `stride` apart.
#[derive(Clone, Copy)]
struct Slide {
    frames: u32,
    stride: u32,
    tail: Tail,
}

impl Slide {
    /// How many there are over `n` picks.
    fn count(self, n: u64) -> u64 {
        let (frames, stride) = (u64::from(self.frames), u64::from(self.stride));
        let whole = if n < frames { 0 } else { (n - frames) / stride + 1 };
        let covered = if whole == 0 { 0 } else { (whole - 1) * stride + frames };
        whole + u64::from(covered < n && self.tail != Tail::Drop)
    }

    /// The picks of each of them.
    fn over(self, n: u64) -> impl Iterator<Item = Vec<u64>> {
        let (frames, stride) = (u64::from(self.frames), u64::from(self.stride));
        let whole = Self { tail: Tail::Drop, ..self }.count(n);
        let start = move |w: u64| match self.tail {
            Tail::Backpad if w >= whole => n.saturating_sub(frames),
            _ => w * stride,
        };
        (0..self.count(n)).map(move |w| (start(w)..start(w) + frames).map(|k| k.min(n - 1)).collect())
    }
}

#[cfg(test)]
mod tests;
