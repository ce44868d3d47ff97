//! The program `egofx-train` as people run it: each test starts it, in one process or in several.

mod cli;
mod clip_cache;
mod crash;
mod evaluate;
mod faults;
mod heads;
mod lr_find;
mod pretrain;
mod renamed;
mod settings;
mod together;
mod watch;
