//! The ranges that an int8 graph quantizes by, from what probing graphs gave on sample inputs.
//!
//! Not for running them, nor for which inputs those are. Invariant: a range holds 0, and lies within the extremes that were
//! found.

use std::collections::BTreeMap;

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

/// `extremes`, each clipped where that costs least, of graphs that gave the errors of all [`CLIPS`] as `errors.<name>`.
pub fn of_least_error(extremes: &Ranges, found: &[Outputs]) -> Ranges {
    let mut errors: BTreeMap<&str, [f64; CLIPS.len()]> = BTreeMap::new();
    for (name, values) in found.iter().flatten() {
        let Some(name) = name.strip_prefix("errors.") else { continue };
        let sums = errors.entry(name).or_insert([0.0; CLIPS.len()]);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let least = |tensor: &String| {
        let sums = errors.get(tensor.as_str())?;
        CLIPS.iter().zip(sums).min_by(|a, b| a.1.total_cmp(b.1)).map(|(clip, _)| *clip)
    };
    let of = |(tensor, range): (&String, &(f32, f32))| (tensor.clone(), clipped(*range, least(tensor).unwrap_or(1.0)));
    extremes.iter().map(of).collect()
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
            let of = |name: &str, best: usize| {
                (format!("errors.{name}"), (0..CLIPS.len()).map(|i| i.abs_diff(best) as f32).collect())
            };
            vec![of("x", x), of("y", y), ("class".into(), vec![9.0])]
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
