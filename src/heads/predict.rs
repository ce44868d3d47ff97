//! Predictions of heads that are graphs, for samples that they need not have seen.
//!
//! Not for scores: `egofx eval` reads what is written. To add a head, write its `Network` and add a line to [`HEADS`].

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::HeadError;
use super::graphs::{ActionFormer, Network, Samples, Summariser, Vsgn, Vslnet};
use super::session::HeadSession;
use super::sources::Files;
use super::submission::Prediction;
use crate::backbone::{BackboneError, Card, Runtime};
use crate::meter::Meter;

/// All heads that graphs can be of.
pub const HEADS: &[Head] =
    &[Head::of::<Vslnet>(), Head::of::<Vsgn>(), Head::of::<ActionFormer>(), Head::of::<Summariser>()];

/// A head, as the command line knows it.
#[derive(Clone, Copy)]
pub struct Head {
    /// The learner, as experiment files name it.
    pub name: &'static str,
    /// The benchmark, which is also the name of the command.
    pub task: &'static str,
    run: fn(&mut [HeadSession], &Files, &Meter) -> Result<Prediction, HeadError>,
}

impl Head {
    const fn of<N: Network>() -> Self {
        Self { name: N::NAME, task: N::Samples::TASK, run: run::<N> }
    }
}

/// A head that is open; of a benchmark with folds, one graph for each.
pub struct OpenHead {
    /// Which it is.
    pub head: &'static Head,
    sessions: Vec<HeadSession>,
}

impl OpenHead {
    /// Opens the head at `path`: a graph, or a folder with the graph of a head, or with those of its folds.
    ///
    /// # Errors
    /// A folder without a head or with several, a head of another benchmark than `task`, a damaged graph.
    pub fn open(runtime: &Runtime, path: &Path, task: &str, threads: usize) -> Result<Self, HeadError> {
        let (models, names) = cards(path)?;
        let open = |name: &String| HeadSession::open(runtime, &models, name, threads);
        let sessions = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (first, others) = sessions.split_first().ok_or_else(|| {
            HeadError::unexpected(path, "the card of a head (`egofx-train export --onnx` writes it)", "none")
        })?;
        let same = |other: &HeadSession| {
            (&other.head.learner, &other.head.settings) == (&first.head.learner, &first.head.settings)
        };
        let is_fold = |session: &HeadSession| !session.head.fold.is_empty();
        if !others.iter().all(same) || (!others.is_empty() && !sessions.iter().all(is_fold)) {
            let found = format!("{}; name the graph of one", names.join(", "));
            return Err(HeadError::unexpected(path, "one head, or the folds of one", found));
        }
        let learner = &first.head.learner;
        let head = HEADS.iter().find(|head| head.name == learner && head.task == task).ok_or_else(|| {
            let of_task = HEADS.iter().filter(|head| head.task == task).map(|head| head.name).collect::<Vec<_>>();
            HeadError::unexpected(&first.path, format!("a head for {task} ({})", of_task.join(", ")), learner)
        })?;
        Ok(Self { head, sessions })
    }

    /// Predicts for all samples of the annotations; `meter` counts them.
    ///
    /// # Errors
    /// Stores that do not hold what the head takes, annotations that cannot be read, a graph that fails.
    pub fn predict(&mut self, files: &Files, meter: &Meter) -> Result<Prediction, HeadError> {
        (self.head.run)(&mut self.sessions, files, meter)
    }

    /// What its card says of the stores that it takes, and of what lies around its graph.
    ///
    /// # Errors
    /// [`HeadError::Graph`] for a card whose settings are no `S`.
    pub fn settings<S: DeserializeOwned>(&self) -> Result<S, HeadError> {
        settings(&self.sessions)
    }
}

/// The settings of all sessions, which have the same.
fn settings<S: DeserializeOwned>(sessions: &[HeadSession]) -> Result<S, HeadError> {
    let first = sessions.first().ok_or(HeadError::Needed { name: "head", about: "the graph of a head" })?;
    first
        .head
        .settings
        .clone()
        .try_into()
        .map_err(|source| HeadError::Graph(BackboneError::Card { path: first.path.clone(), source: Box::new(source) }))
}

/// The folder and the names of the cards that `path` names.
fn cards(path: &Path) -> Result<(PathBuf, Vec<String>), HeadError> {
    if path.is_dir() {
        return Ok((path.to_owned(), Card::names(path)));
    }
    if !path.is_file() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(BackboneError::Io { path: path.to_owned(), source }.into());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((folder.to_owned(), vec![path.file_stem().unwrap_or_default().to_string_lossy().into_owned()]))
}

fn run<N: Network>(sessions: &mut [HeadSession], files: &Files, meter: &Meter) -> Result<Prediction, HeadError> {
    let Some(first) = sessions.first() else {
        return Err(HeadError::Needed { name: "head", about: "the graph of a head" });
    };
    let compat = first.head.compat;
    let settings: N::Settings = settings(sessions)?;
    let task = N::Samples::read(&N::samples(&settings, &first.head), compat, files)?;
    let mut predictions = Vec::new();
    for session in sessions {
        let absent = || {
            let found = format!("none in {}", session.path.display());
            let path = files.annotations.first().map(|(_, path)| path.clone()).unwrap_or_default();
            HeadError::unexpected(&path, format!("samples of fold {:?}", session.head.fold), found)
        };
        let samples = task.of_fold(&session.head.fold).ok_or_else(absent)?;
        meter.expect(samples.len());
        for batch in samples.chunks(session.head.batch.max(1)) {
            predictions.extend(N::predict(session, &settings, &task, batch)?);
            batch.iter().for_each(|_| meter.done(0));
        }
    }
    let all = task.of_fold("").map_or(0, |samples| samples.len());
    Ok(Prediction {
        submission: task.submission(&predictions),
        samples: predictions.len(),
        evaluator: N::Samples::TASK,
        compat,
        truths: N::Samples::truths(files),
        is_partial: files.allow_missing || predictions.len() < all,
    })
}
