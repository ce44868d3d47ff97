//! Products of rows in half precision with a query in single precision, and rows made wider.
//!
//! Rows are bytes: little-endian halves, as many a row as the query is long, which is a multiple of [`LANES`]. Not for threads.
//! Invariant: products are summed in single precision whatever the processor, and a row's score does not depend on the rows around it.

use super::layout::{HALF, LANES};
#[cfg(target_arch = "x86_64")]
use super::x86;

/// Instructions that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// AVX2, F16C and FMA: eight values at a time.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// None in particular.
    Portable,
}

impl Kernel {
    /// The fastest that this processor has.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma") {
            return Self::Avx2;
        }
        Self::Portable
    }

    /// Writes the product of `query` and of each of `rows` to `scores`, one for each row.
    ///
    /// # Panics
    /// If `rows` are not as many as `scores`, or the query is not a multiple of [`LANES`] long.
    pub fn scores(self, rows: &[u8], query: &[f32], scores: &mut [f32]) {
        assert!(query.len().is_multiple_of(LANES) && rows.len() == scores.len() * query.len() * HALF);
        match self {
            // SAFETY: the value exists only where the processor was asked.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::scores(rows, query, scores) },
            Self::Portable => portable_scores(rows, query, scores),
        }
    }

    /// Writes `halves` to `wide` in single precision.
    ///
    /// # Panics
    /// If they are not as many, or not a multiple of [`LANES`].
    pub fn widen(self, halves: &[u8], wide: &mut [f32]) {
        assert!(wide.len().is_multiple_of(LANES) && halves.len() == wide.len() * HALF);
        match self {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::widen(halves, wide) },
            Self::Portable => wide.iter_mut().zip(values(halves)).for_each(|(wide, value)| *wide = value),
        }
    }
}

fn values(halves: &[u8]) -> impl Iterator<Item = f32> {
    halves.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32())
}

fn portable_scores(rows: &[u8], query: &[f32], scores: &mut [f32]) {
    for (score, row) in scores.iter_mut().zip(rows.chunks_exact(query.len() * HALF)) {
        *score = values(row).zip(query).map(|(value, query)| value * query).sum();
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn halves(count: usize) -> (Vec<f16>, Vec<u8>) {
        let values: Vec<f16> = (0..count).map(|i| f16::from_f32(((i * 37 + 11) as f32 * 0.173).sin())).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (values, bytes)
    }

    #[test]
    fn every_kernel_gives_the_products_in_double_precision() {
        for dim in [LANES, 8 * LANES, 24 * LANES] {
            let (rows, bytes) = halves(5 * dim);
            let query: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.31).cos()).collect();
            for kernel in [Kernel::best(), Kernel::Portable] {
                let mut scores = [0.0; 5];
                kernel.scores(&bytes, &query, &mut scores);
                for (row, score) in rows.chunks_exact(dim).zip(scores) {
                    let product = |(a, b): (&f16, &f32)| f64::from(a.to_f32()) * f64::from(*b);
                    let exact: f64 = row.iter().zip(&query).map(product).sum();
                    assert!((exact - f64::from(score)).abs() < 1e-4, "{kernel:?}: {score}, expected {exact}");
                }
                // One row alone has the same bits.
                let mut alone = [0.0];
                kernel.scores(&bytes[dim * HALF..][..dim * HALF], &query, &mut alone);
                assert_eq!(alone[0].to_bits(), scores[1].to_bits());
            }
        }
    }

    #[test]
    fn halves_are_made_wider_exactly() {
        let (values, bytes) = halves(3 * LANES);
        for kernel in [Kernel::best(), Kernel::Portable] {
            let mut wide = vec![0.0; values.len()];
            kernel.widen(&bytes, &mut wide);
            assert!(wide.iter().zip(&values).all(|(wide, value)| *wide == value.to_f32()), "{kernel:?}");
        }
    }
}
