//! Spans out of VSLNet's logits.
//!
//! Not for scoring them. Invariant: `first <= last`, and both lie in the clip.

use tch::{Device, Kind, Tensor};

/// How many spans the benchmark takes of a query.
pub const SPANS: usize = 5;

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

/// The likeliest spans of each row of the logits `[B, L]`, likeliest first; of equals the one that starts first, then
/// the one that ends first. `lengths` are the positions of each clip.
///
/// A clip of one or two positions has fewer than [`SPANS`] spans, and what fills up the list are spans into the
/// padding, cut to the clip; the original fails there. A batch of so few positions gives as many as there are.
pub fn top_spans(start_logits: &Tensor, end_logits: &Tensor, lengths: &[usize]) -> Vec<Vec<Span>> {
    let [starts, ends] = [start_logits, end_logits].map(probabilities);
    let rows = starts.iter().zip(&ends).zip(lengths);
    rows.map(|((starts, ends), &length)| row_spans(starts, ends, length)).collect()
}

/// Softmax of `[B, L]`, row by row.
fn probabilities(logits: &Tensor) -> Vec<Vec<f32>> {
    let (length, softmax) = (logits.size()[1] as usize, logits.softmax(1, Kind::Float));
    let values = softmax.to_device(Device::Cpu).flatten(0, -1);
    let mut flat = vec![0.0; values.numel()];
    values.copy_data(&mut flat, values.numel());
    flat.chunks(length).map(<[f32]>::to_vec).collect()
}

fn row_spans(starts: &[f32], ends: &[f32], length: usize) -> Vec<Span> {
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
    use super::*;

    fn ends(spans: &[Span]) -> Vec<(usize, usize)> {
        spans.iter().map(|span| (span.first, span.last)).collect()
    }

    #[test]
    fn of_equals_the_first_comes_first() {
        let logits = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu));
        let spans = &top_spans(&logits, &logits, &[4])[0];
        assert_eq!(ends(spans), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1)]);
        assert!(spans.iter().all(|span| span.score == 0.0625));
    }

    #[test]
    fn no_span_ends_before_it_starts() {
        let (start, end) = (Tensor::from_slice2(&[[0f32, 0.0, 9.0]]), Tensor::from_slice2(&[[9f32, 0.0, 0.0]]));
        let spans = &top_spans(&start, &end, &[3])[0];
        assert!(spans.iter().all(|span| span.first <= span.last));
        assert_eq!(spans.len(), SPANS);
    }

    #[test]
    fn spans_of_a_short_clip_are_cut_to_it() {
        let logits = Tensor::from_slice2(&[[1f32, 0.0, -1e30, -1e30]]);
        let spans = &top_spans(&logits, &logits, &[2])[0];
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
