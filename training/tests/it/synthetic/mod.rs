//! Synthetic benchmarks, read back by the readers of the real ones.

mod features;
mod shapes;
