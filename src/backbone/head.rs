//! What the card of a head says beside that of any graph: what it was trained on, and what lies around its graph.
//!
//! Not for what the settings mean; see `heads`.

use serde::{Deserialize, Serialize};

use crate::compat::Compat;

/// What a graph is a head of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadCard {
    /// The learner, as experiment files name it.
    pub learner: String,
    /// Whether faults of the originals are reproduced.
    pub compat: Compat,
    /// The fold that it was not trained on, and the only one that it predicts; empty: it predicts all samples.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fold: String,
    /// Samples that are computed together, as in the validation. A clip that is padded to the longest of its batch depends on it.
    pub batch: usize,
    /// Names of the classes by number, background first; of heads that have some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What the stores must hold, and what is done before and behind the graph.
    pub settings: toml::Table,
}
