//! The networks that are trained on features, one folder for each.
//!
//! Not for reading data or for the loop around them. Invariant: weights bear the names that the authors' code gives
//! them.

pub mod qfvs;
