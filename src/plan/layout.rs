//! From a probed video and a recipe to the rows of one unit: which frames each needs, and which rows cannot be had.
//!
//! Not for reading frames. Invariant: a row that cannot be true is marked as missing here or fails later; it is never
//! computed from other frames than its own.

use super::ClipInterval;
use crate::compat::Compat;
use crate::decode::VideoInfo;
use crate::grid::END_TOLERANCE_SEC;
use crate::recipe::Frames;
use crate::store::RowMeta;
use crate::time::TimeSpan;

/// Most rows of a unit that lie beyond the end of its video: fifteen hours at EgoVLP's rate.
const MOST_BEYOND: u64 = 100_000;

/// Most rows of a unit that its video's frames are shown in; of longer ones, for each frame.
const MOST_WITHIN: u64 = 100_000;
const MOST_OF_A_FRAME: u64 = 64;

/// The rows of one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// One entry per row, with times.
    pub rows: Vec<RowMeta>,
    /// The frames of each row; empty where the row is missing, or zero.
    pub frames: Vec<Vec<u64>>,
    /// How many of the last rows are zeros, as the original code leaves them.
    pub zeros: u64,
    /// Why rows are missing, if any are.
    pub shortfall: Option<String>,
    /// What a person should know although the rows are right.
    pub notes: Vec<String>,
}

/// Why a unit has no rows at all.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// It begins after the last frame.
    #[error("the clip starts at {start_sec} s, the video ends at {video_end_sec:.2} s")]
    StartsPastEnd {
        /// The clip's start.
        start_sec: f64,
        /// The video's end.
        video_end_sec: f64,
    },
    /// It ends so long after the last frame that its times can be no seconds.
    #[error(
        "the clip ends at {end_sec:.2} s, the video at {video_end_sec:.2} s: {rows} rows would lie beyond, at most \
         {MOST_BEYOND} can be missing; times are expected in seconds"
    )]
    EndsFarPastEnd {
        /// The clip's end.
        end_sec: f64,
        /// The video's end.
        video_end_sec: f64,
        /// Rows beyond the video's end.
        rows: u64,
    },
    /// Its video has far fewer frames than rows: timestamps that jump.
    #[error(
        "{frames} frames are spread over {duration_sec:.2} s, which would be {rows} rows: the file's timestamps jump, or \
         the grid is far too fine for it"
    )]
    Sparse {
        /// Frames of the video.
        frames: u64,
        /// The unit's length within the video.
        duration_sec: f64,
        /// Rows that it would have.
        rows: u64,
    },
    /// Not one window fits.
    #[error("{duration_sec:.2} s are too short for one window of this grid")]
    TooShort {
        /// The unit's length.
        duration_sec: f64,
    },
}

impl Layout {
    /// Lays the grid over clips of a video: over one, window by window; over several, or by a grid that makes one window of
    /// a clip, a row for each, which bears its name. A clip that cannot be had is then a missing row.
    ///
    /// # Errors
    /// As [`new`](Self::new), of the first clip that has no layout.
    pub fn of_clips(
        video: &VideoInfo,
        frames: &Frames,
        compat: Compat,
        clips: &[ClipInterval],
    ) -> Result<Self, LayoutError> {
        if let ([clip], false) = (clips, frames.grid.is_single()) {
            return Self::new(video, frames, compat, clip.span);
        }
        let mut all = Self { rows: Vec::new(), frames: Vec::new(), zeros: 0, shortfall: None, notes: video.remarks() };
        let mut lost = Vec::new();
        for clip in clips {
            let laid = Self::new(video, frames, compat, clip.span).unwrap_or_else(|why| Self::absent(clip.span, &why));
            lost.extend(laid.shortfall.map(|why| format!("{}: {why}", clip.clip_uid)));
            let own = laid.notes.into_iter().filter(|note| !all.notes.contains(note)).collect::<Vec<_>>();
            all.notes.extend(own);
            all.rows.extend(laid.rows.into_iter().map(|row| RowMeta { clip_uid: Some(clip.clip_uid.clone()), ..row }));
            all.frames.extend(laid.frames);
        }
        if let Some(first) = lost.first() {
            all.shortfall = Some(format!("{} of {} clips cannot be had: {first}", lost.len(), clips.len()));
        }
        Ok(all)
    }

    /// One missing row for a clip that has no window.
    fn absent(span: Option<TimeSpan>, why: &LayoutError) -> Self {
        let (start_sec, end_sec) = span.map_or((0.0, 0.0), |span| (span.start_sec, span.end_sec));
        let row = RowMeta { start_sec, end_sec, missing: true, ..RowMeta::default() };
        Self {
            rows: vec![row],
            frames: vec![Vec::new()],
            zeros: 0,
            shortfall: Some(why.to_string()),
            notes: Vec::new(),
        }
    }

    /// Lays the grid over `span` (the whole video if `None`) of `video`.
    ///
    /// # Errors
    /// [`LayoutError`] for a span that begins after the video, ends absurdly far after it, is too short for a window, or has more
    /// rows than its frames can mean.
    pub fn new(
        video: &VideoInfo,
        frames: &Frames,
        compat: Compat,
        span: Option<TimeSpan>,
    ) -> Result<Self, LayoutError> {
        let line = &video.timeline;
        let video_end_sec = line.end_sec();
        let span = span.unwrap_or_else(|| whole(video));
        if span.start_sec >= video_end_sec {
            return Err(LayoutError::StartsPastEnd { start_sec: span.start_sec, video_end_sec });
        }
        check_rows(video, frames, span)?;
        let windows = frames.grid.windows_at(frames.pace, line, span, compat);
        if windows.is_empty() {
            return Err(LayoutError::TooShort { duration_sec: span.duration_sec() });
        }
        let zeros = frames.grid.zero_rows(windows.len() as u64, compat);
        let mut layout = Self { rows: Vec::new(), frames: Vec::new(), zeros, shortfall: None, notes: video.remarks() };
        for window in windows {
            let first = window.frames.iter().copied().min().unwrap_or(0);
            let last = window.frames.iter().copied().max().unwrap_or(0);
            let lost = window.frames.iter().any(|frame| is_lost(video, *frame));
            layout.rows.push(RowMeta {
                first_frame: first,
                last_frame: last,
                start_sec: window.start_sec,
                end_sec: window.end_sec,
                padded: window.padded,
                missing: lost,
                ..RowMeta::default()
            });
            layout.frames.push(if lost { Vec::new() } else { window.frames });
        }
        layout.judge(span, video_end_sec, compat);
        layout.leave_zeros();
        Ok(layout)
    }

    /// Number of rows that can be computed.
    pub fn computable(&self) -> u64 {
        self.rows.iter().filter(|row| !row.missing).count() as u64
    }

    /// Wants no frames for the rows that the original code never computes.
    fn leave_zeros(&mut self) {
        let first = self.rows.len() - self.zeros as usize;
        for (row, frames) in self.rows[first..].iter_mut().zip(&mut self.frames[first..]) {
            row.missing = false;
            frames.clear();
        }
        if self.zeros > 0 {
            self.notes.push(format!("the last {} of {} rows are zeros, as released", self.zeros, self.rows.len()));
        }
    }

    fn judge(&mut self, span: TimeSpan, video_end_sec: f64, compat: Compat) {
        let missing = self.rows.len() as u64 - self.computable();
        let short = span.end_sec > video_end_sec + END_TOLERANCE_SEC;
        if missing > 0 {
            let (rows, end) = (self.rows.len(), span.end_sec);
            let why = if short {
                format!("{end:.2} s were expected, the frames end at {video_end_sec:.2} s")
            } else {
                "frames are lost in the container".into()
            };
            self.shortfall = Some(format!("{missing} of {rows} rows cannot be had: {why}"));
        } else if short && compat == Compat::AsReleased {
            let words = format!("{:.2} s squeezed into the {video_end_sec:.2} s that are there", span.end_sec);
            self.notes.push(words);
        }
    }
}

/// Bounds the windows of `span` before they are listed: one wrong time must not take all of the memory.
fn check_rows(video: &VideoInfo, frames: &Frames, span: TimeSpan) -> Result<(), LayoutError> {
    let (line, video_end_sec) = (&video.timeline, video.timeline.end_sec());
    let rows = |sec: f64| frames.grid.estimate_rows(sec, line.mean_fps());
    let duration_sec = (span.end_sec.min(video_end_sec) - span.start_sec).max(0.0);
    let within = rows(duration_sec);
    let beyond = rows(span.duration_sec()).saturating_sub(within);
    if beyond > MOST_BEYOND {
        return Err(LayoutError::EndsFarPastEnd { end_sec: span.end_sec, video_end_sec, rows: beyond });
    }
    let most = MOST_WITHIN.max(MOST_OF_A_FRAME.saturating_mul(line.frames()));
    let sparse = LayoutError::Sparse { frames: line.frames(), duration_sec, rows: within };
    if within > most { Err(sparse) } else { Ok(()) }
}

/// The span of a whole video: to its declared end, so that a truncated file is told from a short one.
fn whole(video: &VideoInfo) -> TimeSpan {
    let line = &video.timeline;
    let start_sec = line.start_sec().max(0.0);
    TimeSpan { start_sec, end_sec: video.declared_end_sec.unwrap_or(line.end_sec()) }
}

/// Whether the file has no such frame: it is past the end, or all that is left of it is a gap.
fn is_lost(video: &VideoInfo, frame: u64) -> bool {
    frame >= video.timeline.frames() || video.lost.binary_search(&frame).is_ok()
}
