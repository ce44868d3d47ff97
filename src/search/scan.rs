//! One pass over all rows of an index, on all cores: the best score of each block of rows.
//!
//! Not for which rows these are, which `ranked` asks again of the few blocks that matter: so that neither many rows nor many queries
//! take memory. Invariant: every score of a block is at most [`SLACK`] above its bound.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::index::Index;
use super::kernel::Kernel;
use super::layout::HALF;

/// Rows of a block.
pub const BLOCK: usize = 256;
/// How far two ways of summing a product of unit vectors may be apart.
pub const SLACK: f32 = 1e-5;
/// Blocks that a thread takes at a time.
const TASK: usize = 32;
/// Blocks that are multiplied at a time by a batch of queries.
const PRODUCT: usize = 2;

/// Bounds of all blocks for one query of `stride` values.
pub fn bounds(index: &Index, query: &[f32]) -> Vec<f32> {
    let (kernel, row) = (Kernel::best(), index.stride() * HALF);
    let task = |rows: &[u8]| {
        let mut scores = [0.0; BLOCK];
        let best = |block: &[u8]| {
            let scores = &mut scores[..block.len() / row];
            kernel.scores(block, query, scores);
            highest(scores)
        };
        rows.chunks(BLOCK * row).map(best).collect::<Vec<f32>>()
    };
    index.matrix().par_chunks(TASK * BLOCK * row).flat_map_iter(task).collect()
}

/// Bounds of all blocks for each of `queries` `[queries, stride]`: `[queries, blocks]`.
pub fn bounds_of_batch(index: &Index, queries: ArrayView2<f32>) -> Array2<f32> {
    let (stride, count) = (index.stride(), queries.nrows());
    let columns = queries.t().as_standard_layout().into_owned();
    let task = |rows: &[u8]| {
        let mut product = Product::new(stride, count);
        rows.chunks(PRODUCT * BLOCK * stride * HALF)
            .flat_map(|rows| product.bounds(rows, columns.view()))
            .collect::<Vec<f32>>()
    };
    let by_block: Vec<f32> = index.matrix().par_chunks(TASK * BLOCK * stride * HALF).flat_map_iter(task).collect();
    let by_block = Array2::from_shape_vec((by_block.len() / count.max(1), count), by_block);
    by_block.expect("as many bounds for each block as there are queries").reversed_axes()
}

/// Room for a few blocks in single precision, and for their scores.
struct Product {
    rows: Array2<f32>,
    scores: Array2<f32>,
}

impl Product {
    fn new(stride: usize, queries: usize) -> Self {
        let rows = PRODUCT * BLOCK;
        Self { rows: Array2::zeros((rows, stride)), scores: Array2::zeros((rows, queries)) }
    }

    /// Bounds of the blocks of `rows`, for all columns of `queries` `[stride, queries]`: block by block.
    fn bounds(&mut self, rows: &[u8], queries: ArrayView2<f32>) -> Vec<f32> {
        let count = rows.len() / (queries.nrows() * HALF);
        let mut wide = self.rows.slice_mut(s![..count, ..]);
        Kernel::best().widen(rows, wide.as_slice_mut().expect("rows behind one another"));
        let mut scores = self.scores.slice_mut(s![..count, ..]);
        general_mat_mul(1.0, &wide, &queries, 0.0, &mut scores);
        let mut bounds = Vec::with_capacity(count.div_ceil(BLOCK) * queries.ncols());
        for block in scores.axis_chunks_iter(Axis(0), BLOCK) {
            let first = bounds.len();
            bounds.resize(first + queries.ncols(), f32::NEG_INFINITY);
            for row in block.outer_iter() {
                bounds[first..].iter_mut().zip(row).for_each(|(bound, score)| *bound = bound.max(*score));
            }
        }
        bounds
    }
}

/// A NaN, which no row that was written has, is below all.
fn highest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
