//! Trains and scores heads on features that `egofx` extracted.
pub mod behaviour;
pub mod device;
pub mod error;
pub mod loader;
pub mod native;
pub mod optimizer;
