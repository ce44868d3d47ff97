//! The command line itself.

mod tokenize;
mod words;
