//! VSLNet around its network: batches of queries, and spans out of the probabilities of their ends.
//!
//! Not for the network. A clip's positions are its rows, or means of them where there are more rows than positions. Invariant of
//! spans: `first <= last`, and both lie in the clip.

use ndarray::{ArrayView1, ArrayView2};

use super::error::HeadError;
use super::nlq::Nlq;
use super::padded::{Padded, padded};
use crate::labels::nlq::NlqLabel;
use crate::metric::Window;

/// How many spans the benchmark takes of a query.
pub const SPANS: usize = 5;

/// Queries that are computed together.
pub struct Batch {
    /// Their numbers.
    pub samples: Vec<usize>,
    /// Where their windows lie among the positions of their clips.
    pub places: Vec<NlqLabel>,
    /// Rows of the clips.
    pub video: Padded,
    /// Tokens of the queries.
    pub query: Padded,
}

impl Batch {
    /// Reads the rows and tokens of at least one sample.
    ///
    /// # Errors
    /// Features that cannot be read.
    pub fn read(task: &Nlq, samples: &[usize]) -> Result<Self, HeadError> {
        let rows = samples.iter().map(|&number| task.rows(number)).collect::<Result<Vec<_>, _>>()?;
        let places = samples.iter().zip(&rows).map(|(&number, rows)| task.place(number, rows.nrows())).collect();
        let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
        let tokens: Vec<_> = samples.iter().map(|&number| task.tokens(number)).collect();
        let token_views: Vec<_> = tokens.iter().map(|tokens| tokens.values.view()).collect();
        let (dim, token_dim) = (views[0].ncols(), token_views[0].ncols());
        Ok(Self {
            samples: samples.to_vec(),
            places,
            video: padded(&views, dim, |_, _| true),
            query: padded(&token_views, token_dim, |number, row| !tokens[number].padded[row]),
        })
    }

    /// The best spans of each query as windows in seconds, of the probabilities `[B, L]` of each position to be the start or the
    /// end.
    pub fn windows(&self, starts: ArrayView2<f32>, ends: ArrayView2<f32>) -> Vec<(usize, Vec<Window>)> {
        let lengths: Vec<usize> = self.places.iter().map(|place| place.v_len).collect();
        let spans = top_spans(starts, ends, &lengths);
        let windows = spans.iter().zip(&self.places).map(|(spans, place)| {
            let seconds = spans.iter().map(|span| span.seconds(place.v_len, place.duration).map(f64::from));
            seconds.map(Window::from).collect()
        });
        self.samples.iter().copied().zip(windows).collect()
    }
}

/// Positions of a clip, both inclusive, and how likely they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// First position.
    pub first: usize,
    /// Last position.
    pub last: usize,
    /// Product of the probabilities of the ends.
    pub score: f32,
}

impl Span {
    /// `[start, end]` in seconds, in a clip of `length` positions and `duration_sec` seconds; reckoned in single
    /// precision, as the original does.
    pub fn seconds(&self, length: usize, duration_sec: f64) -> [f32; 2] {
        [self.first, self.last + 1].map(|step| step as f32 / length as f32 * duration_sec as f32)
    }
}

/// The likeliest spans of each row of the probabilities `[B, L]`, likeliest first; of equals the one that starts first, then
/// the one that ends first. `lengths` are the positions of each clip.
///
/// A clip of one or two positions has fewer than [`SPANS`] spans, and what fills up the list are spans into the
/// padding, cut to the clip; the original fails there. A batch of so few positions gives as many as there are.
pub fn top_spans(starts: ArrayView2<f32>, ends: ArrayView2<f32>, lengths: &[usize]) -> Vec<Vec<Span>> {
    let rows = starts.outer_iter().zip(ends.outer_iter()).zip(lengths);
    rows.map(|((starts, ends), &length)| row_spans(starts, ends, length)).collect()
}

fn row_spans(starts: ArrayView1<f32>, ends: ArrayView1<f32>, length: usize) -> Vec<Span> {
    let mut best: Vec<Span> = Vec::with_capacity(SPANS + 1);
    for (first, start) in starts.iter().enumerate() {
        for (last, end) in ends.iter().enumerate().skip(first) {
            insert(&mut best, Span { first, last, score: start * end });
        }
    }
    let cut = |position: usize| position.min(length.saturating_sub(1));
    best.iter().map(|span| Span { first: cut(span.first), last: cut(span.last), ..*span }).collect()
}

/// Keeps `best` the best so far; a later span comes after its equals.
fn insert(best: &mut Vec<Span>, span: Span) {
    if best.len() == SPANS && span.score <= best[SPANS - 1].score {
        return;
    }
    let place = best.partition_point(|known| known.score >= span.score);
    best.insert(place, span);
    best.truncate(SPANS);
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn ends(spans: &[Span]) -> Vec<(usize, usize)> {
        spans.iter().map(|span| (span.first, span.last)).collect()
    }

    #[test]
    fn of_equals_the_first_comes_first() {
        let even = Array2::from_elem((1, 4), 0.25);
        let spans = &top_spans(even.view(), even.view(), &[4])[0];
        assert_eq!(ends(spans), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1)]);
        assert!(spans.iter().all(|span| span.score == 0.0625));
    }

    #[test]
    fn no_span_ends_before_it_starts() {
        let (start, end) = (array![[0.01f32, 0.01, 0.98]], array![[0.98f32, 0.01, 0.01]]);
        let spans = &top_spans(start.view(), end.view(), &[3])[0];
        assert!(spans.iter().all(|span| span.first <= span.last));
        assert_eq!(spans.len(), SPANS);
    }

    #[test]
    fn spans_of_a_short_clip_are_cut_to_it() {
        let probabilities = array![[0.7f32, 0.3, 0.0, 0.0]];
        let spans = &top_spans(probabilities.view(), probabilities.view(), &[2])[0];
        assert_eq!(ends(spans), [(0, 0), (0, 1), (1, 1), (0, 1), (0, 1)]);
        assert_eq!((spans[3].score, spans[4].score), (0.0, 0.0));
    }

    #[test]
    fn seconds_are_single_precision_steps() {
        let span = Span { first: 1, last: 2, score: 0.0 };
        assert_eq!(span.seconds(256, 480.0), [1.875, 5.625]);
        let third = 1.0f32 / 3.0 * 10.0;
        assert_eq!(span.seconds(3, 10.0)[0], third);
    }
}
