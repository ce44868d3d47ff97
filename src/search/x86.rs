//! Products of halves and their conversion by AVX2, F16C and FMA: eight values at a time.
//!
//! Not for choosing instructions, see `kernel`, which checks lengths too. Invariant: loads and stores ask for no alignment.

use std::arch::x86_64::{
    __m256, _mm_loadu_si128, _mm256_add_ps, _mm256_castps256_ps128, _mm256_cvtph_ps, _mm256_extractf128_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::arch::x86_64::{_mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps};

use super::layout::{HALF, LANES};

const WIDTH: usize = 8;

#[target_feature(enable = "avx2,f16c,fma")]
fn wide(halves: &[u8; WIDTH * HALF]) -> __m256 {
    // SAFETY: 16 bytes are there, and the load asks for no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

#[target_feature(enable = "avx2,f16c,fma")]
pub fn scores(rows: &[u8], query: &[f32], scores: &mut [f32]) {
    for (score, row) in scores.iter_mut().zip(rows.chunks_exact(query.len() * HALF)) {
        let mut sums = [_mm256_setzero_ps(); LANES / WIDTH];
        for (row, query) in row.as_chunks::<{ LANES * HALF }>().0.iter().zip(query.as_chunks::<LANES>().0) {
            let parts = row.as_chunks::<{ WIDTH * HALF }>().0.iter().zip(query.as_chunks::<WIDTH>().0);
            for (sum, (row, query)) in sums.iter_mut().zip(parts) {
                // SAFETY: eight values are there, and the load asks for no alignment.
                let query = unsafe { _mm256_loadu_ps(query.as_ptr()) };
                *sum = _mm256_fmadd_ps(wide(row), query, *sum);
            }
        }
        let [a, b, c, d] = sums;
        *score = total(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
    }
}

#[target_feature(enable = "avx2,f16c,fma")]
fn total(sum: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[target_feature(enable = "avx2,f16c,fma")]
pub fn widen(halves: &[u8], into: &mut [f32]) {
    for (halves, into) in halves.as_chunks().0.iter().zip(into.as_chunks_mut::<WIDTH>().0) {
        // SAFETY: there is room for eight values, and the store asks for no alignment.
        unsafe { _mm256_storeu_ps(into.as_mut_ptr(), wide(halves)) };
    }
}
