//! Heads: networks that answer a benchmark's question from features. One module a head, none of which knows another.
//!
//! Not for reading features, not for the training loop. Weights have the names of the original's state dict.

pub mod actionformer;
