//! The registry of learners: one line for each in [`LEARNERS`], by which the command line finds them.
//!
//! Nothing but the command line uses it. To add a learner, write its `impl Model`, and an `impl Task` if there is none for its
//! task yet, and add a line here.

use std::path::Path;

use egofx::backbone::Card;
use tch::Device;

use crate::backbones::{EgoVlp, EgoVlpV2, EgoVlpV2Answers, Ppsa};
use crate::clip_cache;
use crate::clip_cache::writer::Written;
use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::finetuning::answers::Answers;
use crate::finetuning::changes::{Changes, Oscc, Pnr};
use crate::finetuning::retrieval::Retrieval;
use crate::finetuning::retrieval::charades::Charades;
use crate::finetuning::retrieval::epic::Epic;
use crate::heads;
use crate::learner::{Model, Task, network};
use crate::lr_find::{self, LrFound};
use crate::onnx;
use crate::predict::{self, Evaluated, Predicted};
use crate::pretraining::Pretraining;
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
    Entry::of::<heads::vslnet::head::VslnetHead>(),
    Entry::of::<heads::snag::head::SnagHead>(),
    Entry::of::<heads::vsgn::head::VsgnHead>(),
    Entry::of::<heads::actionformer::head::ActionFormerHead>(),
    Entry::of::<heads::qfvs::head::QfvsHead>(),
];

/// A learner, which is a model and its task, as the command line knows it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name in experiment files.
    pub name: &'static str,
    /// The benchmark, which is also the name of the command.
    pub task: &'static str,
    /// What the command trains, in one line.
    pub task_about: &'static str,
    /// Which of the [`OPTIONS`](crate::sources::OPTIONS) the command reads.
    pub reads: &'static [&'static str],
    /// One line for people.
    pub about: &'static str,
    /// Trains all runs of an experiment.
    pub train: fn(&Request) -> Result<Finished, TrainError>,
    /// Predicts with a trained one.
    pub predict: fn(&predict::Request) -> Result<Predicted, TrainError>,
    /// Scores a trained one.
    pub evaluate: fn(&predict::Request) -> Result<Vec<Evaluated>, TrainError>,
    /// Tests learning rates.
    pub lr_find: fn(&lr_find::Request) -> Result<LrFound, TrainError>,
    /// Writes a trained one as a graph.
    pub onnx: fn(&onnx::Request) -> Result<Card, TrainError>,
    /// Caches its clips decoded.
    pub cache_clips: fn(&clip_cache::Request) -> Result<Written, TrainError>,
    /// Checks the learner's own tables of an experiment file, by building the network that they describe.
    pub check: fn(&Experiment) -> Result<(), String>,
}

impl Entry {
    /// The entry of a model and its task.
    pub const fn of<M: Model>() -> Self {
        Self {
            name: M::NAME,
            task: M::Task::NAME,
            task_about: M::Task::ABOUT,
            reads: M::Task::READS,
            about: M::ABOUT,
            train: sweep::run::<M>,
            predict: predict::run::<M>,
            evaluate: predict::evaluate::<M>,
            lr_find: lr_find::run::<M>,
            onnx: onnx::run::<M>,
            cache_clips: clip_cache::run::<M>,
            check: |experiment| network::<M>(experiment, 0, Device::Cpu).map(|_| ()),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sources::OPTIONS;

    #[test]
    fn learners_are_described_and_those_of_a_task_stand_together() {
        let names: BTreeSet<_> = LEARNERS.iter().map(|learner| learner.name).collect();
        assert_eq!(names.len(), LEARNERS.len());
        for Entry { name, task, about, task_about, reads, .. } in LEARNERS {
            assert!(task_about.starts_with("Train ") && !task_about.ends_with('.'), "{task}: {task_about}");
            assert!(reads.iter().all(|option| OPTIONS.contains(option)), "{task}: {reads:?}");
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
