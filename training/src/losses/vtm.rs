//! Video-text matching (VTM): pairs of a sentence and a clip, half of them matching, the others hard negatives.
//!
//! Source: Li et al., "Align before Fuse", 2021, section 3.2, as EgoVLPv2 (2023, section 3.3) has it.
//!
//! Not for the loss, which is [`classification`](fn@super::classification), nor for the rows themselves: pairs are numbers
//! of gathered rows. A negative replaces the clip or the sentence of a local row, never both.

use egofx::compat::Compat;
use rand_xoshiro::rand_core::Rng;
use tch::{Kind, Tensor};

use crate::rng::{shuffle, unit};

/// What every row weighs at least: if all are positives, one of them is drawn after all.
const LEAST_WEIGHT: f64 = 1e-9;
/// Above this the coin replaces the clip.
const FAIR: f64 = 0.5;

/// The pairs of a rank, each `[count]`, 64-bit integers.
#[derive(Debug)]
pub struct VtmPairs {
    /// 1 where clip and sentence belong together, else 0.
    pub labels: Tensor,
    /// The row of the clip among the gathered ones.
    pub video_index: Tensor,
    /// The row of the sentence.
    pub text_index: Tensor,
}

/// How likely a row is drawn as negative, `[count, N]` both.
#[derive(Debug)]
pub struct NegativeWeights {
    /// As clip, for each local sentence.
    pub videos: Tensor,
    /// As sentence, for each local clip.
    pub texts: Tensor,
}

/// What was drawn for a local row without a match.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HardNegative {
    /// From 0 to 1: above one half the clip is replaced, else the sentence.
    pub coin: f64,
    /// The gathered row that replaces it.
    pub row: usize,
}

/// Pairs for the `count` local rows from `first` on, of which the first half matches, in random order.
///
/// `sim` holds the cosines `[N, N]` of all gathered sentences (rows) with all gathered clips, `positives` which of
/// these pairs are true. No gradient flows. The weights of the local rows are fetched from the device.
pub fn mine_hard_negatives(
    sim: &Tensor,
    positives: &Tensor,
    first: usize,
    count: usize,
    temperature: f64,
    compat: Compat,
    draw: &mut impl Rng,
) -> VtmPairs {
    let [videos, texts] = fetched(&negative_weights(sim, positives, first, count, temperature, compat));
    let mut permutation: Vec<usize> = (0..count).collect();
    shuffle(&mut permutation, draw);
    let columns = videos.len().checked_div(count).unwrap_or_default();
    let mut pick = |row: usize| {
        let coin = unit(draw);
        let table = if coin > FAIR { &videos } else { &texts };
        HardNegative { coin, row: weighted(&table[row * columns..][..columns], unit(draw)) }
    };
    let unmatched = (0..count).filter(|row| !matches(count, permutation[*row]));
    let picks: Vec<HardNegative> = unmatched.map(&mut pick).collect();
    let pairs = vtm_pairs(first, &permutation, &picks);
    let there = |values: Tensor| values.to_device(sim.device());
    VtmPairs { labels: there(pairs.labels), video_index: there(pairs.video_index), text_index: there(pairs.text_index) }
}

/// The weights of the negatives: along each row the softmax of similarities over the temperature, 0 at positives, plus
/// 1e-9.
///
/// As released the two tables are swapped: the clip that replaces a sentence's own is drawn by how alike that own clip
/// is to the other *sentences*, and the other way round. `fixed` draws it by how alike the sentence is to the other
/// clips.
pub fn negative_weights(
    sim: &Tensor,
    positives: &Tensor,
    first: usize,
    count: usize,
    temperature: f64,
    compat: Compat,
) -> NegativeWeights {
    let table = |sim: &Tensor, positives: &Tensor| {
        let [sim, positives] = [sim, positives].map(|table| table.narrow(0, first as i64, count as i64));
        let shares = (sim.detach() / temperature).softmax(1, None::<Kind>);
        shares.masked_fill(&positives, 0.0) + LEAST_WEIGHT
    };
    let of_sentences = table(sim, positives);
    let of_clips = table(&sim.tr(), &positives.tr());
    match compat {
        Compat::AsReleased => NegativeWeights { videos: of_clips, texts: of_sentences },
        Compat::Fixed => NegativeWeights { videos: of_sentences, texts: of_clips },
    }
}

/// Which rows match: `permutation` puts ⌊n/2⌋ ones and then zeros into another order.
pub fn vtm_labels(permutation: &[usize]) -> Vec<i64> {
    permutation.iter().map(|&place| i64::from(matches(permutation.len(), place))).collect()
}

fn matches(count: usize, place: usize) -> bool {
    place < count / 2
}

/// The pairs that follow from what was drawn, on the CPU; `picks` has one for each row that does not match, in order.
pub fn vtm_pairs(first: usize, permutation: &[usize], picks: &[HardNegative]) -> VtmPairs {
    let labels = vtm_labels(permutation);
    let mut video: Vec<i64> = (first as i64..).take(labels.len()).collect();
    let mut text = video.clone();
    let unmatched = (0..labels.len()).filter(|&row| labels[row] == 0);
    for (row, pick) in unmatched.zip(picks) {
        let replaced = if pick.coin > FAIR { &mut video } else { &mut text };
        replaced[row] = pick.row as i64;
    }
    let [labels, video_index, text_index] = [labels, video, text].map(|values| Tensor::from_slice(&values));
    VtmPairs { labels, video_index, text_index }
}

/// Both tables, row by row.
fn fetched(weights: &NegativeWeights) -> [Vec<f32>; 2] {
    [&weights.videos, &weights.texts].map(|table| {
        let flat = table.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous();
        let mut values = vec![0f32; flat.numel()];
        let length = values.len();
        flat.copy_data(&mut values, length);
        values
    })
}

/// The place that `point` (0 to 1) falls on, where places are as wide as their weights.
fn weighted(weights: &[f32], point: f64) -> usize {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let mut left = point * total;
    for (place, &weight) in weights.iter().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return place;
        }
    }
    weights.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_drawn_by_their_weights() {
        let weights = [1.0, 0.0, 2.0, 1.0];
        let places = [0.0, 0.24, 0.25, 0.74, 0.75, 0.999].map(|point| weighted(&weights, point));
        assert_eq!(places, [0, 0, 2, 2, 3, 3]);
        assert_eq!(weighted(&[1e-9], 0.99999), 0);
    }
}
