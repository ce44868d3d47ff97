//! `egofx extract` as a whole: interruptions, shards, flags of speed, damaged videos, text and fused features.

mod determinism;
mod device;
mod faults;
mod gpu_table;
mod probes;
mod resume;
pub mod shards;
mod sharing;
mod slurm;
mod stereo;
mod storage;
mod towers;
mod workflows;
