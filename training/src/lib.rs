//! Heads on features that `egofx` extracted.
pub mod native;
