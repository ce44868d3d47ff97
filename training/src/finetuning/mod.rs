//! Backbones tuned on a task of their own: which object changes its state and when, answers to questions, which sentence is of
//! which clip.
//!
//! Not for networks, losses or reading: [`backbones`](crate::backbones), [`losses`](crate::losses) and
//! [`corpora`](crate::corpora) have these.

pub mod answers;
pub mod changes;
pub mod retrieval;
mod splits;
