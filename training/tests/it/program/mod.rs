//! The program `egofx-train` as people run it: each test starts it, in one process or in several.

mod cli;
mod clip_cache;
mod crash;
mod faults;
mod heads;
mod pretrain;
mod renamed;
mod together;
