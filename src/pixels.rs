//! Pixels on their way from a decoder to a graph, as levels or between them, and how they are scaled.
//!
//! Not for whose frames they are. The code is a package of its own, so that the profile of the tests, in which the rest of
//! extraction is not optimised, optimises these loops.

pub use egofx_resize::{Image, Kernel, Pixels, Region};
