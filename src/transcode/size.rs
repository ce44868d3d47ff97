//! What size an image becomes.
//!
//! Not for scaling. Invariant: both sides are even, as 4:2:0 chroma wants them, and at least 2.

use std::fmt;

/// A rule for the size of an image. Pixels are taken for square, as in the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As it is; an odd side loses a pixel.
    Keep,
    /// The short side becomes so many pixels, the other one follows, rounded down to an even number.
    ShortSide(u32),
    /// The height becomes so many pixels, also of a portrait video, whose short side is then far smaller: EgoVLP's
    /// `utils/video_resize.py`, which calls it the short side.
    FixedHeight(u32),
}

impl Size {
    /// Width and height of an image that is `width * height` pixels as shown.
    pub fn of(self, width: u32, height: u32) -> (u32, u32) {
        match self {
            Size::Keep => ((width & !1).max(2), (height & !1).max(2)),
            Size::ShortSide(side) if width < height => (side, follow(side, height, width)),
            Size::ShortSide(side) | Size::FixedHeight(side) => (follow(side, width, height), side),
        }
    }
}

/// `2 * trunc(side * a / 2)` with `a = long / short`, in float64 as ffmpeg's `trunc(oh*a/2)*2`.
fn follow(side: u32, long: u32, short: u32) -> u32 {
    let aspect = f64::from(long) / f64::from(short.max(1));
    let half = (f64::from(side) * aspect / 2.0).trunc();
    (half as u32).clamp(1, 1 << 14) * 2
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Keep => write!(f, "as it is"),
            Size::ShortSide(side) => write!(f, "short side {side}"),
            Size::FixedHeight(side) => write!(f, "height {side}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn landscape_videos_become_what_the_original_makes_of_them() {
        for (from, to) in [((1920, 1080), (454, 256)), ((1440, 1080), (340, 256)), ((61, 37), (422, 256))] {
            assert_eq!(Size::FixedHeight(256).of(from.0, from.1), to, "{from:?}");
            assert_eq!(Size::ShortSide(256).of(from.0, from.1), to, "{from:?}");
        }
    }

    #[test]
    fn portrait_videos_keep_their_short_side_unless_the_height_is_fixed_as_released() {
        assert_eq!(Size::FixedHeight(256).of(1080, 1920), (144, 256));
        assert_eq!(Size::ShortSide(256).of(1080, 1920), (256, 454));
    }

    #[test]
    fn sizes_that_are_kept_become_even() {
        assert_eq!(Size::Keep.of(61, 37), (60, 36));
        assert_eq!(Size::Keep.of(1, 64), (2, 64));
    }
}
