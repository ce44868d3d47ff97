//! The ranges that an int8 graph quantizes by, from what probing graphs gave on sample inputs.
//!
//! Not for running them, nor for which inputs those are. Invariant: a range holds 0, and lies within the extremes that were
//! found.

use super::graph::{CLIPS, Ranges, clipped};
use crate::backbone::Outputs;

/// The lowest and highest number of each tensor, of graphs that gave `min.<name>` and `max.<name>`.
pub fn extremes(found: &[Outputs]) -> Ranges {
    let mut ranges = Ranges::new();
    for (name, values) in found.iter().flatten() {
        let Some((side, name)) = name.split_once('.') else { continue };
        let value = values.first().copied().unwrap_or(f32::NAN);
        let range = ranges.entry(name.to_owned()).or_insert((0.0_f32, 0.0_f32));
        match side {
            "min" => range.0 = range.0.min(value),
            "max" => range.1 = range.1.max(value),
            _ => {}
        }
    }
    ranges
}

/// `extremes`, each clipped where that costs least, of graphs that gave the error of clip i as `<i>.<name>`.
pub fn of_least_error(extremes: &Ranges, found: &[Outputs]) -> Ranges {
    let error = |tensor: &str, i: usize| {
        let name = format!("{i}.{tensor}");
        let of =
            |outputs: &Outputs| outputs.iter().filter(|output| output.0 == name).map(|output| output.1[0]).sum::<f32>();
        found.iter().map(|outputs| f64::from(of(outputs))).sum::<f64>()
    };
    let least = |tensor: &str| {
        let errors = CLIPS.iter().enumerate().map(|(i, clip)| (error(tensor, i), *clip));
        errors.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(1.0, |(_, clip)| clip)
    };
    extremes.iter().map(|(tensor, range)| (tensor.clone(), clipped(*range, least(tensor)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(values: &[(&str, f32)]) -> Outputs {
        values.iter().map(|(name, value)| ((*name).to_owned(), vec![*value])).collect()
    }

    #[test]
    fn extremes_are_those_of_all_inputs_and_hold_zero() {
        let found = [
            outputs(&[("min.a/b.1", -1.0), ("max.a/b.1", 2.0), ("min.c", 0.5), ("max.c", 3.0), ("class", 9.0)]),
            outputs(&[("min.a/b.1", -4.0), ("max.a/b.1", 1.0), ("min.c", 0.25), ("max.c", 2.0), ("class", 9.0)]),
        ];
        assert_eq!(extremes(&found), Ranges::from([("a/b.1".into(), (-4.0, 2.0)), ("c".into(), (0.0, 3.0))]));
    }

    #[test]
    fn a_tensor_is_clipped_where_its_errors_over_all_inputs_are_least() {
        let ranges = Ranges::from([("x".into(), (-0.5, 10.0)), ("y".into(), (-2.0, 1.0))]);
        let error = |x: usize, y: usize| -> Outputs {
            let of = |name: &str, best: usize| -> Outputs {
                (0..CLIPS.len()).map(|i| (format!("{i}.{name}"), vec![i.abs_diff(best) as f32])).collect()
            };
            [of("x", x), of("y", y)].concat()
        };
        let found = of_least_error(&ranges, &[error(5, 0), error(5, 0), error(8, 0)]);
        assert_eq!(found, Ranges::from([("x".into(), (-0.5, 10.0 * CLIPS[5])), ("y".into(), (-2.0, 1.0))]));
    }

    #[test]
    fn clipping_is_by_magnitude_and_nothing_is_ever_beyond_the_extremes() {
        assert_eq!(clipped((-0.25, 4.0), 0.5), (-0.25, 2.0));
        assert_eq!(clipped((-4.0, 4.0), 0.25), (-1.0, 1.0));
        assert_eq!(clipped((1.0, 4.0), 1.0), (0.0, 4.0));
        assert_eq!(clipped((0.0, 0.0), 0.5), (0.0, 0.0));
    }
}
