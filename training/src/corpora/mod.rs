//! What backbones learn from: annotations with their videos, frames of clips, tokens of sentences.
//!
//! Not for reading annotations or decoding, which the root library does, nor for batches. Invariant: nothing is skipped
//! silently: what has no video is counted when it is opened, what cannot be decoded when it is asked for.

pub mod ahead;
pub mod cached;
pub mod choice;
pub mod error;
pub mod frames;
mod kept;
mod known;
pub mod listed;
pub mod narrations;
pub mod replaced;
pub mod words;
