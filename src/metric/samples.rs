//! What the tests of this module share: numbers that the original evaluators gave.
//!
//! Not for anything but tests. `tests/data/metrics/README.md` says where the files come from.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// How far a score may be from the original's: both compute in `f64`, only the order of additions differs.
const TOLERANCE: f64 = 1e-9;

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/metrics").join(name)
}

pub(super) fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// A number, where null and "NaN" are NaN.
pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| {
        assert!(value.is_null() && value != &Value::Bool(false) || value == "NaN", "{value} is no number");
        f64::NAN
    })
}

#[track_caller]
pub(super) fn close(found: f64, expected: &Value, what: &str) {
    within(found, expected, TOLERANCE, what);
}

#[track_caller]
pub(super) fn within(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = number(expected);
    let agree = if expected.is_nan() { found.is_nan() } else { (found - expected).abs() <= tolerance };
    assert!(agree, "{what}: found {found}, expected {expected}");
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// A matrix from a list of lists.
pub(super) fn matrix(value: &Value) -> ndarray::Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let columns = rows.first().map_or(0, Vec::len);
    ndarray::Array2::from_shape_vec((rows.len(), columns), rows.into_iter().flatten().collect()).unwrap()
}

pub(super) fn indices(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as usize).collect()
}
