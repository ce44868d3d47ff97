//! `egofx extract` as a whole: interruptions, shards, flags of speed, damaged videos, text and fused features.

mod determinism;
mod faults;
mod resume;
mod shards;
mod sharing;
mod storage;
mod towers;
