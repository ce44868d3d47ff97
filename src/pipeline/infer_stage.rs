//! The infer stage: one thread per device, which owns that device's models.
//!
//! Not for writing. Invariant: a model is used by one thread only.

use crossbeam_channel::{Receiver, Sender};

use super::PipelineError;
use super::account::{Counters, Stage};
use super::message::{Batch, Write};
use crate::backbone::Backbone;

/// Runs batches until there are no more.
///
/// # Errors
/// The first error of a backbone: a model that fails on one batch will fail on the next.
pub fn run(
    mut backbones: Vec<Box<dyn Backbone>>,
    batches: &Receiver<Batch>,
    spare: &Sender<Vec<u8>>,
    rows: &Sender<Write>,
    counters: &Counters,
) -> Result<(), PipelineError> {
    for Batch { recipe, keys, input } in batches {
        let features = counters.time(Stage::Infer, || backbones[recipe].forward(&input))?;
        // Full, or nobody packs any more: the buffer is freed instead.
        let _ = spare.try_send(input.pixels);
        Counters::add(&counters.rows, keys.len() as u64);
        if rows.send(Write::Rows { keys, features }).is_err() {
            break;
        }
    }
    Ok(())
}
