//! Backbones: what maps a batch of clips to rows of features.
//!
//! Not for paths of videos or for storing rows. Invariant: a backbone has one owner thread (`&mut self`), and the row of
//! a clip does not depend on which other clips stand in its batch.

mod card;
mod device;
mod golden;
mod onnx;
mod runtime;
mod session;

use std::path::PathBuf;

use ndarray::Array2;

pub use card::{Accuracy, Card, Dim, Element, Feature, FrameInput, Preprocessing, Tensor, VideoCard};
pub use device::{Device, Precision, Provider};
pub use golden::{Golden, GoldenInput, GoldenOutput};
pub use onnx::OnnxBackbone;
pub use runtime::{LibrarySearch, Runtime};
pub use session::{Feed, GraphSession, Outputs, SessionOptions};

/// A dense input of one model: `clips` windows of `frames` frames, `uint8`, in the card's layout, flat.
#[derive(Debug, Clone)]
pub struct ClipBatch {
    /// Number of windows, at least 1.
    pub clips: usize,
    /// Frames in each.
    pub frames: usize,
    /// `clips * frames * height * width * 3` bytes.
    pub pixels: Vec<u8>,
}

/// Maps windows to features.
pub trait Backbone: Send {
    /// What the backbone is.
    fn card(&self) -> &VideoCard;

    /// Features `[batch.clips, card.feature.dim]`, row `i` from window `i`.
    ///
    /// # Errors
    /// [`BackboneError::Run`] if the model cannot be run on the batch, [`BackboneError::Shape`] if it gives something
    /// else than the card says.
    fn forward(&mut self, batch: &ClipBatch) -> Result<Array2<f32>, BackboneError>;
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
    #[error("no model card {name:?} in {} (found: {})", models.display(), if known.is_empty() { "none".into() } else { known.join(", ") })]
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
