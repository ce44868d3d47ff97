//! Golden inputs: what a graph is given so that its outputs can be compared with what they were.
//!
//! Not for judging the difference. Invariant: an input is made from its card alone, by formulas that any language has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::feed::Feed;
use super::session::Outputs;
use super::tensor::{Dim, Element, IDS, MASK, MASKS, Tensor};

/// Most numbers that a card keeps of one output.
const KEPT: usize = 64;
/// Tokens at the end of each golden sentence that are padding.
const PADDING: usize = 2;

/// An input and its outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// How the input is made; see [`Golden::feeds`].
    pub input: GoldenInput,
    /// How long the inputs' named dimensions are.
    pub dims: BTreeMap<String, usize>,
    /// For inputs of tokens: how many words there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<i64>,
    /// For inputs of tokens: the one that fills up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad: Option<i64>,
    /// Largest difference that counts as equal.
    pub max_abs: f32,
    /// What came out.
    pub outputs: Vec<GoldenOutput>,
}

/// How a golden input is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoldenInput {
    /// `pixel(b, f, y, x, c) = (13 b + 7 f + 3 y + 5 x + 11 c) mod 256`; `number(i) = ((37 i) mod 201 - 100) / 100`;
    /// `token(b, l) = (5 + 31 b + 17 l) mod vocabulary`, the last two of each sentence padding; `mask` and `*_mask` are 1, and 0 on
    /// the last two places.
    Ramp,
}

/// Some of an output's numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenOutput {
    /// The output.
    pub name: String,
    /// Numbers 0, `every`, 2 `every`, ... of it, in memory's order.
    pub every: usize,
    /// The numbers.
    pub values: Vec<f32>,
}

impl Golden {
    /// A golden record without outputs yet.
    pub fn new(dims: BTreeMap<String, usize>, vocabulary: Option<i64>, pad: Option<i64>) -> Self {
        Self { input: GoldenInput::Ramp, dims, vocabulary, pad, max_abs: 0.0, outputs: Vec::new() }
    }

    /// The inputs, made `turn` steps along their patterns: 0 is the golden input itself.
    pub fn feeds<'t>(&self, inputs: &'t [Tensor], turn: usize) -> Vec<Feed<'t>> {
        inputs.iter().map(|input| self.feed(input, turn)).collect()
    }

    fn feed<'t>(&self, input: &'t Tensor, turn: usize) -> Feed<'t> {
        let length = |dim: &Dim| match dim {
            Dim::Fixed(n) => *n as usize,
            Dim::Named(name) => self.dims[name],
        };
        let shape: Vec<usize> = input.shape.iter().map(length).collect();
        let count: usize = shape.iter().product();
        let name = input.name.as_str();
        match input.dtype {
            Element::Uint8 => Feed::Bytes(name, pixels(&shape, turn).into(), shape),
            Element::Float32 => {
                let at = |i: usize| ((37 * (i + 1009 * turn)) % 201) as f32 / 100.0 - 1.0;
                Feed::Floats(name, (0..count).map(at).collect(), shape)
            }
            Element::Int64 => {
                // Graphs that take a mask alone have neither.
                let (vocabulary, pad) = (self.vocabulary.unwrap_or(1).max(1), self.pad.unwrap_or(0));
                let length = shape.last().copied().unwrap_or(1).max(1);
                let is_word = |i: usize| i % length < length.saturating_sub(PADDING).max(1);
                let token = |i: usize| (5 + 31 * (i / length) + 17 * (i % length) + 101 * turn) as i64 % vocabulary;
                let is_mask = name == MASK || name.ends_with(MASKS);
                let at = |i: usize| match (is_mask, is_word(i)) {
                    (true, word) => i64::from(word),
                    (_, false) => pad,
                    // A word must not look like padding.
                    (_, true) => {
                        if token(i) == pad {
                            (pad + 2) % vocabulary
                        } else {
                            token(i)
                        }
                    }
                };
                Feed::Ints(name, (0..count).map(at).collect(), shape)
            }
        }
    }

    /// Keeps some of `outputs`, to be met again within `tolerance` times the largest magnitude of each (at least 1).
    pub fn keep(&mut self, outputs: &Outputs, tolerance: f32) {
        let mut scale = 1.0_f32;
        for (name, values) in outputs {
            let every = values.len().div_ceil(KEPT).max(1);
            scale = values.iter().fold(scale, |most, v| most.max(v.abs()));
            let values = values.iter().step_by(every).copied().collect();
            self.outputs.push(GoldenOutput { name: name.clone(), every, values });
        }
        self.max_abs = tolerance * scale;
    }

    /// The largest difference of `outputs` from what was kept; NaN if there is one, or a number is missing.
    pub fn error(&self, outputs: &Outputs) -> f32 {
        let of = |kept: &GoldenOutput| -> f32 {
            let Some((_, values)) = outputs.iter().find(|(name, _)| *name == kept.name) else { return f32::NAN };
            let found: Vec<f32> = values.iter().step_by(kept.every).copied().collect();
            if found.len() != kept.values.len() {
                return f32::NAN;
            }
            found.iter().zip(&kept.values).map(|(a, b)| (a - b).abs()).fold(0.0, worse)
        };
        self.outputs.iter().map(of).fold(0.0, worse)
    }

    /// The largest magnitude that was kept.
    pub fn scale(&self) -> f32 {
        self.outputs.iter().flat_map(|output| &output.values).fold(0.0, |most, v| most.max(v.abs()))
    }

    pub(super) fn check(&self, inputs: &[Tensor], outputs: &[Tensor]) -> Result<(), String> {
        let named = inputs.iter().flat_map(|input| &input.shape);
        for dim in named {
            if let Dim::Named(name) = dim
                && !self.dims.contains_key(name)
            {
                return Err(format!("golden.dims lacks {name}"));
            }
        }
        if inputs.iter().any(|input| input.name == IDS) && (self.vocabulary.is_none() || self.pad.is_none()) {
            return Err(format!("golden lacks vocabulary or pad, the graph takes {IDS}"));
        }
        for output in outputs {
            let kept = self.outputs.iter().find(|kept| kept.name == output.name);
            if kept.is_none_or(|kept| kept.values.is_empty() || kept.every == 0) {
                return Err(format!("golden.outputs has no values of {}", output.name));
            }
        }
        Ok(())
    }
}

/// The worse of two differences; `f32::max` would drop a NaN, which must win here.
fn worse(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

/// The ramp in `[B, F, height, width, 3]`.
fn pixels(shape: &[usize], turn: usize) -> Vec<u8> {
    let (height, width, channels) = (shape[2], shape[3], shape[4]);
    let mut values = Vec::with_capacity(shape.iter().product());
    for row in 0..shape[0] * shape[1] * height {
        let (frame, y) = (row / height, row % height);
        let first = 13 * (frame / shape[1]) + 7 * (frame % shape[1]) + 3 * y;
        for x in 0..width {
            let pixel = first + 5 * x + turn * (1 + y / 16 * (x / 16));
            values.extend((0..channels).map(|c| (pixel + 11 * c) as u8));
        }
    }
    values
}
