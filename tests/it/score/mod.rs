//! Scores, retrieval, and whole benchmarks from official files to their evaluators.

mod eval;
mod heads;
mod retrieval;
mod search;
mod worked_examples;
