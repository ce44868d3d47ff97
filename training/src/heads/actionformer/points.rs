//! The points at which ActionFormer predicts, and the table of positions that is added to its input.
//!
//! Not for what is predicted there. Point `i` of level `l` lies at step `i * 2^l`, without half a stride.

use tch::{Device, Kind, Tensor};

/// Columns of the points: place, least and greatest distance to the ends of an event, stride.
pub const COLUMNS: i64 = 4;

/// The points of one level, `[length, 4]`; see [`COLUMNS`]. Places, distances and the stride are in steps of features.
pub fn of_level(level: usize, length: i64, range: [f64; 2], device: Device) -> Tensor {
    let options = (Kind::Float, device);
    let stride = f64::powi(2.0, level as i32);
    let column = |value: f64| Tensor::full([length], value, options);
    let places = Tensor::arange(length, options) * stride;
    Tensor::stack(&[places, column(range[0]), column(range[1]), column(stride)], 1)
}

/// The points of all levels, finest first, `[P, 4]`, for clips of `length` steps; a range for each level.
pub fn of_pyramid(length: i64, ranges: &[[f64; 2]], device: Device) -> Tensor {
    let level = |(level, range): (usize, &[f64; 2])| of_level(level, length >> level, *range, device);
    Tensor::cat(&ranges.iter().enumerate().map(level).collect::<Vec<_>>(), 0)
}

/// Which of these points lie within their clips, `[B, P]`, of a mask of steps `[B, 1, T]`.
pub fn masks(mask: &Tensor, levels: usize) -> Tensor {
    let level = |level: usize| mask.squeeze_dim(1).slice(1, 0, None, 1 << level);
    Tensor::cat(&(0..levels).map(level).collect::<Vec<_>>(), 1)
}

/// The sinusoids of Vaswani et al. (2017), section 3.5, over the root of the width: `[1, embed_dim, length]`.
pub(super) fn positions(length: i64, embed_dim: i64, device: Device) -> Tensor {
    let options = (Kind::Double, device);
    let pairs = Tensor::arange(embed_dim, options).divide_scalar_mode(2.0, "floor") * 2.0;
    let rates = (pairs * (-(10_000_f64.ln()) / embed_dim as f64)).exp().unsqueeze(1);
    let angles = rates * Tensor::arange(length, options);
    let odd = Tensor::arange(embed_dim, (Kind::Int64, device)).remainder(2).unsqueeze(1).eq(1);
    let table = angles.cos().where_self(&odd, &angles.sin()).to_kind(Kind::Float);
    (table / (embed_dim as f64).sqrt()).unsqueeze(0)
}

/// The first `length` steps of a table, or all of it stretched to a length beyond its own (linear, corners not
/// aligned).
pub(super) fn positions_at(table: &Tensor, length: i64) -> Tensor {
    if length <= table.size()[2] {
        return table.narrow(2, 0, length);
    }
    table.upsample_linear1d([length].as_slice(), false, None::<f64>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_sines_and_cosines_in_turn() {
        let table = positions(8, 6, Device::Cpu);
        assert_eq!(table.size(), [1, 6, 8]);
        for (channel, step) in [(0, 0), (1, 0), (2, 3), (3, 3), (5, 7)] {
            let angle = step as f64 / 10_000_f64.powf(f64::from(channel / 2 * 2) / 6.0);
            let expected = if channel % 2 == 0 { angle.sin() } else { angle.cos() } / 6_f64.sqrt();
            assert!((table.double_value(&[0, channel.into(), step]) - expected).abs() < 1e-7);
        }
    }

    #[test]
    fn clips_beyond_the_table_stretch_it() {
        let table = positions(64, 6, Device::Cpu);
        assert_eq!(positions_at(&table, 64), table);
        assert_eq!(positions_at(&table, 32), table.narrow(2, 0, 32));
        let stretched = positions_at(&table, 96);
        for step in [0_i64, 1, 50, 95] {
            let place = ((step as f64 + 0.5) * 64.0 / 96.0 - 0.5).max(0.0);
            let (left, share) = (place.floor() as i64, place.fract());
            let at = |step: i64| table.double_value(&[0, 2, step.min(63)]);
            let expected = at(left) * (1.0 - share) + at(left + 1) * share;
            assert!((stretched.double_value(&[0, 2, step]) - expected).abs() < 1e-6, "step {step}");
        }
    }
}
