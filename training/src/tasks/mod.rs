//! What the benchmarks give a head to learn from, shared by all heads of a benchmark.
//!
//! Not for networks. Annotations are read by the root package, features out of its stores.

pub mod mq;
pub mod nlq;
pub mod nlq_clips;
pub mod qfvs;
