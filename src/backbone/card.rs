//! Model cards: `onnx/<model>.toml`, what a caller must know of a graph without opening it.
//!
//! Not for running the graph. Invariant: a card that was read agrees with the file that it names, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BackboneError;
use crate::digest;

/// A model card. Part of every row's fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The backbone's name, that of the file.
    pub name: String,
    /// The graph's file, beside the card.
    pub graph: PathBuf,
    /// Hash of the graph's file.
    pub sha256: String,
    /// Licence of the weights.
    pub licence: String,
    /// The checkpoint that the weights come from.
    pub checkpoint: String,
    /// Its hash.
    pub checkpoint_sha256: String,
    /// The tensor that goes in.
    pub input: Input,
    /// The tensor that comes out.
    pub output: Output,
    /// Words on what is done to pixels, outside of the graph and in it.
    pub preprocessing: Preprocessing,
    /// An input and what the graph makes of it, computed when the card was written.
    pub golden: Golden,
}

/// The tensor that goes in: `uint8` RGB frames `[B, F, height, width, 3]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The graph's name for it.
    pub name: String,
    /// Order of the axes.
    pub layout: Layout,
    /// Element type.
    pub dtype: Element,
    /// Pixels.
    pub height: u32,
    /// Pixels.
    pub width: u32,
    /// Frame counts that the graph takes; absent if it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<Vec<u32>>,
}

/// Order of the input's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Batch, frame, row, column, RGB.
    #[serde(rename = "BFHWC")]
    Bfhwc,
}

/// Element type of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 0 to 255.
    Uint8,
}

/// The tensor that comes out: `float32` `[B, dim]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The graph's name for it.
    pub name: String,
    /// Length of a feature.
    pub dim: usize,
}

/// Words on what is done to pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// What the caller does.
    pub outside: String,
    /// What the graph does.
    pub inside: String,
}

/// An input and its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// How the input is made.
    pub input: GoldenInput,
    /// Frames in the one window.
    pub frames: u32,
    /// The feature, `dim` numbers.
    pub output: Vec<f32>,
    /// Largest difference that counts as equal.
    pub max_abs: f32,
}

/// How a golden input is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoldenInput {
    /// `pixel(f, y, x, c) = (7 f + 3 y + 5 x + 11 c) mod 256`.
    Ramp,
}

impl Card {
    /// Reads `<models>/<name>.toml` and checks that the graph beside it is the one that the card describes.
    pub fn read(models: &Path, name: &str) -> Result<Self, BackboneError> {
        let path = models.join(format!("{name}.toml"));
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(unknown(models, name)),
            other => other.map_err(|source| BackboneError::Io { path: path.clone(), source })?,
        };
        let parse = |source| BackboneError::Card { path: path.clone(), source: Box::new(source) };
        let card: Self = toml::from_str(&text).map_err(parse)?;
        card.check(&path, name)?;
        let graph = card.graph_path(models);
        let io = |source| BackboneError::Io { path: graph.clone(), source };
        let (_, found) = digest::file(&graph).map_err(io)?;
        if found != card.sha256 {
            return Err(BackboneError::GraphHash { card: path, graph, expected: card.sha256, found });
        }
        Ok(card)
    }

    /// Where the graph lies.
    pub fn graph_path(&self, models: &Path) -> PathBuf {
        models.join(&self.graph)
    }

    /// Whether the graph takes windows of this many frames.
    pub fn takes_frames(&self, frames: u32) -> bool {
        self.input.frames.as_ref().is_none_or(|list| list.contains(&frames))
    }

    fn check(&self, path: &Path, name: &str) -> Result<(), BackboneError> {
        let refuse = |why: String| Err(BackboneError::CardValue { path: path.to_owned(), why });
        if self.name != name {
            return refuse(format!("its name is {:?}, the file's name says {name:?}", self.name));
        }
        if self.graph.components().count() != 1 || self.graph.is_absolute() {
            return refuse(format!("graph {:?} is to be the name of a file beside the card", self.graph));
        }
        if self.output.dim == 0 || self.golden.output.len() != self.output.dim {
            let found = self.golden.output.len();
            return refuse(format!("output.dim is {}, golden.output has {found} numbers", self.output.dim));
        }
        Ok(())
    }
}

impl Golden {
    /// The input, one window: `[frames, height, width, 3]`, flat.
    pub fn pixels(&self, input: &Input) -> Vec<u8> {
        let GoldenInput::Ramp = self.input;
        let (h, w) = (input.height, input.width);
        let at = |f: u32, y: u32, x: u32, c: u32| ((7 * f + 3 * y + 5 * x + 11 * c) % 256) as u8;
        let mut pixels = Vec::with_capacity((self.frames * h * w * 3) as usize);
        for (f, y) in (0..self.frames).flat_map(|f| (0..h).map(move |y| (f, y))) {
            pixels.extend((0..w).flat_map(|x| (0..3).map(move |c| at(f, y, x, c))));
        }
        pixels
    }
}

fn unknown(models: &Path, name: &str) -> BackboneError {
    let stem = |entry: fs::DirEntry| {
        let path = entry.path();
        let is_card = path.extension().is_some_and(|e| e == "toml");
        is_card.then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    };
    let entries = fs::read_dir(models).into_iter().flatten().flatten();
    let mut known: Vec<String> = entries.filter_map(stem).collect();
    known.sort();
    BackboneError::Unknown { name: name.to_owned(), models: models.to_owned(), known }
}
