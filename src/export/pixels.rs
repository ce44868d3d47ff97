//! The graph's way from frames to what a video tower takes: the last resize, normalisation and layout.
//!
//! Not for what ffmpeg does before. Invariant: as in the originals, resizing is bilinear with half-pixel centres and no
//! antialiasing, on floats.

use super::graph::{Graph, Value};
use super::layers::{reshape, transpose};
use super::onnx::{Attribute, DataType, Dim};

/// What is subtracted from red, green and blue of 0 to 1, and what the rest is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// The means.
    pub mean: [f32; 3],
    /// The standard deviations.
    pub std: [f32; 3],
    /// What a graph does to pixels, for its card.
    pub about: &'static str,
}

/// ImageNet's.
pub const IMAGENET: Normalisation = Normalisation {
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
    about: "bilinear resize without antialiasing, /255, ImageNet mean and std",
};

/// The frames that a graph takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frames {
    /// Pixels of their side.
    pub side: usize,
    /// Pixels of the side that the tower takes; of `side` pixels, they are not resized any more.
    pub image: usize,
    /// How many make a window, if not as many as are given.
    pub count: Option<usize>,
    /// What they are normalised by.
    pub by: Normalisation,
}

impl Frames {
    /// Frames that the graph resizes to `image` pixels, as the originals resize 256 to 224, and normalises by ImageNet's numbers.
    pub fn resized_to(image: usize) -> Self {
        Self { side: frame_side(image), image, count: None, by: IMAGENET }
    }
}

/// Frames on their way into a tower.
pub struct Pixels {
    /// `[B * F, 3, image, image]`, normalised.
    pub values: Value,
    /// B and F, each `[1]`.
    pub shape: [Value; 2],
}

/// Pixels of the side of the square frames that a graph takes, if its tower takes `image`: the originals crop 256 and
/// resize to 224.
pub fn frame_side(image: usize) -> usize {
    (image * 8 + 3) / 7
}

/// The graph's first input: `uint8` RGB `frames` `[B, F, side, side, 3]`, or in a debug graph `pixels`
/// `[B, F, 3, image, image]` as the original module takes them.
pub fn input(g: &mut Graph, image: usize) -> Pixels {
    frames(g, Frames::resized_to(image))
}

/// The same for frames of another size; of `image` pixels, they are not resized any more.
pub fn input_of(g: &mut Graph, image: usize, side: usize) -> Pixels {
    frames(g, Frames { side, image, count: None, by: IMAGENET })
}

/// The same for frames of any kind.
pub fn frames(g: &mut Graph, of: Frames) -> Pixels {
    let Frames { side, image, count, by } = of;
    g.on_pixels = by.about;
    let batch = |rest: [usize; 3]| -> Vec<Dim> {
        let count = count.map_or(Dim::Named("F".into()), |count| Dim::Fixed(count as u64));
        [Dim::Named("B".into()), count].into_iter().chain(rest.map(|n| Dim::Fixed(n as u64))).collect()
    };
    let debug = g.variant.debug;
    let given = if debug {
        g.input("pixels", DataType::Float, &batch([3, image, image]))
    } else {
        g.input("frames", DataType::Uint8, &batch([side, side, 3]))
    };
    let dim =
        |g: &mut Graph, i| g.op("Shape", &[&given], &[("start", Attribute::Int(i)), ("end", Attribute::Int(i + 1))]);
    let shape = [dim(g, 0), dim(g, 1)];
    let values = if debug {
        reshape(g, &given, &[-1, 3, image as i64, image as i64])
    } else {
        g.scope("pixels", |g| normalised(g, &given, side as i64, image as i64, by))
    };
    Pixels { values: g.own(&values), shape }
}

fn normalised(g: &mut Graph, frames: &Value, side: i64, image: i64, by: Normalisation) -> Value {
    let frames = reshape(g, frames, &[-1, side, side, 3]);
    let planes = transpose(g, &frames, &[0, 3, 1, 2]);
    let planes = g.single(&planes);
    let planes = if side == image { planes } else { resized(g, &planes, image) };
    let factor = g.singles("1 / (255 std)", &[1, 3, 1, 1], &by.std.map(|std| 1.0 / (255.0 * std)));
    let offset = g.singles("-mean / std", &[1, 3, 1, 1], &[0, 1, 2].map(|c| -by.mean[c] / by.std[c]));
    let planes = g.op("Mul", &[&planes, &factor], &[]);
    g.op("Add", &[&planes, &offset], &[])
}

fn resized(g: &mut Graph, planes: &Value, image: i64) -> Value {
    let (none, sizes) = (Value::absent(), g.ints(&[image, image]));
    let attributes = [
        ("mode", Attribute::Text("linear")),
        ("coordinate_transformation_mode", Attribute::Text("half_pixel")),
        ("axes", Attribute::Ints(vec![2, 3])),
    ];
    g.op("Resize", &[planes, &none, &none, &sizes], &attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tower_of_224_pixels_takes_frames_of_256() {
        assert_eq!((frame_side(224), frame_side(32), frame_side(16)), (256, 37, 18));
    }
}
