//! The cross-scale graph pyramid: an encoder to ever coarser cells and a decoder back.
//!
//! Not for scores. The encoder's list runs from fine to coarse, the decoder's from coarse to fine.

use tch::Tensor;
use tch::nn::{self, Module};

use super::graph::GraphLevel;
use super::layers;
use super::settings::Settings;
use crate::nn::{Conv, conv_transpose1d};

#[derive(Debug)]
enum Level {
    Graph(GraphLevel),
    Plain(nn::Conv1D),
}

#[derive(Debug)]
pub(super) struct Pyramid {
    entry: nn::Conv1D,
    encoder: Vec<Level>,
    /// From the coarsest level up.
    up: Vec<nn::ConvTranspose1D>,
    merged: Vec<nn::Conv1D>,
    lateral: Vec<nn::Conv1D>,
}

impl Pyramid {
    pub(super) fn new(path: &nn::Path, input_dim: i64, settings: &Settings) -> Self {
        let embed_dim = settings.embed_dim;
        let conv = |list: &str, place: usize| layers::conv3(path / list / place / 0, embed_dim, embed_dim);
        let (all, between) = (0..settings.levels, 0..settings.levels - 1);
        Self {
            entry: layers::conv3(path / "conv0" / 0, input_dim, embed_dim),
            encoder: all.clone().map(|level| encoder_level(path, settings, level)).collect(),
            up: between.clone().map(|place| conv_transpose1d(path / "levels_dec" / place / 0, embed_dim)).collect(),
            merged: all.map(|place| conv("levels1", place)).collect(),
            lateral: between.map(|place| conv("levels2", place)).collect(),
        }
    }

    /// The encoder's levels `[B, C, T / 2^l]`, from `[B, D, T]`; `copies` as for
    /// [`neighbours`](super::graph::neighbours), in cells of the grid.
    pub(super) fn encode(&self, features: &Tensor, copies: Option<&Tensor>) -> Vec<Tensor> {
        let length = features.size()[2];
        let mut encoded: Vec<Tensor> = Vec::with_capacity(self.encoder.len());
        let entry = self.entry.forward(features).relu();
        for level in &self.encoder {
            let input = encoded.last().unwrap_or(&entry);
            encoded.push(match level {
                Level::Graph(level) => {
                    let here = copies.map(|cells| at_level(cells, input.size()[2], length));
                    level.forward(input, here.as_ref())
                }
                Level::Plain(conv) => conv.forward(input).relu(),
            });
        }
        encoded
    }

    /// The decoder's levels, from coarse to fine, of the encoder's, from fine to coarse.
    pub(super) fn decode(&self, encoded: &[Tensor]) -> Vec<Tensor> {
        let mut decoded: Vec<Tensor> = Vec::with_capacity(encoded.len());
        for (place, (encoded, merged)) in encoded.iter().rev().zip(&self.merged).enumerate() {
            let input = match decoded.last() {
                None => encoded.shallow_clone(),
                Some(coarser) => {
                    let lateral = self.lateral[place - 1].forward(encoded).relu();
                    lateral + self.up[place - 1].forward(coarser).relu()
                }
            };
            decoded.push(merged.forward(&input).relu());
        }
        decoded
    }
}

/// Cells of a grid of `length` in a level of `cells`, rounded down.
fn at_level(places: &Tensor, cells: i64, length: i64) -> Tensor {
    (places * cells).floor_divide_scalar(length)
}

fn encoder_level(path: &nn::Path, settings: &Settings, level: usize) -> Level {
    let (path, embed_dim, halves) = (path / "levels_enc" / level, settings.embed_dim, level > 0);
    match settings.graph {
        true => Level::Graph(GraphLevel::new(&path, embed_dim, settings.neighbours, halves)),
        false => {
            let conv = Conv { stride: if halves { 2 } else { 1 }, ..Conv::same(3) };
            Level::Plain(layers::conv(path / 0, embed_dim, embed_dim, conv))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_start_at_a_coarser_level_where_they_start_in_the_grid() {
        let places = Tensor::from_slice(&[0i64, 401, 407, 408, 928]);
        assert_eq!(Vec::<i64>::try_from(at_level(&places, 116, 928)).unwrap(), [0, 50, 50, 51, 116]);
    }
}
