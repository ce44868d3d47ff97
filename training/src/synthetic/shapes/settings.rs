//! The sizes of the shapes dataset, and its streams of random draws.

use serde::{Deserialize, Serialize};

use crate::synthetic::draw::Draws;

/// Sizes of a dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapesDataset {
    /// Seed of everything.
    pub seed: u64,
    /// Width and height of its videos in pixels, an even number.
    pub side: usize,
    /// How many colours there are, 2 to 6.
    pub colours: usize,
    /// How many shapes, 2 to 6.
    pub shapes: usize,
    /// How many motions, 2 to 8: left, right, up, down, shaking, swelling, swirling, holding still.
    pub motions: usize,
    /// How many things a video shows, one after another.
    pub cast: usize,
    /// Clips of about a second that follow one another in a video, two seconds each.
    pub clips_per_video: usize,
    /// Videos of EgoClip, and those that EgoMCQ asks about.
    pub videos: [usize; 2],
    /// Questions of EgoMCQ between videos, and as many within one.
    pub questions: usize,
    /// Clips of OSCC and PNR for training and validation, three in a video, two of which with a change.
    pub changes: [usize; 2],
    /// Videos of EPIC-KITCHENS for training and test.
    pub kitchens: [usize; 2],
    /// Videos of Charades-Ego: for training with many actions, for the test with one.
    pub homes: [usize; 2],
    /// Intervals of EgoTaskQA for training, validation and test, six questions about each.
    pub intervals: [usize; 3],
    /// Tell of each clip what happens in another one: nothing is left to learn.
    pub shuffled: bool,
}

/// Which benchmark a stream of draws is for.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Egoclip = 1,
    Oscc,
    Epic,
    Charades,
    Qa,
}

/// What of it: the films of its splits come first.
pub(super) const NAMES: usize = 8;
pub(super) const TELLING: usize = 16;
pub(super) const WORDS: usize = 24;
pub(super) const QUESTIONS: usize = 32;

/// Number of a stream of draws, below 2^48.
pub(super) fn stream(part: Part, what: usize, number: usize) -> u64 {
    (part as u64) << 40 | (what as u64) << 32 | number as u64
}

impl ShapesDataset {
    /// A dataset of some three hundred short videos.
    pub fn small(seed: u64, shuffled: bool) -> Self {
        Self {
            seed,
            side: 64,
            colours: 4,
            shapes: 3,
            motions: 4,
            cast: 2,
            clips_per_video: 15,
            videos: [160, 24],
            questions: 200,
            changes: [180, 60],
            kitchens: [24, 8],
            homes: [16, 48],
            intervals: [160, 24, 48],
            shuffled,
        }
    }

    /// Draws for the sentences of a split, or for its questions.
    pub(super) fn draws(&self, part: Part, what: usize) -> Draws {
        Draws::new(self.seed, stream(part, what, 0))
    }
}
