//! The graph of a head in ONNX Runtime, with its card.
//!
//! Not for what goes in. Invariant: a graph that is open is the one that its card describes, and computed on this machine what
//! the card says.

use std::path::{Path, PathBuf};

use ndarray::{ArrayBase, Data, Dimension};

use super::error::HeadError;
use crate::backbone::{
    BackboneError, Card, Device, Feed, GraphSession, HeadCard, Precision, Provider, Runtime, SessionOptions,
};

/// A head that is open.
pub struct HeadSession {
    /// The card's file.
    pub path: PathBuf,
    /// What it is a head of.
    pub head: HeadCard,
    name: String,
    session: GraphSession,
}

impl HeadSession {
    /// Opens the head whose card is `<models>/<name>.toml` on the CPU, and runs its golden input.
    ///
    /// # Errors
    /// [`HeadError::Graph`] for a card or a graph that is damaged or does not load; [`HeadError::Unexpected`] for the card of
    /// something else than a head, and for a graph whose golden output is another one.
    pub fn open(runtime: &Runtime, models: &Path, name: &str, threads: usize) -> Result<Self, HeadError> {
        let path = models.join(format!("{name}.toml"));
        let card = Card::read(models, name)?;
        let Some(head) = card.head.clone() else {
            let found = format!("that of {}", card.about);
            return Err(HeadError::unexpected(
                &path,
                "the card of a head (`egofx-train export --onnx` writes it)",
                found,
            ));
        };
        let device = Device { provider: Provider::Cpu, ordinal: 0 };
        let options = SessionOptions { device, precision: Precision::Fp32, threads, rearrange: true };
        let mut session = GraphSession::open(runtime, &card.graph_path(models), options)?;
        let error = card.golden.error(&session.run(&card.golden.feeds(&card.inputs, 0))?);
        let most = card.golden.max_abs;
        // A NaN is not within anything.
        if error.is_nan() || error > most {
            let found =
                format!("a difference of {error:.1e}: the graph is damaged, or ONNX Runtime computes something else");
            return Err(HeadError::unexpected(&path, format!("golden outputs within {most:e}"), found));
        }
        Ok(Self { path, head, name: card.name, session })
    }

    /// The outputs `names` for `feeds`, flat.
    ///
    /// # Errors
    /// [`HeadError::Graph`].
    pub fn run<const N: usize>(&mut self, feeds: &[Feed], names: [&str; N]) -> Result<[Vec<f32>; N], HeadError> {
        let mut outputs = self.session.run(feeds)?;
        let mut found = [const { Vec::new() }; N];
        for (name, found) in names.iter().zip(&mut found) {
            let output = outputs.iter_mut().find(|(known, _)| known == name);
            let absent =
                || BackboneError::Use { backbone: self.name.clone(), why: format!("it has no output {name:?}") };
            *found = std::mem::take(&mut output.ok_or_else(absent)?.1);
        }
        Ok(found)
    }
}

/// An array of floats as an input.
pub fn floats<'f, S: Data<Elem = f32>, D: Dimension>(name: &'f str, array: &ArrayBase<S, D>) -> Feed<'f> {
    Feed::Floats(name, array.iter().copied().collect(), array.shape().to_vec())
}

/// An array of integers as an input.
pub fn ints<'f, S: Data<Elem = i64>, D: Dimension>(name: &'f str, array: &ArrayBase<S, D>) -> Feed<'f> {
    Feed::Ints(name, array.iter().copied().collect(), array.shape().to_vec())
}
