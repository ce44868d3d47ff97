//! Whether faults of the original training code are reproduced.
//!
//! Not for the evaluators' own switch, which is `egofx::compat::Compat`. Printed and recorded with every run.

use egofx::compat::Compat;
use serde::{Deserialize, Serialize};

/// One switch for a whole experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// What the published code does, quirks included, for comparison with published numbers.
    Compat,
    /// What its authors meant.
    Fixed,
}

impl Behaviour {
    /// Its name in experiment files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Compat => "compat",
            Self::Fixed => "fixed",
        }
    }

    /// The evaluators' switch to the same effect.
    pub fn compat(self) -> Compat {
        match self {
            Self::Compat => Compat::AsReleased,
            Self::Fixed => Compat::Fixed,
        }
    }
}
