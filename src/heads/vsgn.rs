//! VSGN around its network: clips on its grid of cells, and proposals out of its boxes.
//!
//! Not for arithmetic of scores: they and suppression within classes are `metric::postprocess::vsgn`'s, which also makes a
//! submission of the proposals. A clip's cells are its rows; rows beyond the grid are cut off, as in the original.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use super::sources::Expected;
use crate::metric::postprocess::Proposal;
use crate::metric::postprocess::vsgn::{self, NetworkOutput};

/// What lies around the network, as the card of a graph has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The store of rows.
    pub features: Expected,
    /// Classes with background, which is class 0.
    pub classes: usize,
    /// The grid.
    pub grid: GridSettings,
}

/// The cells of the network, and what becomes of short clips.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSettings {
    /// Cells of the grid.
    pub length: usize,
    /// Whether short clips are followed by an enlarged copy of themselves (VSS).
    pub stitching: bool,
    /// Empty cells between a clip and its copy.
    pub stitch_gap: usize,
    /// Clips of at most this part of the grid are short.
    pub short_ratio: f64,
}

impl GridSettings {
    /// The grid of a clip of so many rows, `fps` a second.
    pub fn of(&self, rows: usize, fps: f64) -> Grid {
        Grid { length: self.length, num_cells: rows.min(self.length), fps }
    }

    /// The first cell of the copy of a clip of `num_cells`; `None` if it is not stitched to one.
    pub fn copy_from(&self, num_cells: usize) -> Option<usize> {
        let is_short = num_cells as f64 <= self.short_ratio * self.length as f64;
        (self.stitching && is_short).then_some(num_cells + self.stitch_gap)
    }

    /// The rows of a clip on its grid, `[length, dim]`.
    pub fn cells(&self, rows: ArrayView2<f32>, grid: &Grid) -> Array2<f32> {
        let dim = rows.ncols();
        let values: Vec<f32> = rows.iter().take(grid.num_cells * dim).copied().collect();
        let cells = match self.copy_from(grid.num_cells) {
            Some(_) => stitched_features(&values, dim, grid, self.stitch_gap),
            None => features(&values, dim, grid.length),
        };
        Array2::from_shape_vec((grid.length, dim), cells).expect("as many cells as the grid has")
    }
}

/// Where a clip lies on the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Cells of the grid.
    pub length: usize,
    /// Cells that hold the clip; the rest is padding.
    pub num_cells: usize,
    /// Cells a second.
    pub fps: f64,
}

/// Rows `[num_cells, dim]` on a grid `[length, dim]`: what is too long is cut off, the rest is 0.
pub fn features(rows: &[f32], dim: usize, length: usize) -> Vec<f32> {
    let mut grid = rows[..rows.len().min(length * dim)].to_vec();
    grid.resize(length * dim, 0.0);
    grid
}

/// Rows `[num_cells, dim]` of a short clip on a grid `[length, dim]`: the clip, `gap` empty cells, and the clip again,
/// enlarged to the grid's end.
pub fn stitched_features(rows: &[f32], dim: usize, grid: &Grid, gap: usize) -> Vec<f32> {
    let mut cells = features(&rows[..grid.num_cells * dim], dim, grid.length);
    let copy = copy(grid, gap);
    let last = grid.num_cells.saturating_sub(1);
    // Both ends stay where they are: linear interpolation with aligned corners, in single precision.
    let step = last as f32 / copy.len().saturating_sub(1).max(1) as f32;
    for (place, cell) in copy.enumerate() {
        let source = step * place as f32;
        let left = (source as usize).min(last);
        let (right, share) = ((left + 1).min(last), source - left as f32);
        for channel in 0..dim {
            let (a, b) = (rows[left * dim + channel], rows[right * dim + channel]);
            cells[cell * dim + channel] = (1.0 - share) * a + share * b;
        }
    }
    cells
}

/// The cells of a clip's copy.
pub fn copy(grid: &Grid, gap: usize) -> Range<usize> {
    (grid.num_cells + gap).min(grid.length)..grid.length
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

impl ClipOutput {
    /// The clip's proposals in seconds, class by class, best first.
    pub fn proposals(&self, grid: &Grid, settings: &GridSettings) -> Vec<Proposal> {
        vsgn::proposals(&NetworkOutput {
            boxes: self.boxes.view(),
            probabilities: self.probabilities.view(),
            starts: self.starts.view(),
            ends: self.ends.view(),
            num_cells: grid.num_cells,
            copy_from: settings.copy_from(grid.num_cells),
            fps: grid.fps,
        })
    }
}
