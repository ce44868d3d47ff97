//! What an export is to make.

use crate::backbone::GraphPrecision;

/// What an export is to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// Dims of an attention head; no tensor's shape tells.
    pub head_size: usize,
    /// Graphs of these precisions are made beside the fp32 ones.
    pub further: Vec<GraphPrecision>,
    /// Makes graphs for comparison with the original code too: float pixels in, inner states out.
    pub debug: bool,
    /// Licence of the weights, for the cards.
    pub licence: String,
    /// Replaces cards and graphs of the same names that were made of another checkpoint.
    pub force: bool,
}
