//! Made-up benchmarks that can be learnt: moments planted into noise, in the files that the real ones come in, and a
//! [`ShapesDataset`] of videos.
//!
//! They prove that a head, its data and its loop learn something, without any data set: a head that reads them right
//! ends far above chance, and one that is given shuffled labels stays there. Not a measure of how good a head is.
//! Invariant: the same settings give the same bytes.

mod draw;
mod error;
mod files;
mod mq;
mod nlq;
mod qfvs;
mod rows;
mod shapes;

pub use error::SyntheticError;
pub use files::Tables;
pub use mq::{Mq, MqPaths};
pub use nlq::{Nlq, NlqPaths};
pub use qfvs::{Qfvs, QfvsPaths};
pub use shapes::{CharadesPaths, EpicPaths, QaPaths, ShapesDataset, ShapesPaths};
