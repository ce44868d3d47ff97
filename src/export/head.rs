//! Writing the graph of a head: one graph with its weights and its card, into a folder of graphs.
//!
//! Not for what a head computes, which whoever trains it says. Invariant: graph, weights and card appear together, after the
//! graph ran on its golden input.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use prost::Message;

use super::error::ExportError;
use super::graph::{Calibration, Graph, Variant};
use super::validate::Validator;
use super::weights::WeightFile;
use super::write::tensor;
use crate::backbone::{Card, Golden, GraphPrecision, HeadCard, Preprocessing};
use crate::checkpoint::Checkpoint;
use crate::durable::Partial;
use crate::measure::Measure;

/// The graph of a head, to be written.
pub struct HeadPlan {
    /// What it is for.
    pub about: String,
    /// Writes it.
    pub build: Box<dyn Fn(&mut Graph)>,
    /// How long the named dimensions of its golden input are.
    pub dims: BTreeMap<String, usize>,
    /// What a caller does before the graph.
    pub outside: &'static str,
    /// What lies around it.
    pub head: HeadCard,
}

/// Where the weights of a head come from.
pub struct HeadWeights<'w> {
    /// The weights under the names that the graph knows them by.
    pub weights: &'w Checkpoint,
    /// The file that they were taken from, for the card.
    pub checkpoint: String,
    /// Its hash.
    pub checkpoint_sha256: String,
    /// Their licence.
    pub licence: String,
}

/// Writes `<name>.onnx`, `<name>.weights` and the card `<name>.toml` into `folder`, in place of those of that name. With
/// `debug` every inner state is an output of the graph too.
///
/// # Errors
/// [`ExportError`]; what was there before is still there then.
pub fn export_head(
    plan: &HeadPlan,
    from: &HeadWeights,
    validator: &Validator,
    (folder, name): (&Path, &str),
    debug: bool,
) -> Result<Card, ExportError> {
    let work = Partial::begin(&folder.join(name)).map_err(ExportError::io(folder))?;
    let made = work.folder();
    let mut weights = WeightFile::create(from.weights, None, &made, format!("{name}.weights"))?;
    let mut graph = Graph::new(name, Variant { debug, ..Variant::default() }, Calibration::Nothing);
    (plan.build)(&mut graph);
    let (inputs, outputs) = graph.signature();
    let (inputs, outputs): (Vec<_>, Vec<_>) =
        (inputs.iter().map(tensor).collect(), outputs.iter().map(tensor).collect());
    let bytes = graph.finish(&mut weights, &[("egofx.about", plan.about.clone())])?.encode_to_vec();
    let (weights, weights_sha256) = weights.finish()?;
    let graph = PathBuf::from(format!("{name}.onnx"));
    let path = made.join(&graph);
    fs::write(&path, &bytes).and_then(|()| File::open(&path)?.sync_all()).map_err(ExportError::io(&path))?;
    let (_, sha256) = crate::digest::file(&path).map_err(ExportError::io(&path))?;
    let card = Card {
        name: name.to_owned(),
        about: plan.about.clone(),
        graph: graph.clone(),
        sha256,
        weights: Some(weights.clone().into()),
        weights_sha256: Some(weights_sha256),
        licence: from.licence.clone(),
        checkpoint: from.checkpoint.clone(),
        checkpoint_sha256: from.checkpoint_sha256.clone(),
        random_weights: false,
        precision: GraphPrecision::Fp32,
        measure: Measure::default(),
        preprocessing: Preprocessing { outside: plan.outside.to_owned(), inside: "none".to_owned() },
        golden: Golden::new(plan.dims.clone(), None, None),
        inputs,
        outputs,
        accuracy: None,
        head: Some(plan.head.clone()),
    };
    let card = validator.validate(&made, card, &[])?;
    let text = toml::to_string(&card)
        .map_err(|source| ExportError::Card { graph: name.to_owned(), source: Box::new(source) })?;
    let card_file = PathBuf::from(format!("{name}.toml"));
    fs::write(made.join(&card_file), text).map_err(ExportError::io(made.join(&card_file)))?;
    // The card comes last, so that it never speaks of a file that is not there yet.
    let names = [PathBuf::from(weights), graph, card_file];
    work.commit_beside(&names).map_err(|failed| ExportError::io(failed.path)(failed.source))?;
    Ok(card)
}
