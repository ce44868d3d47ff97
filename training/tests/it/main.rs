//! The tests of this package, one program for all that can share a process; folders are areas.
//!
//! Not for what trains within the test's own process: libtorch has one random generator for all threads, so that such tests
//! are a program of their own, `tests/learn`. What is trained here is trained by the program `egofx-train`. Tests run side by
//! side: none may set variables, seeds or counts of threads of its process, or the folder it works in.

mod architecture;
mod backbones;
mod configs;
mod documents;
mod heads;
mod losses;
mod pixels;
mod program;
mod support;
mod synthetic;
