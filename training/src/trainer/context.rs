//! Where a run computes, and what it says as it goes.
//!
//! Apart from the run itself, so that evaluation and prediction can take the same.

use egofx::stop::Stop;
use tch::Device;

use crate::distributed::World;
use crate::loader::Waited;

/// Where a run computes and who watches.
pub struct Surroundings<'s> {
    /// The device.
    pub device: Device,
    /// Threads that make batches.
    pub threads: usize,
    /// Those who train the same weights on other samples.
    pub world: &'s World,
    /// Asked by Ctrl-C, or by the cluster.
    pub stop: &'s Stop,
    /// Called as the run goes.
    pub watch: &'s dyn Fn(&Event),
}

/// How fast samples were learnt from.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pace {
    /// Steps that were made.
    pub steps: u64,
    /// Samples that all processes learnt from in these.
    pub samples: u64,
    /// How long it took and waited for batches.
    pub waited: Waited,
}

impl Pace {
    /// Samples a second.
    pub fn samples_per_sec(&self) -> f64 {
        self.samples as f64 / self.waited.total.as_secs_f64()
    }

    /// Seconds a step.
    pub fn sec_per_step(&self) -> f64 {
        self.waited.total.as_secs_f64() / self.steps as f64
    }
}

/// What a person watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A run begins, or goes on.
    Started {
        /// Samples to learn from.
        train: usize,
        /// Samples to validate on.
        validation: usize,
        /// Numbers among the weights.
        parameters: i64,
        /// Epochs that are done already.
        epoch: u64,
        /// What a person should know of the data.
        remarks: Vec<String>,
    },
    /// A step was made.
    Stepped {
        /// In its epoch, from 1.
        step: u64,
        /// Steps of an epoch.
        steps: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Epochs of the run.
        epochs: u64,
        /// The loss.
        loss: f64,
        /// The learning rate.
        lr: f64,
        /// How fast it went in this epoch so far.
        pace: Pace,
    },
    /// Samples were predicted, in a validation or for a submission.
    Predicted {
        /// How many so far, by this process.
        done: u64,
        /// How many it predicts.
        total: u64,
    },
    /// A validation was made.
    Validated {
        /// When, in epochs.
        epoch: f64,
        /// Its scores.
        scores: Vec<(String, f64)>,
        /// Whether it is the best so far.
        is_best: bool,
    },
    /// An epoch is over.
    Epoch {
        /// Its number, from 1.
        epoch: u64,
        /// Mean loss.
        loss: f64,
        /// How fast it went.
        pace: Pace,
        /// What a person should know of the data that was read in it.
        remarks: Vec<String>,
    },
}
