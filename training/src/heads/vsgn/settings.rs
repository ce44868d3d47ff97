//! Sizes and options of VSGN, as the `[model]` table has them.

use egofx::heads::vsgn::GridSettings;
use serde::{Deserialize, Serialize};

use super::layers;

/// Sizes and options of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Channels of everything behind the first convolution: a multiple of 32; 256 in the original.
    pub embed_dim: i64,
    /// Cells of the grid: 928.
    pub length: i64,
    /// Levels of the pyramid: 5.
    pub levels: usize,
    /// Classes with background, which is class 0: 111.
    pub classes: i64,
    /// Convolutions of each tower of the head: 4.
    pub tower_convs: usize,
    /// Lengths of a cell's anchors, in cells of its level: 1 and 10.
    pub anchor_scales: Vec<f64>,
    /// Whether the encoder passes messages between cells that look alike (xGPN).
    pub graph: bool,
    /// Of how many cells, itself among them: 12.
    pub neighbours: i64,
    /// Whether short clips are followed by an enlarged copy of themselves (VSS). The published runs on Ego4D have none.
    pub stitching: bool,
    /// Empty cells between a clip and its copy: 30.
    pub stitch_gap: i64,
    /// Clips of at most this part of the grid are short: 0.4.
    pub short_ratio: f64,
}

/// Settings that make no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The group norms do not fit.
    #[error("embed_dim is {0}, expected a multiple of 32")]
    EmbedDim(i64),
    /// A level does not halve.
    #[error("length {length} at {levels} levels: expected a length that halves {} times", levels.saturating_sub(1))]
    Length { length: i64, levels: usize },
    /// More neighbours than the coarsest level that looks for them has cells.
    #[error("{neighbours} neighbours: expected 1 to {most}, the cells of the coarsest input of a level")]
    Neighbours { neighbours: i64, most: i64 },
    /// Something that must be there is not.
    #[error("{name} is {value}: expected at least {least}")]
    TooFew { name: &'static str, value: i64, least: i64 },
}

impl Settings {
    /// Whether they make a network.
    ///
    /// # Errors
    /// The first setting that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let scales = self.anchor_scales.len() as i64;
        let counted = [
            ("length", self.length, 1),
            ("levels", self.levels as i64, 1),
            ("classes", self.classes, 2),
            ("anchor_scales", scales, 1),
            ("stitch_gap", self.stitch_gap, 0),
        ];
        if let Some(&(name, value, least)) = counted.iter().find(|(_, value, least)| value < least) {
            return Err(SettingsError::TooFew { name, value, least });
        }
        if self.embed_dim < 1 || self.embed_dim % layers::GROUPS != 0 {
            return Err(SettingsError::EmbedDim(self.embed_dim));
        }
        if self.levels > 62 || self.length % (1 << (self.levels - 1)) != 0 {
            return Err(SettingsError::Length { length: self.length, levels: self.levels });
        }
        let most = self.length >> self.levels.saturating_sub(2);
        match self.graph && !(1..=most).contains(&self.neighbours) {
            true => Err(SettingsError::Neighbours { neighbours: self.neighbours, most }),
            false => Ok(()),
        }
    }

    /// What lies around the network.
    pub fn grid(&self) -> GridSettings {
        let Self { length, stitching, stitch_gap, short_ratio, .. } = *self;
        GridSettings { length: length as usize, stitching, stitch_gap: stitch_gap as usize, short_ratio }
    }
}
