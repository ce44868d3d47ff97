//! The arithmetic of scaling and cropping, as torchvision does it.
//!
//! Not for pixels. Invariant: every video that has at least one pixel has a geometry whose crop lies inside.

use super::transform::{Place, Transform};

/// Sizes in pixels: what a frame is scaled to, and the part that is cut out of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Width after scaling.
    pub width: u32,
    /// Height after scaling.
    pub height: u32,
    /// Left edge of the crop.
    pub x: u32,
    /// Upper edge of the crop.
    pub y: u32,
    /// Width of the crop.
    pub cut_width: u32,
    /// Height of the crop.
    pub cut_height: u32,
}

impl Geometry {
    /// The geometry of `transform` for a frame of `width * height` pixels as its reader gives it: the longer side becomes
    /// `floor(short_side * long / short)` (torchvision `Resize`), the offset `round_half_even((size - crop) / 2)`
    /// (torchvision `CenterCrop`). Random crops are drawn later, out of whole frames.
    pub fn of(transform: Transform, width: u32, height: u32) -> Self {
        let Place::Centre { short_side } = transform.place else {
            return Self { width, height, x: 0, y: 0, cut_width: width, cut_height: height };
        };
        let (short, long) = (u64::from(width.min(height).max(1)), u64::from(width.max(height).max(1)));
        let longer = (u64::from(short_side) * long / short).min(u64::from(u32::MAX)) as u32;
        let (w, h) = if width < height { (short_side, longer) } else { (longer, short_side) };
        let side = transform.crop;
        Self { width: w, height: h, x: half_even(w - side), y: half_even(h - side), cut_width: side, cut_height: side }
    }

    /// Bytes of one RGB24 frame.
    pub fn bytes(&self) -> usize {
        self.cut_width as usize * self.cut_height as usize * 3
    }
}

/// `n / 2`, halves rounded to the even neighbour.
fn half_even(n: u32) -> u32 {
    n / 2 + u32::from(n % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::super::transform::Filter;
    use super::*;

    fn of(width: u32, height: u32) -> Geometry {
        Geometry::of(Transform::centred(256, 256, Filter::Bilinear), width, height)
    }

    #[test]
    fn the_short_side_becomes_256_whatever_the_orientation() {
        for (from, to, at) in [
            ((1920, 1080), (455, 256), (100, 0)),
            ((454, 256), (454, 256), (99, 0)),
            ((1080, 1920), (256, 455), (0, 100)),
            ((320, 180), (455, 256), (100, 0)),
            ((61, 37), (422, 256), (83, 0)),
            ((256, 256), (256, 256), (0, 0)),
        ] {
            let g = of(from.0, from.1);
            assert_eq!(((g.width, g.height), (g.x, g.y)), (to, at), "{from:?}");
        }
    }

    #[test]
    fn offsets_are_rounded_half_to_even() {
        assert_eq!([0, 1, 2, 3, 4, 5, 7, 9].map(half_even), [0, 0, 1, 2, 2, 2, 4, 4]);
    }
}
