//! Trains and scores heads on features that `egofx` extracted, and backbones on videos.
//!
//! An [`experiment`] names a learner of the [`registry`] and how it is trained. The learner opens its samples from [`sources`];
//! [`sweep`] makes one run for each point of the grid, each seed and each fold; the [`trainer`] goes through the epochs of a run:
//! [`loader`] makes batches ahead of the steps, the learner computes a loss that [`loss_sums`] sums up, the [`optimizer`] follows a
//! [`schedule`], [`evaluate`] predicts the validation split, the [`metrics_log`] keeps what was measured and [`checkpoint`] what is
//! needed to go on. [`provenance`] says what it was made with. [`predict`] makes a submission, which `egofx eval` scores. Whatever is drawn at random comes out of [`rng`].
//!
//! Modules stand below in the order of the data, in groups; `tests/it/architecture.rs` says which may use which.

// What everything stands on: errors, libtorch, the device, random draws.
pub mod device;
pub mod error;
pub mod memory;
pub mod native;
pub mod nn;
pub mod precision;
pub mod rng;
pub mod tensors;

// What an experiment says.
pub mod experiment;
pub mod optimizer;
pub mod schedule;

// What is read: annotations, features, videos, sentences.
pub mod corpora;
pub mod provenance;
pub mod sources;
pub mod synthetic;

// What is computed: networks and losses.
pub mod backbones;
pub mod losses;

// One step after the other: processes, sums, files.
pub mod checkpoint;
pub mod curves;
pub mod distributed;
pub mod loader;
pub mod loss_sums;
pub mod metrics_log;
pub mod scores;
pub mod tensorboard;

// What is learnt: benchmarks with their networks.
pub mod finetuning;
pub mod heads;
pub mod learner;
pub mod pretraining;
pub mod tasks;

// Runs of a learner, and what is done with the weights.
pub mod attention_maps;
pub mod clip_cache;
pub mod evaluate;
pub mod lr_find;
pub mod onnx;
pub mod predict;
pub mod registry;
pub mod sweep;
pub mod trainer;
