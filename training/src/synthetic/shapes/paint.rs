//! Pictures: a static background with clutter, and the thing of the shot on it.
//!
//! Not for encoding. Invariant: a film's background does not depend on what is shown before it.

use super::film::{FPS, Film, Shot};
use super::scene::{Pose, Thing};
use crate::synthetic::draw::Draws;

/// The stream of a film's background lies this far from that of its shots.
const BACKGROUND: u64 = 1 << 48;
/// Mean radius of a thing, in sides of the picture.
const RADIUS: f32 = 0.16;
/// Cells of the coarsest texture, which each finer one doubles.
const CELLS: usize = 3;
const TEXTURES: usize = 3;

/// Draws the frames of one film. A pixel is three bytes, red, green, blue; rows from top to bottom.
pub(super) struct Painter<'f> {
    film: &'f Film,
    side: usize,
    background: Vec<u8>,
}

impl<'f> Painter<'f> {
    pub(super) fn new(film: &'f Film, seed: u64, side: usize) -> Self {
        let mut draws = Draws::new(seed, BACKGROUND + film.look);
        let mut levels = textured(&mut draws, side);
        (0..4).for_each(|_| clutter(&mut draws, &mut levels, side));
        let background = levels.iter().map(|level| level.clamp(0.0, 255.0) as u8).collect();
        Self { film, side, background }
    }

    /// All frames, one after the other.
    pub(super) fn frames(&self) -> impl Iterator<Item = Vec<u8>> {
        self.film.shots.iter().flat_map(move |shot| shot.frames.clone().map(move |frame| self.frame(shot, frame)))
    }

    fn frame(&self, shot: &Shot, frame: u64) -> Vec<u8> {
        let passed = frame - shot.frames.start;
        let pose = shot.deed.act.motion().pose(shot.course, passed as f32 / FPS as f32);
        let changed = shot.deed.change.filter(|change| passed >= change.after);
        let thing = changed.map_or(shot.deed.act.thing, |change| change.thing);
        let mut pixels = self.background.clone();
        draw(&mut pixels, self.side, thing, pose);
        pixels
    }
}

/// Noise of several sizes around a dull colour, as levels 0 to 255.
fn textured(draws: &mut Draws, side: usize) -> Vec<f32> {
    let dull = 80.0 + 60.0 * draws.uniform() as f32;
    let tint: Vec<f32> = (0..3).map(|_| dull + 16.0 * draws.uniform() as f32).collect();
    let mut levels: Vec<f32> = (0..side * side).flat_map(|_| tint.clone()).collect();
    for texture in 0..TEXTURES {
        let cells = CELLS << texture;
        let knots: Vec<f32> = (0..cells * cells).map(|_| draws.uniform() as f32 - 0.5).collect();
        for (place, pixel) in levels.chunks_mut(3).enumerate() {
            let [column, row] = [place % side, place / side].map(|at| at as f32 * cells as f32 / side as f32);
            let added = 36.0 * between(&knots, cells, column, row);
            pixel.iter_mut().for_each(|level| *level += added);
        }
    }
    levels
}

/// The value at a place between four knots of a torus.
fn between(knots: &[f32], cells: usize, column: f32, row: f32) -> f32 {
    let (left, top) = (column as usize, row as usize);
    let (x, y) = (column - left as f32, row - top as f32);
    let knot = |right: usize, down: usize| knots[(top + down) % cells * cells + (left + right) % cells];
    let upper = knot(0, 0) * (1.0 - x) + knot(1, 0) * x;
    let lower = knot(0, 1) * (1.0 - x) + knot(1, 1) * x;
    upper * (1.0 - y) + lower * y
}

/// A dull rectangle.
fn clutter(draws: &mut Draws, levels: &mut [f32], side: usize) {
    let [left, top] = [0; 2].map(|_| draws.below(side));
    let [width, height] = [0; 2].map(|_| side / 16 + draws.below(side / 5));
    let added = 70.0 * (draws.uniform() as f32 - 0.5);
    for row in top..top + height {
        for column in left..left + width {
            let place = (row % side * side + column % side) * 3;
            levels[place..place + 3].iter_mut().for_each(|level| *level += added);
        }
    }
}

/// Lays a thing over a picture that is a torus, its edge as wide as a pixel.
fn draw(pixels: &mut [u8], side: usize, thing: Thing, pose: Pose) {
    let length = side as f32;
    let radius = RADIUS * pose.scale * length;
    let [x, y] = pose.at.map(|at| at.rem_euclid(1.0) * length);
    let reach = (1.3 * radius).ceil() as i64;
    let (distance, rgb) = (thing.shape().distance, thing.colour().rgb);
    for row in y as i64 - reach..=y as i64 + reach {
        let down = (row as f32 + 0.5 - y) / radius;
        let line = row.rem_euclid(side as i64) as usize * side;
        for column in x as i64 - reach..=x as i64 + reach {
            let right = (column as f32 + 0.5 - x) / radius;
            let cover = (0.5 - distance(right, down) * radius).clamp(0.0, 1.0);
            // Most of the square lies outside of the thing.
            if cover == 0.0 {
                continue;
            }
            let place = (line + column.rem_euclid(side as i64) as usize) * 3;
            for (level, ink) in pixels[place..place + 3].iter_mut().zip(rgb) {
                *level = (f32::from(*level) * (1.0 - cover) + f32::from(ink) * cover) as u8;
            }
        }
    }
}
