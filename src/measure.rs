//! How rows of two towers of one model are compared.
//!
//! Not for comparing them: see `retrieval`. Model cards and stores say it, and say nothing where it is the usual one.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// How a clip and a sentence are compared where the original ranks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The cosine of their rows (EgoVLP, EgoVLPv2).
    #[default]
    Cosine,
    /// The product of their rows as they are (LaViLa, whose EgoMCQ does not divide by norms).
    Product,
}

impl Measure {
    /// Whether it is the one of cards and stores that say none.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Display for Measure {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        to.write_str(match self {
            Self::Cosine => "cosine",
            Self::Product => "product",
        })
    }
}
