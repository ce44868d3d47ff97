//! The last step: both ends of every box move by what the finest features around them say.
//!
//! Not for the box as a whole. Ends are read within the grid, but move from where they were.

use tch::nn::{self, Module};
use tch::{Kind, Tensor};

use super::layers;
use crate::nn::Conv;

/// An end is read at itself and this fraction of the box's length to either side.
pub(super) const FRACTION: f64 = 8.0;

/// Moves one of the ends: a convolution over three cells that are read out, ReLU, and a number.
#[derive(Debug)]
struct EndShift {
    hidden: nn::Conv1D,
    out: nn::Conv1D,
}

impl EndShift {
    fn new(path: &nn::Path, embed_dim: i64) -> Self {
        let taps = Conv { stride: 2, padding: 0, ..Conv::same(3) };
        Self {
            hidden: layers::conv(path / 0, embed_dim, embed_dim, taps),
            out: layers::conv(path / 2, embed_dim, 1, Conv::same(1)),
        }
    }

    /// `[B, A]`, of cells `[B, T, C]` at three places `[B, A]`. Cells are multiplied before they are read out: there
    /// are fewer of them than of anchors.
    fn forward(&self, cells: &Tensor, places: [Tensor; 3]) -> Tensor {
        let embed_dim = cells.size()[2];
        let tap = |(tap, place): (i64, &Tensor)| {
            let weighted = cells.matmul(&self.hidden.ws.select(2, tap).tr());
            weighted.gather(1, &place.unsqueeze(2).expand([-1, -1, embed_dim], false), false)
        };
        let read: Tensor = (0..).zip(&places).map(tap).sum();
        let hidden = match &self.hidden.bs {
            Some(bias) => read + bias,
            None => read,
        };
        self.out.forward(&hidden.relu().transpose(1, 2)).squeeze_dim(1)
    }
}

#[derive(Debug)]
pub(super) struct BoundaryAdjust {
    start: EndShift,
    end: EndShift,
}

impl BoundaryAdjust {
    pub(super) fn new(path: &nn::Path, embed_dim: i64) -> Self {
        Self {
            start: EndShift::new(&(path / "start_conv"), embed_dim),
            end: EndShift::new(&(path / "end_conv"), embed_dim),
        }
    }

    /// Boxes `[B, A, 2]` with their ends moved, by the decoder's finest level `[B, C, T]`.
    pub(super) fn forward(&self, boxes: &Tensor, finest: &Tensor) -> Tensor {
        let last = finest.size()[2] - 1;
        let cells = finest.transpose(1, 2).contiguous();
        // Places are whole cells, through which no gradient flows.
        let within = boxes.detach().clamp(0.0, last as f64);
        let (start, end) = (within.select(2, 0), within.select(2, 1));
        let step = (&end - &start + 1.0) / FRACTION;
        let cell = |place: Tensor| place.to_kind(Kind::Int64).clamp(0, last);
        let around = |place: &Tensor| [cell(place - &step), cell(place.shallow_clone()), cell(place + &step)];
        let shifts = [self.start.forward(&cells, around(&start)), self.end.forward(&cells, around(&end))];
        boxes + Tensor::stack(&shifts, 2)
    }
}
