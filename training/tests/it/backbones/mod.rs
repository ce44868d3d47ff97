//! EgoVLP, EgoVLPv2 and PPSA against what the original code computed, against the graphs that `egofx` exports, and
//! against themselves.
//!
//! Golden outputs and checkpoints are those of the root package, `tests/data/backbones/`; gradients are in
//! `data/backbones/`.

mod agreement;
mod forward;
mod gradients;
mod loading;
mod support;
