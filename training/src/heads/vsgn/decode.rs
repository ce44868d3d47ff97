//! From the network's output to a clip's proposals.
//!
//! Not for arithmetic: scores and suppression within classes are `egofx::metric::postprocess::vsgn`'s, which also makes
//! a submission of the proposals. Clips are taken off the device together, and proposed for one by one.

use egofx::metric::postprocess::Proposal;
use egofx::metric::postprocess::vsgn::{self, NetworkOutput};
use ndarray::{Array1, Array2};
use tch::{Device, Kind, Tensor};

use super::model::Output;
use super::settings::Settings;
use super::targets::Grid;

/// The network's output for one clip, off the device.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipOutput {
    /// Adjusted boxes in cells `[A, 2]`.
    pub boxes: Array2<f64>,
    /// Class probabilities `[A, classes]`.
    pub probabilities: Array2<f64>,
    /// Likelihoods of starts `[T]`.
    pub starts: Array1<f64>,
    /// Likelihoods of ends `[T]`.
    pub ends: Array1<f64>,
}

/// The clips of a batch, one by one.
pub fn clips(output: &Output) -> Vec<ClipOutput> {
    let (boxes, probabilities) = (matrices(&output.adjusted), matrices(&output.probabilities()));
    let [starts, ends] = [&output.curves.start, &output.curves.end].map(|curve| matrices(&curve.unsqueeze(1)));
    let columns = boxes.into_iter().zip(probabilities).zip(starts.into_iter().zip(ends));
    let clip = |((boxes, probabilities), (starts, ends)): ((_, _), (Array2<f64>, Array2<f64>))| ClipOutput {
        boxes,
        probabilities,
        starts: starts.row(0).to_owned(),
        ends: ends.row(0).to_owned(),
    };
    columns.map(clip).collect()
}

/// `[B, N, M]` as B matrices.
fn matrices(tensor: &Tensor) -> Vec<Array2<f64>> {
    let size = tensor.size().iter().map(|&size| size as usize).collect::<Vec<_>>();
    let (rows, columns) = (size[1], size[2]);
    let on_cpu = tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let mut flat = vec![0.0; on_cpu.numel()];
    on_cpu.copy_data(&mut flat, on_cpu.numel());
    let matrix = |clip: usize| {
        Array2::from_shape_fn((rows, columns), |(row, column)| flat[(clip * rows + row) * columns + column])
    };
    (0..size[0]).map(matrix).collect()
}

impl ClipOutput {
    /// The clip's proposals in seconds, class by class, best first.
    pub fn proposals(&self, grid: &Grid, settings: &Settings) -> Vec<Proposal> {
        let num_cells = grid.num_cells as i64;
        vsgn::proposals(&NetworkOutput {
            boxes: self.boxes.view(),
            probabilities: self.probabilities.view(),
            starts: self.starts.view(),
            ends: self.ends.view(),
            num_cells: grid.num_cells,
            copy_from: settings.stitches(num_cells).then(|| settings.copy_from(num_cells) as usize),
            fps: grid.fps,
        })
    }
}
