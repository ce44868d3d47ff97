//! Heads: what lies around their graphs, from stores and annotations to a submission, and running them.
//!
//! The samples of a benchmark ([`nlq`], [`mq`], [`qfvs`]) are what training learns from and what a head predicts on; the files of
//! the heads say how rows become the input of a network and its output predictions, and [`spans`] asks them about a video without
//! annotations. Both are used by training, with libtorch's
//! networks, and by `egofx predict`, with the graphs that `egofx-train export --onnx` writes. Not for the networks themselves.

pub mod actionformer;
mod error;
mod graphs;
pub mod mq;
pub mod nlq;
mod padded;
pub mod predict;
pub mod qfvs;
mod session;
mod sources;
pub mod spans;
mod submission;
pub mod summariser;
pub mod vsgn;
pub mod vslnet;

pub use error::HeadError;
pub use padded::{Padded, padded};
pub use sources::{Cache, Difference, Expected, Files, Split, complete, expect_rows, open};
pub use submission::{Prediction, Submission, Written, commit, make};
