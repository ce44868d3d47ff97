//! The batch stage: clips of many videos in, full model inputs out.
//!
//! Not for copying pixels (that is `batch`). Invariant: a clip is in exactly one batch, and the last one may be short.

use crossbeam_channel::{Receiver, Sender};

use super::account::{Counters, Stage};
use super::message::{Batch, Content};
use super::{Options, PipelineError};
use crate::batch::pack;
use crate::pixels::Pixels;
use crate::plan::Plan;
use crate::sample::Clip;

/// Runs until the decoders are done; a closed `batches` ends it quietly, because who closed it says why.
///
/// # Errors
/// None: a stage that cannot hand on ends, and the one that failed tells why.
pub fn run(
    plan: &Plan,
    recipes: usize,
    clips: &Receiver<Clip>,
    spare: &Receiver<Pixels>,
    batches: &Sender<Batch>,
    options: &Options,
    counters: &Counters,
) -> Result<(), PipelineError> {
    let mut waiting: Vec<Vec<Clip>> = vec![Vec::new(); recipes];
    let send = |recipe: usize, clips: Vec<Clip>| {
        let buffer = spare.try_recv().unwrap_or(Pixels::U8(Vec::new()));
        let input = counters.time(Stage::Batch, || pack(&clips, buffer));
        let keys = clips.iter().map(|clip| (clip.task, clip.window)).collect();
        batches.send(Batch { recipe, content: Content::Windows { keys, input } }).is_ok()
    };
    for clip in clips {
        let recipe = plan.tasks[clip.task].recipe;
        waiting[recipe].push(clip);
        if waiting[recipe].len() == options.batch_size && !send(recipe, std::mem::take(&mut waiting[recipe])) {
            return Ok(());
        }
    }
    for (recipe, rest) in waiting.into_iter().enumerate() {
        if !rest.is_empty() && !send(recipe, rest) {
            break;
        }
    }
    Ok(())
}
