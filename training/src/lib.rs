//! Heads on features that `egofx` extracted.
pub mod behaviour;
pub mod curves;
pub mod heads;
pub mod native;
pub mod schedule;
pub mod synthetic;
