//! Frames as torch's own operators scale and normalise them.

use std::sync::Arc;

use egofx::decode::{Channels, Region};
use egofx_pixels::{MEAN, Picture, Planes, STD};
use tch::Tensor;

fn picture(width: u32, height: u32) -> Picture {
    let bytes = (0..width * height * 3).map(|i| (i * 37 % 251 + i / 7 % 5) as u8).collect();
    Picture { width, height, bytes: Arc::new(bytes) }
}

/// The same by libtorch's own operators.
fn by_torch(pixels: &[u8], [width, height]: [i64; 2], region: Region, side: i64) -> Tensor {
    let whole = Tensor::from_slice(pixels).view([1, height, width, 3]).permute([0, 3, 1, 2]);
    let cut = whole.narrow(3, i64::from(region.x), i64::from(region.width));
    let cut = cut.narrow(2, i64::from(region.y), i64::from(region.height)).to_kind(tch::Kind::Float) / 255.0;
    let scaled = cut.contiguous().upsample_bilinear2d([side, side], false, None, None);
    let channels = |values: [f32; 3]| Tensor::from_slice(&values).view([1, 3, 1, 1]);
    (scaled - channels(MEAN)) / channels(STD)
}

#[test]
fn parts_are_scaled_as_torch_scales_them() {
    let picture = picture(61, 40);
    let planes = Planes::of(&picture, Channels::Rgb);
    for (region, side) in [
        (Region { x: 5, y: 3, width: 50, height: 37 }, 32),
        (Region { x: 0, y: 0, width: 61, height: 40 }, 90),
        (Region { x: 60, y: 39, width: 1, height: 1 }, 4),
    ] {
        let mut found = Vec::new();
        planes.scaled(region, side, side).normalised(&mut found);
        let expected = by_torch(&picture.bytes, [61, 40], region, side as i64);
        let off = (Tensor::from_slice(&found).view_as(&expected) - expected).abs().max().double_value(&[]);
        // In units of a deviation: an eight-bit level is 0.017.
        assert!(off < 2e-5, "{region:?}: {off}");
    }
}
