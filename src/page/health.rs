//! What looks wrong with rows: values that never change, rows that come twice, norms out of line, values that are no numbers.
//!
//! Not for whether a store is sound, see `verify`. Invariant: every row of a store is looked at, and a finding names the first places.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use ndarray::{Array1, ArrayView1, Zip};

use super::time::clock;
use super::view::{Check, Histogram};

/// How many places a finding names.
const EXAMPLES: usize = 5;

/// Rows up to which twins are looked for: 64 MiB of hashes.
const MOST_HASHED: usize = 2 << 20;

/// Shares of the rows that have lower norms than the usual ones, and higher ones. A norm is out of line as far beyond these as they are apart: 5
/// standard deviations of a normal distribution.
const USUAL: [f64; 2] = [0.05, 0.95];

/// Bins of the histogram of norms.
const BINS: usize = 40;

/// Where a row is.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    /// The unit, by its number among those that were read.
    pub unit: usize,
    /// The row in it.
    pub row: usize,
    /// When it begins.
    pub sec: f64,
}

/// Looks at the rows of a store, one after the other.
#[derive(Default)]
pub(super) struct Health {
    /// Name and video of each.
    units: Vec<(String, String)>,
    dim: usize,
    least: Array1<f32>,
    greatest: Array1<f32>,
    norms: Vec<(f32, At)>,
    missing: Finding,
    not_numbers: Finding,
    zeros: Finding,
    twins: Finding,
    seen: HashMap<u64, At>,
    unreadable: Finding,
}

/// How often something was found, and where.
#[derive(Default)]
struct Finding {
    count: usize,
    examples: Vec<String>,
}

impl Finding {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }

    fn check(self, what: &'static str, is_wrong: bool) -> Check {
        Check { what, is_wrong: is_wrong && self.count > 0, count: self.count, examples: self.examples }
    }
}

impl Health {
    /// Of rows of `dim` features.
    pub fn new(dim: usize) -> Self {
        let (least, greatest) = (Array1::from_elem(dim, f32::INFINITY), Array1::from_elem(dim, f32::NEG_INFINITY));
        Self { dim, least, greatest, ..Self::default() }
    }

    /// Rows of another unit follow; gives its number.
    pub fn begin(&mut self, unit: &str, video: &str) -> usize {
        self.units.push((unit.to_owned(), video.to_owned()));
        self.units.len() - 1
    }

    /// A unit that is committed and cannot be read.
    pub fn unreadable(&mut self, why: String) {
        self.unreadable.add(|| why);
    }

    /// Takes a row, and says whether it has features.
    pub fn add(&mut self, at: At, is_missing: bool, row: ArrayView1<f32>) -> bool {
        let words = || words(&self.units, at);
        if is_missing {
            self.missing.add(words);
            return false;
        }
        if row.iter().any(|value| !value.is_finite()) {
            self.not_numbers.add(words);
            return false;
        }
        Zip::from(&mut self.least).and(&row).for_each(|least, &value| *least = least.min(value));
        Zip::from(&mut self.greatest).and(&row).for_each(|most, &value| *most = most.max(value));
        let norm = row.dot(&row).sqrt();
        if norm == 0.0 {
            self.zeros.add(words);
        } else {
            self.find_twin(at, row);
            self.norms.push((norm, at));
        }
        true
    }

    fn find_twin(&mut self, at: At, row: ArrayView1<f32>) {
        if self.seen.len() >= MOST_HASHED {
            return;
        }
        let mut hasher = DefaultHasher::new();
        row.iter().for_each(|value| hasher.write_u32(value.to_bits()));
        match self.seen.get(&hasher.finish()) {
            // Clips may overlap.
            Some(&first) if self.units[at.unit].1 == self.units[first.unit].1 && at.sec == first.sec => {}
            Some(&first) => {
                let (this, other) = (words(&self.units, at), words(&self.units, first));
                self.twins.add(|| format!("{this} is {other}"));
            }
            None => _ = self.seen.insert(hasher.finish(), at),
        }
    }

    /// What was found, and how long rows are.
    pub fn finish(self) -> (Vec<Check>, Histogram) {
        let (out_of_line, norms) = (self.out_of_line(), self.histogram());
        let fixed = self.dimensions(|least, _| least != 0.0);
        let dead = self.dimensions(|least, _| least == 0.0);
        let twins_of =
            if self.seen.len() >= MOST_HASHED { "equal rows, among the first 2 million" } else { "equal rows" };
        let checks = vec![
            self.unreadable.check("units that cannot be read", true),
            self.not_numbers.check("rows with NaN or infinity", true),
            self.missing.check("rows that are missing", true),
            self.zeros.check("rows of zeros", true),
            dead.check("dimensions that are always 0", true),
            fixed.check("dimensions that never change", true),
            self.twins.check(twins_of, true),
            out_of_line.check("rows whose norm is out of line", true),
        ];
        (checks, norms)
    }

    /// Dimensions with one value in all rows, which `is_wanted`.
    fn dimensions(&self, is_wanted: impl Fn(f32, f32) -> bool) -> Finding {
        let mut found = Finding::default();
        // One row says nothing.
        if self.norms.len() + self.zeros.count < 2 {
            return found;
        }
        for dim in 0..self.dim {
            let (least, greatest) = (self.least[dim], self.greatest[dim]);
            if least == greatest && is_wanted(least, greatest) {
                found.add(|| format!("dimension {dim}: {least}"));
            }
        }
        found
    }

    fn out_of_line(&self) -> Finding {
        let mut found = Finding::default();
        let sorted = self.sorted_norms();
        let Some(last) = sorted.len().checked_sub(1) else { return found };
        let [low, high] = USUAL.map(|share| sorted[(share * last as f64) as usize]);
        // Norms that were made equal differ by rounding alone.
        let room = (high - low).max(0.01 * high);
        for (norm, at) in &self.norms {
            if f64::from(*norm) < low - room || f64::from(*norm) > high + room {
                found.add(|| {
                    format!("{}: {norm:.3}, the usual ones are {low:.3} to {high:.3}", words(&self.units, *at))
                });
            }
        }
        found
    }

    fn sorted_norms(&self) -> Vec<f64> {
        let mut norms: Vec<f64> = self.norms.iter().map(|(norm, _)| f64::from(*norm)).collect();
        norms.sort_by(f64::total_cmp);
        norms
    }

    fn histogram(&self) -> Histogram {
        let norms = self.sorted_norms();
        let (Some(&least), Some(&greatest)) = (norms.first(), norms.last()) else { return Histogram::default() };
        // Of norms that are all the same, rounding makes no landscape.
        let width = ((greatest - least) / BINS as f64).max(1e-4 * greatest);
        let bins = (((greatest - least) / width) as usize + 1).min(BINS);
        let mut counts = vec![0; bins];
        norms.iter().for_each(|norm| counts[(((norm - least) / width) as usize).min(bins - 1)] += 1);
        let digits = (1.0 - width.log10()).ceil().clamp(0.0, 9.0) as usize;
        let labels = (0..bins).map(|bin| format!("{:.digits$}", least + (bin as f64 + 0.5) * width)).collect();
        Histogram { labels, counts }
    }
}

fn words(units: &[(String, String)], at: At) -> String {
    let unit = units.get(at.unit).map_or("", |(unit, _)| unit);
    format!("{unit}, row {} at {}", at.row, clock(at.sec))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn checked(rows: &Array2<f32>, missing: &[usize]) -> HashMap<&'static str, Check> {
        let mut health = Health::new(rows.ncols());
        let unit = health.begin("u", "v");
        for (row, values) in rows.outer_iter().enumerate() {
            let has = health.add(At { unit, row, sec: row as f64 }, missing.contains(&row), values);
            assert_eq!(has, !missing.contains(&row) && values.iter().all(|value| value.is_finite()));
        }
        health.finish().0.into_iter().map(|check| (check.what, check)).collect()
    }

    #[test]
    fn sound_rows_have_nothing_wrong() {
        let rows = Array2::from_shape_fn((50, 6), |(row, column)| ((row * 7 + column * 3) as f32).sin() + 2.0);
        assert!(checked(&rows, &[]).values().all(|check| check.count == 0 && !check.is_wrong));
    }

    #[test]
    fn each_fault_is_found_at_its_place() {
        let mut rows = Array2::from_shape_fn((50, 6), |(row, column)| ((row * 7 + column * 3) as f32).sin() + 2.0);
        rows.column_mut(1).fill(0.0);
        rows.column_mut(4).fill(0.5);
        let twin = rows.row(3).to_owned();
        rows.row_mut(20).assign(&twin);
        rows.row_mut(30).mapv_inplace(|value| 100.0 * value);
        rows[[40, 0]] = f32::NAN;
        let found = checked(&rows, &[45]);
        let of = |what: &str| (found[what].count, found[what].examples.first().cloned().unwrap_or_default());
        assert_eq!(of("equal rows"), (1, "u, row 20 at 0:20 is u, row 3 at 0:03".into()));
        assert_eq!(of("rows with NaN or infinity"), (1, "u, row 40 at 0:40".into()));
        assert_eq!(of("rows that are missing"), (1, "u, row 45 at 0:45".into()));
        assert_eq!(of("dimensions that are always 0"), (1, "dimension 1: 0".into()));
        assert_eq!(of("rows whose norm is out of line").0, 1);
        // Row 30 was scaled, all of it.
        assert_eq!(of("dimensions that never change").0, 0);
    }

    #[test]
    fn the_same_time_of_a_video_in_two_units_is_no_twin() {
        let (mut health, row) = (Health::new(2), array![1.0, 2.0]);
        for (unit, video, sec) in [("a", "v", 1.0), ("b", "v", 1.0), ("c", "w", 1.0), ("d", "v", 2.0)] {
            let unit = health.begin(unit, video);
            health.add(At { unit, row: 0, sec }, false, row.view());
        }
        let twins = health.finish().0.into_iter().find(|check| check.what == "equal rows").unwrap();
        assert_eq!(twins.examples, ["c, row 0 at 0:01 is a, row 0 at 0:01", "d, row 0 at 0:02 is a, row 0 at 0:01"]);
    }

    #[test]
    fn zeros_and_constant_values_are_found_and_norms_of_one_are_one_bin() {
        let found = checked(&array![[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]], &[]);
        assert_eq!((found["rows of zeros"].count, found["equal rows"].count), (2, 0));
        let mut health = Health::new(2);
        health.begin("u", "v");
        for row in [array![0.6, 0.8], array![0.8, 0.6], array![1.0, 1e-4]] {
            health.add(At { unit: 0, row: 0, sec: 0.0 }, false, row.view());
        }
        let (checks, norms) = health.finish();
        assert_eq!((norms.counts, norms.labels.len()), (vec![3], 1));
        assert!(checks.iter().all(|check| !check.is_wrong));
    }
}
