//! The official numbers of the benchmarks: one file for each, one line for each in [`EVALUATORS`].
//!
//! An evaluator sets a file of predictions against a file of annotations, both as their authors publish them, and gives
//! a [`Report`]. Its scores are plain functions over slices and matrices, for programs that have those at hand. Not for
//! models, and no torch: pure arithmetic in `f64`. Where the released evaluators have a fault that changes a number,
//! [`Compat`] says whether it is reproduced. Nothing that is missing goes uncounted.
//!
//! Where predictions are ranked, equal scores stay in the order of their file. The originals sort unstably there, so
//! that their numbers depend on the version of numpy and on the processor.

mod arrays;
pub mod charades;
pub mod egomcq;
pub mod egotaskqa;
mod error;
mod files;
mod inputs;
pub mod mir;
pub mod mq;
pub mod nlq;
pub mod oscc;
pub mod pnr;
pub mod postprocess;
pub mod qfvs;
mod rank;
mod report;
#[cfg(test)]
mod samples;
mod scoring;
mod window;

use crate::compat::Compat;
pub use error::MetricError;
pub use inputs::{Choice, Input, Inputs, Need};
pub use report::{Coverage, Grid, Group, Report, Unit};
pub use scoring::Scoring;
pub use window::Window;

/// All evaluators, in the order in which they are listed to people.
pub const EVALUATORS: &[Evaluator] = &[
    nlq::EVALUATOR,
    mq::EVALUATOR,
    qfvs::EVALUATOR,
    egomcq::EVALUATOR,
    mir::EVALUATOR,
    charades::EVALUATOR,
    oscc::EVALUATOR,
    pnr::EVALUATOR,
    egotaskqa::EVALUATOR,
];

/// How a benchmark is scored.
#[derive(Debug, Clone, Copy)]
pub struct Evaluator {
    /// Short name, as typed.
    pub name: &'static str,
    /// One line for people: what is scored.
    pub about: &'static str,
    /// The files it reads.
    pub inputs: &'static [Input],
    /// What else can be chosen.
    pub choices: &'static [Choice],
    /// What `fixed` does otherwise than `as-released`, in words; `None` where nothing of the original needs fixing.
    pub fixes: Option<&'static str>,
    /// Scores; fails where a file is missing or unusable, or predictions are incomplete and that was not allowed.
    pub evaluate: fn(&Inputs) -> Result<Report, MetricError>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_everything_is_described() {
        let names: BTreeSet<_> = EVALUATORS.iter().map(|evaluator| evaluator.name).collect();
        assert_eq!(names.len(), EVALUATORS.len());
        for Evaluator { name, about, inputs, choices, .. } in EVALUATORS {
            assert!(!about.is_empty() && !about.ends_with('.'), "{name}: {about}");
            let mut words: Vec<_> = inputs.iter().map(|input| (input.name, input.about)).collect();
            words.extend(choices.iter().map(|choice| (choice.name, choice.about)));
            assert!(words.iter().all(|(name, about)| !name.is_empty() && about.ends_with('.')), "{name}: {words:?}");
            let unique: BTreeSet<_> = words.iter().map(|(name, _)| name).collect();
            assert_eq!(unique.len(), words.len(), "{name}");
            for taken in ["compat", "allow-missing", "json", "help"] {
                assert!(!unique.contains(&taken), "{name}: every evaluator has --{taken}");
            }
        }
    }

    #[test]
    fn without_its_files_an_evaluator_says_what_it_needs() {
        for evaluator in EVALUATORS {
            let text = (evaluator.evaluate)(&Inputs::default()).unwrap_err().to_string();
            assert!(text.contains("is needed"), "{}: {text}", evaluator.name);
        }
    }
}
