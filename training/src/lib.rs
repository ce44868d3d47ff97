//! Trains and scores heads on features that `egofx` extracted.
//!
//! An [`experiment`] names a head of [`heads`] and how it is trained. The head opens its samples from [`sources`]; [`sweep`]
//! makes one run for each point of the grid, each seed and each fold; [`fit`] goes through the epochs of a run: [`loader`]
//! makes batches ahead of the steps, the head computes a loss that [`measure`] sums up, the [`optimizer`] follows a [`schedule`], the [`journal`]
//! keeps what was measured and [`checkpoint`] what is needed to go on. [`predict`] makes a submission, which `egofx eval`
//! scores. Whatever is drawn at random comes out of [`draws`].

pub mod backbones;
pub mod behaviour;
pub mod checkpoint;
pub mod corpora;
pub mod curves;
pub mod device;
pub mod draws;
pub mod error;
pub mod experiment;
pub mod finetuning;
pub mod fit;
pub mod heads;
pub mod journal;
pub mod learner;
pub mod loader;
pub mod looks;
pub mod measure;
pub mod native;
pub mod objectives;
pub mod optimizer;
pub mod precision;
pub mod predict;
pub mod pretraining;
pub mod ranks;
pub mod schedule;
pub mod sources;
pub mod store;
pub mod submission;
pub mod sweep;
pub mod synthetic;
pub mod tasks;
pub mod tensors;
