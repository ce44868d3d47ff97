//! Labels out of tables of queries, as the original training code prepares them: NLQ's windows and QFVS's summaries.
//!
//! Conversion and training read the same labels, each on features of its own.

mod error;
pub mod nlq;
pub mod qfvs;
mod table;

pub use error::LabelError;
pub use table::{cells, records_of};
