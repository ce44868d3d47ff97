//! What several commands are given: stores and annotations, the device, threads, memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use tch::Device;

use egofx::features::{JoinRows, JoinRule, JoinUnits};
use egofx::places::{bases, cache, child_timeout_set, hub_caches};
use egofx::stop::{self, Cause, Stop};
use egofx_train::device::{self, Choice, Found};
use egofx_train::distributed::launch::{self, Launch};
use egofx_train::distributed::{Backend, World};
use egofx_train::error::TrainError;
use egofx_train::experiment::{Experiment, Override};
use egofx_train::native::{self, Rendezvous};
use egofx_train::registry::Entry;
use egofx_train::sources::{self, Ffmpeg, Sources, Split};

use super::tell;

/// The experiment.
#[derive(Args)]
pub struct Chosen {
    /// The experiment: everything that decides the numbers. training/configs/ has one for each published setting.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Set a value of the experiment, as `train.batch=16`; may be repeated. The value has the type that the key has in the file: text
    /// needs no quotes, lists and tables are TOML's ('seeds=[1, 2]').
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Override>,
}

impl Chosen {
    /// Reads it.
    pub fn read(&self) -> Result<Experiment, TrainError> {
        Experiment::read_with(&self.config, &self.set)
    }

    /// What `check` makes of the experiment that was read.
    pub fn check<T>(
        &self,
        experiment: &Experiment,
        check: impl Fn(&Experiment) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        experiment.checked_by((&self.config, &self.set), check)
    }

    /// The learner of the experiment that was read.
    pub fn learner(&self, experiment: &Experiment) -> Result<&'static Entry, TrainError> {
        self.check(experiment, |experiment| Entry::find(&experiment.learner, &self.config))
    }
}

/// Stores and files that every command reads.
#[derive(Args)]
pub struct Data {
    /// The feature set of the videos, of the clips, or of the clips after they have met the queries; may be repeated: then the
    /// features of all sets side by side, in this order, and features.dim is the sum of theirs. For heads.
    #[arg(long, value_name = "DIR")]
    features: Vec<PathBuf>,
    /// What becomes of units that have more rows in one of several --features than in another: refuse them, leave out rows
    /// that are not in all sets, fill up with zeros, or put the rows of later sets onto those of the first by their times.
    #[arg(
        long,
        value_name = "RULE",
        default_value_t,
        value_parser = PossibleValuesParser::new(JoinRows::ALL.map(JoinRows::name)).try_map(|name| name.parse::<JoinRows>())
    )]
    join_rows: JoinRows,
    /// What becomes of units that are not in all of several --features: same refuses them, common leaves them out.
    #[arg(
        long,
        value_name = "RULE",
        default_value_t,
        value_parser = PossibleValuesParser::new(JoinUnits::ALL.map(JoinUnits::name)).try_map(|name| name.parse::<JoinUnits>())
    )]
    join_units: JoinUnits,
    /// A folder of videos, whole or in pieces of ten minutes; may be repeated. For backbones.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// A folder of clips that `egofx-train cache-clips` decoded beforehand; may be repeated. What is not there is read from --videos.
    #[arg(long, alias = "stored", value_name = "DIR")]
    clip_cache: Vec<PathBuf>,
    /// The tokenizer of the text tower: tokenizer.json, or a folder with the vocabulary. For backbones; without it the one
    /// that Hugging Face's tools have fetched.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// The feature set of the queries' tokens. For nlq.
    #[arg(long, value_name = "DIR")]
    tokens: Option<PathBuf>,
    /// The feature set by whose rows, one per shot, videos are cut into segments. For qfvs.
    #[arg(long, value_name = "DIR")]
    shots: Option<PathBuf>,
    /// Names and numbers of the classes: moment_classes_idx.json. For mq; without it those of the training annotations,
    /// sorted, which training writes into its folder, where predict finds them.
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// The concepts of each shot: Tags.mat, by which summaries are scored. For qfvs.
    #[arg(long, value_name = "FILE")]
    tags: Option<PathBuf>,
    /// Leave out clips and queries that have no features. Without this they are an error that counts them.
    #[arg(long)]
    allow_missing: bool,
    /// GiB of features that stay in memory; what finds no room is read again in each epoch.
    #[arg(long, value_name = "GIB", default_value_t = 4.0)]
    memory: f64,
}

impl Data {
    /// Without annotations.
    pub fn sources(&self) -> Sources {
        Sources {
            features: self.features.first().cloned(),
            joined: sources::Joined {
                stores: self.features.iter().skip(1).cloned().collect(),
                rule: JoinRule { rows: self.join_rows, units: self.join_units },
            },
            videos: self.videos.clone(),
            clip_caches: self.clip_cache.clone(),
            tokenizer: self.tokenizer.clone(),
            caches: hub_caches(),
            ffmpeg: Ffmpeg::in_one_of(bases(), child_timeout_set()),
            probes: cache(),
            tokens: self.tokens.clone(),
            shots: self.shots.clone(),
            annotations: vec![],
            classes: self.classes.clone(),
            tags: self.tags.clone(),
            allow_missing: self.allow_missing,
            memory_bytes: (self.memory.max(0.0) * f64::from(1 << 30)) as u64,
        }
    }
}

/// What is learnt from and validated on.
#[derive(Args)]
pub struct Splits {
    /// Annotations to learn from, as published.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// Annotations to validate on, as published.
    #[arg(long, value_name = "FILE")]
    val: Option<PathBuf>,
    /// Annotations of a benchmark that is not divided: for qfvs the folder that `egofx manifest qfvs` reads.
    #[arg(long, value_name = "PATH")]
    annotations: Option<PathBuf>,
}

impl Splits {
    /// Those that were given.
    pub fn given(&self) -> Vec<(Split, PathBuf)> {
        given(&self.train, &self.val, &self.annotations)
    }
}

/// Those of the annotations to learn from, to validate on, and of what is not divided, that were given.
pub fn given(train: &Option<PathBuf>, val: &Option<PathBuf>, whole: &Option<PathBuf>) -> Vec<(Split, PathBuf)> {
    let all = [(Split::Train, train), (Split::Validation, val), (Split::Whole, whole)];
    all.into_iter().filter_map(|(split, path)| Some((split, path.clone()?))).collect()
}

/// Where a command that may take hours tells what it does.
#[derive(Args)]
pub struct Log {
    /// Append everything that is told on stderr to this file as well, each line with its time (UTC). Without a terminal, and in
    /// this file always, there is a line a minute on how far a command is.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

impl Log {
    /// Opens the file.
    pub fn open(&self) -> anyhow::Result<()> {
        self.log_file.as_deref().map_or(Ok(()), super::log_to)
    }
}

/// Where and with how many threads.
#[derive(Args)]
pub struct Place {
    /// auto takes the first GPU that libtorch can use, else the CPU, and says why; cpu; cuda or cuda:N. Of several processes
    /// on one machine each takes a GPU of its own.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,
    /// Threads that make batches ahead of the steps. The share of the time that steps wait for them is printed: raise this
    /// if it is more than a few percent.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
}

impl Place {
    /// Threads that make batches.
    pub fn workers(&self) -> usize {
        usize::from(self.workers)
    }

    /// Looks for the device and says what was found.
    pub fn find(&self) -> anyhow::Result<(Found, usize)> {
        let found = device::find(self.device)?;
        tell(format_args!("device: {found}"));
        Ok((found, usize::from(self.workers)))
    }

    /// Looks for the device of this process and meets those that were launched with it, if there are any. A signal ends what
    /// follows at a moment that `when` tells, and a process that still waits for the others at once.
    pub fn join(&self, backend: BackendChoice, when: &'static str) -> anyhow::Result<Joined> {
        let launch = launch::find(|name| std::env::var(name).ok()).map_err(anyhow::Error::msg)?;
        let Some(launch) = launch else {
            let (found, threads) = self.find()?;
            return Ok(Joined { found, threads, world: World::single(), stop: listen(when)? });
        };
        // Before anything asks for CUDA.
        if self.device != Choice::Cpu {
            native::show_gpu(launch.local_rank);
        }
        // Threads of one process that wait for one another spin, and would take the cores from the next process.
        if std::env::var_os("OMP_NUM_THREADS").is_none() {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            tch::set_num_threads((cores / launch.local_size as usize).max(1) as i32);
        }
        let found = device::find(self.device)?;
        let backend = match (backend, found.device) {
            (BackendChoice::Auto, Device::Cuda(_)) | (BackendChoice::Nccl, _) => Backend::Nccl,
            (BackendChoice::Auto | BackendChoice::Gloo, _) => Backend::Gloo,
        };
        // Not before: what is set in the environment above must be set before there are threads.
        let (world, stop) = meet(&launch, backend, when)?;
        let (rendezvous, name) = (&launch.rendezvous, backend.name());
        if world.is_rank0() {
            tell(format_args!("device: {found}; {} processes by {}, {name}", rendezvous.size, launch.by));
        }
        Ok(Joined { found, threads: usize::from(self.workers), world, stop })
    }
}

/// A process that has met the others.
pub struct Joined {
    /// Its device.
    pub found: Found,
    /// Threads that make batches.
    pub threads: usize,
    /// All of them.
    pub world: World,
    /// Asked by signals.
    pub stop: Arc<Stop>,
}

/// Seconds after which it is told that the other processes are waited for.
const LATE_SEC: u64 = 20;

/// Waits for the others. A signal ends this process at once as long as it waits, and later at a moment that `when` tells.
fn meet(launch: &Launch, backend: Backend, when: &'static str) -> anyhow::Result<(World, Arc<Stop>)> {
    let Rendezvous { rank, size, host, port, .. } = &launch.rendezvous;
    let waits = format!("rank {rank} of {size} waited for the others at {host}:{port}");
    let met = Arc::new(AtomicBool::new(false));
    let heard = met.clone();
    let stop = listen_while(when, move || (!heard.load(Relaxed)).then(|| waits.clone()))?;
    let world = waited_for(launch, || World::join(launch, backend))?;
    met.store(true, Relaxed);
    Ok((world, stop))
}

/// What `join` gives; tells what it waits for if that takes long.
fn waited_for(launch: &Launch, join: impl FnOnce() -> Result<World, TrainError>) -> Result<World, TrainError> {
    let (met, waiting) = mpsc::channel::<()>();
    let rendezvous = launch.rendezvous.clone();
    let late = thread::spawn(move || {
        if waiting.recv_timeout(Duration::from_secs(LATE_SEC)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let Rendezvous { rank, size, host, port, timeout_s, .. } = &rendezvous;
            tell(format_args!(
                "rank {rank} of {size} waits for the others at {host}:{port}, for up to {timeout_s} s \
                 (EGOFX_TRAIN_TIMEOUT_S)"
            ));
        }
    });
    let world = join();
    drop(met);
    let _ = late.join();
    world
}

/// How processes that train together talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// NCCL on GPUs, gloo on the CPU.
    Auto,
    /// NCCL; each process needs a GPU of its own.
    Nccl,
    /// Gloo; what is on a GPU goes by way of the CPU.
    Gloo,
}

/// The first signal ends a run at a moment that `when` tells, the second one at once.
pub fn listen(when: &'static str) -> anyhow::Result<Arc<Stop>> {
    listen_while(when, || None)
}

/// As [`listen`], but where `waits` says what this process waits for, which cannot be broken off, the first signal ends it at once.
fn listen_while(when: &'static str, waits: impl Fn() -> Option<String> + Send + 'static) -> anyhow::Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let heard = stop.clone();
    let hear = move |cause: Cause| {
        if let Some(waits) = waits() {
            tell(format_args!("egofx-train: interrupted while {waits}; the same command begins again"));
            leave(cause);
        }
        if !heard.ask(cause) {
            leave(cause);
        }
        tell(format_args!("egofx-train: stopping {when}; a second signal, or Ctrl-C again, to leave at once"));
    };
    stop::listen(hear).context("cannot listen for signals")?;
    Ok(stop)
}

/// Ends this process at once. Checkpoints appear whole or not at all.
fn leave(cause: Cause) -> ! {
    #[expect(clippy::disallowed_methods, reason = "what is waited for cannot be broken off otherwise")]
    std::process::exit(cause.exit_code().into())
}
