//! From the network's output to a clip's proposals.
//!
//! Not for arithmetic: scores and suppression within classes are `egofx::metric::postprocess::vsgn`'s, which also makes
//! a submission of the proposals. Clips are taken off the device together, and proposed for one by one.

use egofx::metric::postprocess::Proposal;
use egofx::metric::postprocess::vsgn::{self, NetworkOutput};
use ndarray::{Array1, Array2, ShapeError};
use tch::{Kind, TchError, Tensor};

use super::model::{Output, Settings};
use super::targets::Grid;

/// Output that is not what the network gives.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// What libtorch says.
    #[error(transparent)]
    Tensor(#[from] TchError),
    /// Numbers that do not fit their shape.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

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
///
/// # Errors
/// Tensors that cannot be copied, or not of the shapes that the network gives.
pub fn clips(output: &Output) -> Result<Vec<ClipOutput>, DecodeError> {
    let boxes = matrices(&output.adjusted)?;
    let probabilities = matrices(&output.probabilities())?;
    let starts = matrices(&output.curves.start.f_unsqueeze(1)?)?;
    let ends = matrices(&output.curves.end.f_unsqueeze(1)?)?;
    let columns = boxes.into_iter().zip(probabilities).zip(starts.into_iter().zip(ends));
    let clip = |((boxes, probabilities), (starts, ends)): ((_, _), (Array2<f64>, Array2<f64>))| ClipOutput {
        boxes,
        probabilities,
        starts: starts.row(0).to_owned(),
        ends: ends.row(0).to_owned(),
    };
    Ok(columns.map(clip).collect())
}

/// `[B, N, M]` as B matrices.
fn matrices(tensor: &Tensor) -> Result<Vec<Array2<f64>>, DecodeError> {
    let (batch, rows, columns) = tensor.size3()?;
    let flat = Vec::<f64>::try_from(tensor.detach().f_to_kind(Kind::Double)?.f_reshape([-1])?)?;
    let size = rows * columns;
    let matrix = |clip: i64| {
        let numbers = flat[(clip * size) as usize..((clip + 1) * size) as usize].to_vec();
        Ok(Array2::from_shape_vec((rows as usize, columns as usize), numbers)?)
    };
    (0..batch).map(matrix).collect()
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
