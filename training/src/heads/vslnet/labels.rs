//! What VSLNet should say of a query: the positions of its window, and those to highlight.
//!
//! Not for where a window lies among a clip's positions; that is [`NlqLabel`]. Invariant: both ends lie in the highlight.

use std::ops::RangeInclusive;

use egofx::labels::nlq::NlqLabel;

/// How far the highlight reaches beyond either end of the window, as a part of the window's length.
const EXTENSION: f64 = 0.1;

/// The positions to highlight for a window `first..=last` in a clip of `length` positions. The extension is rounded
/// half to even, as Python does: a window of 5 has none, one of 15 and one of 25 have 2.
pub fn highlight(first: usize, last: usize, length: usize) -> RangeInclusive<usize> {
    let extension = (EXTENSION * (last - first + 1) as f64).round_ties_even() as usize;
    first.saturating_sub(extension)..=(last + extension).min(length - 1)
}

/// The labels of one query.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// First position.
    pub start: i64,
    /// Last position.
    pub end: i64,
    /// 1 at positions to highlight, else 0; one for each position of the batch.
    pub highlights: Vec<f32>,
}

impl Labels {
    /// Of a window at `place`, in a batch of `positions` positions, at least those of the clip.
    pub fn new(place: &NlqLabel, positions: usize) -> Self {
        let mut highlights = vec![0.0; positions];
        highlights[highlight(place.s_ind, place.e_ind, place.v_len)].fill(1.0);
        Self { start: place.s_ind as i64, end: place.e_ind as i64, highlights }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_rounded_half_to_even() {
        let extension = |length: usize| 100 - *highlight(100, 100 + length - 1, 500).start();
        assert_eq!([1, 4, 5, 6, 15, 25, 35].map(extension), [0, 0, 0, 1, 2, 2, 4]);
    }

    #[test]
    fn the_highlight_stays_in_the_clip() {
        assert_eq!(highlight(1, 20, 21), 0..=20);
        assert_eq!(highlight(0, 0, 1), 0..=0);
        assert_eq!(highlight(30, 49, 100), 28..=51);
    }

    #[test]
    fn labels_count_in_the_positions_of_the_clip_and_fill_those_of_the_batch() {
        let place = NlqLabel::new([160.0, 320.0], 900, 12);
        let labels = Labels::new(&place, 14);
        assert_eq!((labels.start, labels.end), (4, 7));
        assert_eq!(labels.highlights, [0., 0., 0., 0., 1., 1., 1., 1., 0., 0., 0., 0., 0., 0.]);
        let nothing = Labels::new(&NlqLabel::new([50.0, 50.0], 900, 12), 12);
        assert_eq!((nothing.start, nothing.end, nothing.highlights[0]), (0, 0, 1.0));
    }
}
