//! Single frames of videos as image files: which are wanted, and how they are written.
//!
//! Not for features, and not for thumbnails: frames are had as the pipeline has them, by the index that a timestamp proves.
//! Invariant: a file that is there under its name is whole, and says of which frame of which file it is.

mod error;
mod fho;
mod image;
mod times;
mod write;

use crate::ids::VideoUid;
use crate::time::Timeline;

pub use error::FramesError;
pub use fho::{CRITICAL, critical_frames};
pub use image::Format;
pub use times::read_times;
pub use write::{Had, Requested, Video, Writer};

/// Frames a second of the canonical videos of Ego4D, in which its annotations count.
pub const CANONICAL_FPS: f64 = 30.0;

/// A frame that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Its video.
    pub video_uid: VideoUid,
    /// What it is called by who wants it; may be empty.
    pub name: String,
    /// Which it is.
    pub at: At,
}

/// How a frame is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// The one that is shown at that second of the video.
    Sec(f64),
    /// The one of that index in presentation order, from 0.
    Frame(u64),
    /// The one of that number at [`CANONICAL_FPS`] frames a second: what is shown in the middle of the time that it has there.
    Canonical(f64),
}

impl At {
    /// The index of the frame; an error in words where the video has none.
    fn index(self, timeline: &Timeline) -> Result<u64, String> {
        let (frames, end_sec) = (timeline.frames(), timeline.end_sec());
        let at = |sec: f64, name: String| {
            // Annotations begin and end a little outside of their videos.
            let slack = crate::time::EARLIEST_START_SEC.abs();
            if sec.is_finite() && sec >= timeline.start_sec() - slack && sec < end_sec + slack {
                Ok(timeline.frame_at(sec))
            } else {
                Err(format!(
                    "{name} lies outside of the video, which goes from {:.2} s to {end_sec:.2} s",
                    timeline.start_sec()
                ))
            }
        };
        match self {
            Self::Sec(sec) => at(sec, format!("second {sec}")),
            Self::Frame(index) if index < frames => Ok(index),
            Self::Frame(index) => Err(format!("frame {index} is wanted of {frames}")),
            Self::Canonical(number) => {
                at((number + 0.5) / CANONICAL_FPS, format!("frame {number} at {CANONICAL_FPS} a second"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Fps, TimeBase};

    #[test]
    fn times_and_numbers_name_the_frame_that_is_shown() {
        let line = Timeline::constant(60, Fps::new(30, 1).unwrap()).unwrap();
        for (at, frame) in [
            (At::Sec(0.0), 0),
            (At::Sec(0.99), 29),
            (At::Sec(1.0), 30),
            (At::Sec(-0.01), 0),
            (At::Sec(2.2), 59),
            (At::Frame(59), 59),
            (At::Canonical(31.0), 31),
        ] {
            assert_eq!(at.index(&line), Ok(frame), "{at:?}");
        }
        for at in
            [At::Sec(2.6), At::Sec(-1.0), At::Sec(f64::NAN), At::Frame(60), At::Canonical(90.0), At::Canonical(-20.0)]
        {
            assert!(at.index(&line).is_err(), "{at:?}");
        }
        assert_eq!(At::Frame(60).index(&line).unwrap_err(), "frame 60 is wanted of 60");
    }

    #[test]
    fn canonical_numbers_hold_in_files_of_other_rates_and_coarser_clocks() {
        let milliseconds: Vec<i64> = (0..90).map(|frame: i64| (frame * 1000 + 15) / 30).collect();
        let rounded = Timeline::new(milliseconds, TimeBase { num: 1, den: 1000 }, 0).unwrap();
        assert!((0..90_u32).all(|number| At::Canonical(number.into()).index(&rounded) == Ok(number.into())));
        let half = Timeline::constant(45, Fps::new(15, 1).unwrap()).unwrap();
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 88.0].map(|number| At::Canonical(number).index(&half).unwrap()),
            [0, 0, 1, 1, 44]
        );
    }
}
