//! Rows on the plane of their first two principal components.
//!
//! Invariants: the components are those of the covariance of the rows at hand, up to rounding, and the same rows give the same
//! ones, signs included.

use ndarray::{Array1, Array2, Axis, s};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Directions that are followed at a time: more than two, so that close ones do not slow the two down.
const FOLLOWED: usize = 8;

/// Rounds after which directions are taken as they are, and the change of a variance that ends them before.
const ROUNDS: usize = 300;
const ENOUGH: f64 = 1e-10;

/// Where rows are, and the share of their variance along each axis.
pub(super) struct Plane {
    /// Shape `[rows, 2]`.
    pub places: Array2<f64>,
    pub explained: [f64; 2],
}

impl Plane {
    /// Of `rows`, `[rows, dim]`, all of them finite.
    pub fn of(rows: Array2<f32>) -> Self {
        let mut rows = rows.mapv(f64::from);
        let (count, dim) = rows.dim();
        let mean = rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(dim));
        rows -= &mean;
        let total: f64 = rows.iter().map(|value| value * value).sum();
        let followed = FOLLOWED.min(dim).min(count);
        if total <= 0.0 || followed == 0 {
            return Self { places: Array2::zeros((count, 2)), explained: [0.0; 2] };
        }
        let (directions, variances) = principal(&rows, followed);
        let mut places = Array2::zeros((count, 2));
        for axis in 0..followed.min(2) {
            let direction = directions.column(axis);
            let greatest =
                direction.iter().fold(0.0_f64, |most, value| if value.abs() > most.abs() { *value } else { most });
            places.column_mut(axis).assign(&(rows.dot(&direction) * greatest.signum()));
        }
        let share = |axis: usize| variances.get(axis).map_or(0.0, |variance| (variance / total).clamp(0.0, 1.0));
        Self { places, explained: [share(0), share(1)] }
    }
}

/// The first directions of centred rows as columns, and the sums of squares along them, greatest first: by orthogonal iteration,
/// which multiplies by the covariance without making it.
fn principal(rows: &Array2<f64>, followed: usize) -> (Array2<f64>, Vec<f64>) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let start =
        Array2::from_shape_simple_fn((rows.ncols(), followed), || random.next_u64() as f64 / u64::MAX as f64 - 0.5);
    let mut directions = orthogonal(start);
    let mut variances = vec![0.0; followed];
    for _ in 0..ROUNDS {
        let along = rows.dot(&directions);
        // Within the directions at hand the axes are found exactly.
        let (values, axes) = symmetric(along.t().dot(&along));
        let change = |axis: usize| (values[axis] - variances[axis]).abs() > ENOUGH * values[0];
        let is_moving = (0..followed.min(2)).any(change);
        variances = values;
        let turned = directions.dot(&axes);
        if !is_moving {
            return (turned, variances);
        }
        directions = orthogonal(rows.t().dot(&rows.dot(&turned)));
    }
    (directions, variances)
}

/// Columns made orthogonal and of length 1, one after the other and twice, for rounding; a column that depends on those before becomes 0.
fn orthogonal(mut columns: Array2<f64>) -> Array2<f64> {
    for at in 0..columns.ncols() {
        let before = columns.column(at).to_owned();
        let mut column = before.clone();
        for _ in 0..2 {
            let others = columns.slice(s![.., ..at]);
            column = &column - &others.dot(&others.t().dot(&column));
        }
        let (norm, length) = (column.dot(&column).sqrt(), before.dot(&before).sqrt());
        let scale = if norm > 1e-12 * length { 1.0 / norm } else { 0.0 };
        columns.column_mut(at).assign(&(column * scale));
    }
    columns
}

/// Eigenvalues of a small symmetric matrix, greatest first, and their vectors as columns: by Jacobi's rotations.
fn symmetric(mut matrix: Array2<f64>) -> (Vec<f64>, Array2<f64>) {
    let n = matrix.nrows();
    let mut vectors = Array2::eye(n);
    for _ in 0..30 {
        for (i, j) in (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))) {
            if matrix[[i, j]].abs() > 1e-300 {
                let angle = 0.5 * (2.0 * matrix[[i, j]]).atan2(matrix[[i, i]] - matrix[[j, j]]);
                let mut turn = Array2::eye(n);
                (turn[[i, i]], turn[[j, j]]) = (angle.cos(), angle.cos());
                (turn[[i, j]], turn[[j, i]]) = (-angle.sin(), angle.sin());
                matrix = turn.t().dot(&matrix).dot(&turn);
                vectors = vectors.dot(&turn);
            }
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| matrix[[b, b]].total_cmp(&matrix[[a, a]]));
    (order.iter().map(|&at| matrix[[at, at]]).collect(), vectors.select(Axis(1), &order))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// Rows in 40 dimensions that vary by 9, 4 and 1 along three directions, and a little along all.
    fn cloud(rows: usize) -> (Array2<f32>, Array2<f64>) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut normal = || (0..12).map(|_| random.next_u64() as f64 / u64::MAX as f64).sum::<f64>() - 6.0;
        let axes = orthogonal(Array2::from_shape_simple_fn((40, 3), &mut normal));
        let places = Array2::from_shape_fn((rows, 3), |(_, axis)| normal() * [9.0, 4.0, 1.0][axis]);
        let noise = Array2::from_shape_simple_fn((rows, 40), || 0.01 * normal() + 5.0);
        ((places.dot(&axes.t()) + noise).mapv(|value| value as f32), places)
    }

    #[test]
    fn the_first_two_components_are_found_whatever_stands_behind() {
        let (rows, places) = cloud(500);
        let plane = Plane::of(rows);
        let centred = &places - &places.mean_axis(Axis(0)).unwrap();
        for axis in 0..2 {
            let (found, made) = (plane.places.column(axis), centred.column(axis));
            let cosine = found.dot(&made) / (found.dot(&found) * made.dot(&made)).sqrt();
            assert!(cosine.abs() > 0.99, "{axis}: {cosine}");
        }
        assert!((plane.explained[0] - 81.0 / 98.0).abs() < 0.05 && (plane.explained[1] - 16.0 / 98.0).abs() < 0.05);
    }

    #[test]
    fn the_order_of_rows_changes_nothing_but_their_order() {
        let (rows, _) = cloud(60);
        let turned = rows.slice(s![..;-1, ..]).to_owned();
        let (a, b) = (Plane::of(rows).places, Plane::of(turned).places);
        let greatest = (&a - &b.slice(s![..;-1, ..])).fold(0.0_f64, |most, value| most.max(value.abs()));
        assert!(greatest < 1e-4, "{greatest}");
    }

    #[test]
    fn few_rows_equal_rows_and_no_rows_are_places_too() {
        assert_eq!(Plane::of(Array2::zeros((0, 4))).places.dim(), (0, 2));
        assert_eq!(Plane::of(array![[1.0, 2.0]]).places, array![[0.0, 0.0]]);
        assert_eq!(Plane::of(Array2::ones((5, 4))).explained, [0.0, 0.0]);
        let two = Plane::of(array![[1.0, 2.0, 3.0], [1.0, 2.0, 5.0]]);
        assert!((two.explained[0] - 1.0).abs() < 1e-9 && (two.places[[1, 0]] - 1.0).abs() < 1e-9, "{}", two.places);
        let line = Plane::of(array![[1.0], [2.0], [4.0]]);
        assert!((line.explained[0] - 1.0).abs() < 1e-9);
    }
}
