//! The infer stage: one thread per device, which owns that device's models.
//!
//! Not for writing. Invariant: a model is used by one thread only.

use crossbeam_channel::{Receiver, Sender};
use ndarray::Array2;

use super::account::{Control, Counters, Stage};
use super::message::{Batch, Content, RowKey, WindowKey, Write};
use super::{PipelineError, Run};
use crate::backbone::{Backbone, BackboneError, ClipBatch, Input, PairedSentence};
use crate::feature_set::{FeatureSet, PerSet};
use crate::pixels::Pixels;
use crate::plan::Target;

/// Runs batches until there are no more, or what is in flight is abandoned.
///
/// # Errors
/// The first error of a backbone: a model that fails on one batch will fail on the next.
pub fn run(
    run: Run,
    mut backbones: PerSet<Box<dyn Backbone>>,
    batches: &Receiver<Batch>,
    spare: &Sender<Pixels>,
    rows: &Sender<Write>,
    control: &Control,
) -> Result<(), PipelineError> {
    let counters = &control.counters;
    for Batch { set, content } in batches {
        if control.abandoned() {
            break;
        }
        let backbone = &mut *backbones[set];
        let (keys, features) = match content {
            Content::Windows { keys, input } => {
                let made = counters.time(Stage::Infer, || windows(run, &run.sets[set], backbone, &keys, &input))?;
                // Full, or nobody packs any more: the buffer is freed instead.
                let _ = spare.try_send(input.pixels);
                made
            }
            Content::Sentences { keys, input } => {
                (keys, counters.time(Stage::Infer, || backbone.forward(&Input::Sentences(&input)))?)
            }
        };
        Counters::add(&counters.rows, keys.len() as u64);
        if rows.send(Write::Rows { keys, features }).is_err() {
            break;
        }
    }
    Ok(())
}

/// The rows of `windows`: one each, or one for each sentence that is asked of them.
fn windows(
    run: Run,
    set: &FeatureSet,
    backbone: &mut dyn Backbone,
    windows: &[WindowKey],
    input: &ClipBatch,
) -> Result<(Vec<RowKey>, Array2<f32>), BackboneError> {
    let targets: Vec<Vec<Target>> = windows.iter().map(|&(task, window)| run.plan[task].targets(window)).collect();
    let key = |i: usize, target: &Target| RowKey { task: windows[i].0, unit: target.unit, row: target.row };
    if !backbone.towers().takes_sentences() {
        let keys = targets.iter().enumerate().flat_map(|(i, targets)| targets.iter().map(move |target| key(i, target)));
        return Ok((keys.collect(), backbone.forward(&Input::Windows(input))?));
    }
    let (mut keys, mut pairs, mut first) = (Vec::new(), Vec::new(), 0);
    for group in targets.chunk_by(|a, b| asks_the_same(a, b)) {
        let queries = group[0].iter().enumerate().filter_map(|(place, target)| Some((place, target.query?)));
        for (place, query) in queries {
            let sentence = set.sentence(query).clone();
            pairs.push(PairedSentence { windows: first..first + group.len(), sentence });
            keys.extend((first..).zip(group).map(|(i, targets)| key(i, &targets[place])));
        }
        first += group.len();
    }
    Ok((keys, backbone.forward(&Input::Pairs(input, &pairs))?))
}

/// Whether the windows that make these rows meet the same queries in the same order.
fn asks_the_same(a: &[Target], b: &[Target]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.unit, a.query) == (b.unit, b.query))
}
