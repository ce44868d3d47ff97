//! Features as training code and converters read them: the units of one store, with their rows put in order by a rule.
//!
//! [`Source`] opens a feature set and hands out one unit at a time as [`Features`]; a [`RowRule`] says what becomes of rows
//! without features, and on which grid rows are wanted; stores that are [`Joined`] are read as one; [`TokenReader`] gives the tokens of one query after another.
//! Invariant: one unit is in memory at a time, and its rows are as wide as the contract says.

mod differences;
mod error;
mod join;
mod part;
mod reader;
mod rows;
mod tokens;
mod unit;

pub use error::FeatureError;
pub use join::{JoinRows, JoinRule, JoinUnits, Joined};
pub use reader::Source;
pub use rows::{Missing, Resample, RowRule, average, boundaries};
pub use tokens::{TokenReader, Tokens};
pub use unit::Features;
