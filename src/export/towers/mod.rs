//! The towers that models are built of: one file each, sizes, tensors, graph and cost together.
//!
//! Not for which tower a model has. Invariant: a tower names its tensors as the original state dict does.

pub mod clip;
pub mod distilbert;
pub mod divided;
pub mod heads;
pub mod roberta;
pub mod video;
