//! Graphs of the tokens of a video tower before one of them is taken for the whole window: for maps of where something is.
//!
//! Not for the towers' own outputs. Invariant: such a graph uses no weight that the graph of the tower does not use, so that the
//! file of weights is the same with and without it.

use super::graph::{Graph, Value};
use super::layers::{concat, reshape, slice};
use super::model::{Cost, GraphPlan, TokenPlan};
use super::onnx::Attribute;
use super::pixels::{self, Frames};
use super::signature::dims;
use super::towers::video::VideoTower;

/// What stands after the model's name and `_`.
pub const NAME: &str = "video_tokens";
/// Frames of a golden window.
const FRAMES: usize = 4;

/// The graph of the tokens of `tower`, which takes `frames`.
pub fn plan(tower: VideoTower, frames: Frames) -> TokenPlan {
    let (grid_size, num_tokens) = (tower.config.grid_size(), tower.config.num_tokens(FRAMES));
    let cost = Cost { what: format!("video tokens, {FRAMES} frames"), macs: tower.token_macs(FRAMES) };
    let graph = move |places: usize| {
        let tower = tower.clone();
        let build = Box::new(move |g: &mut Graph| outputs(g, &tower, frames, places));
        let about = "clips to the tokens of all patches, or of means of them, behind the last norm";
        GraphPlan { name: NAME, about, build, frames: FRAMES as u32, num_tokens, vocab_size: 0, pad_id: 0 }
    };
    TokenPlan { grid_size, graph: Box::new(graph), cost }
}

/// `tokens`: the class token, then `places * places` tokens of each frame in turn; `map`: the mean of these over the frames.
fn outputs(g: &mut Graph, tower: &VideoTower, frames: Frames, places: usize) {
    let pixels = pixels::frames(g, frames);
    let tokens = tower.tokens(g, &pixels);
    let dim = tower.config.embed_dim;
    let maps = maps(g, tower, &tokens, places);
    let axis = g.ints(&[1]);
    let map = g.op("ReduceMean", &[&maps, &axis], &[("keepdims", Attribute::Int(0))]);
    let class = slice(g, &tokens, 1, 0..1);
    let rest = reshape(g, &maps, &[0, -1, dim as i64]);
    let tokens = concat(g, 1, &[&class, &rest]);
    let length = format!("1+{}*F", places * places);
    g.output("tokens", &tokens, &dims(&["B", &length], &[dim]));
    g.output("map", &map, &dims(&["B"], &[places, places, dim]));
}

/// The patches of `tokens` as maps `[B, F, places, places, D]`, each place the mean of a square of patches.
fn maps(g: &mut Graph, tower: &VideoTower, tokens: &Value, places: usize) -> Value {
    let patches = slice(g, tokens, 1, 1..i64::MAX);
    let (side, cell, dim) = (places as i64, (tower.config.grid_size() / places) as i64, tower.config.embed_dim as i64);
    if cell == 1 {
        return reshape(g, &patches, &[0, -1, side, side, dim]);
    }
    let squares = reshape(g, &patches, &[0, -1, side, cell, side, cell, dim]);
    let axes = g.ints(&[3, 5]);
    g.op("ReduceMean", &[&squares, &axes], &[("keepdims", Attribute::Int(0))])
}
