//! Rankings: by descending score, equal scores in their given order.
//!
//! Not for scores that cannot be compared: NaN stands behind everything else here, and readers refuse it. The rule for
//! equal scores is ours; the originals sort unstably.

use std::cmp::Ordering;

/// Highest first; NaN last.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The places of `0..len` by descending score.
pub(super) fn order(len: usize, score: impl Fn(usize) -> f64) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> = (0..len).map(|place| (score(place), place)).collect();
    ranked.sort_unstable_by(|a, b| descending(a.0, b.0).then(a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, place)| place).collect()
}

/// The place of the highest score, the first of several; NaN counts as the highest, as in numpy and torch.
pub(super) fn argmax(scores: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, score) in scores.into_iter().enumerate() {
        match best {
            Some((_, highest)) if highest.is_nan() || score <= highest => {}
            _ => best = Some((place, score)),
        }
    }
    best.map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_keep_their_order() {
        let scores = [0.5, 0.8, f64::NAN, 0.8, f64::NEG_INFINITY, 0.5];
        assert_eq!(order(scores.len(), |place| scores[place]), [1, 3, 0, 5, 4, 2]);
    }

    #[test]
    fn the_first_of_several_highest_wins_and_nan_wins_over_all() {
        assert_eq!(argmax([0.3, 0.7, 0.7]), Some(1));
        assert_eq!(argmax([0.3, f64::NAN, 0.7]), Some(1));
        assert_eq!(argmax([]), None);
    }
}
