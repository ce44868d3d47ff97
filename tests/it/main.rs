//! The integration tests, one program: each folder is an area, each file below it a subject.
//!
//! `cargo test --test it -- decode::` runs one area. Tests run side by side in one process: none changes the working folder
//! or the environment, and what must not be shared lies in a [`support::Workshop`] or in a child process.

mod architecture;
mod cli;
mod decode;
mod docs;
mod export;
mod extract;
mod fuzz;
mod lists;
mod page;
mod score;
mod stores;
mod submit;
mod support;
mod transcode;
