//! Which patches of a clip a question is asked about: a rectangle that grows, frame by frame, towards what the class
//! token looks at.
//!
//! Not for how scores come about in a block. Invariant: nothing here is differentiable, and a frame's patches are those
//! of the frame before with one more at most.

use egofx::compat::Compat;
use tch::Tensor;

use super::pyramid::spread;

/// Patches of the start rectangle's side on the published grid, and that grid's side.
const PUBLISHED: [i64; 2] = [10, 14];
/// What is added to the scores of the class token and of patches that were selected: the same for all, so without
/// effect.
const KEPT: f64 = 1.0;
/// What is taken off the scores of others is e to this power.
const DROPPED: f64 = 12.0;

/// The grid's size and what is made of the class token's scores on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    /// Patches of a frame's side; even.
    pub side: i64,
    pub compat: Compat,
}

impl Selection {
    /// Scores `[B, F, P]` of patches, from the class token's `fine` `[B, 1 + F * P]` and `coarse` `[B, 1 + F * P / 4]`
    /// over all tokens.
    ///
    /// The public code means to cut the class token off and cuts off the last patch: a patch has the score of the token
    /// before it. So does `as-released`.
    pub fn scores(self, fine: &Tensor, coarse: &Tensor) -> Tensor {
        let patches = self.side * self.side;
        let weights = |scores: &Tensor| scores.reshape([scores.size()[0], -1, patches]).softmax(2, None);
        let coarse = spread(&self.of_patches(coarse).unsqueeze(2), self.side);
        weights(&self.of_patches(fine)) + weights(&coarse)
    }

    fn of_patches(self, scores: &Tensor) -> Tensor {
        let from = i64::from(self.compat == Compat::Fixed);
        scores.narrow(1, from, scores.size()[1] - 1)
    }

    /// 1 for patches that are kept, else 0, `[B, F, P]`: in each frame the patch of the highest score joins those of
    /// the frame before if it touches one of them with a side.
    pub fn kept(self, scores: &Tensor) -> Tensor {
        let (batch, frames) = (scores.size()[0], scores.size()[1]);
        let best = scores.argmax(2, true);
        let best = scores.zeros_like().scatter_value(2, &best, 1.0);
        let best = best.view([batch, frames, 1, self.side, self.side]);
        let cross = Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]).to_device(scores.device());
        let cross = cross.view([1, 1, 3, 3]).to_kind(scores.kind());
        let mut kept = self.start(scores).expand([batch, 1, self.side, self.side], false);
        let mut all = Vec::new();
        for frame in 0..frames {
            let beside = kept.conv2d(&cross, None::<Tensor>, [1, 1], [1, 1], [1, 1], 1).gt(0.0);
            kept = kept.maximum(&(best.select(1, frame) * beside));
            all.push(kept.shallow_clone());
        }
        Tensor::cat(&all, 1).flatten(2, 3)
    }

    /// The first rectangle, `[1, 1, side, side]`: on the published grid of 14 the lower ten rows and the middle ten
    /// columns, on others as many in proportion, rounded.
    fn start(self, like: &Tensor) -> Tensor {
        let [part, whole] = PUBLISHED;
        let length = (self.side * part + whole / 2) / whole;
        let start = Tensor::zeros([1, 1, self.side, self.side], (like.kind(), like.device()));
        let _ = start.narrow(2, self.side - length, length).narrow(3, (self.side - length) / 2, length).fill_(1.0);
        start
    }
}

/// What is added to the scores of all tokens as keys, `[B, 1 + F * P]`, where `kept` `[B, F, P]` is 1 or 0.
pub(super) fn key_bias(kept: &Tensor) -> Tensor {
    let dropped = -DROPPED.exp();
    let patches = kept.flatten(1, 2) * (KEPT - dropped) + dropped;
    Tensor::cat(&[patches.narrow(1, 0, 1).full_like(KEPT), patches], 1)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tch::{Device, Kind};

    use super::*;

    const SELECTION: Selection = Selection { side: 14, compat: Compat::AsReleased };

    fn golden() -> Value {
        serde_json::from_str(include_str!("../../../tests/data/backbones/ppsa_selection.json")).unwrap()
    }

    fn of<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn golden_kept() -> Tensor {
        let best: Vec<Vec<i64>> = of(&golden()["argmax_per_frame"]);
        let best = Tensor::from_slice2(&best).unsqueeze(2);
        let scores = Tensor::zeros([2, 16, 196], (Kind::Float, Device::Cpu)).scatter_value(2, &best, 1.0);
        SELECTION.kept(&scores)
    }

    #[test]
    fn patches_are_kept_as_the_public_code_keeps_them() {
        let (golden, kept) = (golden(), golden_kept());
        let counts: Vec<Vec<i64>> = of(&golden["mask_count_per_frame"]);
        let found = kept.sum_dim_intlist(2, false, Kind::Int64);
        assert!(found.equal(&Tensor::from_slice2(&counts)), "{found:?}");
        let added: Vec<Vec<Vec<i64>>> = of(&golden["added_patch_per_frame"]);
        let mut before = SELECTION.start(&kept).flatten(0, -1).expand([2, 196], false);
        for frame in 0..16 {
            let now = kept.select(1, frame);
            for (clip, added) in added.iter().enumerate() {
                let new = (&now - &before).get(clip as i64).nonzero().flatten(0, -1);
                assert_eq!(Vec::<i64>::try_from(new).unwrap(), added[frame as usize], "clip {clip}, frame {frame}");
            }
            before = now;
        }
    }

    #[test]
    fn the_mask_has_the_public_codes_values() {
        let (golden, bias) = (golden(), key_bias(&golden_kept()));
        let number = |name: &str| golden[name].as_f64().unwrap();
        assert_eq!(bias.size(), [2, number("output_length") as i64]);
        assert_eq!(bias.double_value(&[0, 0]), number("cls_entry_value"));
        assert_eq!(bias.max().double_value(&[]), number("kept_additive_value"));
        assert_eq!(bias.double_value(&[0, 1]), number("dropped_additive_value"));
    }

    /// The start of a grid in rows of characters.
    fn start(side: i64) -> Vec<String> {
        let like = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let start = Selection { side, ..SELECTION }.start(&like).flatten(0, 2);
        let row = |row: i64| {
            (0..side).map(|column| if start.double_value(&[row, column]) > 0.0 { '#' } else { '.' }).collect()
        };
        (0..side).map(row).collect()
    }

    #[test]
    fn the_start_is_in_proportion_on_other_grids() {
        assert_eq!(start(14)[3], "..............");
        assert_eq!(start(14)[4], "..##########..");
        assert_eq!(start(4), ["....", "###.", "###.", "###."]);
        assert_eq!(start(2), ["..", "#."]);
        assert_eq!(start(6), ["......", "......", ".####.", ".####.", ".####.", ".####."]);
    }

    #[test]
    fn as_released_gives_each_patch_the_score_of_the_token_before_it() {
        // One frame of 2 x 2; the class token looks at itself, then at the last patch.
        let (fine, coarse) = (
            Tensor::from_slice(&[9.0f32, 0.0, 0.0, 0.0, 8.0]).unsqueeze(0),
            Tensor::from_slice(&[0f32, 0.0]).unsqueeze(0),
        );
        let best = |compat| Selection { side: 2, compat }.scores(&fine, &coarse).argmax(2, false).int64_value(&[0, 0]);
        assert_eq!(best(Compat::AsReleased), 0, "the class token's score of itself");
        assert_eq!(best(Compat::Fixed), 3);
    }

    #[test]
    fn scores_are_shares_of_the_patch_and_of_what_covers_it() {
        let selection = Selection { side: 2, compat: Compat::Fixed };
        let fine = Tensor::from_slice(&[7.0f32, 0.0, 0.0, 0.0, 3f32.ln(), 0.0, 0.0, 0.0, 0.0]).unsqueeze(0);
        let coarse = Tensor::from_slice(&[7.0f32, 1.0, 5.0]).unsqueeze(0);
        let scores = selection.scores(&fine, &coarse);
        assert_eq!(scores.size(), [1, 2, 4]);
        let expected = Tensor::from_slice(&[1f32 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 0.5, 0.25, 0.25, 0.25, 0.25]) + 0.25;
        assert!((scores.flatten(0, -1) - expected).abs().max().double_value(&[]) < 1e-6);
    }
}
