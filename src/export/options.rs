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
    /// Makes the graph of the video tower's tokens too.
    pub tokens: Option<TokenGrid>,
    /// Licence of the weights, for the cards.
    pub licence: String,
    /// Replaces cards and graphs of the same names that were made of another checkpoint.
    pub force: bool,
}

/// How fine the maps are that tokens make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenGrid {
    /// A place for each patch.
    Patches,
    /// So many places along a side, each the mean of a square of patches.
    Places(usize),
}
