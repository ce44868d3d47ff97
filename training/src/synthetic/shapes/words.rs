//! Sentences about acts, in the manner of each data set.
//!
//! Not for tokens: the vocabulary is made of all of these in `tokenizers`.

use super::scene::{Act, Way};
use crate::synthetic::draw::Draws;

pub(super) const ARTICLES: [&str; 2] = ["the", "a"];

/// The words that are there, with one blank between them.
pub(super) fn joined(words: &[&str]) -> String {
    let there: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    there.join(" ")
}

/// Of Ego4D: `#C C moves the red circle left`.
pub(super) fn narration(act: Act, draws: &mut Draws) -> String {
    let (way, article) = (any_way(act, draws), ARTICLES[draws.below(ARTICLES.len())]);
    narrated(act, way, article)
}

pub(super) fn narrated(act: Act, way: &Way, article: &str) -> String {
    let (colour, shape) = (act.thing.colour().name, act.thing.shape().name);
    joined(&["#C C", &format!("{}s", way.verb), article, colour, shape, way.tail])
}

/// Of EPIC-KITCHENS: `move red circle left`.
pub(super) fn order(act: Act, draws: &mut Draws) -> String {
    ordered(act, any_way(act, draws))
}

pub(super) fn ordered(act: Act, way: &Way) -> String {
    joined(&[way.verb, act.thing.colour().name, act.thing.shape().name, way.tail])
}

/// Of Charades: `Moving the red circle left`.
pub(super) fn class(act: Act) -> String {
    let (motion, thing) = (act.motion(), act.thing);
    joined(&[motion.gerund, "the", thing.colour().name, thing.shape().name, motion.ways[0].tail])
}

/// The motion as an answer: `move left`.
pub(super) fn motion(act: Act) -> String {
    let Way { verb, tail } = act.motion().ways[0];
    joined(&[verb, tail])
}

fn any_way(act: Act, draws: &mut Draws) -> &'static Way {
    let ways = act.motion().ways;
    &ways[draws.below(ways.len())]
}
