//! What README and book tell people to type, and what they point at.

#[path = "it/docs/mod.rs"]
mod docs;
