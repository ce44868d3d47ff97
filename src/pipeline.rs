//! The pipeline: connects the stages and accounts for every unit of a plan.
//!
//! ```text
//! plan --&Job--> decode+sample xN --Clip--> batch --Batch--> infer xdevices --Rows--> write
//!    sentences alone --> read --------------------^
//! ```
//!
//! Not for printing, nor for flags. Invariants: every channel is bounded; a unit is committed whole or reported as
//! failed with a reason; when a stage dies, the others end, and the one that died says why.

mod account;
mod activity;
mod batch_stage;
mod decode_stage;
mod feed_stage;
mod infer_stage;
mod message;
mod sharing;
mod text_stage;
mod write_stage;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::bounded;

pub use account::{Control, Counters, Failure, Report, SharedReport, Stage, StageStats};
pub use activity::ActivityWatch;
pub use sharing::{Shared, Sharing, Tally};

use crate::backbone::{Backbone, BackboneError};
use crate::decode::FrameSource;
use crate::feature_set::{FeatureSet, PerSet};
use crate::ids::TaskId;
use crate::manifest::SPLIT;
use crate::plan::{Plan, QueryRow};
use crate::queries::{Queries, Query};
use crate::recipe::Recipe;
use crate::store::{Store, StoreError, UnitHeader};

/// What becomes of a unit some of whose rows cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The run ends; what is committed stays.
    Fail,
    /// The unit fails and the run goes on.
    #[default]
    Skip,
    /// The unit keeps the rows that are true; the others are NaN and flagged as missing. Where a decoder crashes or a file
    /// cannot be read, the unit fails all the same: that is no damage of the video.
    Partial,
}

/// How to run, without influence on the rows.
#[derive(Debug, Clone)]
pub struct Options {
    /// Videos decoded at the same time.
    pub decoders: usize,
    /// Windows per model input.
    pub batch_size: usize,
    /// Bytes of decoded frames that may wait between stages.
    pub memory_bytes: usize,
    /// What becomes of damaged units.
    pub on_error: OnError,
    /// Version of ONNX Runtime, for the store.
    pub onnxruntime_version: String,
    /// The devices' names, for the store.
    pub provider: String,
}

/// A stage that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A model failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
    /// A store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A bug.
    #[error("the {0} stage panicked; this is a bug")]
    Panic(&'static str),
}

/// What is asked in a run.
#[derive(Debug, Default)]
pub struct TextInputs {
    /// What to call the table, for the stores.
    pub name: String,
    /// The table.
    pub queries: Queries,
}

impl TextInputs {
    fn row(&self, query: QueryRow) -> Query<'_> {
        self.queries.get(query).expect("a plan names rows of the table that it was made of")
    }

    fn id_of(&self, query: QueryRow) -> Arc<str> {
        self.row(query).id.into()
    }

    /// The split of a query, if the table tells.
    fn split_of(&self, query: QueryRow) -> Option<&str> {
        self.queries.cell(SPLIT, query).filter(|split| !split.is_empty())
    }

    fn text_of(&self, query: QueryRow) -> &str {
        self.row(query).text
    }
}

/// What a run is to do, and with what.
#[derive(Clone, Copy)]
pub struct Run<'r> {
    /// What is to be computed.
    pub plan: &'r Plan,
    /// The feature sets.
    pub sets: &'r PerSet<FeatureSet>,
    /// Where frames come from.
    pub source: &'r dyn FrameSource,
    /// What is asked about them.
    pub text_inputs: &'r TextInputs,
    /// How to run.
    pub options: &'r Options,
    /// What is shared with runs of other parts.
    pub sharing: Option<&'r Sharing>,
}

impl Run<'_> {
    /// The feature set that a task is of.
    fn set_of(&self, task: TaskId) -> &FeatureSet {
        &self.sets[self.plan[task].set]
    }

    /// What the file of a unit says of the run, and nothing yet of rows and source.
    fn header(&self, task: TaskId, unit: usize) -> UnitHeader {
        let planned = &self.plan[task];
        UnitHeader {
            unit_uid: planned.units()[unit].clone(),
            video_uid: planned.video_uid.clone(),
            clip_uid: None,
            query_id: None,
            query_text: None,
            split: planned.split(),
            rows: 0,
            span: None,
            source_name: String::new(),
            source_bytes: 0,
            source_sha256: String::new(),
            source_fps: 0.0,
            source_frames: 0,
            provider: self.options.provider.clone(),
            egofx_version: env!("CARGO_PKG_VERSION").to_owned(),
            ffmpeg_version: String::new(),
            onnxruntime_version: self.options.onnxruntime_version.clone(),
            notes: Vec::new(),
        }
    }
}

/// Runs the plan: features from `devices` (one entry per device, in it one backbone per feature set), rows into `stores`
/// (one per feature set). Returns what became of every unit; the error is that of the stage that could not go on, and everything
/// committed before it stays committed.
pub fn run(
    run: Run,
    devices: Vec<PerSet<Box<dyn Backbone>>>,
    stores: &mut PerSet<Store>,
    control: &Control,
) -> (Report, Result<(), PipelineError>) {
    let (plan, options, counters) = (run.plan, run.options, &control.counters);
    counters.begin(plan, options.decoders, devices.len());
    let (job_tx, job_rx) = bounded(0); // a decoder takes a video only when it is free; stopping the feed stops the run
    let (clip_tx, clip_rx) = bounded(clip_slots(run.sets.values().map(|set| &set.recipe), options)); // clips share one byte budget
    let (batch_tx, batch_rx) = bounded(1); // prefetch exactly one batch
    let (spare_tx, spare_rx) = bounded(2 + devices.len()); // used batch buffers on their way back
    let dims = run.sets.values().map(|set| set.towers.feature().dim);
    let (row_tx, row_rx) = bounded(row_slots(dims, options)); // more depth would only hide a slow disk
    let outcome = thread::scope(|scope| {
        let stage = |name: &str| thread::Builder::new().name(name.to_owned());
        let mut handles: Vec<(&'static str, ScopedJoinHandle<Result<(), PipelineError>>)> = Vec::new();
        for _ in 0..options.decoders {
            let (jobs, clips, rows) = (job_rx.clone(), clip_tx.clone(), row_tx.clone());
            let context = decode_stage::Context { run, control };
            handles.push(("decode", spawn(stage("decode"), scope, move || context.run(&jobs, &clips, &rows))));
        }
        for backbones in devices {
            let (batches, spare, rows) = (batch_rx.clone(), spare_tx.clone(), row_tx.clone());
            let work = move || infer_stage::run(run, backbones, &batches, &spare, &rows, control);
            handles.push(("infer", spawn(stage("infer"), scope, work)));
        }
        let (batches, rows) = (batch_tx.clone(), row_tx.clone());
        handles.push(("read", spawn(stage("read"), scope, move || text_stage::run(run, &batches, &rows, control))));
        drop((job_rx, clip_tx, batch_rx, spare_tx, row_tx)); // only the stages hold channel ends
        let batches = move || batch_stage::run(run, &clip_rx, &spare_rx, &batch_tx, counters);
        handles.push(("batch", spawn(stage("batch"), scope, batches)));
        handles.push(("write", spawn(stage("write"), scope, move || write_stage::run(run, stores, &row_rx, control))));
        feed_stage::run(run, &job_tx, control);
        drop(job_tx); // from here on the line drains itself
        join(handles)
    });
    counters.elapsed_ns.store(counters.elapsed().as_nanos() as u64, Relaxed);
    (control.report(run), outcome)
}

type Work<'scope> = ScopedJoinHandle<'scope, Result<(), PipelineError>>;

fn spawn<'scope, F>(builder: thread::Builder, scope: &'scope thread::Scope<'scope, '_>, work: F) -> Work<'scope>
where
    F: FnOnce() -> Result<(), PipelineError> + Send + 'scope,
{
    // The process is out of threads: nothing sensible can be done, and nothing was begun.
    builder.spawn_scoped(scope, work).expect("the system can start a thread")
}

/// Waits for all stages; the error of the first one that failed, in the order of the data.
fn join(handles: Vec<(&'static str, Work<'_>)>) -> Result<(), PipelineError> {
    let ends = handles.into_iter().map(|(name, handle)| handle.join().unwrap_or(Err(PipelineError::Panic(name))));
    ends.collect::<Vec<_>>().into_iter().collect()
}

/// Most clips that wait, however small they are: a channel holds room for all that it may ever hold.
const MOST_CLIPS: usize = 1024;

/// Batches of rows that wait at most, and the bytes that they may take: rows of tokens are large.
const MOST_ROWS: usize = 8;
const ROW_BYTES: usize = 256 << 20;

/// Batches of rows that may wait for the disk, by the lengths of rows.
fn row_slots(dims: impl Iterator<Item = usize>, options: &Options) -> usize {
    let batch = dims.max().unwrap_or(1).saturating_mul(options.batch_size * size_of::<f32>());
    (ROW_BYTES / batch.max(1)).clamp(1, MOST_ROWS)
}

/// Clips that fit into the memory budget next to the batches under way (one being packed, one waiting, one per device); one
/// where no recipe sees frames.
fn clip_slots<'r>(recipes: impl Iterator<Item = &'r Recipe>, options: &Options) -> usize {
    let clip_bytes = |recipe: &Recipe| {
        let frames = recipe.frames()?;
        let side = frames.transform.crop as usize;
        Some(frames.grid.frames() as usize * side * side * 3 * frames.transform.value_bytes())
    };
    let Some(largest) = recipes.filter_map(clip_bytes).max() else { return 1 };
    let batches = largest.saturating_mul(3 * options.batch_size);
    (options.memory_bytes.saturating_sub(batches) / largest.max(1)).clamp(1, MOST_CLIPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Filter, Reader};

    fn recipe(crop: u32) -> Recipe {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.toml");
        let text = format!(
            "backbone = \"tiny\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n[grid]\nkind = \"egovlp\"\nframes = 4\n[transform]\n\
             short_side = 256\ncrop = {crop}\nfilter = \"bilinear\"\nchannels = \"rgb\"\n[output]\nformat = \"hdf5\"\ndtype = \"f32\"\n"
        );
        std::fs::write(&path, text).unwrap();
        Recipe::read(&path).unwrap()
    }

    /// A channel holds room for all that it may ever hold: 48 bytes for each of 268 million clips that never come are 12.6 GB.
    #[test]
    fn clips_wait_within_the_budget_and_never_very_many() {
        let options = |memory_bytes| Options {
            decoders: 1,
            batch_size: 8,
            memory_bytes,
            on_error: OnError::Skip,
            onnxruntime_version: String::new(),
            provider: String::new(),
        };
        let slots = |recipes: &[Recipe], memory_bytes| clip_slots(recipes.iter(), &options(memory_bytes));
        let clip = 4 * 256 * 256 * 3;
        assert_eq!(slots(&[], 256 << 20), 1, "sentences alone");
        assert_eq!(slots(&[recipe(256)], (24 + 10) * clip), 10);
        assert_eq!((slots(&[recipe(256)], 0), slots(&[recipe(1), recipe(256)], (24 + 10) * clip)), (1, 10));
        let mut floats = recipe(256);
        let transform = floats.body.transform.as_mut().unwrap();
        (transform.filter, transform.reader) = (Filter::BilinearAliased, Reader::Decord);
        assert_eq!(slots(&[floats], (24 + 10) * 4 * clip), 10, "four bytes a value");
        assert_eq!(slots(&[recipe(1)], 256 << 20), MOST_CLIPS);
        assert_eq!(slots(&[recipe(256)], usize::MAX), MOST_CLIPS);
        let rows = |dim: usize| row_slots([dim, 1].into_iter(), &options(0));
        assert_eq!([256, 4096, 785 * 768, 3137 * 1024, usize::MAX].map(rows), [8, 8, 8, 2, 1]);
    }
}
