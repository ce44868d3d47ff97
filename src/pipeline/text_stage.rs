//! The text stage: sentences alone, in batches of equal length, to the models that need no frames.
//!
//! Not for making tokens. Invariant: a sentence is in exactly one batch, with none of another length, so that no padding
//! is added that its rule does not ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Sender;

use super::account::{Control, Counters};
use super::message::{Batch, Closed, Content, RowKey, Write};
use super::{PipelineError, Run};
use crate::backbone::Sentence;
use crate::digest;
use crate::ids::{ClipUid, TaskId};
use crate::plan::{Fills, QueryRow, Task};
use crate::store::{RowKind, RowMeta, UnitHeader};

/// A sentence of a unit, and which rows of the unit it makes.
struct Read<'r> {
    sentence: &'r Arc<Sentence>,
    rows: std::ops::Range<u64>,
}

/// Hands on all sentences that no frames are wanted for.
///
/// # Errors
/// None: a stage that cannot hand on ends, and the one that failed tells why.
pub fn run(run: Run, batches: &Sender<Batch>, rows: &Sender<Write>, control: &Control) -> Result<(), PipelineError> {
    let plan = run.plan;
    let read = |task| !control.stopping() && read(run, task, batches, rows, &control.counters).is_ok();
    match run.sharing {
        Some(sharing) => {
            let tasks: Vec<&[TaskId]> =
                plan.text_tasks.iter().chain(&plan.other_text_tasks).map(std::slice::from_ref).collect();
            let own = plan.text_tasks.len();
            sharing.offer(plan, &tasks, own, control, |_, wanted| sharing.take(plan, wanted).into_iter().all(read));
        }
        None => drop(plan.text_tasks.iter().copied().all(read)),
    }
    Ok(())
}

fn read(
    run: Run,
    task: TaskId,
    batches: &Sender<Batch>,
    rows: &Sender<Write>,
    counters: &Counters,
) -> Result<(), Closed> {
    let planned = &run.plan[task];
    let Fills::Sentences { query_rows, .. } = &planned.fills else { return Ok(()) };
    let set = run.set_of(task);
    let (mut reads, mut meta) = (Vec::new(), Vec::new());
    for (query, clip) in query_rows {
        let sentence = set.sentence(*query);
        let first = meta.len() as u64;
        meta.extend(rows_of(run, *query, clip, sentence, set.kind));
        reads.push(Read { sentence, rows: first..meta.len() as u64 });
    }
    Counters::add(&counters.planned_rows, meta.len() as u64);
    counters.planned_rows.fetch_sub(planned.estimated_rows, Relaxed);
    let header = header(run, task, meta.len() as u64, query_rows);
    rows.send(Write::Begin { task, headers: vec![header], rows: meta, zeros: 0 }).map_err(|_| Closed)?;
    for reads in by_length(reads).values().flat_map(|reads| reads.chunks(run.options.batch_size)) {
        let keys = reads.iter().flat_map(|read| read.rows.clone()).map(|row| RowKey { task, unit: 0, row }).collect();
        let input = reads.iter().map(|read| read.sentence.clone()).collect();
        batches.send(Batch { set: planned.set, content: Content::Sentences { keys, input } }).map_err(|_| Closed)?;
    }
    Ok(())
}

/// One row for a sentence, or one for each of its tokens.
fn rows_of(run: Run, query: QueryRow, clip: &ClipUid, sentence: &Sentence, kind: RowKind) -> Vec<RowMeta> {
    let query_id = Some(run.text_inputs.id_of(query));
    let row = |padded: bool| RowMeta {
        padded,
        clip_uid: Some(clip.clone()),
        query_id: query_id.clone(),
        ..RowMeta::default()
    };
    match kind {
        RowKind::Token => sentence.mask.iter().map(|&mask| row(mask == 0)).collect(),
        _ => vec![row(false)],
    }
}

fn by_length(reads: Vec<Read>) -> BTreeMap<usize, Vec<Read>> {
    let mut lengths: BTreeMap<usize, Vec<Read>> = BTreeMap::new();
    for read in reads {
        lengths.entry(read.sentence.ids.len()).or_default().push(read);
    }
    lengths
}

fn header(run: Run, task: TaskId, rows: u64, query_rows: &[(QueryRow, ClipUid)]) -> UnitHeader {
    let texts: Vec<&str> = query_rows.iter().map(|(query, _)| run.text_inputs.text_of(*query)).collect();
    let content = texts.join("\n");
    UnitHeader {
        split: Task::common_split(query_rows.iter().map(|(query, _)| run.text_inputs.split_of(*query))),
        rows,
        source_name: run.text_inputs.name.clone(),
        source_bytes: content.len() as u64,
        source_sha256: digest::text(&content),
        ..run.header(task, 0)
    }
}
