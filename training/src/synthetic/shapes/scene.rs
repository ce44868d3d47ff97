//! What there is and what happens: colours, shapes and motions, by their numbers in tables that all datasets share.
//!
//! Not for words beyond names, nor for pixels. Invariant: no single picture tells a motion. Places lie on a torus, so
//! that whatever moves is anywhere at any time; and every thing has a size drawn from what one that swells goes
//! through.

use std::f32::consts::TAU;

/// A colour.
pub(super) struct Colour {
    pub(super) name: &'static str,
    pub(super) rgb: [u8; 3],
}

/// A shape, as a signed distance: below 0 inside, in radii of the thing around (0, 0).
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) distance: fn(f32, f32) -> f32,
}

/// A way to say a motion: `move` ... `left`.
pub(super) struct Way {
    pub(super) verb: &'static str,
    pub(super) tail: &'static str,
}

/// A motion.
pub(super) struct Motion {
    /// The first one names it.
    pub(super) ways: &'static [Way],
    /// The first way's verb as a class begins with it.
    pub(super) gerund: &'static str,
    path: Path,
}

enum Path {
    /// In sides of the picture, times the speed.
    Drift(f32, f32),
    Shake,
    Swell,
    Swirl,
    Hold,
}

pub(super) const COLOURS: &[Colour] = &[
    Colour { name: "red", rgb: [220, 30, 30] },
    Colour { name: "green", rgb: [30, 190, 50] },
    Colour { name: "blue", rgb: [40, 70, 235] },
    Colour { name: "yellow", rgb: [240, 220, 30] },
    Colour { name: "pink", rgb: [245, 110, 210] },
    Colour { name: "cyan", rgb: [40, 220, 230] },
];

pub(super) const SHAPES: &[Shape] = &[
    Shape { name: "circle", distance: |x, y| x.hypot(y) - 0.9 },
    Shape { name: "cross", distance: |x, y| bar(x, y, 1.0, 0.3).min(bar(x, y, 0.3, 1.0)) },
    Shape { name: "ring", distance: |x, y| (x.hypot(y) - 0.75).abs() - 0.22 },
    Shape { name: "square", distance: |x, y| bar(x, y, 0.8, 0.8) },
    Shape { name: "triangle", distance: |x, y| (y - 0.7).max((0.87 * x.abs() - 0.5 * y) - 0.5) },
    Shape { name: "stick", distance: |x, y| bar(x, y, 0.28, 1.2) },
];

fn bar(x: f32, y: f32, half_width: f32, half_height: f32) -> f32 {
    (x.abs() - half_width).max(y.abs() - half_height)
}

const fn way(verb: &'static str, tail: &'static str) -> Way {
    Way { verb, tail }
}

pub(super) const MOTIONS: &[Motion] = &[
    Motion {
        ways: &[way("move", "left"), way("slide", "to the left"), way("drag", "left")],
        gerund: "Moving",
        path: Path::Drift(-1.0, 0.0),
    },
    Motion {
        ways: &[way("move", "right"), way("slide", "to the right"), way("drag", "right")],
        gerund: "Moving",
        path: Path::Drift(1.0, 0.0),
    },
    Motion {
        ways: &[way("move", "up"), way("lift", "up"), way("raise", "")],
        gerund: "Moving",
        path: Path::Drift(0.0, -1.0),
    },
    Motion {
        ways: &[way("move", "down"), way("lower", ""), way("drop", "down")],
        gerund: "Moving",
        path: Path::Drift(0.0, 1.0),
    },
    Motion { ways: &[way("shake", ""), way("rattle", ""), way("wiggle", "")], gerund: "Shaking", path: Path::Shake },
    Motion { ways: &[way("squeeze", ""), way("pump", "")], gerund: "Squeezing", path: Path::Swell },
    Motion { ways: &[way("swirl", "around"), way("whirl", "")], gerund: "Swirling", path: Path::Swirl },
    Motion { ways: &[way("hold", "still"), way("keep", "still")], gerund: "Holding", path: Path::Hold },
];

/// Something to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thing {
    pub(super) colour: usize,
    pub(super) shape: usize,
}

/// Something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Act {
    pub(super) thing: Thing,
    pub(super) motion: usize,
}

impl Thing {
    pub(super) fn colour(self) -> &'static Colour {
        &COLOURS[self.colour]
    }

    pub(super) fn shape(self) -> &'static Shape {
        &SHAPES[self.shape]
    }

    /// Its number among all things of all datasets: what tags call a noun. A red circle is another noun than a red ring,
    /// so that clips count as true of each other's sentences only where they are.
    pub(super) fn noun(self) -> usize {
        self.colour * SHAPES.len() + self.shape
    }
}

impl Act {
    pub(super) fn motion(self) -> &'static Motion {
        &MOTIONS[self.motion]
    }
}

/// All acts with the first so many colours, shapes and motions.
pub(super) fn acts(colours: usize, shapes: usize, motions: usize) -> impl Iterator<Item = Act> {
    let things = (0..colours).flat_map(move |colour| (0..shapes).map(move |shape| Thing { colour, shape }));
    things.flat_map(move |thing| (0..motions).map(move |motion| Act { thing, motion }))
}

/// All acts that there can be.
pub(super) fn all_acts() -> impl Iterator<Item = Act> {
    acts(COLOURS.len(), SHAPES.len(), MOTIONS.len())
}

/// What was drawn for a motion, besides its kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    /// Where it begins, in sides of the picture.
    pub(super) origin: [f32; 2],
    /// Where in its period it begins, 0 to 1.
    pub(super) phase: f32,
    /// Sides of the picture in a second.
    pub(super) speed: f32,
}

/// Where a thing is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    /// In sides of the picture, modulo 1.
    pub(super) at: [f32; 2],
    /// Its size over its mean size.
    pub(super) scale: f32,
}

/// Seconds of a period.
const SHAKE_SEC: f32 = 0.7;
const SWELL_SEC: f32 = 0.9;
const SWIRL_SEC: f32 = 1.1;
/// Amplitudes: in sides of the picture, and of the mean size.
const SHAKE: f32 = 0.14;
const SWIRL: f32 = 0.17;
const SWELL: f32 = 0.4;

impl Motion {
    /// Where a thing is `sec` seconds after it began to move.
    pub(super) fn pose(&self, course: Course, sec: f32) -> Pose {
        let Course { origin: [x, y], phase, speed } = course;
        let turn = |period: f32| TAU * (phase + sec / period);
        let size = |turn: f32| 1.0 + SWELL * turn.sin();
        let still = size(TAU * phase);
        let (at, scale) = match self.path {
            Path::Drift(dx, dy) => ([x + dx * speed * sec, y + dy * speed * sec], still),
            Path::Shake => ([x + SHAKE * turn(SHAKE_SEC).sin(), y], still),
            Path::Swell => ([x, y], size(turn(SWELL_SEC))),
            Path::Swirl => {
                let turn = turn(SWIRL_SEC);
                ([x + SWIRL * turn.cos(), y + SWIRL * turn.sin()], still)
            }
            Path::Hold => ([x, y], still),
        };
        Pose { at, scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over all phases, at any time, things have the same sizes whatever they do; where they are is drawn on a torus.
    #[test]
    fn at_no_moment_does_a_size_tell_a_motion() {
        for motion in MOTIONS {
            for sec in [0.0, 0.37, 1.5] {
                let course = |phase: u32| Course { origin: [0.5, 0.5], phase: phase as f32 / 360.0, speed: 0.5 };
                let poses: Vec<Pose> = (0..360).map(|phase| motion.pose(course(phase), sec)).collect();
                let mean = |of: &dyn Fn(&Pose) -> f32| poses.iter().map(of).sum::<f32>() / 360.0;
                assert!((mean(&|pose| pose.scale) - 1.0).abs() < 1e-3);
                let variance = mean(&|pose| (pose.scale - 1.0).powi(2));
                assert!((variance - SWELL * SWELL / 2.0).abs() < 1e-3, "{}: {variance}", motion.ways[0].verb);
            }
        }
        let drift = |speed: f32| MOTIONS[0].pose(Course { origin: [0.2, 0.5], phase: 0.0, speed }, 2.0).at;
        assert!((drift(0.5)[0] - -0.8).abs() < 1e-6 && drift(0.5)[1] == 0.5);
    }

    #[test]
    fn names_are_unique_and_tags_fit_the_vocabularies_of_egoclip() {
        let mut ways: Vec<String> = Vec::new();
        for motion in MOTIONS {
            ways.extend(motion.ways.iter().map(|way| format!("{} {}", way.verb, way.tail)));
        }
        let mut names: Vec<&str> =
            COLOURS.iter().map(|colour| colour.name).chain(SHAPES.iter().map(|s| s.name)).collect();
        names.extend(ways.iter().map(String::as_str));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let nouns: std::collections::BTreeSet<usize> = all_acts().map(|act| act.thing.noun()).collect();
        assert_eq!(nouns.len(), COLOURS.len() * SHAPES.len());
        assert!(MOTIONS.len() <= 118 && nouns.iter().all(|noun| *noun < 582));
    }
}
