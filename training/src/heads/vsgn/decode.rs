//! From the network's output to a clip's proposals.
//!
//! Not for arithmetic, which is `egofx::heads::vsgn`'s. Clips are taken off the device together, and proposed for one by one.

pub use egofx::heads::vsgn::ClipOutput;
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

use super::model::Output;

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
