//! What is learnt: every task trained in this process on synthetic data, scored as `egofx eval` does it, and gone on with.
//!
//! A program of its own, in which one test runs at a time (`support::alone`): libtorch has one random generator and one count of
//! threads for a whole process, and these tests seed it, compare bytes of what was drawn, or look at it.

mod backbones;
mod checkpointing;
mod mq;
mod nlq;
mod qfvs;
mod scored;
mod support;
