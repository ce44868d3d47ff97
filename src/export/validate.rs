//! Whether a graph computes what it should: golden outputs, and the distance of lower precisions from fp32.
//!
//! Not for writing graphs. Invariant: a graph that misses its limits fails the export.

use std::ops::Range;
use std::path::Path;

use super::error::ExportError;
use super::model::GraphPlan;
use crate::backbone::{
    Accuracy, Card, Device, Dim, Element, Feed, Golden, GraphPrecision, GraphSession, Outputs, Precision, Provider,
    Runtime, SessionOptions, Tensor,
};
use crate::meter::Meter;

/// Least cosine of an fp16 graph's outputs to the fp32 graph's.
pub const LEAST_COSINE_FP16: f64 = 0.999;
/// Least cosine of an int8 graph's outputs to the fp32 graph's.
pub const LEAST_COSINE_INT8: f64 = 0.99;

/// Where no windows are given: patterns that ranges are found on, and as many others that precisions are compared on.
const TURNS: usize = 4;
/// Of so many windows, one is kept from calibration to compare precisions on.
const ONE_UNSEEN_OF: usize = 3;
/// Tokens of a golden sentence.
const GOLDEN_TOKENS: usize = 9;
/// Sentences of a golden batch that has no frames.
const GOLDEN_SENTENCES: usize = 3;

/// How far, over the largest magnitude, another machine may be from a golden output: other kernels sum in another order,
/// and an int8 graph's roundings can fall to the other side.
const GOLDEN_FP32: f32 = 1e-4;
const GOLDEN_FP16: f32 = 1e-2;
const GOLDEN_INT8: f32 = 5e-2;

/// What graphs are validated with.
pub struct Validator<'r> {
    /// ONNX Runtime.
    pub runtime: &'r Runtime,
    /// Threads.
    pub threads: usize,
    /// Windows of frames, each `F * side * side * 3` bytes of F frames: the first two thirds to find an int8 graph's ranges
    /// on, the others to compare precisions on. Empty: patterns.
    pub windows: Vec<(usize, Vec<u8>)>,
    /// Counts the graphs that are validated.
    pub meter: Meter,
}

impl Validator<'_> {
    /// Opens a graph on the CPU, as a check wants it: weights stay as they are in the file.
    fn open(&self, graph: &Path) -> Result<GraphSession, ExportError> {
        let device = Device { provider: Provider::Cpu, ordinal: 0 };
        let options = SessionOptions { device, precision: Precision::Fp32, threads: self.threads, rearrange: false };
        Ok(GraphSession::open(self.runtime, graph, options)?)
    }

    /// Runs the card's graph in `folder` and completes the card: golden outputs, and for a lower precision the distance
    /// from its fp32 counterpart among `cards`.
    pub(super) fn validate(&self, folder: &Path, mut card: Card, cards: &[Card]) -> Result<Card, ExportError> {
        let mut session = self.open(&card.graph_path(folder))?;
        let outputs = session.run(&card.golden.feeds(&card.inputs, 0))?;
        card.golden.keep(&outputs, golden_tolerance(card.precision));
        let Some((least, suffix)) = limit(card.precision) else { return Ok(card) };
        let counterpart = card.name.strip_suffix(suffix).unwrap_or(&card.name);
        let Some(counterpart) = cards.iter().find(|other| other.name == counterpart) else { return Ok(card) };
        let mut reference = self.open(&counterpart.graph_path(folder))?;
        let mut distances: Vec<Distance> = card.outputs.iter().map(Distance::new).collect();
        for feeds in self.feeds(Part::Unseen, &card.inputs, &card.golden) {
            let (reference, found) = (reference.run(&feeds)?, session.run(&feeds)?);
            for ((distance, (_, a)), (_, b)) in distances.iter_mut().zip(&reference).zip(&found) {
                distance.widen(a, b);
            }
        }
        // A NaN is not near anything.
        let far = |distance: &&Distance| distance.cosine().is_nan() || distance.cosine() < least;
        if let Some(distance) = distances.iter().find(far) {
            let (graph, output, cosine) = (card.name, distance.output.clone(), distance.cosine());
            return Err(ExportError::Inaccurate { graph, output, cosine, least });
        }
        card.accuracy = Some(Accuracy {
            inputs: self.described(Part::Unseen, &card),
            calibration: (card.precision == GraphPrecision::Int8).then(|| self.described(Part::Calibration, &card)),
            cosine: distances.iter().map(Distance::cosine).fold(1.0, f64::min),
            max_relative: distances.iter().map(|distance| distance.max_relative).fold(0.0, f64::max),
        });
        Ok(card)
    }

    /// All that the graph at `path` gives on each of the inputs that ranges are found on.
    pub(super) fn probed(&self, path: &Path, inputs: &[Tensor], golden: &Golden) -> Result<Vec<Outputs>, ExportError> {
        let mut session = self.open(path)?;
        let feeds = self.feeds(Part::Calibration, inputs, golden);
        feeds.into_iter().map(|feeds| Ok(session.run(&feeds)?)).collect()
    }

    fn feeds<'t>(&self, part: Part, inputs: &'t [Tensor], golden: &Golden) -> Vec<Vec<Feed<'t>>> {
        let given = |turn: usize| {
            let mut feeds = golden.feeds(inputs, turn);
            for feed in &mut feeds {
                if let (Feed::Bytes(_, bytes, shape), Some((frames, pixels))) = (feed, self.windows.get(turn)) {
                    shape[1] = *frames;
                    *bytes = middles(pixels, *frames, shape[2]).into();
                }
            }
            feeds
        };
        self.turns(part, inputs).map(given).collect()
    }

    /// The turns of a part: positions in `windows`, where there are some and frames go in.
    fn turns(&self, part: Part, inputs: &[Tensor]) -> Range<usize> {
        let (all, unseen) = match self.windows.len() {
            n if n > 0 && takes_frames(inputs) => (n, n / ONE_UNSEEN_OF),
            _ => (2 * TURNS, TURNS),
        };
        match part {
            Part::Calibration => 0..all - unseen,
            // Too few windows to keep one.
            Part::Unseen if unseen == 0 => 0..all,
            Part::Unseen => all - unseen..all,
        }
    }

    fn described(&self, part: Part, card: &Card) -> String {
        let (turns, seen) = (self.turns(part, &card.inputs), self.turns(Part::Calibration, &card.inputs));
        let what = match self.windows.len() {
            n if n > 0 && takes_frames(&card.inputs) => "windows of the given video",
            _ => "test patterns",
        };
        let is_apart = card.precision == GraphPrecision::Int8 && turns.start >= seen.end;
        format!("{} {what}{}", turns.len(), if is_apart { ", none of which calibration saw" } else { "" })
    }
}

/// What inputs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Finding the ranges that an int8 graph quantizes by.
    Calibration,
    /// Comparing precisions.
    Unseen,
}

impl GraphPlan {
    /// The golden record that the graph's inputs call for, without outputs yet.
    pub(super) fn golden(&self, inputs: &[Tensor]) -> Golden {
        let named = inputs.iter().flat_map(|input| &input.shape);
        let alone = inputs.iter().all(|input| input.dtype == Element::Int64);
        let length = |name: &str| match name {
            "B" if alone => GOLDEN_SENTENCES,
            "F" => self.frames as usize,
            "L" => GOLDEN_TOKENS,
            "N" => self.num_tokens,
            _ => 1,
        };
        let dims = named.filter_map(|dim| match dim {
            Dim::Named(name) => Some((name.clone(), length(name))),
            Dim::Fixed(_) => None,
        });
        let words = inputs.iter().any(|input| input.name == "ids");
        let (vocabulary, pad) = (words.then_some(self.vocab_size as i64), words.then_some(self.pad_id));
        Golden::new(dims.collect(), vocabulary, pad)
    }
}

/// Runs the golden input of `card`, which lies in `models`; the largest difference from what the card says, and whether
/// that is within its limit.
///
/// # Errors
/// If the graph cannot be loaded or run.
pub fn check(validator: &Validator, models: &Path, card: &Card) -> Result<(f32, bool), ExportError> {
    let mut session = validator.open(&card.graph_path(models))?;
    let error = card.golden.error(&session.run(&card.golden.feeds(&card.inputs, 0))?);
    Ok((error, error <= card.golden.max_abs))
}

fn golden_tolerance(precision: GraphPrecision) -> f32 {
    match precision {
        GraphPrecision::Fp32 => GOLDEN_FP32,
        GraphPrecision::Fp16 => GOLDEN_FP16,
        GraphPrecision::Int8 => GOLDEN_INT8,
    }
}

/// The least cosine of a lower precision to fp32, and what its graphs' names end with.
fn limit(precision: GraphPrecision) -> Option<(f64, &'static str)> {
    let least = match precision {
        GraphPrecision::Fp32 => return None,
        GraphPrecision::Fp16 => LEAST_COSINE_FP16,
        GraphPrecision::Int8 => LEAST_COSINE_INT8,
    };
    Some((least, precision.suffix()))
}

/// The middles, `side` pixels square, of `frames` square frames that are at least as large.
fn middles(pixels: &[u8], frames: usize, side: usize) -> Vec<u8> {
    let given = (pixels.len() / (3 * frames.max(1))).isqrt();
    let offset = given.saturating_sub(side) / 2;
    let rows = |frame: &'_ [u8]| {
        let row = |y: usize| frame[((offset + y) * given + offset) * 3..][..side * 3].to_vec();
        (0..side).flat_map(row).collect::<Vec<u8>>()
    };
    pixels.chunks_exact(given * given * 3).flat_map(rows).collect()
}

fn takes_frames(inputs: &[Tensor]) -> bool {
    inputs.iter().any(|input| input.dtype == Element::Uint8)
}

/// An output with fewer numbers is a score, not a direction: its values for all inputs make one vector.
const LEAST_DIRECTION: u64 = 8;

/// How far two graphs are apart in one output.
struct Distance {
    output: String,
    is_direction: bool,
    /// The lowest of a single input.
    lowest: f64,
    /// Sums over all inputs: `a b`, `a a`, `b b`.
    products: [f64; 3],
    max_relative: f64,
}

impl Distance {
    fn new(output: &Tensor) -> Self {
        let is_direction = !matches!(output.shape.last(), Some(Dim::Fixed(n)) if *n < LEAST_DIRECTION);
        Self { output: output.name.clone(), is_direction, lowest: 1.0, products: [0.0; 3], max_relative: 0.0 }
    }

    fn widen(&mut self, a: &[f32], b: &[f32]) {
        let products = [dot(a, b), dot(a, a), dot(b, b)];
        self.lowest = if products[0].is_nan() { f64::NAN } else { self.lowest.min(cosine(products)) };
        for (sum, product) in self.products.iter_mut().zip(products) {
            *sum += product;
        }
        let scale = a.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
        let widest = a.iter().zip(b).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        self.max_relative = self.max_relative.max(f64::from(widest / scale));
    }

    /// The lowest cosine of an input's output; NaN if there was one.
    fn cosine(&self) -> f64 {
        if self.is_direction { self.lowest } else { cosine(self.products) }
    }
}

fn cosine([ab, aa, bb]: [f64; 3]) -> f64 {
    ab / (aa * bb).sqrt()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
