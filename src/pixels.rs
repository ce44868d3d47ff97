//! Pixels on their way from a decoder to a graph, as levels or between them.
//!
//! Not for whose frames they are. Invariant: both kinds are on the scale of 0 to 255, so that either can stand for the
//! other: levels as floats without loss, floats as levels by rounding.

use std::borrow::Cow;

/// Values of pixels, three a pixel, rows top to bottom: those of one frame, or of frames behind one another.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// `uint8`, as a reader gives them.
    U8(Vec<u8>),
    /// `float32`, 0 to 255: what was scaled in single precision and not rounded, as torchvision leaves tensors.
    F32(Vec<f32>),
}

impl Pixels {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(levels) => levels.len(),
            Self::F32(floats) => floats.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As `uint8`; floats are rounded half to even.
    pub fn levels(&self) -> Cow<'_, [u8]> {
        match self {
            Self::U8(levels) => Cow::Borrowed(levels),
            Self::F32(floats) => floats.iter().map(|&value| level(value)).collect(),
        }
    }

    /// The same without a copy where they are levels already.
    pub fn into_levels(self) -> Vec<u8> {
        match self {
            Self::U8(levels) => levels,
            Self::F32(floats) => floats.into_iter().map(level).collect(),
        }
    }

    /// As `float32`.
    pub fn floats(&self) -> Cow<'_, [f32]> {
        match self {
            Self::U8(levels) => levels.iter().map(|&value| f32::from(value)).collect(),
            Self::F32(floats) => Cow::Borrowed(floats),
        }
    }
}

fn level(value: f32) -> u8 {
    value.round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_floats_stand_for_one_another() {
        let levels = Pixels::U8((0..=255).collect());
        let floats = Pixels::F32(levels.floats().into_owned());
        assert_eq!((floats.levels(), floats.len()), (levels.levels(), 256));
        assert_eq!(Pixels::F32(vec![0.5, 1.5, 2.4999, 254.6, 255.0]).into_levels(), [0, 2, 2, 255, 255]);
    }
}
