//! Heads on features that `egofx` extracted.
pub mod heads;
pub mod native;
