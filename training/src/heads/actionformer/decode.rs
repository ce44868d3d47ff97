//! From predictions at points to scored moments of a clip.
//!
//! Suppression is `egofx`'s. Not for metrics. Arithmetic is in `f32`, in the order of the original.

use egofx::metric::Window;
use egofx::metric::postprocess::{Proposal, Settings as Suppression, actionformer::within_classes};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::targets::FeatureGrid;
use super::{Level, Output};

/// Which predictions become proposals. In comments: the values of the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSettings {
    /// Predictions must be more probable than this (0.001).
    pub min_probability: f32,
    /// How many of a level are kept, the most probable ones (5000).
    pub most_per_level: usize,
    /// Moments must be longer than this, in steps (0.05).
    pub min_length: f32,
}

/// The proposals of one clip of a batch, level by level, most probable first. Their windows are in steps, their classes
/// those of the network plus one, as 0 is background.
pub fn proposals(output: &Output, clip: i64, settings: &DecodeSettings) -> Vec<Proposal> {
    output.levels.iter().flat_map(|level| of_level(level, clip, settings)).collect()
}

/// The moments of one clip of a batch, best first: proposals, suppressed within their classes, in seconds and cut to
/// the clip. Classes are those of the network plus one, as 0 is background.
pub fn detections(
    proposals: &[Proposal],
    grid: &FeatureGrid,
    duration_sec: f64,
    suppression: &Suppression,
) -> Vec<Proposal> {
    let second = |step: f64| f64::from(grid.sec_from_step(step as f32)).clamp(0.0, duration_sec.max(0.0));
    let in_seconds = |proposal: Proposal| {
        let Window { start_sec: start, end_sec: end } = proposal.window;
        Proposal { window: Window::new(second(start), second(end)), ..proposal }
    };
    // In steps, as in the original: what it adds to lengths is in steps.
    within_classes(proposals, suppression).into_iter().map(in_seconds).collect()
}

fn of_level(level: &Level, clip: i64, settings: &DecodeSettings) -> Vec<Proposal> {
    let classes = level.logits.size()[2] as usize;
    let probabilities = level.logits.get(clip).sigmoid() * level.mask.get(clip).unsqueeze(-1);
    let (probabilities, offsets, points) =
        (numbers(&probabilities), numbers(&level.offsets.get(clip)), numbers(&level.points));
    let likely = probabilities.into_iter().enumerate().filter(|(_, score)| *score > settings.min_probability);
    let mut likely: Vec<(usize, f32)> = likely.collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    likely.truncate(settings.most_per_level);
    let proposal = |(place, score): (usize, f32)| {
        let (point, class) = (place / classes, place % classes);
        let (step, stride) = (points[point * 4], points[point * 4 + 3]);
        let (start, end) = (step - offsets[point * 2] * stride, step + offsets[point * 2 + 1] * stride);
        let window = Window::new(f64::from(start), f64::from(end));
        let proposal = Proposal { window, score: f64::from(score), class: class + 1 };
        (end - start > settings.min_length).then_some(proposal)
    };
    likely.into_iter().filter_map(proposal).collect()
}

/// All numbers of a tensor, in the order of its dimensions.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut numbers = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut numbers, tensor.numel());
    numbers
}
