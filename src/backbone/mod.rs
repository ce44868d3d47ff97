//! Backbones: what maps clips, sentences or pairs of them to rows of features.
//!
//! Not for paths of videos or for storing rows. Invariant: a backbone has one owner thread (`&mut self`), and a row does
//! not depend on what else stands in its batch.

mod bound;
mod card;
mod choice;
mod device;
mod feed;
mod frame_graph;
mod fused;
mod golden;
mod head;
mod onnx;
mod provider;
mod retype;
mod runtime;
mod session;
mod tensor;
mod text;
mod towers;
mod trial;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array2;

pub use card::{Accuracy, Card, Feature, FrameInput, Preprocessing, VideoCard};
pub use choice::{Machine, missing_library};
pub use device::{Device, DeviceOption, GraphPrecision, Precision, Provider};
pub use feed::Feed;
pub use frame_graph::Windows;
pub use golden::{Golden, GoldenInput, GoldenOutput};
pub use head::HeadCard;
pub use onnx::OnnxBackbone;
pub use provider::{FrameShape, SessionOptions};
pub use runtime::{LibrarySearch, Runtime, remedy};
pub use session::{GraphSession, Outputs};
pub use tensor::{Dim, Element, Tensor};
pub use towers::{FusedCards, TextCard, Towers};
pub use trial::try_provider;

use crate::pixels::Pixels;

/// A dense input of one model: `clips` windows of `frames` frames in the card's layout, flat.
#[derive(Debug, Clone)]
pub struct ClipBatch {
    /// Number of windows, at least 1.
    pub clips: usize,
    /// Frames in each.
    pub frames: usize,
    /// `clips * frames * height * width * 3` values: `uint8`, or `float32` of the same scale.
    pub pixels: Pixels,
}

/// A sentence as a text tower takes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sentence {
    /// Token ids, padding included.
    pub ids: Vec<i64>,
    /// 1 where a token stands, 0 on padding; as long as `ids`.
    pub mask: Vec<i64>,
}

/// A sentence, and the windows of a batch that it is asked of.
#[derive(Debug, Clone)]
pub struct PairedSentence {
    /// Positions in the batch, at least one.
    pub windows: Range<usize>,
    /// The sentence.
    pub sentence: Arc<Sentence>,
}

/// What a backbone is given at once.
pub enum Input<'i> {
    /// For a video tower: a row for each window.
    Windows(&'i ClipBatch),
    /// For a text tower, sentences of equal length: a row for each, or for each of their tokens, behind one another.
    Sentences(&'i [Arc<Sentence>]),
    /// For fused towers: for each sentence in turn, a row for each of its windows.
    Pairs(&'i ClipBatch, &'i [PairedSentence]),
}

/// Maps windows, sentences or pairs of them to features.
pub trait Backbone: Send {
    /// What the backbone is.
    fn towers(&self) -> &Towers;

    /// Features `[rows, towers.feature().dim]`; see [`Input`] for the order of rows.
    ///
    /// # Errors
    /// [`BackboneError::Run`] if a graph cannot be run on the input, [`BackboneError::Shape`] if it gives something else
    /// than its card says, [`BackboneError::Use`] if the input is not of the kind that the backbone takes.
    fn forward(&mut self, input: &Input<'_>) -> Result<Array2<f32>, BackboneError>;
}

/// What can go wrong with cards, libraries, devices and models.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No card of that name.
    #[error(
        "no model card {name:?} in {} (found: {}); `egofx export CHECKPOINT{} --out {}` makes the cards of a checkpoint, --models names another folder of cards",
        models.display(),
        if known.is_empty() { "none".into() } else { known.join(", ") },
        card::precision_flag(name),
        models.display()
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// The folder.
        models: PathBuf,
        /// The cards that are there.
        known: Vec<String>,
    },
    /// The card is not TOML or has wrong keys.
    #[error("model card {}: {source}", path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// Line, column and cause.
        source: Box<toml::de::Error>,
    },
    /// The card contradicts itself.
    #[error("model card {}: {why}", path.display())]
    CardValue {
        /// The card.
        path: PathBuf,
        /// What was found and expected.
        why: String,
    },
    /// A graph that cannot be what a recipe wants it to be.
    #[error("backbone {backbone}: {why}")]
    Use {
        /// The graph's name.
        backbone: String,
        /// What was found and expected.
        why: String,
    },
    /// The graph, or its weights, are not what the card describes.
    #[error("{} has sha256 {found}, its card {} says {expected}: one of them was replaced", graph.display(), card.display())]
    GraphHash {
        /// The card.
        card: PathBuf,
        /// The graph or the weights.
        graph: PathBuf,
        /// The card's hash.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// A device, or a precision that it does not have.
    #[error("{0}")]
    Device(String),
    /// ONNX Runtime's library is not there or cannot be loaded.
    #[error("ONNX Runtime: {why}; {remedy}")]
    Library {
        /// What happened.
        why: String,
        /// The command that repairs it.
        remedy: String,
    },
    /// The graph cannot be loaded on the device that was asked for.
    #[error("{} on {device}: {why}", graph.display())]
    Load {
        /// The graph.
        graph: PathBuf,
        /// The device asked for.
        device: String,
        /// What ONNX Runtime said.
        why: String,
    },
    /// The graph's tensors are not the card's.
    #[error("{}: {why}", graph.display())]
    Signature {
        /// The graph.
        graph: PathBuf,
        /// What was found and expected.
        why: String,
    },
    /// The model failed on a batch.
    #[error("backbone {backbone}: {why}")]
    Run {
        /// The model.
        backbone: String,
        /// What ONNX Runtime said.
        why: String,
    },
    /// The model gave a tensor of another shape than its card says.
    #[error("backbone {backbone} gave {found:?}, its card says [{rows}, {dim}]")]
    Shape {
        /// The model.
        backbone: String,
        /// Rows expected.
        rows: usize,
        /// Length of a row expected.
        dim: usize,
        /// The shape found.
        found: Vec<i64>,
    },
}
