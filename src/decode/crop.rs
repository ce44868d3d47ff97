//! Random resized crops, as torchvision draws them: for QFVS at extraction, and for training.
//!
//! Not for centred crops nor for scaling. Invariant: what is drawn for QFVS depends on the seed, the video's name and the frame's
//! index alone, so that shards, batches and resumed runs see the same crops on every machine.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::pixels::Region;

/// Share of the image's area that a crop has, torchvision's default.
const SCALE: (f64, f64) = (0.08, 1.0);
/// Width of a crop over its height, torchvision's default.
const RATIO: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// How often a crop is drawn anew that does not fit.
const ATTEMPTS: usize = 10;

/// The crop of frame `index` of the video `name`, of `width * height` pixels.
pub fn drawn(seed: u64, name: &str, index: u64, width: u32, height: u32) -> Region {
    let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(index.to_le_bytes()).chain_update(name);
    random_region(SCALE, width, height, &mut Xoshiro256PlusPlus::from_seed(key.finalize().into()))
}

/// A part of an image of `width * height` pixels that has between `share.0` and `share.1` of its area, and a ratio between
/// 3/4 and 4/3. Source: `RandomResizedCrop.get_params` of torchvision, with another generator.
pub fn random_region(share: (f64, f64), width: u32, height: u32, draw: &mut impl Rng) -> Region {
    let mut uniform = Uniform(draw);
    let (w, h) = (f64::from(width), f64::from(height));
    for _ in 0..ATTEMPTS {
        let area = w * h * uniform.between(share.0, share.1);
        let ratio = uniform.between(RATIO.0.ln(), RATIO.1.ln()).exp();
        let cut_width = (area * ratio).sqrt().round_ties_even() as u32;
        let cut_height = (area / ratio).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&cut_width) && (1..=height).contains(&cut_height) {
            let (y, x) = (uniform.below(height - cut_height + 1), uniform.below(width - cut_width + 1));
            return Region { x, y, width: cut_width, height: cut_height };
        }
    }
    widest(width, height)
}

/// The largest centred part whose ratio is allowed.
fn widest(width: u32, height: u32) -> Region {
    let (w, h) = (f64::from(width), f64::from(height));
    let (cut_width, cut_height) = if w / h < RATIO.0 {
        (width, (w / RATIO.0).round_ties_even() as u32)
    } else if w / h > RATIO.1 {
        ((h * RATIO.1).round_ties_even() as u32, height)
    } else {
        (width, height)
    };
    Region { x: (width - cut_width) / 2, y: (height - cut_height) / 2, width: cut_width, height: cut_height }
}

/// Uniform draws from a generator, the same on every machine.
struct Uniform<'d, R>(&'d mut R);

impl<R: Rng> Uniform<'_, R> {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        low + (high - low) * unit
    }

    /// From 0 to `n - 1`; uneven by less than one in 2^32.
    fn below(&mut self, n: u32) -> u32 {
        ((u128::from(self.0.next_u64()) * u128::from(n)) >> 64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_depend_on_seed_name_and_index_alone() {
        let first = drawn(7, "P01", 3, 480, 270);
        assert_eq!(first, drawn(7, "P01", 3, 480, 270));
        for other in [drawn(8, "P01", 3, 480, 270), drawn(7, "P02", 3, 480, 270), drawn(7, "P01", 4, 480, 270)] {
            assert_ne!(first, other);
        }
    }

    /// Features of one seed can be made again. The expected crops were drawn by the same rules written anew in Python.
    #[test]
    fn crops_are_promised() {
        let found: Vec<Region> = (0..3).map(|index| drawn(1, "P01-moviepy", index, 320, 240)).collect();
        let region = |x, y, width, height| Region { x, y, width, height };
        assert_eq!(found, [region(5, 7, 194, 207), region(39, 32, 188, 151), region(7, 54, 200, 173)]);
    }

    #[test]
    fn crops_have_the_shares_and_ratios_of_the_original() {
        let crops: Vec<Region> = (0..4000).map(|index| drawn(1, "v", index, 400, 300)).collect();
        let (mut share, mut least, mut most) = (0.0, 1.0_f64, 0.0_f64);
        for Region { x, y, width, height } in &crops {
            assert!(x + width <= 400 && y + height <= 300);
            let ratio = f64::from(*width) / f64::from(*height);
            assert!((0.73..1.37).contains(&ratio), "{ratio}");
            let area = f64::from(width * height) / 120_000.0;
            (share, least, most) = (share + area / 4000.0, least.min(area), most.max(area));
        }
        // 0.433 on average, drawn 200,000 times in Python: large crops fit less often.
        assert!(least < 0.09 && most > 0.95 && (0.42..0.446).contains(&share), "{least} {most} {share}");
    }

    #[test]
    fn what_never_fits_is_cut_from_the_middle() {
        assert_eq!(widest(400, 100), Region { x: 133, y: 0, width: 133, height: 100 });
        assert_eq!(widest(90, 300), Region { x: 0, y: 90, width: 90, height: 120 });
        assert_eq!(widest(100, 100), Region { x: 0, y: 0, width: 100, height: 100 });
        assert_eq!(drawn(1, "v", 0, 4000, 2), widest(4000, 2));
    }
}
