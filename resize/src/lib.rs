//! Images of three values a pixel, scaled: as Pillow scales them, to the bit, or as torchvision scales
//! tensors, to floats.
//!
//! Not for which part is cut out. Invariants: only the pixels that are asked for are computed, and each is as if all were; levels
//! and floats are both on the scale of 0 to 255, so that either can stand for the other: levels as floats without loss, floats
//! as levels by rounding.

use std::borrow::Cow;
use std::ops::Range;

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

/// A part of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width, at least 1.
    pub width: u32,
    /// Height, at least 1.
    pub height: u32,
}

impl Region {
    /// All of an image of that width and height.
    pub const fn whole((width, height): (u32, u32)) -> Self {
        Self { x: 0, y: 0, width, height }
    }
}

/// Pillow's functions that say how much a pixel counts by its distance. They widen where an image becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Pillow's `BILINEAR`.
    Triangle,
    /// Pillow's `BICUBIC` (a = -0.5).
    Cubic,
    /// Pillow's `BOX`.
    Box,
}

/// Bits behind the point of Pillow's weights (`PRECISION_BITS` of its `Resample.c`): 32 less 8 of a value and 2 to spare.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Rows of red, green and blue, top to bottom.
#[derive(Clone, Copy)]
pub struct Image<'p, T = u8> {
    /// `3 * width * height` of them.
    pub values: &'p [T],
    /// Pixels of a row.
    pub width: u32,
}

impl Image<'_> {
    /// The part `cut` of what `region` becomes when it is scaled to `to` (width, height), by a kernel or between two neighbours.
    ///
    /// Source of the kernels: `ImagingResample` of Pillow's `Resample.c`, two passes of whole numbers, rounded to 8
    /// bits after each. Source of the other: `upsample_bilinear2d` of PyTorch without `align_corners`, in single precision,
    /// which is what comes out of it as well.
    pub fn scaled(self, region: Region, to: (u32, u32), cut: Region, kernel: Option<Kernel>) -> Pixels {
        if (region.width, region.height) == to {
            return Pixels::U8(self.part(Region { x: region.x + cut.x, y: region.y + cut.y, ..cut }));
        }
        let (columns, rows) = (cut.x..cut.x + cut.width, cut.y..cut.y + cut.height);
        match kernel {
            Some(kernel) => {
                let across = kernel.taps(region.width, to.0, columns);
                let down = kernel.taps(region.height, to.1, rows);
                Pixels::U8(self.convolved(region, &across, &down))
            }
            None => Pixels::F32(self.interpolated(region, to, cut)),
        }
    }

    /// A part as it is.
    fn part(self, region: Region) -> Vec<u8> {
        (region.y..region.y + region.height).map(|y| self.row(region, y)).collect::<Vec<_>>().concat()
    }

    fn convolved(self, region: Region, across: &[Taps], down: &[Taps]) -> Vec<u8> {
        let needed = down.iter().map(|taps| taps.first).min().unwrap_or(0)
            ..down.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
        let stride = across.len() * 3;
        let mut narrow = Vec::with_capacity(needed.len() * stride);
        for y in needed.clone() {
            let row = self.row(region, region.y + y as u32);
            for taps in across {
                narrow.extend_from_slice(&taps.of_row(row));
            }
        }
        let mut pixels = Vec::with_capacity(down.len() * stride);
        let mut sums = vec![HALF; stride];
        for taps in down {
            let rows = narrow[(taps.first - needed.start) * stride..].chunks_exact(stride);
            sums.fill(HALF);
            // Row by row and not pixel by pixel: neighbours in memory are added at once.
            for (&weight, row) in taps.weights.iter().zip(rows) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum = weighted(*sum, weight, value);
                }
            }
            pixels.extend(sums.iter().map(|&sum| rounded(sum)));
        }
        pixels
    }
}

impl<T: Copy + Into<f32>> Image<'_, T> {
    /// The same by the filter that does not widen, of levels or of what was scaled before; `region` may be as large as `to`.
    pub fn interpolated(self, region: Region, to: (u32, u32), cut: Region) -> Vec<f32> {
        let across = &pairs(region.width, to.0, cut.x..cut.x + cut.width);
        let down = &pairs(region.height, to.1, cut.y..cut.y + cut.height);
        let stride = across.len() * 3;
        let mut pixels = Vec::with_capacity(down.len() * stride);
        let [mut top, mut bottom] = [(); 2].map(|()| Line { of_row: None, values: vec![0.0; stride] });
        for below in down {
            // An image that grows needs each line for several rows: what was below is above next.
            if top.of_row != Some(below.first) && bottom.of_row == Some(below.first) {
                std::mem::swap(&mut top, &mut bottom);
            }
            for (line, row) in [(&mut top, below.first), (&mut bottom, below.second)] {
                line.become_row(row, || self.row(region, region.y + row as u32), across);
            }
            pixels.extend(top.values.iter().zip(&bottom.values).map(|(&top, &bottom)| below.mix(top, bottom)));
        }
        pixels
    }

    /// Row `y` of the image, as far as it lies in `region`.
    fn row(&self, region: Region, y: u32) -> &[T] {
        let start = (y as usize * self.width as usize + region.x as usize) * 3;
        &self.values[start..start + region.width as usize * 3]
    }
}

/// A row that was scaled across, and not yet down.
struct Line {
    of_row: Option<usize>,
    values: Vec<f32>,
}

impl Line {
    fn become_row<'r, T: Copy + Into<f32> + 'r>(&mut self, number: usize, row: impl Fn() -> &'r [T], across: &[Pair]) {
        if self.of_row.replace(number) == Some(number) {
            return;
        }
        let row = row();
        for (to, right) in self.values.chunks_exact_mut(3).zip(across) {
            let (first, second) = (&row[right.first * 3..][..3], &row[right.second * 3..][..3]);
            for (to, (&first, &second)) in to.iter_mut().zip(first.iter().zip(second)) {
                *to = right.mix(first.into(), second.into());
            }
        }
    }
}

impl Kernel {
    /// Beyond which distance nothing counts, in pixels of the larger image, and how much counts within.
    fn function(self) -> (f64, fn(f64) -> f64) {
        match self {
            Self::Triangle => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Cubic => (2.0, cubic),
            Self::Box => (0.5, |x| f64::from(u8::from(x > -0.5 && x <= 0.5))),
        }
    }

    /// For each pixel of `wanted`, out of `to` that `from` become: which count, and how much.
    fn taps(self, from: u32, to: u32, wanted: Range<u32>) -> Vec<Taps> {
        let (support, weight) = self.function();
        let scale = f64::from(from) / f64::from(to);
        let widening = scale.max(1.0);
        let (support, narrowing) = (support * widening, 1.0 / widening);
        let taps = |place: u32| {
            let centre = (f64::from(place) + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from as usize);
            let weight = |at: usize| weight((at as f64 - centre + 0.5) * narrowing);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            Taps { first, weights: whole(&weights) }
        };
        wanted.map(taps).collect()
    }
}

/// Bicubic with a = -0.5, as Pillow evaluates it.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// Weights as whole numbers of which [`PRECISION_BITS`] stand behind the point, and whose sum is about one.
fn whole(weights: &[f64]) -> Vec<i32> {
    let sum: f64 = weights.iter().sum();
    let share = |weight: &f64| {
        let share = if sum == 0.0 { *weight } else { weight / sum } * f64::from(1 << PRECISION_BITS);
        (share + 0.5_f64.copysign(share)) as i32
    };
    weights.iter().map(share).collect()
}

/// What one pixel is made of: neighbours from `first` on.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn of_row(&self, row: &[u8]) -> [u8; 3] {
        let (mut red, mut green, mut blue) = (HALF, HALF, HALF);
        for (&weight, pixel) in self.weights.iter().zip(row[self.first * 3..].chunks_exact(3)) {
            red = weighted(red, weight, pixel[0]);
            green = weighted(green, weight, pixel[1]);
            blue = weighted(blue, weight, pixel[2]);
        }
        [rounded(red), rounded(green), rounded(blue)]
    }
}

/// What sums begin with, so that cutting off what is behind the point rounds.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Weights add up to one but for rounding and, of the bicubic filter, to less than 1.6 in amount, so that 32 bits hold all sums.
fn weighted(sum: i32, weight: i32, value: u8) -> i32 {
    sum.wrapping_add(weight.wrapping_mul(i32::from(value)))
}

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// Two neighbours that a pixel lies between, and how far it is beyond the first.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// The one on the left or above.
    pub first: usize,
    /// The other; the same at the edge.
    pub second: usize,
    beyond: f32,
}

impl Pair {
    /// What lies between their values.
    #[inline]
    pub fn mix(&self, first: f32, second: f32) -> f32 {
        (1.0 - self.beyond) * first + self.beyond * second
    }
}

/// For each pixel of `wanted`, out of `to` that `from` become: between which two it lies. Source: `upsample_bilinear2d` of PyTorch
/// without `align_corners`, along one axis.
pub fn pairs(from: u32, to: u32, wanted: Range<u32>) -> Vec<Pair> {
    let (scale, last) = (from as f32 / to as f32, from as usize - 1);
    let pair = |place: u32| {
        let at = ((place as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(last);
        Pair { first, second: (first + 1).min(last), beyond: at - first as f32 }
    };
    wanted.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pattern(width: u32, height: u32) -> Vec<u8> {
        let value =
            |i: u32| (i / 3 % width * 7 + i / 3 / width * 13 + i % 3 * 61 + (i / 3 % width) * (i / 3 / width)) as u8;
        (0..width * height * 3).map(value).collect()
    }

    /// Squares that Pillow made; `tests/data/transforms/README.md` says how.
    #[test]
    fn images_are_scaled_as_pillow_scales_them() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../tests/data/transforms/pillow.json")).unwrap();
        for case in &cases {
            let number = |key: &str| case[key].as_u64().unwrap() as u32;
            let (width, height, side) = (number("width"), number("height"), number("side"));
            let bytes = pattern(width, height);
            let region = Region { x: number("x"), y: number("y"), width: number("w"), height: number("h") };
            let kernel = match case["filter"].as_str().unwrap() {
                "bicubic" => Kernel::Cubic,
                "box" => Kernel::Box,
                _ => Kernel::Triangle,
            };
            let whole = Region { x: 0, y: 0, width: side, height: side };
            let found = Image { values: &bytes, width }.scaled(region, (side, side), whole, Some(kernel)).into_levels();
            let expected: Vec<u8> =
                case["pixels"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8).collect();
            assert_eq!(found, expected, "{region:?} {kernel:?}");
        }
        assert!(cases.len() >= 4);
    }

    #[test]
    fn a_part_of_what_is_scaled_is_that_part() {
        let bytes = pattern(31, 23);
        let image = Image { values: &bytes, width: 31 };
        let region = Region { x: 2, y: 1, width: 29, height: 22 };
        let cut = Region { x: 5, y: 3, width: 9, height: 8 };
        for kernel in [Some(Kernel::Triangle), Some(Kernel::Cubic), Some(Kernel::Box), None] {
            for to in [(19, 15), (58, 44), (29, 22)] {
                let all = image.scaled(region, to, Region { x: 0, y: 0, width: to.0, height: to.1 }, kernel);
                let part = image.scaled(region, to, cut, kernel);
                let inside = |i: usize| {
                    let (x, y) = (i as u32 / 3 % to.0, i as u32 / 3 / to.0);
                    (cut.x..cut.x + cut.width).contains(&x) && (cut.y..cut.y + cut.height).contains(&y)
                };
                let expected: Vec<f32> = (0..all.len()).filter(|&i| inside(i)).map(|i| all.floats()[i]).collect();
                assert_eq!(*part.floats(), expected, "{kernel:?} {to:?}");
                assert_eq!(std::mem::discriminant(&part), std::mem::discriminant(&all), "{kernel:?} {to:?}");
            }
        }
    }

    #[test]
    fn what_does_not_widen_takes_two_neighbours_whatever_the_ratio() {
        // Four pixels become one: half-pixel centres put it between the second and the third.
        let bytes: Vec<u8> = [0, 100, 200, 40].into_iter().flat_map(|value| [value; 3]).collect();
        let image = Image { values: &bytes, width: 4 };
        let (row, one) = (Region { x: 0, y: 0, width: 4, height: 1 }, Region { x: 0, y: 0, width: 1, height: 1 });
        assert_eq!(image.scaled(row, (1, 1), one, None), Pixels::F32(vec![150.0; 3]));
        assert_eq!(image.scaled(row, (1, 1), one, Some(Kernel::Box)), Pixels::U8(vec![85; 3]));
        let floats = image.interpolated(row, (4, 1), row);
        assert_eq!(floats, bytes.iter().map(|&value| f32::from(value)).collect::<Vec<f32>>());
        assert_eq!(Image { values: &floats, width: 4 }.interpolated(row, (1, 1), one), [150.0; 3]);
    }

    #[test]
    fn levels_and_floats_stand_for_one_another() {
        let levels = Pixels::U8((0..=255).collect());
        let floats = Pixels::F32(levels.floats().into_owned());
        assert_eq!((floats.levels(), floats.len()), (levels.levels(), 256));
        assert_eq!(Pixels::F32(vec![0.5, 1.5, 2.4999, 254.6, 255.0]).into_levels(), [0, 2, 2, 255, 255]);
    }
}
