//! From decoded frames to what a video tower sees: cropped, scaled, hflip, normalised.
//!
//! Not for decoding. As torchvision does it on tensors in single precision: bilinear, pixel centres at half, and no
//! antialiasing (its behaviour before version 0.17, by which the originals were trained).

use std::sync::Arc;

use egofx::decode::{Channels, Filter, Geometry, Region, Transform};
use egofx_resize::{Pair, pairs};

/// Mean of ImageNet's red, green and blue.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their deviation.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A frame as it is decoded or stored: three bytes a pixel, red first, rows top to bottom.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` of them.
    pub bytes: Arc<Vec<u8>>,
}

impl Picture {
    /// Scaled so that the shorter side has `side` pixels, unless it has fewer.
    pub fn at_most(self, side: usize) -> Self {
        if (self.width.min(self.height) as usize) <= side {
            return self;
        }
        let Planes { width, height, values } = Planes::of(&self, Channels::Rgb).shorter(side);
        let plane = width * height;
        let level = |at: usize| (values[at] * 255.0).round() as u8;
        let bytes = (0..plane).flat_map(|pixel| [0, 1, 2].map(|colour| level(colour * plane + pixel))).collect();
        Self { width: width as u32, height: height as u32, bytes: Arc::new(bytes) }
    }
}

/// Planes of three colours, rows top to bottom, from 0 to 1.
pub struct Planes {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Planes {
    /// In the order of `channels`.
    pub fn of(picture: &Picture, channels: Channels) -> Self {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let mut values = vec![0.0; 3 * width * height];
        for (place, pixel) in picture.bytes.chunks_exact(3).enumerate() {
            for (colour, &value) in pixel.iter().enumerate() {
                let plane = if channels == Channels::Bgr { 2 - colour } else { colour };
                values[plane * width * height + place] = f32::from(value) / 255.0;
            }
        }
        Self { width, height, values }
    }

    /// A part of them, scaled.
    pub fn scaled(&self, region: Region, width: usize, height: usize) -> Self {
        let across = pairs(region.width, width as u32, 0..width as u32);
        let down = pairs(region.height, height as u32, 0..height as u32);
        let start = region.y as usize * self.width + region.x as usize;
        let mut values = Vec::with_capacity(3 * width * height);
        for channel in self.values.chunks_exact(self.width * self.height) {
            for below in &down {
                let row = |number: usize| &channel[start + number * self.width..][..region.width as usize];
                let (top, bottom) = (row(below.first), row(below.second));
                let mix = |right: &Pair| {
                    let line = |row: &[f32]| right.mix(row[right.first], row[right.second]);
                    below.mix(line(top), line(bottom))
                };
                values.extend(across.iter().map(mix));
            }
        }
        Self { width, height, values }
    }

    /// All of them, scaled so that the shorter side has `side` pixels (torchvision's `Resize`).
    pub fn shorter(self, side: usize) -> Self {
        let Geometry { width, height, .. } = self.square(side);
        let [width, height] = [width, height].map(|length| length as usize);
        if (width, height) == (self.width, self.height) { self } else { self.scaled(self.whole(), width, height) }
    }

    /// The middle of what has a shorter side of `side` pixels, a square of that side, scaled to `into` (torchvision's
    /// `CenterCrop` and `Resize`).
    pub fn middle(&self, side: usize, into: usize) -> Self {
        let Geometry { x, y, cut_width: width, cut_height: height, .. } = self.square(side);
        self.scaled(Region { x, y, width, height }, into, into)
    }

    /// How a square of `side` pixels is cut out of what was scaled to it.
    fn square(&self, side: usize) -> Geometry {
        let transform = Transform::centred(side as u32, side as u32, Filter::Bilinear);
        Geometry::of(transform, self.width as u32, self.height as u32)
    }

    fn whole(&self) -> Region {
        Region { x: 0, y: 0, width: self.width as u32, height: self.height as u32 }
    }

    /// Left becomes right.
    pub fn hflip(&mut self) {
        self.values.chunks_exact_mut(self.width).for_each(<[f32]>::reverse);
    }

    /// `[3, height, width]`, normalised by ImageNet's mean and deviation, behind what `to` holds.
    pub fn normalised(&self, to: &mut Vec<f32>) {
        for (channel, plane) in self.values.chunks_exact(self.width * self.height).enumerate() {
            to.extend(plane.iter().map(|value| (value - MEAN[channel]) / STD[channel]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> Picture {
        let bytes = (0..width * height * 3).map(|i| (i * 37 % 251 + i / 7 % 5) as u8).collect();
        Picture { width, height, bytes: Arc::new(bytes) }
    }

    #[test]
    fn the_centre_crop_is_that_of_torchvision_and_a_flip_is_horizontal() {
        let whole = || Planes::of(&picture(454, 256), Channels::Rgb);
        let planes = whole();
        let (middle, part) = (
            whole().shorter(256).middle(256, 224),
            planes.scaled(Region { x: 99, y: 0, width: 256, height: 256 }, 224, 224),
        );
        assert_eq!(middle.values, part.values);
        let mut hflip = planes.scaled(planes.whole(), 454, 256);
        hflip.hflip();
        assert_eq!((hflip.values[0], hflip.values[453]), (planes.values[453], planes.values[0]));
        assert_eq!(Planes::of(&picture(20, 40), Channels::Rgb).shorter(10).width, 10);
    }

    #[test]
    fn stored_pictures_are_no_larger_than_they_need_be_and_colours_can_change_places() {
        let small = picture(454, 256);
        assert_eq!(small.clone().at_most(256).bytes, small.bytes);
        let [large, scaled] = [picture(61, 40), picture(61, 40).at_most(20)];
        assert_eq!((scaled.width, scaled.height, scaled.bytes.len()), (30, 20, 3 * 600));
        let exact = Planes::of(&large, Channels::Rgb).shorter(20);
        let stored = Planes::of(&scaled, Channels::Rgb);
        let off = exact.values.iter().zip(&stored.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 0.5 / 255.0 + 1e-6, "{off}");
        let [rgb, bgr] = [Channels::Rgb, Channels::Bgr].map(|channels| Planes::of(&large, channels).values);
        let plane = 61 * 40;
        assert!(rgb[..plane] == bgr[2 * plane..] && rgb[plane..2 * plane] == bgr[plane..2 * plane]);
    }
}
