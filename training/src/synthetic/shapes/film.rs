//! Films: shots that follow one another on one background, each with one act.
//!
//! Not for pixels or annotations. Invariant: a shot is of one act from its first to its last frame, so that every part
//! of it can be narrated.

use std::ops::Range;

use super::scene::{Act, Course, Thing};
use super::settings::{NAMES, Part, ShapesDataset, TELLING, stream};
use crate::synthetic::draw::Draws;

/// Frames per second of all films.
pub(super) const FPS: u64 = 30;

/// What happens in a shot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Deed {
    pub(super) act: Act,
    pub(super) change: Option<Change>,
}

/// The thing becomes another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// After so many frames of the shot.
    pub(super) after: u64,
    pub(super) thing: Thing,
}

/// One act.
#[derive(Debug, Clone)]
pub(super) struct Shot {
    /// Frames of the film.
    pub(super) frames: Range<u64>,
    pub(super) deed: Deed,
    /// What annotations say of it: the same, unless the dataset is shuffled.
    pub(super) told: Deed,
    pub(super) course: Course,
}

/// A video.
#[derive(Debug, Clone)]
pub(super) struct Film {
    /// The name of its file.
    pub(super) name: String,
    /// What its background is drawn from.
    pub(super) look: u64,
    pub(super) shots: Vec<Shot>,
}

/// How the shots of a film are.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) shots: usize,
    /// Frames of a shot.
    pub(super) frames: Range<u64>,
    /// Whether in every other shot, in random order, the thing becomes another one.
    pub(super) changes: bool,
}

impl Film {
    pub(super) fn frames(&self) -> u64 {
        self.shots.last().map_or(0, |shot| shot.frames.end)
    }

    pub(super) fn sec(&self) -> f64 {
        seconds(self.frames())
    }
}

/// The second at which a frame begins.
pub(super) fn seconds(frame: u64) -> f64 {
    frame as f64 / FPS as f64
}

/// A name as Ego4D's videos have them.
pub(super) fn uuid(draws: &mut Draws) -> String {
    let mut hex = |digits: usize| -> String {
        (0..digits).map(|_| char::from_digit(draws.below(16) as u32, 16).unwrap_or('0')).collect()
    };
    [8, 4, 4, 4, 12].map(&mut hex).join("-")
}

impl ShapesDataset {
    /// Films of a split, told as they are or shuffled. `name` gives a film its name.
    pub(super) fn films(
        &self,
        part: Part,
        split: usize,
        count: usize,
        script: &Script,
        name: impl Fn(usize, &mut Draws) -> String,
    ) -> Vec<Film> {
        let film = |number: usize| {
            let name = name(number, &mut Draws::new(self.seed, stream(part, NAMES + split, number)));
            self.film(name, stream(part, split, number), script)
        };
        let mut films: Vec<Film> = (0..count).map(film).collect();
        self.retell(&mut films, stream(part, TELLING + split, 0));
        films
    }

    /// A film of things of its own, from a stream of draws of its own.
    fn film(&self, name: String, stream: u64, script: &Script) -> Film {
        let mut draws = Draws::new(self.seed, stream);
        let cast = self.cast(&mut draws);
        let mut changes: Vec<bool> = (0..script.shots).map(|shot| script.changes && shot % 2 == 0).collect();
        draws.shuffle(&mut changes);
        let mut shots: Vec<Shot> = Vec::new();
        for changes in changes {
            let start = shots.last().map_or(0, |shot| shot.frames.end);
            let length = within(&mut draws, &script.frames);
            let act = self.act(&mut draws, &cast, shots.last().map(|shot| shot.deed.act));
            let change = changes.then(|| self.change(&mut draws, act.thing, length));
            let deed = Deed { act, change };
            shots.push(Shot { frames: start..start + length, deed, told: deed, course: course(&mut draws) });
        }
        Film { name, look: stream, shots }
    }

    /// The things of a film, no two alike.
    fn cast(&self, draws: &mut Draws) -> Vec<Thing> {
        let colours = 0..self.colours;
        let mut things: Vec<Thing> =
            colours.flat_map(|colour| (0..self.shapes).map(move |shape| Thing { colour, shape })).collect();
        draws.shuffle(&mut things);
        things.truncate(self.cast);
        things
    }

    /// An act, another one than the last.
    fn act(&self, draws: &mut Draws, cast: &[Thing], last: Option<Act>) -> Act {
        loop {
            let act = Act { thing: cast[draws.below(cast.len())], motion: draws.below(self.motions) };
            if Some(act) != last {
                return act;
            }
        }
    }

    /// A change somewhere between the first and the last eighth: another colour, and any shape.
    fn change(&self, draws: &mut Draws, thing: Thing, frames: u64) -> Change {
        let colour = (thing.colour + 1 + draws.below(self.colours - 1)) % self.colours;
        let after = within(draws, &(frames / 8..frames - frames / 8));
        Change { after, thing: Thing { colour, shape: draws.below(self.shapes) } }
    }

    /// In a shuffled dataset tells of each shot what happens in another one of a split.
    fn retell(&self, films: &mut [Film], stream: u64) {
        let deeds: Vec<Deed> = films.iter().flat_map(|film| &film.shots).map(|shot| shot.deed).collect();
        let owners = Draws::new(self.seed, stream).owners(deeds.len(), self.shuffled);
        let shots = films.iter_mut().flat_map(|film| &mut film.shots);
        shots.zip(owners).for_each(|(shot, owner)| shot.told = deeds[owner]);
    }
}

/// A number of the range.
pub(super) fn within(draws: &mut Draws, range: &Range<u64>) -> u64 {
    range.start + draws.below((range.end - range.start) as usize) as u64
}

fn course(draws: &mut Draws) -> Course {
    let mut uniform = || draws.uniform() as f32;
    Course { origin: [uniform(), uniform()], phase: uniform(), speed: 0.4 + 0.2 * uniform() }
}
