//! The summary head of QFVS around its network: segments of shots as batches, and scores back in order of time.
//!
//! Not for summaries, see [`qfvs`](super::qfvs). Invariant: a place without a shot has no score.

use ndarray::{Array2, Array3, ArrayView2, s};

use super::error::HeadError;
use super::qfvs::Qfvs;
use crate::compat::Compat;
use crate::labels::qfvs::Video;
use crate::qfvs::{LayoutError, SHOTS, pack};

/// The prompt of both concepts, which makes the summary; 0 and 1 are those of each concept alone.
pub const BOTH: usize = 2;
/// What the head is called in errors.
const HEAD: &str = "qfvs";

/// Places that a segment must have if the longest of a batch has so many shots. With [`Compat::AsReleased`] places
/// without a shot change the scores of the others, so that there must be as many as the original has.
pub fn places(longest: usize, compat: Compat) -> usize {
    match compat {
        Compat::AsReleased => SHOTS,
        Compat::Fixed => longest,
    }
}

/// Segments and places of a batch: no more than its samples need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Segments.
    pub segments: usize,
    /// Places of each.
    pub places: usize,
}

impl Size {
    /// That of a batch of `samples`.
    pub fn of(task: &Qfvs, samples: &[usize]) -> Self {
        let videos = || samples.iter().map(|&number| task.video(number).segments());
        let longest = videos().flatten().map(|segment| segment.len()).max().unwrap_or_default();
        let segments = videos().map(|segments| segments.len()).max().unwrap_or_default();
        Self { segments, places: places(longest, task.compat()) }
    }

    /// Rows `[shots, dim]` of a video as `[S, L, dim]`.
    ///
    /// # Errors
    /// [`HeadError::Batch`] for a video that cannot be packed.
    pub fn packed(&self, rows: ArrayView2<f32>, video: &Video) -> Result<Array3<f32>, HeadError> {
        let why = |error: LayoutError| HeadError::Batch { head: HEAD, why: error.to_string() };
        let packed = pack(rows, &video.change_points).map_err(why)?;
        Ok(packed.features.slice(s![..self.segments, ..self.places, ..]).to_owned())
    }

    /// Shots of each segment, `S` of them.
    pub fn lengths(&self, video: &Video) -> Vec<i64> {
        let mut lengths: Vec<i64> = video.segments().iter().map(|segment| segment.len() as i64).collect();
        lengths.resize(self.segments, 0);
        lengths
    }

    /// 1 at places with a shot and 0 at the others, `[S, L]`.
    pub fn mask(&self, video: &Video) -> Array2<i64> {
        let lengths = self.lengths(video);
        let is_shot = |(segment, place): (usize, usize)| i64::from((place as i64) < lengths[segment]);
        Array2::from_shape_fn((self.segments, self.places), is_shot)
    }
}

/// The scores of a video's shots in order of time: those of `scores` `[S, L]` that the `lengths` of the segments say are there.
pub fn in_order(scores: ArrayView2<f32>, lengths: &[i64]) -> Vec<f64> {
    let of = |(row, length): (ndarray::ArrayView1<f32>, &i64)| {
        row.iter().take((*length).max(0) as usize).map(|score| f64::from(*score)).collect::<Vec<_>>()
    };
    scores.outer_iter().zip(lengths).flat_map(of).collect()
}
