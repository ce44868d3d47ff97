//! Model cards: `onnx/<model>.toml`, what a caller must know of a graph without opening it.
//!
//! Not for running the graph. Invariant: a card that was read, and not only
//! described, agrees with the files that it names, byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BackboneError, Dim, Element, Golden, GraphPrecision, HeadCard, Tensor};
use crate::digest;
use crate::measure::Measure;

/// A model card. Part of every row's fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The graph's name, that of the file.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The graph's file, beside the card.
    pub graph: PathBuf,
    /// Hash of the graph's file.
    pub sha256: String,
    /// The file that holds the graph's weights, beside the card; absent if the graph holds them itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Hash of the weights' file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// Licence of the weights.
    pub licence: String,
    /// The checkpoint that the weights come from.
    pub checkpoint: String,
    /// Its hash.
    pub checkpoint_sha256: String,
    /// Whether the weights were drawn from a seed: a graph for trials, of which a recipe's `dim` is not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub random_weights: bool,
    /// The precision that is written into the graph. Older cards call it `arithmetic`.
    #[serde(alias = "arithmetic")]
    pub precision: GraphPrecision,
    /// How rows of it are compared with those of the model's other tower; absent: by their cosine.
    #[serde(default, skip_serializing_if = "Measure::is_usual")]
    pub measure: Measure,
    /// The tensors that go in.
    pub inputs: Vec<Tensor>,
    /// The tensors that come out, `float32`.
    pub outputs: Vec<Tensor>,
    /// Words on what is done to frames or sentences, outside of the graph and in it.
    pub preprocessing: Preprocessing,
    /// How near the graph is to the fp32 one, if it is not that itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    /// What the graph is a head of, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadCard>,
    /// An input and what the graph makes of it, computed when the card was written.
    pub golden: Golden,
}

/// Words on what is done to frames or sentences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// What the caller does.
    pub outside: String,
    /// What the graph does.
    pub inside: String,
}

/// A comparison with the fp32 graph of the same checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// What both were given; of an int8 graph, nothing that its ranges were found on.
    pub inputs: String,
    /// What the ranges of an int8 graph were found on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<String>,
    /// The lowest cosine of an output.
    pub cosine: f64,
    /// The largest difference, over the largest magnitude.
    pub max_relative: f64,
}

/// A card of a video graph, and the output of it that a recipe wants.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoCard {
    /// The card.
    pub card: Card,
    /// The tensor that goes in.
    pub input: FrameInput,
    /// The tensor that comes out and is kept.
    pub feature: Feature,
}

/// `uint8` RGB frames `[B, F, height, width, 3]`, or `float32` of the same scale where they were scaled in single precision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrameInput {
    /// The graph's name for it.
    pub name: String,
    /// The one frame count that the graph takes; `None` if it takes any.
    pub frames: Option<u64>,
    /// Pixels.
    pub height: u32,
    /// Pixels.
    pub width: u32,
}

/// `float32` `[B, dim]`, or of more dimensions, whose numbers stand behind one another in a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Feature {
    /// The graph's name for it.
    pub name: String,
    /// Length of a row.
    pub dim: usize,
}

impl Card {
    /// Reads `<models>/<name>.toml` and checks that the files beside it are the ones that the card describes.
    ///
    /// # Errors
    /// [`BackboneError`]: no such card, no card at all, a value that it cannot have, or a graph of another hash.
    pub fn read(models: &Path, name: &str) -> Result<Self, BackboneError> {
        let card = Self::describe(models, name)?;
        let path = models.join(format!("{name}.toml"));
        let weights = card.weights.iter().zip(&card.weights_sha256);
        for (file, expected) in weights.chain([(&card.graph, &card.sha256)]) {
            let graph = models.join(file);
            let (_, found) =
                digest::file(&graph).map_err(|source| BackboneError::Io { path: graph.clone(), source })?;
            if found != *expected {
                return Err(BackboneError::GraphHash { card: path, graph, expected: expected.clone(), found });
            }
        }
        Ok(card)
    }

    /// Reads `<models>/<name>.toml` alone, for the choice of a card: the files beside it are not looked at.
    ///
    /// # Errors
    /// [`BackboneError`]: no such card, no card at all, or a value that it cannot have.
    pub fn describe(models: &Path, name: &str) -> Result<Self, BackboneError> {
        let path = models.join(format!("{name}.toml"));
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(unknown(models, name)),
            other => other.map_err(|source| BackboneError::Io { path: path.clone(), source })?,
        };
        let parse = |source| BackboneError::Card { path: path.clone(), source: Box::new(source) };
        let card: Self = toml::from_str(&text).map_err(parse)?;
        card.check(name).map_err(|why| BackboneError::CardValue { path, why })?;
        Ok(card)
    }

    /// Every name of a card in `models`, sorted.
    pub fn names(models: &Path) -> Vec<String> {
        let stem = |entry: fs::DirEntry| {
            let path = entry.path();
            let is_card = path.extension().is_some_and(|e| e == "toml");
            is_card.then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        };
        let entries = fs::read_dir(models).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(stem).collect();
        names.sort();
        names
    }

    /// Where the graph lies.
    pub fn graph_path(&self, models: &Path) -> PathBuf {
        models.join(&self.graph)
    }

    /// The card as one of a video graph whose output `feature` is kept, of windows of `frames` frames.
    ///
    /// # Errors
    /// [`BackboneError::Use`] if the graph takes something else than frames, or has no such output, or one whose length depends
    /// on frames that are not given.
    pub fn video(self, feature: &str, frames: Option<u32>) -> Result<VideoCard, BackboneError> {
        let input = self.frame_input().ok_or_else(|| {
            let takes = listed(&self.inputs);
            self.refuse(format!("it takes {takes}; a video tower takes uint8 frames [B, F, height, width, 3] alone"))
        })?;
        let feature = self.row_output(feature, frames)?;
        Ok(VideoCard { card: self, input, feature })
    }

    /// The output `name`, of one row a window of `frames` frames.
    pub(super) fn row_output(&self, name: &str, frames: Option<u32>) -> Result<Feature, BackboneError> {
        let length = |tensor: &Tensor| match tensor.shape.as_slice() {
            [Dim::Named(_), each @ ..] if tensor.name == name && !each.is_empty() => {
                each.iter().try_fold(1_usize, |length, dim| length.checked_mul(dim.length(frames)?))
            }
            _ => None,
        };
        let dim = self.outputs.iter().find_map(length).ok_or_else(|| {
            self.refuse(format!("it has no output {name:?} of one row a window ({})", self.listed_outputs()))
        })?;
        Ok(Feature { name: name.to_owned(), dim })
    }

    pub(super) fn refuse(&self, why: String) -> BackboneError {
        BackboneError::Use { backbone: self.name.clone(), why }
    }

    pub(super) fn listed_inputs(&self) -> String {
        listed(&self.inputs)
    }

    pub(super) fn listed_outputs(&self) -> String {
        format!("its outputs: {}", listed(&self.outputs))
    }

    pub(super) fn frame_input(&self) -> Option<FrameInput> {
        let [Tensor { name, dtype: Element::Uint8, shape }] = self.inputs.as_slice() else { return None };
        let [Dim::Named(_), frames, Dim::Fixed(height), Dim::Fixed(width), Dim::Fixed(3)] = shape.as_slice() else {
            return None;
        };
        let (height, width) = (u32::try_from(*height).ok()?, u32::try_from(*width).ok()?);
        let frames = if let Dim::Fixed(frames) = frames { Some(*frames) } else { None };
        Some(FrameInput { name: name.clone(), frames, height, width })
    }

    fn check(&self, name: &str) -> Result<(), String> {
        if self.name != name {
            return Err(format!("its name is {:?}, the file's name says {name:?}", self.name));
        }
        for file in self.weights.iter().chain([&self.graph]) {
            if file.components().count() != 1 || file.is_absolute() {
                return Err(format!("{} is to be the name of a file beside the card", file.display()));
            }
        }
        if self.weights.is_some() != self.weights_sha256.is_some() {
            return Err("weights and weights_sha256 go together".into());
        }
        self.golden.check(&self.inputs, &self.outputs)
    }
}

impl FrameInput {
    /// Whether the graph takes windows of this many frames.
    pub fn takes(&self, frames: u32) -> bool {
        self.frames.is_none_or(|only| only == u64::from(frames))
    }
}

/// `name dtype [shape]`, for messages.
fn listed(tensors: &[Tensor]) -> String {
    tensors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl std::fmt::Display for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dtype = match self.dtype {
            Element::Uint8 => "uint8",
            Element::Int64 => "int64",
            Element::Float32 => "float32",
        };
        let dims: Vec<String> = self.shape.iter().map(ToString::to_string).collect();
        write!(f, "{} {dtype} [{}]", self.name, dims.join(", "))
    }
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Named(name) => f.write_str(name),
        }
    }
}

/// What makes `egofx export` write a card of that name, beside the checkpoint: cards of lower precisions end with it.
pub(super) fn precision_flag(name: &str) -> String {
    match [GraphPrecision::Int8, GraphPrecision::Fp16].into_iter().find(|lower| name.ends_with(lower.suffix())) {
        Some(lower) => format!(" --precision {}", lower.name()),
        None => String::new(),
    }
}

fn unknown(models: &Path, name: &str) -> BackboneError {
    BackboneError::Unknown { name: name.to_owned(), models: models.to_owned(), known: Card::names(models) }
}
