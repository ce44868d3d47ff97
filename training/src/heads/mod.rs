//! The networks that are trained on features, with their losses and decoding; one folder for each.
//!
//! Not for optimisers or epochs. Weights carry the names of the original state dicts.

pub mod vsgn;
