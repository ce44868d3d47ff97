//! Rows of an index from the highest score on, as many as are asked for.
//!
//! Not for scanning: it is given a bound for each block of rows and looks into those blocks alone that can hold the next row.
//! Invariant: rows come by their scores, and of equal scores by their place in the index.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::index::Index;
use super::kernel::Kernel;
use super::layout::HALF;
use super::scan::{BLOCK, SLACK};

/// What is left of an index, best first.
pub struct Ranked<'i> {
    index: &'i Index,
    query: &'i [f32],
    left: BinaryHeap<Left>,
}

/// A row with its score, or a block with the most that one of its rows can have.
struct Left {
    score: f32,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Row(usize),
    Block(usize),
}

impl Ord for Left {
    /// Blocks come before rows that score the same, for they may hold earlier ones; early rows before late ones.
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| match (&self.what, &other.what) {
            (What::Row(one), What::Row(another)) => another.cmp(one),
            (one, another) => one.cmp(another),
        })
    }
}

impl PartialOrd for Left {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Left {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Left {}

impl<'i> Ranked<'i> {
    /// All rows of `index` by their product with `query`, whose `bounds` a scan has found.
    pub fn new(index: &'i Index, query: &'i [f32], bounds: impl Iterator<Item = f32>) -> Self {
        let block = |(block, bound): (usize, f32)| Left { score: bound + SLACK, what: What::Block(block) };
        Self { index, query, left: bounds.enumerate().map(block).collect() }
    }

    /// The score of one row.
    pub fn score(&self, row: usize) -> f32 {
        scores(self.index, self.query, row, row + 1)[0]
    }
}

impl Iterator for Ranked<'_> {
    type Item = (usize, f32);

    fn next(&mut self) -> Option<(usize, f32)> {
        loop {
            match self.left.pop()? {
                Left { score, what: What::Row(row) } => return Some((row, score)),
                Left { what: What::Block(block), .. } => {
                    let (first, end) = (block * BLOCK, ((block + 1) * BLOCK).min(self.index.rows()));
                    let rows = (first..end).zip(scores(self.index, self.query, first, end));
                    let sound = rows.filter(|(_, score)| !score.is_nan());
                    self.left.extend(sound.map(|(row, score)| Left { score, what: What::Row(row) }));
                }
            }
        }
    }
}

fn scores(index: &Index, query: &[f32], first: usize, end: usize) -> Vec<f32> {
    let (row, mut scores) = (index.stride() * HALF, vec![0.0; end - first]);
    Kernel::best().scores(&index.matrix()[first * row..end * row], query, &mut scores);
    scores
}
