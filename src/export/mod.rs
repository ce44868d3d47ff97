//! Checkpoints to ONNX graphs and model cards, without Python.
//!
//! Not for reading checkpoint files, nor for running features. Invariant: an export is whole or absent: every graph was
//! run on its golden input before any file gets its name.

mod error;
mod graph;
mod layers;
mod model;
mod models;
pub mod onnx;
mod pixels;
mod proof;
mod signature;
mod sizes;
mod towers;
mod weights;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use prost::Message;

pub use error::ExportError;
pub use graph::{Arithmetic, Graph, Value, Variant};
pub use model::{Cost, GraphPlan, Model, Plan, Scale};
pub use models::MODELS;
pub use pixels::frame_side;
pub use proof::{Judge, LEAST_COSINE_FP16, LEAST_COSINE_INT8, check};
pub use sizes::{Layout, Sizes};

use crate::backbone::{Card, Dim, Element, Golden, Preprocessing, Tensor};
use crate::checkpoint::Checkpoint;
use onnx::{DataType, ValueInfoProto};
use weights::WeightFile;

/// What an export is to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// Numbers of an attention head; no tensor's shape tells.
    pub head_size: usize,
    /// Graphs of these arithmetics are made beside the fp32 ones.
    pub further: Vec<Arithmetic>,
    /// Makes graphs for comparison with the original code too: float pixels in, inner states out.
    pub debug: bool,
    /// Licence of the weights, for the cards.
    pub licence: String,
}

/// What an export made.
pub struct Export {
    /// The model.
    pub model: &'static Model,
    /// Its plan: tensors and costs.
    pub plan: Plan,
    /// The cards, in the order of the plan, fp32 first.
    pub cards: Vec<Card>,
}

/// A graph that was written, and what its card needs.
struct Written {
    name: String,
    file: PathBuf,
    sha256: String,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    golden: Golden,
}

/// Exports `checkpoint` into `folder`.
///
/// # Errors
/// [`ExportError`]; nothing is left in `folder` then.
pub fn export(checkpoint: &Checkpoint, options: &Options, judge: &Judge, folder: &Path) -> Result<Export, ExportError> {
    let (model, plan) = Model::of(checkpoint, options.head_size)?;
    fs::create_dir_all(folder).map_err(ExportError::io(folder))?;
    let work = tempfile::Builder::new().prefix(".export-").tempdir_in(folder).map_err(ExportError::io(folder))?;
    let sha256 = checkpoint.sha256()?;
    let mut cards: Vec<Card> = Vec::new();
    for arithmetic in [Arithmetic::Fp32].iter().chain(&options.further) {
        let made = write_graphs(checkpoint, model, &plan, *arithmetic, options.debug, work.path())?;
        for written in made.graphs {
            let card = card(model, checkpoint, &sha256, options, *arithmetic, &made.weights, written);
            cards.push(judge.prove(work.path(), card, &cards)?);
        }
    }
    let texts: Vec<String> = cards
        .iter()
        .map(|card| toml::to_string(card).map_err(|source| ExportError::Card { graph: card.name.clone(), source }))
        .collect::<Result<_, _>>()?;
    for (card, text) in cards.iter().zip(texts) {
        let path = work.path().join(format!("{}.toml", card.name));
        fs::write(&path, text).map_err(ExportError::io(path))?;
    }
    publish(work.path(), folder)?;
    Ok(Export { model, plan, cards })
}

struct Made {
    graphs: Vec<Written>,
    weights: (String, String),
}

/// Writes the graphs of one arithmetic, and the weights that they share.
fn write_graphs(
    checkpoint: &Checkpoint,
    model: &Model,
    plan: &Plan,
    arithmetic: Arithmetic,
    debug: bool,
    folder: &Path,
) -> Result<Made, ExportError> {
    let float = (arithmetic == Arithmetic::Fp16).then_some(DataType::Float16);
    let suffix = arithmetic.suffix();
    let mut file = WeightFile::create(checkpoint, float, folder, format!("{}{suffix}.weights", model.name))?;
    let mut graphs = Vec::new();
    let kinds = if debug && arithmetic == Arithmetic::Fp32 { &[false, true][..] } else { &[false] };
    for (wanted, &debug) in plan.graphs.iter().flat_map(|graph| kinds.iter().map(move |debug| (graph, debug))) {
        let suffix = if debug { "_debug" } else { suffix };
        let name = format!("{}_{}{suffix}", model.name, wanted.name);
        let mut graph = Graph::new(&name, Variant { arithmetic, debug });
        (wanted.build)(&mut graph);
        graphs.push(write_graph(graph, name, wanted, &mut file, folder)?);
    }
    Ok(Made { graphs, weights: file.finish()? })
}

fn write_graph(
    graph: Graph,
    name: String,
    wanted: &GraphPlan,
    weights: &mut WeightFile,
    folder: &Path,
) -> Result<Written, ExportError> {
    let (inputs, outputs) = graph.signature();
    let (inputs, outputs): (Vec<Tensor>, Vec<Tensor>) =
        (inputs.iter().map(tensor).collect(), outputs.iter().map(tensor).collect());
    let golden = wanted.golden(&inputs);
    let bytes = graph.finish(weights, &[("egofx.about", wanted.about.to_owned())])?.encode_to_vec();
    let file = PathBuf::from(format!("{name}.onnx"));
    let path = folder.join(&file);
    fs::write(&path, &bytes).and_then(|()| File::open(&path)?.sync_all()).map_err(ExportError::io(&path))?;
    let (_, sha256) = crate::digest::file(&path).map_err(ExportError::io(&path))?;
    Ok(Written { name, file, sha256, inputs, outputs, golden })
}

/// An input or output as a card has it.
fn tensor(info: &ValueInfoProto) -> Tensor {
    let dtype = match onnx::element(info) {
        DataType::Uint8 => Element::Uint8,
        DataType::Int64 => Element::Int64,
        _ => Element::Float32,
    };
    Tensor { name: info.name().to_owned(), dtype, shape: onnx::shape(info) }
}

fn card(
    model: &Model,
    checkpoint: &Checkpoint,
    sha256: &str,
    options: &Options,
    arithmetic: Arithmetic,
    (weights, weights_sha256): &(String, String),
    written: Written,
) -> Card {
    Card {
        about: format!("{}: {}", model.about, written.name),
        name: written.name,
        graph: written.file,
        sha256: written.sha256,
        weights: Some(weights.into()),
        weights_sha256: Some(weights_sha256.clone()),
        licence: options.licence.clone(),
        checkpoint: checkpoint.name().to_owned(),
        checkpoint_sha256: sha256.to_owned(),
        arithmetic: arithmetic.name().to_owned(),
        preprocessing: preprocessing(&written.inputs),
        inputs: written.inputs,
        outputs: written.outputs,
        accuracy: None,
        golden: written.golden,
    }
}

fn preprocessing(inputs: &[Tensor]) -> Preprocessing {
    let side = inputs.iter().find(|input| input.dtype == Element::Uint8).and_then(|input| match input.shape[2] {
        Dim::Fixed(side) => Some(side),
        Dim::Named(_) => None,
    });
    let (outside, inside) = match side {
        Some(side) => (
            format!("frames: short side to {side}, centre crop {side}x{side}, RGB"),
            "bilinear resize without antialiasing, /255, ImageNet mean and std",
        ),
        None => ("none".into(), "none"),
    };
    let sentences = inputs.iter().any(|input| input.name == "ids");
    let outside = if sentences { format!("{outside}; sentences: `egofx tokenize`") } else { outside };
    Preprocessing { outside, inside: inside.to_owned() }
}

/// Gives the files in `work` their names in `folder`: weights first, cards last, so that a card never speaks of a file
/// that is not there yet.
fn publish(work: &Path, folder: &Path) -> Result<(), ExportError> {
    for extension in ["weights", "onnx", "toml"] {
        for entry in fs::read_dir(work).map_err(ExportError::io(work))? {
            let path = entry.map_err(ExportError::io(work))?.path();
            if path.extension().is_some_and(|e| e == extension) {
                let to = folder.join(path.file_name().unwrap_or_default());
                fs::rename(&path, &to).map_err(ExportError::io(to))?;
            }
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ExportError::io(folder))
}
