//! From predictions at points to proposals for a clip, by what `egofx::heads::actionformer` makes of them.

use egofx::heads::actionformer::Level as Points;
use egofx::heads::actionformer::best;
pub use egofx::heads::actionformer::{DecodeSettings, Suppression, in_seconds};
use egofx::metric::postprocess::Proposal;
use tch::{Device, Kind, Tensor};

use super::{Level, Output};

/// The proposals of one clip of a batch, level by level, most probable first, unless the [`best`] of all levels are asked for. Their
/// windows are in steps, their classes those of the network plus one, as 0 is background.
pub fn proposals(output: &Output, clip: i64, settings: &DecodeSettings) -> Vec<Proposal> {
    let levels = output.levels.iter().enumerate();
    let of_levels = levels.flat_map(|(index, level)| of_level(level, f32::powi(2.0, index as i32), clip, settings));
    best(of_levels.collect(), settings)
}

fn of_level(level: &Level, stride: f32, clip: i64, settings: &DecodeSettings) -> Vec<Proposal> {
    let classes = level.logits.size()[2] as usize;
    let probabilities = numbers(&level.probabilities().get(clip));
    let offsets = numbers(&level.offsets.get(clip));
    Points { probabilities: &probabilities, offsets: &offsets, stride }.proposals(classes, settings)
}

/// All numbers of a tensor, in the order of its dimensions.
fn numbers(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let mut numbers = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut numbers, tensor.numel());
    numbers
}
