//! Cards of a model that a folder holds already, of another checkpoint than the one that is exported.
//!
//! A recipe names a graph, not a checkpoint: two checkpoints of one model in one folder would take turns under the same
//! names. Invariant: an export leaves the cards of one checkpoint only under a model's names, lower precisions included.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::ExportError;
use super::model::Plan;
use crate::backbone::GraphPrecision;

/// What is read of a card; one of another version may have other keys besides.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Held {
    /// The graph's name, that of the card's file.
    #[serde(skip)]
    name: String,
    /// The checkpoint, and its hash.
    #[serde(default)]
    checkpoint: String,
    #[serde(default)]
    checkpoint_sha256: String,
    /// Files beside the card.
    graph: Option<PathBuf>,
    weights: Option<PathBuf>,
}

/// Cards in `folder` of the tokens of `plan`'s video tower: those that an export writes may be of another grid, and so would be
/// lower precisions of the ones before.
pub fn tokens(folder: &Path, plan: &Plan) -> Result<Vec<Held>, ExportError> {
    let graph = plan.graphs.iter().find(|graph| graph.name == super::tokens::NAME);
    held(folder, plan, graph.map(|graph| graph.name).into_iter())
}

/// Cards in `folder` that bear a name of `plan`'s and are not of the checkpoint with the hash `sha256`. One that cannot
/// be read counts as another checkpoint's.
pub fn find(folder: &Path, plan: &Plan, sha256: &str) -> Result<Vec<Held>, ExportError> {
    // A graph of tokens may have been made before, though none is now.
    let further = plan.tokens.as_ref().map(|_| super::tokens::NAME);
    let graphs = plan.graphs.iter().map(|graph| graph.name).chain(further);
    let mut others = held(folder, plan, graphs)?;
    others.retain(|card| card.checkpoint_sha256 != sha256);
    Ok(others)
}

/// The cards in `folder` of these `graphs`, in every precision.
fn held<'g>(folder: &Path, plan: &Plan, graphs: impl Iterator<Item = &'g str>) -> Result<Vec<Held>, ExportError> {
    let suffixes = ["", super::write::DEBUG_SUFFIX, GraphPrecision::Fp16.suffix(), GraphPrecision::Int8.suffix()];
    let names = graphs.flat_map(|graph| suffixes.map(|suffix| super::write::name(plan, graph, suffix)));
    let mut found = Vec::new();
    for name in names {
        let path = folder.join(format!("{name}.toml"));
        match fs::read_to_string(&path) {
            Ok(text) => found.push(Held { name, ..toml::from_str(&text).unwrap_or_default() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ExportError::io(path)(error)),
        }
    }
    Ok(found)
}

/// An error that names what is there, if something is.
pub fn refuse(folder: &Path, others: &[Held], checkpoint: &str, sha256: &str) -> Result<(), ExportError> {
    let Some(first) = others.first() else { return Ok(()) };
    let held = match first.checkpoint.as_str() {
        "" => "a checkpoint that its card does not name".to_owned(),
        name => named(name, &first.checkpoint_sha256),
    };
    Err(ExportError::Occupied {
        folder: folder.to_owned(),
        cards: others.iter().map(|card| card.name.clone()).collect(),
        held,
        given: named(checkpoint, sha256),
    })
}

/// A checkpoint in a message.
fn named(checkpoint: &str, sha256: &str) -> String {
    format!("{checkpoint} (sha256 {})", sha256.get(..12).unwrap_or(sha256))
}

/// Takes these cards away, and the files that they name, but for what an export has just written under the same names; the
/// card first, so that none speaks of a file that is gone.
pub fn remove(folder: &Path, others: &[Held], written: &[PathBuf]) -> Result<(), ExportError> {
    for card in others {
        let beside = card.graph.iter().chain(&card.weights).filter(|file| file.components().count() == 1);
        let files = [PathBuf::from(format!("{}.toml", card.name))];
        let gone = files.iter().chain(beside).filter(|file| !written.contains(file));
        for path in gone.map(|file| folder.join(file)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(ExportError::io(path)(error)),
                _ => {}
            }
        }
    }
    Ok(())
}
