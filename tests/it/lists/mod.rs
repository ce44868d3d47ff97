//! Lists of clips and queries: annotations of benchmarks, and what is wrong with the videos of a list.

mod annotations;
mod audit;
mod lerobot;
