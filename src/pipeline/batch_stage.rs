//! The batch stage: clips of many videos in, full model inputs out.
//!
//! Not for copying pixels (that is `batch`). Invariant: a clip is in exactly one batch, and the last one may be short.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::account::{Counters, Stage};
use super::message::{Batch, Content};
use super::{PipelineError, Run};
use crate::batch::pack;
use crate::feature_set::PerSet;
use crate::ids::SetId;
use crate::pixels::Pixels;
use crate::sample::Clip;

/// How long no clip comes before what is waiting is sent in a batch that is not full, where other runs may wait for it.
const LULL: Duration = Duration::from_millis(500);

/// Runs until the decoders are done; a closed `batches` ends it quietly, because who closed it says why.
///
/// # Errors
/// None: a stage that cannot hand on ends, and the one that failed tells why.
pub fn run(
    run: Run,
    clips: &Receiver<Clip>,
    spare: &Receiver<Pixels>,
    batches: &Sender<Batch>,
    counters: &Counters,
) -> Result<(), PipelineError> {
    let mut waiting: PerSet<Vec<Clip>> = run.sets.map(|_| Vec::new());
    let send = |set: SetId, clips: Vec<Clip>| {
        let buffer = spare.try_recv().unwrap_or(Pixels::U8(Vec::new()));
        let input = counters.time(Stage::Batch, || pack(&clips, buffer));
        let keys = clips.iter().map(|clip| (clip.task, clip.window)).collect();
        batches.send(Batch { set, content: Content::Windows { keys, input } }).is_ok()
    };
    loop {
        match clips.recv_timeout(LULL) {
            Ok(clip) => {
                let set = run.plan[clip.task].set;
                let clips = &mut waiting[set];
                clips.push(clip);
                if clips.len() == run.options.batch_size && !send(set, std::mem::take(clips)) {
                    return Ok(());
                }
            }
            // Who shares work waits for others with the line open, and they for what may be left here.
            Err(RecvTimeoutError::Timeout) if run.sharing.is_some() => {
                let rest = std::mem::replace(&mut waiting, run.sets.map(|_| Vec::new()));
                if !rest.into_iter().all(|(set, clips)| clips.is_empty() || send(set, clips)) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for (set, rest) in waiting {
        if !rest.is_empty() && !send(set, rest) {
            break;
        }
    }
    Ok(())
}
