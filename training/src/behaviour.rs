//! Whether the faults of a published head are reproduced.
//!
//! Not for choices that somebody may have meant, which are settings. Invariant: whatever differs between the two has a
//! test that names it.

use serde::{Deserialize, Serialize};

/// Which of two behaviours a head has where its released code has a fault that changes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// As released, for comparison with published numbers.
    Compat,
    /// As it was meant.
    Fixed,
}
