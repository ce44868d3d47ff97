//! Whether a head does what the published code does, mistakes included.
//!
//! Not for settings that people tune. Invariant: a quirk that changes a number is behind this switch and has a test.

use serde::{Deserialize, Serialize};

/// What is done where the published code does something else than it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// What the published code does.
    Compat,
    /// What it says.
    Fixed,
}
