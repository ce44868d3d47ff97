//! Frame rates and spans of time.
//!
//! Rates are rational and frames are counted in `u64`; seconds appear where annotations and people use them, and the
//! names say so. Not for grids: which frames a window holds is decided in `grid`.

pub(crate) mod written;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A rate in frames per second, as the fraction that containers carry (30000/1001 is not 29.97).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fps {
    num: u32,
    den: u32,
}

/// A text that is not a positive rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a frame rate (expected a positive number or a fraction such as 30000/1001)")]
pub struct FpsError(String);

impl Fps {
    /// `num / den` frames per second; `None` if either is zero.
    pub const fn new(num: u32, den: u32) -> Option<Self> {
        if num == 0 || den == 0 { None } else { Some(Self { num, den }) }
    }

    /// Frames in [`denominator`](Self::denominator) seconds.
    pub fn numerator(self) -> u32 {
        self.num
    }

    /// Seconds that [`numerator`](Self::numerator) frames last.
    pub fn denominator(self) -> u32 {
        self.den
    }

    /// Frames per second as a float, for display and for estimates.
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// When frame `index` of a constant-rate stream is shown, in seconds from its first frame.
    pub fn sec_of(self, index: u64) -> f64 {
        index as f64 * f64::from(self.den) / f64::from(self.num)
    }
}

impl FromStr for Fps {
    type Err = FpsError;

    fn from_str(text: &str) -> Result<Self, FpsError> {
        let error = || FpsError(text.to_owned());
        if let Some((num, den)) = text.split_once('/') {
            let part = |s: &str| s.trim().parse::<u32>().map_err(|_| error());
            return Self::new(part(num)?, part(den)?).ok_or_else(error);
        }
        let rate: f64 = text.trim().parse().map_err(|_| error())?;
        if !(rate.is_finite() && rate > 0.0 && rate < 100_000.0) {
            return Err(error());
        }
        // The NTSC family is written as 29.97 or 23.976 in text; its true denominator is 1001.
        let whole = (rate * 1.001).round();
        let ntsc = (rate - whole / 1.001).abs() < 1e-3 && (rate - rate.round()).abs() > 1e-9;
        let (num, den) = if ntsc { (whole * 1000.0, 1001) } else { ((rate * 1000.0).round(), 1000) };
        let (num, den) = if !ntsc && num % 1000.0 == 0.0 { (num / 1000.0, 1) } else { (num, den) };
        Self::new(num as u32, den).ok_or_else(error)
    }
}

impl TryFrom<String> for Fps {
    type Error = FpsError;
    fn try_from(text: String) -> Result<Self, FpsError> {
        text.parse()
    }
}

impl From<Fps> for String {
    fn from(fps: Fps) -> String {
        fps.to_string()
    }
}

impl fmt::Display for Fps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

/// The earliest start of a span, in seconds. Annotations of Ego4D begin up to 0.0123 s before the video does.
pub const EARLIEST_START_SEC: f64 = -0.5;

/// An interval of a video in seconds of container time, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeSpan {
    /// First second, at least [`EARLIEST_START_SEC`].
    pub start_sec: f64,
    /// First second after the span, greater than `start_sec`.
    pub end_sec: f64,
}

impl TimeSpan {
    /// `None` unless `EARLIEST_START_SEC <= start < end`, `end > 0`, and both are finite.
    pub fn new(start_sec: f64, end_sec: f64) -> Option<Self> {
        let sound = start_sec >= EARLIEST_START_SEC && end_sec > start_sec.max(0.0) && end_sec.is_finite();
        sound.then_some(Self { start_sec, end_sec })
    }

    /// Length in seconds.
    pub fn duration_sec(self) -> f64 {
        self.end_sec - self.start_sec
    }
}

/// The fraction of a second that one tick of a stream's timestamps lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeBase {
    /// Numerator, seconds.
    pub num: u32,
    /// Denominator, never zero.
    pub den: u32,
}

/// When each frame of a video is shown: frame `i` of the presentation order has the timestamp `pts[i]`.
///
/// This is what makes "frame 1234" and "second 41.1" one statement, for constant and for variable rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "written::Written", into = "written::Written")]
pub struct Timeline {
    /// Shared, because an hour of video has a megabyte of them and every stream of frames wants them.
    pts: Arc<[i64]>,
    base: TimeBase,
    origin: i64,
}

impl Timeline {
    /// Takes the timestamps of all frames in any order, and the tick that counts as second 0. Repeated timestamps are
    /// one frame. `None` if there are none.
    pub fn new(mut pts: Vec<i64>, base: TimeBase, origin: i64) -> Option<Self> {
        pts.sort_unstable();
        pts.dedup();
        (!pts.is_empty() && base.den > 0 && base.num > 0).then(|| Self { pts: pts.into(), base, origin })
    }

    /// A constant-rate timeline that starts at 0: what synthetic sources and tests use.
    pub fn constant(frames: u64, fps: Fps) -> Option<Self> {
        let step = i64::from(fps.den);
        Self::new((0..frames as i64).map(|i| i * step).collect(), TimeBase { num: 1, den: fps.num }, 0)
    }

    /// One timeline behind the other: each but the first begins with its first frame where the one before ends. The ticks
    /// are those of the first. `None` if there are none.
    pub fn joined(parts: &[&Self]) -> Option<Self> {
        let first = *parts.first()?;
        let mut pts = first.pts.to_vec();
        for pair in parts.windows(2) {
            let (base, part) = (first.base, pair[1]);
            let tick = f64::from(base.num) / f64::from(base.den);
            let mean_step = (pair[0].mean_step_sec() / tick).round() as i64;
            let start = pts.last()?.saturating_add(mean_step);
            let since = |p: i64| ((part.sec_of_pts(p) - part.start_sec()) / tick).round() as i64;
            let shown = |&p: &i64| start.saturating_add(since(p));
            pts.extend(part.pts.iter().map(shown));
        }
        Self::new(pts, first.base, first.origin)
    }

    /// Number of frames, at least 1.
    pub fn frames(&self) -> u64 {
        self.pts.len() as u64
    }

    /// How many ticks after second 0 frame `index` is shown, if there is such a frame.
    pub fn ticks(&self, index: u64) -> Option<i64> {
        self.pts(index).map(|pts| self.ticks_of(pts))
    }

    /// The ticks of its timestamps.
    pub fn base(&self) -> TimeBase {
        self.base
    }

    /// The stream timestamp of frame `index`, if there is such a frame.
    pub fn pts(&self, index: u64) -> Option<i64> {
        self.pts.get(index as usize).copied()
    }

    /// The frame that bears exactly this timestamp.
    pub fn index_of(&self, pts: i64) -> Option<u64> {
        self.pts.binary_search(&pts).ok().map(|i| i as u64)
    }

    /// Number of frames with a timestamp below `pts`.
    pub fn frames_before_pts(&self, pts: i64) -> u64 {
        self.pts.partition_point(|&p| p < pts) as u64
    }

    /// Second at which frame `index` is shown; past the end, the timeline goes on at its mean rate.
    pub fn sec(&self, index: u64) -> f64 {
        match self.pts.get(index as usize) {
            Some(&pts) => self.sec_of_pts(pts),
            None => {
                self.sec_of_pts(self.last()) + (index.saturating_add(1) - self.frames()) as f64 * self.mean_step_sec()
            }
        }
    }

    /// Second at which frame `index` is shown by the container's own clock, whatever counts as 0.
    pub fn container_sec(&self, index: u64) -> f64 {
        self.sec(index) + self.origin as f64 * f64::from(self.base.num) / f64::from(self.base.den)
    }

    /// Second at which the video begins.
    pub fn start_sec(&self) -> f64 {
        self.sec_of_pts(self.pts[0])
    }

    /// Second at which the last frame stops being shown (its duration taken as the mean one).
    pub fn end_sec(&self) -> f64 {
        self.sec(self.frames())
    }

    /// Mean frame rate in frames per second.
    pub fn mean_fps(&self) -> f64 {
        1.0 / self.mean_step_sec()
    }

    /// The last frame shown at second `t`; the first frame for earlier times.
    pub fn frame_at(&self, t: f64) -> u64 {
        // A microsecond of tolerance: a time written in decimals must not fall before the frame that it names.
        let tick = (t + 1e-6) * f64::from(self.base.den) / f64::from(self.base.num);
        let next = self.pts.partition_point(|&p| (self.ticks_of(p) as f64) <= tick);
        next.saturating_sub(1) as u64
    }

    /// The position of second `t` on the frame axis, with fractions: 2.5 is halfway from frame 2 to frame 3.
    /// Before the first and after the last frame the mean rate applies; never negative.
    pub fn position(&self, t: f64) -> f64 {
        if self.is_constant() && self.pts.len() > 1 {
            // In ticks first: 480 s of a 30 fps file is frame 14400 and not 14400.000000000002.
            let ticks = t * f64::from(self.base.den) / f64::from(self.base.num) - self.ticks_of(self.pts[0]) as f64;
            return (ticks * (self.pts.len() - 1) as f64 / self.extent() as f64).max(0.0);
        }
        let i = self.frame_at(t);
        let (here, next) = (self.sec(i), self.sec(i + 1));
        (i as f64 + (t - here) / (next - here)).max(0.0)
    }

    /// Whether every frame is shown equally long, up to one tick of rounding.
    pub fn is_constant(&self) -> bool {
        self.strays_at_most(1.0)
    }

    /// Whether every frame is shown within half a frame of where it were if all were shown equally long: then counting frames
    /// tells the time.
    pub fn is_even(&self) -> bool {
        self.strays_at_most(0.5 * self.mean_step_ticks())
    }

    fn strays_at_most(&self, ticks: f64) -> bool {
        let step = self.mean_step_ticks();
        let ideal = |i: usize| self.pts[0] as f64 + i as f64 * step;
        self.pts.iter().enumerate().all(|(i, &p)| (p as f64 - ideal(i)).abs() <= ticks)
    }

    /// 0 for a single frame.
    fn mean_step_ticks(&self) -> f64 {
        self.extent() as f64 / (self.pts.len().max(2) - 1) as f64
    }

    /// Ticks from the first frame to the last.
    fn extent(&self) -> i64 {
        self.last().saturating_sub(self.pts[0])
    }

    /// Ticks since second 0. Wrong timestamps may lie as far apart as integers do.
    fn ticks_of(&self, pts: i64) -> i64 {
        pts.saturating_sub(self.origin)
    }

    fn last(&self) -> i64 {
        self.pts[self.pts.len() - 1]
    }

    fn sec_of_pts(&self, pts: i64) -> f64 {
        self.ticks_of(pts) as f64 * f64::from(self.base.num) / f64::from(self.base.den)
    }

    fn mean_step_sec(&self) -> f64 {
        // A single frame says nothing of its rate; Ego4D's canonical 30 is as good as any.
        if self.pts.len() < 2 {
            return 1.0 / 30.0;
        }
        self.mean_step_ticks() * f64::from(self.base.num) / f64::from(self.base.den)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_fractions() {
        for (text, shown) in [("30", "30"), ("30000/1001", "30000/1001"), ("29.97", "30000/1001"), ("30.0", "30")] {
            assert_eq!(text.parse::<Fps>().unwrap().to_string(), shown, "{text}");
        }
        assert_eq!("12.5".parse::<Fps>().unwrap().as_f64(), 12.5);
        assert_eq!("23.976".parse::<Fps>().unwrap().to_string(), "24000/1001");
        for bad in ["0", "0/0", "-3", "fast", "30/0", "", "inf"] {
            assert!(bad.parse::<Fps>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_constant_timeline_counts_in_frames() {
        let line = Timeline::constant(300, Fps::new(30, 1).unwrap()).unwrap();
        assert_eq!((line.frames(), line.mean_fps(), line.end_sec()), (300, 30.0, 10.0));
        assert_eq!((line.sec(30), line.sec(600)), (1.0, 20.0));
        assert_eq!(
            (line.frame_at(1.0), line.frame_at(0.99), line.frame_at(-3.0), line.frame_at(99.0)),
            (30, 29, 0, 299)
        );
        assert!(line.is_constant());
        assert!((line.position(2.05) - 61.5).abs() < 1e-9);
    }

    #[test]
    fn a_variable_timeline_keeps_each_frames_own_time() {
        let base = TimeBase { num: 1, den: 1000 };
        let line = Timeline::new(vec![600, 0, 100, 1600, 200, 600], base, 0).unwrap();
        assert_eq!(line.frames(), 5);
        assert!(!line.is_constant());
        assert_eq!((line.sec(3), line.frame_at(0.599), line.frame_at(0.6), line.frame_at(1.0)), (0.6, 2, 3, 3));
        assert_eq!((line.position(0.4), line.position(1.1)), (2.5, 3.5));
        assert_eq!((line.index_of(600), line.index_of(601), line.frames_before_pts(600)), (Some(3), None, 3));
    }

    #[test]
    fn timestamps_as_far_apart_as_integers_do_not_overflow() {
        let base = TimeBase { num: 1, den: 1000 };
        let line = Timeline::new(vec![i64::MIN, 0, i64::MAX], base, i64::MIN).unwrap();
        assert!(line.end_sec() > 9e15 && line.position(1e300).is_finite() && line.sec(u64::MAX) > 0.0);
        assert_eq!((line.frame_at(-1.0), line.frame_at(1e300), line.ticks(2)), (0, 2, Some(i64::MAX)));
        assert!(Timeline::joined(&[&line, &line]).is_some_and(|line| line.frames() >= 3));
        assert!(!line.is_even() || line.mean_fps() > 0.0);
    }

    #[test]
    fn timelines_in_a_row_are_the_whole_one() {
        for (num, den, cut) in [(30, 1, 60), (30_000, 1001, 60), (25, 1, 7)] {
            let of = |frames| Timeline::constant(frames, Fps::new(num, den).unwrap()).unwrap();
            let parts = [&of(cut), &of(cut), &of(cut / 2)];
            assert_eq!(Timeline::joined(&parts), Some(of(2 * cut + cut / 2)));
        }
        let base = |den| TimeBase { num: 1, den };
        let other = Timeline::new(vec![0, 3000, 6000], base(90_000), 0).unwrap();
        let first = Timeline::new(vec![0, 512, 1024], base(15_360), 0).unwrap();
        let joined = Timeline::joined(&[&first, &other]).unwrap();
        assert_eq!(joined, Timeline::new((0..6).map(|i| 512 * i).collect(), base(15_360), 0).unwrap());
        assert_eq!(Timeline::joined(&[]), None);
    }

    #[test]
    fn spans_are_half_open_and_positive() {
        assert_eq!(TimeSpan::new(1.0, 3.5).map(TimeSpan::duration_sec), Some(2.5));
        assert!(TimeSpan::new(-0.0123, 480.0).is_some(), "as in Ego4D's annotations");
        for (start, end) in [(1.0, 1.0), (-1.1, 1.0), (0.0, f64::NAN), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert_eq!(TimeSpan::new(start, end), None);
        }
    }
}
