//! `egofx-train cache-clips`: the clips of an experiment, decoded once.

use std::path::PathBuf;

use clap::Args;

use egofx::places::{ShardOption, shard};
use egofx_train::clip_cache::Request;

use super::common::{Chosen, Data, Log, given, listen};
use super::tell;

/// Decode the clips of an experiment once, for those who have the disk: training reads them with --clip-cache.
///
/// SIGTERM and SIGUSR1 end it after the clips in work with exit code 75: the same command goes on with the first file that is missing.
#[derive(Args)]
pub struct CacheClips {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    data: Data,
    /// Annotations to learn from, as published.
    #[arg(long, value_name = "FILE", requires = "val")]
    train: Option<PathBuf>,
    /// Annotations to validate on, as published.
    #[arg(long, value_name = "FILE", requires = "train")]
    val: Option<PathBuf>,
    /// Annotations to predict on, instead of the two others.
    #[arg(long, value_name = "FILE", conflicts_with = "train", required_unless_present = "train")]
    annotations: Option<PathBuf>,
    /// The folder to write: clips-*.safetensors. What is there already and fits is not made again.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Frames that are kept for each one that the network sees, out of the segment that it stands for: training draws among
    /// them. With 1 validation sees the very
    /// frames that it sees in the videos, with any odd number the same or their neighbours.
    #[arg(long, alias = "choices", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    frames_per_segment: u32,
    /// Clips in a file. A clip of 12 frames of 256 x 341 pixels has 3 MB, and a file is in memory before it is written.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    per_file: u32,
    /// Do part I of N of the files. Each machine of a cluster takes one; all may write into the same folder.
    ///
    /// `auto` takes it from the engine that started this process, and says which: Slurm's arrays and srun, indexed Jobs of
    /// Kubernetes and task arrays of HyperQueue (both with EGOFX_SHARD_COUNT set to N), arrays of AWS Batch, ranks of MPI.
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: ShardOption,
    #[command(flatten)]
    log: Log,
}

impl CacheClips {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.open()?;
        let stop = listen("after the clips in work")?;
        let experiment = self.chosen.read()?;
        let learner = self.chosen.learner(&experiment)?;
        let mut sources = self.data.sources();
        sources.annotations = given(&self.train, &self.val, &self.annotations);
        self.shard.told().into_iter().for_each(tell);
        // Each clip is read once.
        sources.memory_bytes = 0;
        let request = Request {
            experiment: &experiment,
            sources: &sources,
            folder: &self.out,
            frames_per_segment: self.frames_per_segment,
            per_file: self.per_file as usize,
            shard: self.shard.shard,
            stop: &stop,
            done: &|done, count| tell(format_args!("{done} of {count} files")),
        };
        let written = (learner.cache_clips)(&request)?;
        tell(format_args!("{}: {} files made, {} there already", self.out.display(), written.made, written.there));
        let (count, reasons) = written.left_out.take();
        if count > 0 {
            tell(format_args!("{count} clips could not be read and are not kept: {}", reasons.join("; ")));
        }
        Ok(())
    }
}
