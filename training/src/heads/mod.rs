//! Heads: networks on features, each with its labels, its losses and what makes an answer of its scores.
//!
//! Not for how they are trained. Invariant: a head's weights carry the names of the official state dict.

pub mod vslnet;
