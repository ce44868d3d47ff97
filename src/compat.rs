//! Whether the faults of the original code are reproduced: one switch for grids, stores and evaluators.
//!
//! What it changes is said where it is read: `grid` for sampled frames, each evaluator of `metric` for scores.

use serde::{Deserialize, Serialize};

/// Whether faults of the original code that change numbers are reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compat {
    /// As the released code does it: 30 frames a second assumed, a short file squeezed, frame -1 is the last one.
    AsReleased,
    /// As it was meant: positions from real timestamps, rows past the end of the file are missing, not squeezed.
    Fixed,
}

impl Compat {
    /// Both.
    pub const ALL: [Self; 2] = [Self::AsReleased, Self::Fixed];

    /// The one that recipes and stores call `name`; `None` for a store that was imported, and for any other text.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compat| compat.name() == name)
    }

    /// The name that recipes and stores use.
    pub fn name(self) -> &'static str {
        match self {
            Compat::AsReleased => "as-released",
            Compat::Fixed => "fixed",
        }
    }
}
