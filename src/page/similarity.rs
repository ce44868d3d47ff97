//! How alike the rows of a video are, as an image.
//!
//! Invariant: a pixel is the mean of the cosines between all rows of two stretches of equal length, and memory is that of the image
//! and not of the rows.

use ndarray::{Array2, ArrayView1};

/// Adds up rows of a video in as many bins as the image has pixels along each side.
pub(super) struct Similarities {
    /// Sums of rows of length 1.
    sums: Array2<f32>,
    counts: Vec<usize>,
    /// Rows that are to come.
    expected: usize,
    rows: usize,
}

impl Similarities {
    /// For `rows` rows of `dim` features, in at most `side` bins.
    pub fn new(rows: usize, dim: usize, side: usize) -> Self {
        let bins = rows.min(side).max(1);
        Self { sums: Array2::zeros((bins, dim)), counts: vec![0; bins], expected: rows.max(1), rows: 0 }
    }

    /// Takes the next row; `None` for one without features.
    pub fn add(&mut self, row: Option<ArrayView1<f32>>) {
        let bin = (self.rows * self.counts.len() / self.expected).min(self.counts.len() - 1);
        self.rows += 1;
        let Some(row) = row else { return };
        let norm = row.dot(&row).sqrt();
        if norm > 0.0 {
            self.sums.row_mut(bin).scaled_add(1.0 / norm, &row);
        }
        self.counts[bin] += 1;
    }

    /// Rows that came.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Mean cosines between bins; NaN for a bin without rows.
    pub fn matrix(mut self) -> Array2<f32> {
        for (mut sum, &count) in self.sums.outer_iter_mut().zip(&self.counts) {
            sum /= if count == 0 { f32::NAN } else { count as f32 };
        }
        self.sums.dot(&self.sums.t())
    }
}

/// A matrix as a PNG of as many pixels: the least value dark, the greatest one bright, NaN grey; and these two values.
pub(super) fn image(matrix: &Array2<f32>) -> (Vec<u8>, [f64; 2]) {
    let finite = || matrix.iter().copied().filter(|value| value.is_finite());
    let least = finite().fold(1.0_f32, f32::min);
    let greatest = finite().fold(-1.0_f32, f32::max).max(least + 1e-6);
    let level = |value: &f32| {
        let share = (value - least) / (greatest - least);
        if value.is_finite() { (share * 254.0).round() as u8 } else { NO_ROWS }
    };
    let pixels: Vec<u8> = matrix.iter().map(level).collect();
    (encoded(matrix.ncols() as u32, matrix.nrows() as u32, &pixels), [f64::from(least), f64::from(greatest)])
}

/// The level of what has no value.
const NO_ROWS: u8 = 255;

/// The colours of levels 0, 51, ..., 255: Viridis, whose brightness rises evenly, for eyes of all kinds.
const VIRIDIS: [[u8; 3]; 6] =
    [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];

fn palette() -> Vec<u8> {
    let colour = |level: usize| {
        let (from, share) = ((level / 51).min(4), (level % 51) as f32 / 51.0);
        let (a, b) = (VIRIDIS[from], VIRIDIS[from + 1]);
        [0, 1, 2].map(|channel| (f32::from(a[channel]) * (1.0 - share) + f32::from(b[channel]) * share).round() as u8)
    };
    (0..255).map(colour).chain([[128; 3]]).flatten().collect()
}

/// In memory nothing fails.
fn encoded(width: u32, height: u32, levels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(palette());
    encoder.set_compression(png::Compression::High);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(levels));
    if let Err(error) = written {
        log::warn!("an image of {width} x {height} pixels: {error}");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_pixel_is_the_mean_cosine_of_two_stretches() {
        let rows = array![[3.0, 0.0], [0.0, 2.0], [1.0, 0.0], [5.0, 0.0]];
        let mut all = Similarities::new(4, 2, 2);
        rows.outer_iter().for_each(|row| all.add(Some(row)));
        assert_eq!(all.rows(), 4);
        assert_eq!(all.matrix(), array![[0.5, 0.5], [0.5, 1.0]]);
    }

    #[test]
    fn rows_without_features_leave_their_place_empty() {
        let mut all = Similarities::new(3, 2, 256);
        let row = array![1.0, 1.0];
        [Some(row.view()), None, Some(row.view())].into_iter().for_each(|row| all.add(row));
        let matrix = all.matrix();
        assert!(matrix[[1, 0]].is_nan() && (matrix[[0, 2]] - 1.0).abs() < 1e-6);
        let (bytes, range) = image(&matrix);
        assert!((range[0] - 1.0).abs() < 1e-5);
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut levels = vec![0; 9];
        reader.next_frame(&mut levels).unwrap();
        assert_eq!((levels[1], levels[4]), (NO_ROWS, NO_ROWS));
        assert_eq!((levels[0], levels[8]), (levels[2], levels[6]));
    }
}
