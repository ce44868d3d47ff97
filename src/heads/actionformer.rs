//! ActionFormer around its network: lengths and grids of clips, and proposals out of what is predicted at points.
//!
//! Not for suppression, which is `metric::postprocess`'s. Arithmetic is in `f32`, in the order of the original.

use serde::{Deserialize, Serialize};

use super::sources::Expected;
use crate::compat::Compat;
use crate::metric::Window;
use crate::metric::postprocess::{Postprocessor, Proposal, actionformer, opentad};

/// What lies around the network, as the card of a graph has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The store of rows.
    pub features: Expected,
    /// Classes of moments, without background.
    pub classes: usize,
    /// Steps to which shorter clips are padded.
    pub max_length: usize,
    /// What lengths must be multiples of.
    pub length_multiple: usize,
    /// Levels of the pyramid, each with half the points of the one before.
    pub levels: usize,
    /// Where rows lie in time by name; see [`grid_of`].
    pub frames: FeatureGrid,
    /// Which predictions become proposals.
    pub decode: DecodeSettings,
}

/// Where features lie in time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureGrid {
    /// Frames a second.
    pub fps: f32,
    /// Frames from one feature to the next.
    pub stride_frames: f32,
    /// Frames that a feature sees.
    pub window_frames: f32,
}

impl FeatureGrid {
    /// Steps from the start of a feature's window to its centre.
    pub fn half_window_steps(&self) -> f32 {
        0.5 * self.window_frames / self.stride_frames
    }

    /// Where a second lies among the centres of the features, in steps; a little below 0 at the start.
    pub fn step_from_sec(&self, sec: f64) -> f32 {
        sec as f32 * self.fps / self.stride_frames - self.half_window_steps()
    }

    /// The inverse of [`step_from_sec`](Self::step_from_sec).
    pub fn sec_from_step(&self, step: f32) -> f32 {
        (step * self.stride_frames + 0.5 * self.window_frames) / self.fps
    }
}

/// Where the rows of a clip lie in time.
///
/// As released, where the configuration says: a row for every 16 of 30 frames a second. EgoVLP's features have 1.87
/// rows a second and not 1.875, so that the last rows of a clip of eight minutes are taken to be 1.6 s before what they
/// show. Fixed, all rows of a clip share its length evenly; a row sees as many strides as the configuration says.
pub fn grid_of(nominal: FeatureGrid, rows: usize, duration_sec: f64, compat: Compat) -> FeatureGrid {
    if compat == Compat::AsReleased {
        return nominal;
    }
    let stride_frames = (f64::from(nominal.fps) * duration_sec / rows as f64) as f32;
    let window_frames = nominal.window_frames / nominal.stride_frames * stride_frames;
    FeatureGrid { stride_frames, window_frames, ..nominal }
}

/// Which predictions become proposals. In comments: the values of the original.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeSettings {
    /// Predictions must be more probable than this (0.001).
    pub min_probability: f32,
    /// How many of a level are kept, the most probable ones (5000).
    pub most_per_level: usize,
    /// Moments must be longer than this, in steps (0.05); below 0 all are long enough.
    pub min_length: f32,
    /// How many of all levels together are kept, the most probable ones; absent: all that the levels keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
    /// How overlaps are suppressed.
    #[serde(default, skip_serializing_if = "Suppression::is_original")]
    pub suppression: Suppression,
}

/// Whose suppression of overlaps follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suppression {
    /// That of ActionFormer's authors.
    #[default]
    ActionFormer,
    /// OpenTAD's.
    OpenTad,
}

impl Suppression {
    /// What it is done by, with its numbers.
    pub fn postprocessor(self) -> &'static Postprocessor {
        match self {
            Self::ActionFormer => &actionformer::POSTPROCESSOR,
            Self::OpenTad => &opentad::POSTPROCESSOR,
        }
    }

    fn is_original(&self) -> bool {
        *self == Self::ActionFormer
    }
}

/// To how many steps a clip is padded: `max_length`, or beyond it the next multiple of `multiple`.
pub fn padded_length(length: usize, max_length: usize, multiple: usize) -> usize {
    if length <= max_length { max_length } else { length.next_multiple_of(multiple) }
}

/// What is predicted at the points of one level of a clip.
#[derive(Debug, Clone, Copy)]
pub struct Level<'l> {
    /// Probabilities of the classes, `T * classes` of them; 0 outside of the clip.
    pub probabilities: &'l [f32],
    /// Distances from the point to start and end of its event, in strides, `T * 2` of them.
    pub offsets: &'l [f32],
    /// Steps from one point to the next. The first one lies at step 0.
    pub stride: f32,
}

impl Level<'_> {
    /// The proposals, most probable first. Their windows are in steps, their classes those of the network plus one, as 0 is
    /// background.
    pub fn proposals(&self, classes: usize, settings: &DecodeSettings) -> Vec<Proposal> {
        let likely = self.probabilities.iter().copied().enumerate();
        let mut likely: Vec<(usize, f32)> = likely.filter(|(_, score)| *score > settings.min_probability).collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1));
        likely.truncate(settings.most_per_level);
        let proposal = |(place, score): (usize, f32)| {
            let (point, class) = (place / classes, place % classes);
            let (step, stride) = (point as f32 * self.stride, self.stride);
            let (start, end) = (step - self.offsets[point * 2] * stride, step + self.offsets[point * 2 + 1] * stride);
            let window = Window::new(f64::from(start), f64::from(end));
            let proposal = Proposal { window, score: f64::from(score), class: class + 1 };
            (end - start > settings.min_length).then_some(proposal)
        };
        likely.into_iter().filter_map(proposal).collect()
    }
}

/// Of the proposals of all levels of a clip those that are kept; most probable first where there is a
/// [`most`](DecodeSettings::most).
pub fn best(mut proposals: Vec<Proposal>, settings: &DecodeSettings) -> Vec<Proposal> {
    if let Some(most) = settings.most {
        proposals.sort_by(|a, b| b.score.total_cmp(&a.score));
        proposals.truncate(most);
    }
    proposals
}

/// Proposals in seconds, not cut to the clip. The original suppresses first; overlaps are the same in seconds.
pub fn in_seconds(proposals: &[Proposal], grid: &FeatureGrid) -> Vec<Proposal> {
    let second = |step: f64| f64::from(grid.sec_from_step(step as f32));
    let in_seconds = |proposal: &Proposal| {
        let Window { start_sec: start, end_sec: end } = proposal.window;
        Proposal { window: Window::new(second(start), second(end)), ..*proposal }
    };
    proposals.iter().map(in_seconds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOMINAL: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 16.0 };

    #[test]
    fn quirk_rows_of_egovlp_drift_by_three_in_eight_minutes_as_released() {
        let last = |compat| grid_of(NOMINAL, 897, 480.0, compat).step_from_sec(480.0);
        assert_eq!(last(Compat::AsReleased), 899.5);
        assert!((last(Compat::Fixed) - 896.5).abs() < 1e-3);
        let overlapping = FeatureGrid { window_frames: 32.0, ..NOMINAL };
        let fixed = grid_of(overlapping, 900, 480.0, Compat::Fixed);
        assert_eq!((fixed, grid_of(overlapping, 900, 480.0, Compat::AsReleased)), (overlapping, overlapping));
    }

    #[test]
    fn the_best_of_all_levels_are_kept_where_there_is_a_number_of_them() {
        let text = "min_probability = 0.0\nmost_per_level = 5\nmin_length = -1.0\n";
        let original: DecodeSettings = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&original).unwrap(), text, "what is as in the original is not written");
        let other: DecodeSettings = toml::from_str(&format!("{text}most = 2\nsuppression = \"opentad\"\n")).unwrap();
        assert_eq!(other.suppression.postprocessor().name, "opentad");
        let proposal = |score| Proposal { window: Window::new(0.0, 1.0), score, class: 1 };
        let proposals = [0.2, 0.5, 0.1, 0.4].map(proposal).to_vec();
        let scores = |settings| best(proposals.clone(), settings).iter().map(|one| one.score).collect::<Vec<_>>();
        assert_eq!(scores(&original), [0.2, 0.5, 0.1, 0.4]);
        assert_eq!(scores(&other), [0.5, 0.4]);
    }

    #[test]
    fn clips_beyond_the_longest_are_padded_to_a_multiple() {
        assert_eq!([1, 64, 65, 97].map(|length| padded_length(length, 64, 32)), [64, 64, 96, 128]);
    }
}
