//! Heads on features that `egofx` extracted: one folder for each, one line for each in
//! [`LEARNERS`](crate::registry::LEARNERS).
//!
//! A head is a network with its samples, its loss and what its output means. Not for features: those come out of stores.

pub mod actionformer;
pub mod qfvs;
pub mod snag;
pub mod vsgn;
pub mod vslnet;
