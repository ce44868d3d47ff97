//! Settings of SnAG, and what is wrong with them or with what the network is handed.
//!
//! Not for settings of optimisers. Nothing here has a default: every key that changes a number is written down.

use egofx::heads::actionformer::padded_length;
use serde::{Deserialize, Serialize};

/// The network, and how its samples, targets and loss are made. In comments: the values of the configuration for Ego4D.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Channels of clips: of the embedding, the pyramid and the heads (384).
    pub embed_dim: i64,
    /// Channels of words (768).
    pub text_embed_dim: i64,
    /// Heads of all attention (4); they divide both.
    pub num_heads: i64,
    /// Steps that a step attends to, itself in the middle; odd (19).
    pub window: i64,
    /// Convolutions of the embedding (2).
    pub embedding_layers: i64,
    /// Layers in which clips meet queries (2).
    pub fusion_layers: i64,
    /// Convolutions of each head before the one that predicts (2).
    pub head_layers: i64,
    /// For each level the least and the greatest distance, in steps, from a point to the farther end of its event; the
    /// greatest one does not belong to it ([0, 4], [2, 8], [4, 16], ..., [128, 2305]).
    pub regression_ranges: Vec<[f64; 2]>,
    /// Rows from one step to the next (2).
    pub row_stride: usize,
    /// Steps to which shorter clips are padded, and to which longer ones are cropped in training (2304).
    pub max_length: i64,
    /// Tokens that a query keeps in training (24).
    pub max_tokens: usize,
    /// Queries about one clip that are learnt together, at most (2).
    pub max_queries: usize,
    /// Share of an event of which more than this must remain in a crop (0.5).
    pub truncation_threshold: f64,
    /// Share of the channels that is dropped behind projections (0.1).
    pub dropout: f64,
    /// Share of the residual branches that is dropped (0.1).
    pub drop_path: f64,
    /// How much of the truth about a point is made uncertain, half of it each way (0.2).
    pub label_smoothing: f64,
    /// Distance, in strides, from the centre of an event within which points predict it (1.5).
    pub centre_radius: f64,
    /// What the losses of the first step are divided by (10); see [`next_normaliser`](super::loss::next_normaliser).
    pub first_normaliser: f64,
}

/// What SnAG refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SnagError {
    /// A setting that no network has.
    #[error("{key} is {found}, expected {expected}")]
    Setting {
        /// Its key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// A tensor of another shape.
    #[error("{what} of shape {found:?}, expected {expected}")]
    Shape {
        /// Which.
        what: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// What its shape may be.
        expected: String,
    },
    /// A clip too long to train on.
    #[error("{length} steps are more than the {max_length} that training takes; crop the clip")]
    TooLong {
        /// Its steps.
        length: i64,
        /// [`Settings::max_length`].
        max_length: i64,
    },
    /// Events that no crop keeps.
    #[error(
        "no crop of {max_length} of {length} steps keeps more than {threshold} of each event; raise model.max_length, or lower \
         model.truncation_threshold"
    )]
    NoCrop {
        /// Steps of the clip.
        length: usize,
        /// [`Settings::max_length`].
        max_length: usize,
        /// [`Settings::truncation_threshold`].
        threshold: f64,
    },
}

impl Settings {
    /// Levels of the pyramid.
    pub fn levels(&self) -> usize {
        self.regression_ranges.len()
    }

    /// What lengths must be multiples of, so that every level falls into blocks of attention.
    pub fn length_multiple(&self) -> i64 {
        (self.window - 1) << (self.levels() - 1)
    }

    /// To how many steps a clip is padded: [`max_length`](Self::max_length), or beyond it the next multiple.
    pub fn padded_length(&self, length: i64) -> i64 {
        let [length, most, multiple] = [length, self.max_length, self.length_multiple()].map(|steps| steps as usize);
        padded_length(length, most, multiple) as i64
    }

    /// Refuses settings that no network has.
    ///
    /// # Errors
    /// The first setting that is out of range or does not fit another.
    pub fn check(&self) -> Result<(), SnagError> {
        self.check_counts()?;
        self.check_shares()?;
        let divides = |width: i64| width % self.num_heads == 0;
        let fits = divides(self.embed_dim) && divides(self.text_embed_dim);
        let expected =
            format!("a divisor of embed_dim, {}, and text_embed_dim, {}", self.embed_dim, self.text_embed_dim);
        expect("num_heads", self.num_heads, fits, expected)?;
        let multiple = self.length_multiple();
        let fits = self.max_length % multiple == 0;
        expect("max_length", self.max_length, fits, format!("a multiple of {multiple}, by window and levels"))
    }

    fn check_counts(&self) -> Result<(), SnagError> {
        let levels = self.levels();
        expect(
            "regression_ranges",
            format!("{levels} ranges"),
            (1..=20).contains(&levels),
            "from 1 to 20, one a level",
        )?;
        expect("window", self.window, self.window >= 3 && self.window % 2 == 1, "odd and at least 3")?;
        expect("embed_dim", self.embed_dim, self.embed_dim >= 2 && self.embed_dim % 2 == 0, "even and at least 2")?;
        let counts = [
            ("text_embed_dim", self.text_embed_dim),
            ("num_heads", self.num_heads),
            ("embedding_layers", self.embedding_layers),
            ("fusion_layers", self.fusion_layers),
            ("head_layers", self.head_layers),
            ("row_stride", self.row_stride as i64),
            ("max_length", self.max_length),
            ("max_tokens", self.max_tokens as i64),
            ("max_queries", self.max_queries as i64),
        ];
        counts.into_iter().try_for_each(|(key, count)| expect(key, count, count >= 1, "at least 1"))
    }

    fn check_shares(&self) -> Result<(), SnagError> {
        for (key, rate) in [("dropout", self.dropout), ("drop_path", self.drop_path)] {
            expect(key, rate, (0.0..1.0).contains(&rate), "at least 0 and below 1")?;
        }
        for (key, value) in [("centre_radius", self.centre_radius), ("first_normaliser", self.first_normaliser)] {
            expect(key, value, value > 0.0, "above 0")?;
        }
        let shares = [("truncation_threshold", self.truncation_threshold), ("label_smoothing", self.label_smoothing)];
        shares
            .into_iter()
            .try_for_each(|(key, share)| expect(key, share, (0.0..1.0).contains(&share), "from 0 to below 1"))
    }
}

fn expect(key: &'static str, found: impl ToString, holds: bool, expected: impl Into<String>) -> Result<(), SnagError> {
    if holds {
        return Ok(());
    }
    Err(SnagError::Setting { key, found: found.to_string(), expected: expected.into() })
}
