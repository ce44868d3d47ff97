//! Tokens and masks of clips on coarser and finer grids; the class token stands first and stays as it is.
//!
//! Not for what is computed on a grid. Invariant: a patch of a coarse grid covers two by two of the fine one, and what
//! is pooled is the largest value of each channel.

use tch::Tensor;

/// `x` `[B, 1 + F * side², D]` pooled two by two: `[B, 1 + F * side² / 4, D]`.
pub(super) fn halved(x: &Tensor, side: i64) -> Tensor {
    on_patches(x, |patches| {
        let (batch, width) = (patches.size()[0], patches.size()[2]);
        let quads = patches.reshape([-1, side / 2, 2, side / 2, 2, width]);
        quads.amax([2, 4], false).view([batch, -1, width])
    })
}

/// `x` `[B, 1 + F * side² / 4, D]` with each patch four times: `[B, 1 + F * side², D]`.
pub(super) fn doubled(x: &Tensor, side: i64) -> Tensor {
    on_patches(x, |patches| spread(patches, side))
}

/// The same of patches without a class token.
pub(super) fn spread(patches: &Tensor, side: i64) -> Tensor {
    let (batch, width, half) = (patches.size()[0], patches.size()[2], side / 2);
    let apart = patches.reshape([-1, half, 1, half, 1, width]);
    apart.expand([-1, half, 2, half, 2, width], false).reshape([batch, -1, width])
}

/// `x` `[B, 1 + F * patches, D]` with one token per frame: `[B, 1 + F, D]`.
pub(super) fn of_frames(x: &Tensor, patches: i64) -> Tensor {
    on_patches(x, |all| {
        let size = all.size();
        all.reshape([size[0], -1, patches, size[2]]).amax([2], false)
    })
}

/// `x` `[B, N, D]` with one token beside the class token: `[B, 2, D]`.
pub(super) fn of_clip(x: &Tensor) -> Tensor {
    on_patches(x, |all| all.amax([1], true))
}

fn on_patches(x: &Tensor, change: impl Fn(&Tensor) -> Tensor) -> Tensor {
    Tensor::cat(&[x.narrow(1, 0, 1), change(&x.narrow(1, 1, x.size()[1] - 1))], 1)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn values(x: &Tensor) -> Vec<i64> {
        Vec::try_from(x.to_kind(Kind::Int64).flatten(0, -1)).unwrap()
    }

    /// Class token 99, then two frames of 4 x 4 patches numbered from 0.
    fn clip() -> Tensor {
        let patches = Tensor::arange(32, (Kind::Float, Device::Cpu));
        Tensor::cat(&[Tensor::from_slice(&[99.0f32]), patches], 0).view([1, 33, 1])
    }

    #[test]
    fn grids_are_pooled_in_squares_within_their_frame() {
        let half = halved(&clip(), 4);
        assert_eq!(values(&half), [99, 5, 7, 13, 15, 21, 23, 29, 31]);
        assert_eq!(values(&of_frames(&half, 4)), [99, 15, 31]);
        assert_eq!(values(&of_clip(&of_frames(&half, 4))), [99, 31]);
    }

    #[test]
    fn a_doubled_grid_repeats_rows_and_columns() {
        let double = doubled(&halved(&clip(), 4), 4);
        assert_eq!(values(&double)[..17], [99, 5, 5, 7, 7, 5, 5, 7, 7, 13, 13, 15, 15, 13, 13, 15, 15]);
        assert_eq!(values(&halved(&double, 4)), values(&halved(&clip(), 4)));
    }

    #[test]
    fn largest_values_are_taken_channel_by_channel() {
        let x = Tensor::cat(&[clip(), -clip()], 2);
        assert_eq!(values(&of_clip(&x)), [99, -99, 31, 0]);
    }
}
