//! Settings of ActionFormer, and what is wrong with them or with what the network is handed.
//!
//! Not for settings of optimisers. Nothing of the original has a default: every key that changes a number is written down. What
//! is done otherwise is a [`Variant`], which is absent where nothing is.

use egofx::heads::actionformer::padded_length;
use serde::{Deserialize, Serialize};

/// The network, and how its targets and its loss are made. In comments: the values of the configuration for Ego4D.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Channels of the embedding, the pyramid and the heads (384).
    pub embed_dim: i64,
    /// Heads of attention (4); they divide `embed_dim`.
    pub num_heads: i64,
    /// Steps that a query attends to, itself in the middle; odd (9).
    pub window: i64,
    /// Convolutions of the embedding (2).
    pub embedding_layers: i64,
    /// Transformer blocks before the pyramid (2).
    pub stem_blocks: i64,
    /// Transformer blocks that halve the length; the pyramid has one level more (7).
    pub branch_blocks: i64,
    /// Steps to which shorter clips are padded, and to which longer ones are cropped in training (1024).
    pub max_length: i64,
    /// Classes of events, without background (110).
    pub classes: i64,
    /// For each level the least and the greatest distance, in steps, from a point to the farther end of its event
    /// ([0, 4], [2, 8], [4, 16], ..., [128, 10000]).
    pub regression_ranges: Vec<[f64; 2]>,
    /// Convolutions of each head, the last of which predicts (3).
    pub head_layers: i64,
    /// Share of the channels that is dropped behind projections (0.1).
    pub dropout: f64,
    /// Share of the residual branches that is dropped; at 0 the network lacks their learned scales (0.1).
    pub drop_path: f64,
    /// Probability that the untrained network gives each class (0.01).
    pub prior_probability: f64,
    /// Distance, in strides, from the centre of an event within which points predict it (1.5).
    pub centre_radius: f64,
    /// What the losses are divided by before the first step (100); see
    /// [`next_normaliser`](super::loss::next_normaliser).
    pub first_normaliser: f64,
    /// Least and greatest share of a clip that is kept in training; `[1, 1]` crops none ([0.9, 1]).
    pub crop_ratio: [f64; 2],
    /// Share of an event that must remain in a crop; others are dropped (0.3).
    pub truncation_threshold: f64,
    /// What is done otherwise than in the original.
    #[serde(default, skip_serializing_if = "Variant::is_original")]
    pub variant: Variant,
}

/// A window of attention that is all of the clip.
pub const WHOLE_CLIP: i64 = -1;

/// What may be done otherwise than in the original; nothing of it is where it is not written down. In comments: OpenTAD's values
/// for Ego4D.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Variant {
    /// For each branch block the steps that its queries attend to, in place of [`Settings::window`]; [`WHOLE_CLIP`] for all
    /// ([9, 9, 9, 9, 9, -1, -1, -1]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branch_windows: Vec<i64>,
    /// Share of the channels of the features that is dropped, each from the whole clip (0.2).
    #[serde(skip_serializing_if = "is_zero")]
    pub input_dropout: f64,
    /// Added to the variance in the norms outside of blocks; absent: 1e-5, as in blocks (1e-6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm_eps: Option<f64>,
    /// Whether the hidden layers of embedding and heads are masked behind norm and ReLU too, so that padding is zero (true).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remask: bool,
    /// Whether a point learns the classes of all events that may have it, not only of the shortest (true).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_candidates: bool,
    /// Whether a crop ends where its features do, not half a feature's window beyond (true).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tight_crops: bool,
}

impl Variant {
    fn is_original(&self) -> bool {
        *self == Self::default()
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// What ActionFormer refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ActionFormerError {
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
    /// Clips whose positions would depend on what else is in the batch.
    #[error("clips of {0} and {1} steps do not go into one batch: the longer one stretches the positions of both")]
    Mixed(i64, i64),
    /// An event of a class that the network does not have.
    #[error("an event is of class {class}, and there are {classes} classes, from 0")]
    Class {
        /// Its class.
        class: i64,
        /// [`Settings::classes`].
        classes: i64,
    },
}

impl Settings {
    /// Levels of the pyramid.
    pub fn levels(&self) -> usize {
        self.regression_ranges.len()
    }

    /// Steps that queries of a level attend to, the stem's those of level 0; `None` for all of the clip.
    pub(super) fn window_at(&self, level: usize) -> Option<i64> {
        let of_block = level.checked_sub(1).and_then(|block| self.variant.branch_windows.get(block));
        let window = of_block.copied().unwrap_or(self.window);
        (window != WHOLE_CLIP).then_some(window)
    }

    /// What lengths must be multiples of, so that every level falls into blocks of attention.
    pub fn length_multiple(&self) -> i64 {
        self.block_lengths().max().unwrap_or(1)
    }

    /// Steps of features in a block of attention, level by level; where a query attends to the whole clip, those of a point.
    fn block_lengths(&self) -> impl Iterator<Item = i64> {
        (0..=self.branch_blocks as usize)
            .map(move |level| self.window_at(level).map_or(1, |window| window - 1) << level)
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
    pub fn check(&self) -> Result<(), ActionFormerError> {
        self.check_counts()?;
        self.check_shares()?;
        let levels = format!("one range for each of {} levels", self.branch_blocks + 1);
        let ranges = format!("{} ranges", self.levels());
        expect("regression_ranges", ranges, self.levels() as i64 == self.branch_blocks + 1, levels)?;
        let divides = self.embed_dim % self.num_heads == 0;
        expect("num_heads", self.num_heads, divides, format!("a divisor of embed_dim, {}", self.embed_dim))?;
        let multiple = self.length_multiple();
        let divide = self.block_lengths().all(|length| multiple % length == 0);
        let windows = format!("{:?}", self.variant.branch_windows);
        let expected = format!("windows whose blocks, (window - 1) * 2^level steps, divide the longest, {multiple}");
        expect("variant.branch_windows", windows, divide, expected)?;
        let fits = self.max_length % multiple == 0;
        expect("max_length", self.max_length, fits, format!("a multiple of {multiple}, by window and branch_blocks"))
    }

    fn check_counts(&self) -> Result<(), ActionFormerError> {
        let is_window = |window: i64| window >= 3 && window % 2 == 1;
        expect("window", self.window, is_window(self.window), "odd and at least 3")?;
        expect("stem_blocks", self.stem_blocks, self.stem_blocks >= 0, "at least 0")?;
        expect("branch_blocks", self.branch_blocks, (0..=20).contains(&self.branch_blocks), "from 0 to 20")?;
        let windows = &self.variant.branch_windows;
        let fit = windows.iter().all(|&window| window == WHOLE_CLIP || is_window(window));
        let is_one_each = windows.is_empty() || windows.len() as i64 == self.branch_blocks;
        let expected = format!("{} numbers, each {WHOLE_CLIP} or odd and at least 3", self.branch_blocks);
        expect("variant.branch_windows", format!("{windows:?}"), fit && is_one_each, expected)?;
        let counts = [
            ("embed_dim", self.embed_dim),
            ("num_heads", self.num_heads),
            ("embedding_layers", self.embedding_layers),
            ("max_length", self.max_length),
            ("classes", self.classes),
            ("head_layers", self.head_layers),
        ];
        counts.into_iter().try_for_each(|(key, count)| expect(key, count, count >= 1, "at least 1"))
    }

    fn check_shares(&self) -> Result<(), ActionFormerError> {
        let rates = [
            ("dropout", self.dropout),
            ("drop_path", self.drop_path),
            ("variant.input_dropout", self.variant.input_dropout),
        ];
        for (key, rate) in rates {
            expect(key, rate, (0.0..1.0).contains(&rate), "at least 0 and below 1")?;
        }
        let prior = self.prior_probability;
        expect("prior_probability", prior, prior > 0.0 && prior < 1.0, "between 0 and 1")?;
        let [least, most] = self.crop_ratio;
        let ordered = 0.0 < least && least <= most && most <= 1.0;
        expect("crop_ratio", format!("[{least}, {most}]"), ordered, "two shares above 0, the lesser first")?;
        let sizes = [
            ("centre_radius", self.centre_radius),
            ("first_normaliser", self.first_normaliser),
            ("variant.norm_eps", self.variant.norm_eps.unwrap_or(1.0)),
        ];
        for (key, value) in sizes {
            expect(key, value, value > 0.0, "above 0")?;
        }
        let share = self.truncation_threshold;
        expect("truncation_threshold", share, (0.0..=1.0).contains(&share), "from 0 to 1")
    }
}

fn expect(
    key: &'static str,
    found: impl ToString,
    holds: bool,
    expected: impl Into<String>,
) -> Result<(), ActionFormerError> {
    if holds {
        return Ok(());
    }
    Err(ActionFormerError::Setting { key, found: found.to_string(), expected: expected.into() })
}
