//! Heads on features that `egofx` extracted.
pub mod behaviour;
pub mod heads;
pub mod native;
