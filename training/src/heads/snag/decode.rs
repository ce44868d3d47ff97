//! From SnAG's predictions at points to the windows of a query: the likeliest of all levels, suppression, voting.
//!
//! Not for the network. Suppression and voting are ActionFormer's, in steps, before windows are cut to the clip.

use egofx::heads::actionformer::FeatureGrid;
use egofx::metric::Window;
use egofx::metric::postprocess::actionformer::{POSTPROCESSOR, across_classes};
use egofx::metric::postprocess::{Proposal, Settings as Suppression};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::heads::actionformer::Output;
use crate::tensors::matrix;

/// Which predictions become windows. In comments: the values of the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSettings {
    /// Predictions must be more probable than this (0.001).
    pub min_probability: f32,
    /// How many are kept, the most probable ones (2000).
    pub most: usize,
    /// Windows must be longer than this, in steps (0.1).
    pub min_length: f32,
    /// Width of the suppression (0.9).
    pub sigma: f64,
    /// What is suppressed below this is dropped (0.001).
    pub min_score: f64,
    /// Windows of a query (5).
    pub windows: usize,
    /// IoU from which on a prediction has a vote in a window (0.95).
    pub voting: f64,
}

/// What is predicted for one query, in steps, most probable first.
pub fn candidates(output: &Output, query: i64, settings: &DecodeSettings) -> Vec<Proposal> {
    let probabilities = output.levels.iter().map(|level| level.probabilities().get(query));
    let probabilities = matrix(&Tensor::cat(&probabilities.collect::<Vec<_>>(), 0));
    let offsets = matrix(&output.offsets().get(query));
    let points = matrix(&output.points());
    let likely = probabilities.column(0).iter().copied().enumerate().collect::<Vec<(usize, f32)>>();
    let mut likely: Vec<_> = likely.into_iter().filter(|(_, score)| *score > settings.min_probability).collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1));
    likely.truncate(settings.most);
    let proposal = |(point, score): (usize, f32)| {
        let (step, stride) = (points[[point, 0]], points[[point, 3]]);
        let (start, end) = (step - offsets[[point, 0]] * stride, step + offsets[[point, 1]] * stride);
        let window = Window::new(f64::from(start), f64::from(end));
        (end - start > settings.min_length).then_some(Proposal { window, score: f64::from(score), class: 1 })
    };
    likely.into_iter().filter_map(proposal).collect()
}

/// The windows that are left of candidates, best first.
pub fn suppressed(candidates: &[Proposal], settings: &DecodeSettings) -> Vec<Proposal> {
    let DecodeSettings { sigma, min_score, windows: most, voting, .. } = *settings;
    across_classes(candidates, &Suppression { sigma, min_score, most, ..POSTPROCESSOR.defaults }, voting)
}

/// Windows in steps as windows in seconds, cut to the clip.
pub fn in_seconds(proposals: &[Proposal], grid: &FeatureGrid, duration_sec: f64) -> Vec<Window> {
    let second = |step: f64| f64::from(grid.sec_from_step(step as f32)).clamp(0.0, duration_sec);
    let window = |proposal: &Proposal| {
        let Window { start_sec: start, end_sec: end } = proposal.window;
        Window::new(second(start), second(end))
    };
    proposals.iter().map(window).collect()
}
