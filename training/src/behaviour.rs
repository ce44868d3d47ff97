//! Whether a head repeats the faults of the code it follows.
//!
//! Not for settings that people may well choose either way. Each fault has a test that names it.

use serde::{Deserialize, Serialize};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// As the original code does, faults included, so that its published numbers can be reached.
    Compat,
    /// Without its faults.
    Fixed,
}
