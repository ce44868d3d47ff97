//! A collection of Ego4D's size: as many videos and hours, lengths drawn from a fixed seed.
//!
//! The lengths are not Ego4D's own: a log-normal distribution, cut off at three hours and scaled to the hours of all.

use egofx::backbone::Towers;
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::ids::VideoUid;
use egofx::manifest::{Clip, Manifest, Video};
use egofx::plan::{Plan, Wanted};
use egofx::shard::Shard;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::support::{Fallible, inputs, root};

pub const VIDEOS: usize = 9611;
const HOURS: f64 = 3670.0;
/// Spread of the lengths' logarithms.
const SPREAD: f64 = 1.0;
const LONGEST_SEC: f64 = 3.0 * 3600.0;

/// Numbers from a fixed seed.
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Above 0 and at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Of an exponential distribution.
    pub fn interval(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Of a standard normal distribution (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Seconds of each job of the real plan, in its order: longest first.
pub fn costs() -> Fallible<Vec<f64>> {
    let (sets, manifest) = (feature_sets()?, manifest(&lengths())?);
    let wanted = Wanted { manifest: &manifest, queries: None, sets: &sets, limit: None };
    Ok(Plan::new(wanted, Shard::WHOLE, |_, _| false)?.jobs.iter().map(|job| job.cost_sec).collect())
}

/// One feature set, of the tiny backbone.
pub fn feature_sets() -> Fallible<PerSet<FeatureSet>> {
    let recipe = inputs::recipe("cluster", inputs::EGOVLP)?;
    let towers = Towers::single(&root().join("onnx"), &recipe.body.backbone, &recipe.body.feature)?;
    Ok(std::iter::once(FeatureSet::new(recipe, towers, None)).collect())
}

/// Whole videos of these lengths in seconds.
pub fn manifest(lengths: &[f64]) -> Fallible<Manifest> {
    let video = |(i, &seconds): (usize, &f64)| -> Fallible<Video> {
        let uid = VideoUid::parse(&format!("video-{i:06}"))?;
        let clips = vec![Clip::whole(&uid, i as u64 + 2)];
        Ok(Video { path: None, duration_sec: Some(seconds), num_frames: None, fps: None, clips, uid })
    };
    let videos = lengths.iter().enumerate().map(video).collect::<Fallible<_>>()?;
    Ok(Manifest { name: "cluster".into(), videos, rejected: Vec::new() })
}

fn lengths() -> Vec<f64> {
    let mut random = Random::new(1);
    let drawn: Vec<f64> = (0..VIDEOS).map(|_| (SPREAD * random.normal()).exp()).collect();
    let scale = HOURS * 3600.0 / drawn.iter().sum::<f64>();
    let cut: Vec<f64> = drawn.iter().map(|length| (length * scale).min(LONGEST_SEC)).collect();
    let again = HOURS * 3600.0 / cut.iter().sum::<f64>();
    cut.iter().map(|length| length * again).collect()
}
