//! Sentences about acts, in the manner of each data set.
//!
//! Not for tokens. Invariant: [`all_sentences`] has every word that any benchmark of any world uses.

use super::qa;
use super::scene::{Act, Way, all_acts};
use crate::synthetic::draw::Draws;

const ARTICLES: [&str; 2] = ["the", "a"];

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

fn narrated(act: Act, way: &Way, article: &str) -> String {
    let (colour, shape) = (act.thing.colour().name, act.thing.shape().name);
    joined(&["#C C", &format!("{}s", way.verb), article, colour, shape, way.tail])
}

/// Of EPIC-KITCHENS: `move red circle left`.
pub(super) fn order(act: Act, draws: &mut Draws) -> String {
    ordered(act, any_way(act, draws))
}

fn ordered(act: Act, way: &Way) -> String {
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

/// All that can be said.
pub(super) fn all_sentences() -> impl Iterator<Item = String> {
    let denied = ["no".to_owned()].into_iter();
    let said = all_acts().flat_map(|act| {
        let ways = act.motion().ways.iter();
        let of_ways = ways.flat_map(move |way| {
            let narrations = ARTICLES.map(|article| narrated(act, way, article));
            narrations.into_iter().chain([ordered(act, way)])
        });
        let questions =
            qa::questions(act, act).flat_map(|(_, question, answer)| [question.to_lowercase(), question, answer]);
        of_ways.chain([class(act)]).chain(questions)
    });
    said.chain(denied)
}
