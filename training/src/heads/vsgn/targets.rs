//! What a clip teaches: its features on the grid, and its moments as boxes and as labels of cells.
//!
//! Plain numbers, no tensors, so that it runs while the network does. Not for reading annotations. As in the original,
//! classes of cells and curves know all moments, while boxes stop at [`MOST_MOMENTS`].

use std::ops::Range;

use egofx::compat::Compat;
pub use egofx::heads::vsgn::{Grid, copy, features, stitched_features};

use crate::tasks::mq::Moment;

/// How many boxes of a clip are kept.
pub const MOST_MOMENTS: usize = 50;
/// Width in cells of the window around an end that its curve marks.
const END_WINDOW: f64 = 3.0;

/// The labels of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// Start and end of each moment as parts of the grid's length, and its class; at most [`MOST_MOMENTS`].
    pub boxes: Vec<[f32; 3]>,
    /// Class of each cell.
    pub action: Vec<f32>,
    /// How much of each cell is near a start.
    pub start: Vec<f32>,
    /// How much of each cell is near an end.
    pub end: Vec<f32>,
}

/// Start and end as parts of the grid's length, and class.
type Span = (f64, f64, usize);

/// The labels of a clip. Fixed, moments that have no length within the clip's cells are dropped.
pub fn targets(moments: &[Moment], grid: &Grid, compat: Compat) -> Targets {
    let last = grid.num_cells.saturating_sub(1) as f64;
    let part = |sec: f64| (sec * grid.fps).min(last).max(0.0) / grid.length as f64;
    let boxes = moments.iter().map(|moment| (part(moment.start_sec), part(moment.end_sec), moment.class));
    labels(boxes.collect(), grid.length, compat)
}

/// The labels of a clip that [`stitched_features`] joined to its copy: each moment twice, in whole cells.
pub fn stitched_targets(moments: &[Moment], grid: &Grid, gap: usize, compat: Compat) -> Targets {
    let copy = copy(grid, gap);
    let box_in = |moment: &Moment, cells: &Range<usize>| {
        let part = |sec: f64| {
            let place = sec * grid.fps * (cells.len() as f64 / grid.num_cells as f64);
            let within = place.round_ties_even().min(cells.len().saturating_sub(1) as f64).max(0.0);
            (within + cells.start as f64) / grid.length as f64
        };
        (part(moment.start_sec), part(moment.end_sec), moment.class)
    };
    let boxes_in = |cells: Range<usize>| moments.iter().map(move |moment| box_in(moment, &cells));
    let boxes = boxes_in(0..grid.num_cells).chain(boxes_in(copy)).collect();
    labels(boxes, grid.length, compat)
}

fn labels(mut boxes: Vec<Span>, length: usize, compat: Compat) -> Targets {
    if compat == Compat::Fixed {
        boxes.retain(|(start, end, _)| end > start);
    }
    Targets {
        action: action(&boxes, length),
        start: near(boxes.iter().map(|(start, ..)| *start), length),
        end: near(boxes.iter().map(|(_, end, _)| *end), length),
        boxes: boxes
            .iter()
            .take(MOST_MOMENTS)
            .map(|&(start, end, class)| [start as f32, end as f32, class as f32])
            .collect(),
    }
}

/// Later moments overwrite earlier ones.
fn action(boxes: &[Span], length: usize) -> Vec<f32> {
    let mut classes = vec![0.0; length];
    for &(start, end, class) in boxes {
        let cell = |part: f64| (part * length as f64).round_ties_even() as usize;
        if let Some(cells) = classes.get_mut(cell(start)..=cell(end).min(length.saturating_sub(1))) {
            cells.fill(class as f32);
        }
    }
    classes
}

/// The part of each cell that lies in a window around an end; the most, where there are several.
fn near(ends: impl Iterator<Item = f64>, length: usize) -> Vec<f32> {
    let cell = 1.0 / length as f64;
    let half = END_WINDOW * cell / 2.0;
    let windows: Vec<(f64, f64)> = ends.map(|end| (end - half, end + half)).collect();
    let covered = |place: usize| {
        let (from, to) = (cell * place as f64, cell * (place + 1) as f64);
        let parts = windows.iter().map(|(start, end)| (to.min(*end) - from.max(*start)).max(0.0) / (to - from));
        parts.fold(0.0, f64::max) as f32
    };
    (0..length).map(covered).collect()
}
