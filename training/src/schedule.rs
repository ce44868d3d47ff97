//! stub
use serde::{Deserialize, Serialize};
/// stub
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// stub
    Constant,
}
impl Schedule {
    /// stub
    pub fn factor(&self, _step: u64, _steps_per_epoch: u64, _total_steps: u64) -> f64 {
        1.0
    }
}
