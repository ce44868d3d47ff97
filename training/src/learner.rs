//! Learners: whatever is trained, one line for each in [`LEARNERS`].
//!
//! A learner is a network with its samples, its loss and what its output means: a head on features, or a backbone on videos.
//! Everything else (epochs, checkpoints, seeds, grids, ranks, curves) is the same for all and knows none of them.

use std::path::{Path, PathBuf};

use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::nn::{self, VarStore};
use tch::{Device, Tensor};

use crate::backbones::{EgoVlp, EgoVlpV2, EgoVlpV2Answers, Ppsa};
use crate::behaviour::Behaviour;
use crate::checkpoint::{self, Tensors};
use crate::corpora::choice::Choice;
use crate::corpora::frames::{Clips, Wanted};
use crate::corpora::stored::Written;
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::finetuning::answers::Answers;
use crate::finetuning::changes::{Changes, Oscc, Pnr};
use crate::finetuning::retrieval::Retrieval;
use crate::finetuning::retrieval::charades::Charades;
use crate::finetuning::retrieval::epic::Epic;
use crate::heads;
use crate::optimizer::Treatment;
use crate::predict::{self, Prediction};
use crate::pretraining::Pretraining;
use crate::ranks::World;
use crate::sources::{Sources, Split};
use crate::store;
use crate::submission::Submission;
use crate::sweep::{self, Finished, Request};

/// All learners, in the order in which they are listed to people.
pub const LEARNERS: &[Entry] = &[
    Entry::of::<Pretraining<EgoVlp>>(),
    Entry::of::<Pretraining<EgoVlpV2>>(),
    Entry::of::<Changes<Oscc>>(),
    Entry::of::<Changes<Pnr>>(),
    Entry::of::<Retrieval<EgoVlp, Epic>>(),
    Entry::of::<Retrieval<EgoVlpV2, Epic>>(),
    Entry::of::<Retrieval<EgoVlp, Charades>>(),
    Entry::of::<Retrieval<EgoVlpV2, Charades>>(),
    Entry::of::<Answers<EgoVlpV2Answers>>(),
    Entry::of::<Answers<Ppsa>>(),
    Entry::of::<heads::vslnet::head::NlqHead>(),
    Entry::of::<heads::vsgn::head::MqHead>(),
    Entry::of::<heads::actionformer::head::MqHead>(),
    Entry::of::<heads::qfvs::head::QfvsHead>(),
];

/// A learner, as the command line knows it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name in experiment files.
    pub name: &'static str,
    /// The benchmark, which is also the name of the command.
    pub task: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Trains all runs of an experiment.
    pub train: fn(&Request) -> Result<Finished, TrainError>,
    /// Predicts with a trained one.
    pub predict: fn(&predict::Request) -> Result<Prediction, TrainError>,
    /// Stores its clips decoded.
    pub store: fn(&store::Request) -> Result<Written, TrainError>,
    /// Checks the learner's own tables of an experiment file, by building the network that they describe.
    pub check: fn(&Experiment) -> Result<(), String>,
}

impl Entry {
    /// The entry of a learner.
    pub const fn of<L: Learner>() -> Self {
        Self {
            name: L::NAME,
            task: L::TASK,
            about: L::ABOUT,
            train: sweep::run::<L>,
            predict: predict::run::<L>,
            store: store::run::<L>,
            check: |experiment| network::<L>(experiment, Device::Cpu).map(|_| ()),
        }
    }

    /// The learner of that name; the error lists all names.
    ///
    /// # Errors
    /// [`TrainError::Experiment`], about the file at `path`.
    pub fn find(name: &str, path: &Path) -> Result<&'static Self, TrainError> {
        let known = || LEARNERS.iter().map(|learner| learner.name).collect::<Vec<_>>().join(", ");
        let unknown = || TrainError::Experiment {
            path: path.to_owned(),
            why: format!("no learner is called {name:?}, expected one of {}", known()),
        };
        LEARNERS.iter().find(|learner| learner.name == name).ok_or_else(unknown)
    }
}

/// A loss and its parts, all of them scalars.
#[derive(Debug)]
pub struct Losses {
    /// What is differentiated.
    pub total: Tensor,
    /// What it is made of, before weighting.
    pub parts: Vec<(&'static str, Tensor)>,
}

/// Samples to learn from and samples to validate on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Its name; empty where there is only one.
    pub name: String,
    /// Numbers of the samples to learn from.
    pub train: Vec<usize>,
    /// Numbers of the samples to validate on.
    pub validation: Vec<usize>,
}

/// What a loss may depend on beside its batch.
#[derive(Clone, Copy)]
pub struct Context<'m> {
    /// Whether the loss is learnt from; else it is only measured, by each rank for batches of its own.
    pub train: bool,
    /// Those who compute the same step on other samples; a world of one where nothing is learnt.
    pub world: &'m World,
    /// What this step draws is drawn from this, the same on all ranks.
    pub seed: u64,
}

/// A generator of the draws that make a training sample.
pub type Draw = Xoshiro256PlusPlus;

/// What every learner is.
pub trait Learner: Sized + 'static {
    /// Its name in experiment files.
    const NAME: &'static str;
    /// The benchmark that it is for.
    const TASK: &'static str;
    /// The benchmark's name among the evaluators of `egofx eval`.
    const EVALUATOR: &'static str = Self::TASK;
    /// One line for people.
    const ABOUT: &'static str;
    /// Whether the samples that it is validated on have a loss.
    const VALIDATION_LOSS: bool = true;

    /// Its tables in an experiment file.
    type Settings: Serialize + DeserializeOwned + Clone + Sync;
    /// Its samples, by number from 0.
    type Data: Sync;
    /// Samples that are computed together.
    type Batch: Send;
    /// What the network makes of a batch.
    type Output;
    /// What is predicted for one sample.
    type Prediction: Send + Serialize + DeserializeOwned;

    /// Opens what it learns from, or what it predicts on.
    ///
    /// # Errors
    /// Files or stores that are missing, damaged, or not what the settings say.
    fn open(settings: &Self::Settings, behaviour: Behaviour, sources: &Sources) -> Result<Self::Data, TrainError>;

    /// Whether the samples can be learnt from: looks for what predictions do without.
    ///
    /// # Errors
    /// Truths that were not given, or are none.
    fn expect_truths(_data: &Self::Data) -> Result<(), TrainError> {
        Ok(())
    }

    /// Writes what a prediction needs beside the weights into the folder of the experiment.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    fn keep(_data: &Self::Data, _folder: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// What a person should know of the data that was opened, or read since this was last asked.
    fn remarks(_data: &Self::Data) -> Vec<String> {
        vec![]
    }

    /// The folds of a benchmark; the usual one trains on one split and validates on another.
    fn folds(data: &Self::Data) -> Vec<Fold>;

    /// All samples of [`Split::Whole`](crate::sources::Split), to predict on.
    fn samples(data: &Self::Data) -> Vec<usize>;

    /// The network, its weights below `path` under their official names.
    ///
    /// # Errors
    /// Settings that no network has, in words.
    fn new(path: &nn::Path, settings: &Self::Settings, behaviour: Behaviour) -> Result<Self, String>;

    /// Starts from the weights in a file, which may be those of another task: by default [`Self::load`].
    ///
    /// # Errors
    /// As for [`Self::load`].
    fn start(path: &Path, _behaviour: Behaviour, into: &Tensors) -> Result<(), TrainError> {
        Self::load(path, into)
    }

    /// Loads weights that were trained for this task: by default all of the network's, by their official names.
    ///
    /// # Errors
    /// [`TrainError::Weights`] with what is missing, unknown or of another shape; [`TrainError::Checkpoint`].
    fn load(path: &Path, into: &Tensors) -> Result<(), TrainError> {
        checkpoint::load_weights(path, Self::NAME, into)
    }

    /// What reads its clips, by which rule, and all of its clips; `None` if they cannot be decoded beforehand.
    fn clips(_data: &Self::Data) -> Option<(&Clips, Choice, Vec<Wanted<'_>>)> {
        None
    }

    /// How the optimiser treats a parameter.
    fn treatment(name: &str, shape: &[i64]) -> Treatment;

    /// Makes a batch of these samples, on the CPU; `draw` only while training.
    ///
    /// # Errors
    /// Features that cannot be read.
    fn batch(data: &Self::Data, samples: &[usize], draw: Option<&mut Draw>) -> Result<Self::Batch, TrainError>;

    /// The batch on a device.
    fn to_device(batch: Self::Batch, device: Device) -> Self::Batch;

    /// The network's output; `train` switches dropout and what is like it.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    fn forward(&self, batch: &Self::Batch, train: bool) -> Result<Self::Output, TrainError>;

    /// The loss of an output. Samples without a truth are never asked for one.
    ///
    /// # Errors
    /// Another rank that has gone.
    fn losses(&self, output: &Self::Output, batch: &Self::Batch, context: &Context) -> Result<Losses, TrainError>;

    /// What the output says of each sample, with the sample's number.
    fn predictions(&self, output: &Self::Output, batch: &Self::Batch) -> Vec<(usize, Self::Prediction)>;

    /// The official scores of predictions for all samples of a split, by the names that `egofx eval` gives them.
    ///
    /// # Errors
    /// Predictions that do not fit the truths.
    fn score(data: &Self::Data, predictions: &[(usize, Self::Prediction)]) -> Result<Vec<(String, f64)>, TrainError>;

    /// What predictions on these sources are scored with, by the names of the evaluator's inputs.
    fn truths(sources: &Sources) -> Vec<(&'static str, PathBuf)> {
        sources.split(Split::Whole).map(|path| ("annotations", path.to_owned())).into_iter().collect()
    }

    /// The predictions as the benchmark's server or evaluator takes them.
    ///
    /// # Errors
    /// Samples that cannot be named.
    fn submission(data: &Self::Data, predictions: &[(usize, Self::Prediction)]) -> Result<Submission, TrainError>;

    /// Numbers that training moves and that are no weights; saved and restored with them.
    fn buffers(&self) -> Tensors {
        Tensors::new()
    }
}

/// The network of an experiment with its first weights.
///
/// # Errors
/// Settings that are none of the learner's.
pub fn network<H: Learner>(experiment: &Experiment, device: Device) -> Result<(VarStore, H), String> {
    let settings: H::Settings = experiment.settings()?;
    draws::seed_torch(experiment.seeds[0], Purpose::Weights);
    let build = |device| {
        let variables = VarStore::new(device);
        // libtorch panics where there is no memory for a network of absurd size.
        let built = egofx::foreign::parse(|| H::new(&variables.root(), &settings, experiment.behaviour));
        built
            .map_err(|panicked| format!("no network can be made of these settings: {}", panicked.words()))?
            .map(|head| (variables, head))
    };
    let (drawn, head) = build(Device::Cpu)?;
    if device == Device::Cpu {
        return Ok((drawn, head));
    }
    // Weights are drawn on the CPU, so that they are the same on every device.
    let (mut variables, head) = build(device)?;
    variables.copy(&drawn).map_err(|error| error.to_string())?;
    Ok((variables, head))
}

/// The network's weights by name.
pub fn weights(variables: &VarStore) -> Tensors {
    variables.variables().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn learners_are_described_and_those_of_a_task_stand_together() {
        let names: BTreeSet<_> = LEARNERS.iter().map(|learner| learner.name).collect();
        assert_eq!(names.len(), LEARNERS.len());
        for Entry { name, task, about, .. } in LEARNERS {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                    && !task.is_empty(),
                "{name}"
            );
            assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about}");
        }
        let mut tasks: Vec<_> = LEARNERS.iter().map(|head| head.task).collect();
        tasks.dedup();
        assert_eq!(tasks.len(), tasks.iter().collect::<BTreeSet<_>>().len(), "the command line lists each task once");
    }

    #[test]
    fn an_unknown_head_lists_the_known_ones() {
        let error = Entry::find("vslnett", Path::new("x.toml")).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("x.toml: no learner is called \"vslnett\", expected one of egovlp, "), "{error}");
    }
}
