//! A command that takes `--shard`, as `egofx submit` is given it: parsed, and looked at as a run does before its first frame.
//!
//! Not for running it, nor for what engines want to know. Invariant: nothing is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::parser::ValueSource;
use clap::{ArgMatches, ColorChoice, FromArgMatches};

use egofx::child;
use egofx::feature_set::FeatureSet;
use egofx::grid::egoclip::ChunkLength;
use egofx::ids::{SetId, UnitUid, VideoUid};
use egofx::manifest::Manifest;
use egofx::plan::Plan;
use egofx::shard::{Shard, owners};
use egofx::status::StoreStatus;
use egofx::store::{STORE_FILE, StoreReader};
use egofx::submit::Parts;
use egofx::transcode::{self, Size};
use egofx::url;

use super::estimate::estimate;
use super::extract::{Extract, Inputs};
use super::transcode::Transcode;
use super::{Cli, Command as Parsed, engines};

/// The program that trains.
const TRAINER: &str = "egofx-train";

/// What takes `--shard`.
const CUT: &str = "extract, resize, chunk and egofx-train cache-clips";

/// A command that takes `--shard`.
pub struct Sharded {
    /// Its name.
    pub name: String,
    /// Whether it says itself when it takes videos of other parts.
    pub says_when_to_steal: bool,
    kind: Kind,
}

enum Kind {
    Extract(Box<Extract>),
    Transcode(Box<Transcode>, Size, Option<ChunkLength>),
    /// `egofx-train cache-clips`: of another program, which has only parsed it.
    CacheClips {
        program: PathBuf,
        out: PathBuf,
    },
}

/// What a look at a command's files came to.
pub struct Survey {
    /// Videos of the plan.
    pub videos: usize,
    /// Those whose files are not there.
    pub absent: Vec<String>,
    /// Lines of the manifest that are none.
    pub rejected: Vec<String>,
}

/// What a folder lacks.
pub struct Left {
    /// The parts that have work left, and that nobody is at.
    pub parts: Parts,
    /// Those that have work left and are at it.
    pub at_work: Vec<u32>,
}

impl Sharded {
    /// Parses `words`, with or without the program's name before them.
    pub fn parse(words: &[String]) -> anyhow::Result<Self> {
        let shard = words.iter().find(|word| *word == "--shard" || word.starts_with("--shard="));
        ensure!(shard.is_none(), "--shard in the command: submit gives each part its own, leave it out");
        if let [trainer, words @ ..] = words
            && trainer == TRAINER
        {
            return Self::of_trainer(words);
        }
        let words = words.strip_prefix(&["egofx".to_owned()]).unwrap_or(words);
        let arguments = std::iter::once("egofx").chain(words.iter().map(String::as_str));
        let matches = match super::command(ColorChoice::Auto).try_get_matches_from(arguments) {
            Err(error) if !error.use_stderr() => error.exit(),
            matches => matches.context("the command behind --")?,
        };
        let (name, own) = matches.subcommand().context("no command behind --")?;
        let (name, says_when_to_steal) = (name.to_owned(), is_given(own, "steal"));
        let kind = match Cli::from_arg_matches(&matches)?.command {
            Some(Parsed::Extract(extract)) => Kind::Extract(extract),
            Some(Parsed::Resize(resize)) => Kind::transcode(resize.asked()),
            Some(Parsed::Chunk(chunk)) => Kind::transcode(chunk.asked()),
            _ => bail!("{name} takes no --shard: {CUT} are cut into parts"),
        };
        Ok(Self { name, says_when_to_steal, kind })
    }

    /// `words` of the other program, as far as that understands them.
    fn of_trainer(words: &[String]) -> anyhow::Result<Self> {
        let name = words.first().map_or("", String::as_str);
        ensure!(name == "cache-clips", "{TRAINER} {name} takes no --shard: {CUT} are cut into parts");
        let beside = || Some(std::env::current_exe().ok()?.with_file_name(TRAINER)).filter(|path| path.is_file());
        let program = engines::on_path(TRAINER).or_else(beside);
        let program = program.with_context(|| format!("{TRAINER} is neither on the PATH nor beside this program"))?;
        let checked = child::output(Command::new(&program).arg("check-args").args(words), child::PATIENCE)?;
        ensure!(checked.status.success(), "the command behind --: {}", checked.stderr.trim_end());
        let out = words.iter().zip(&words[1..]).find(|(word, _)| ["-o", "--out"].contains(&word.as_str()));
        let joined = || words.iter().find_map(|word| word.strip_prefix("--out="));
        let out = out.map(|(_, folder)| folder.as_str()).or_else(joined).context("-o, --out of the command")?;
        let kind = Kind::CacheClips { program, out: out.into() };
        Ok(Self { name: name.to_owned(), says_when_to_steal: true, kind })
    }

    /// The program that has the command.
    pub fn program(&self) -> anyhow::Result<PathBuf> {
        match &self.kind {
            Kind::CacheClips { program, .. } => Ok(program.clone()),
            _ => std::env::current_exe().context("the path of this program"),
        }
    }

    /// Its name, where it is found by that.
    pub fn program_name(&self) -> &'static str {
        if matches!(self.kind, Kind::CacheClips { .. }) { TRAINER } else { "egofx" }
    }

    /// The folder of its outputs.
    pub fn out(&self) -> &Path {
        match &self.kind {
            Kind::Extract(extract) => &extract.out,
            Kind::Transcode(options, ..) => &options.out,
            Kind::CacheClips { out, .. } => out,
        }
    }

    /// Seconds of its `--grace`.
    pub fn grace_sec(&self) -> u64 {
        match &self.kind {
            Kind::Extract(extract) => extract.grace.sec(),
            Kind::Transcode(options, ..) => options.grace.sec(),
            Kind::CacheClips { .. } => 0,
        }
    }

    /// GPUs that it wants.
    pub fn gpus(&self) -> u32 {
        match &self.kind {
            Kind::Extract(extract) => extract.compute.unsettled().map_or(0, |settled| settled.gpus()),
            Kind::Transcode(..) | Kind::CacheClips { .. } => 0,
        }
    }

    /// Looks at the files that a run would refuse to begin without, and at its videos; at its programs, unless those are `elsewhere`.
    /// Nothing of a command of the other program.
    pub fn survey(&self, elsewhere: bool) -> anyhow::Result<Option<Survey>> {
        match &self.kind {
            Kind::Extract(extract) => {
                // What is fastest on a node is for the node to find out.
                extract.options(&extract.compute.unsettled()?)?;
                if !elsewhere {
                    extract.ffmpeg.tools()?;
                }
                let inputs = extract.inputs()?;
                let plan = inputs.plan(extract, |_, _| false)?;
                let wanted: BTreeSet<&VideoUid> = plan.tasks.iter().map(|task| &task.video_uid).collect();
                let videos = plan.jobs.iter().map(|job| (&job.video_uid, job.path.as_deref()));
                Ok(Some(Survey { videos: wanted.len(), ..Survey::of(videos, &inputs.manifest) }))
            }
            Kind::Transcode(options, size, chunks) => {
                let (manifest, tasks, _) = options.inputs(*size, *chunks)?;
                let videos = tasks.iter().map(|task| (&task.video_uid, task.path.as_deref()));
                Ok(Some(Survey { videos: tasks.len(), ..Survey::of(videos, &manifest) }))
            }
            Kind::CacheClips { .. } => Ok(None),
        }
    }

    /// What earlier runs have left, of `count` parts or of as many as they had.
    pub fn left(&self, count: Option<u32>) -> anyhow::Result<Left> {
        match &self.kind {
            Kind::Extract(extract) => left_of_extract(extract, count),
            Kind::Transcode(options, size, chunks) => {
                let (_, tasks, transcoder) = options.inputs(*size, *chunks)?;
                let count =
                    count.or_else(|| most(transcode::parts(&options.out))).with_context(|| no_store(&options.out))?;
                let owners = owners(&tasks, count, |task| task.cost_sec);
                let open = tasks.iter().zip(owners).filter(|(task, _)| !transcoder.looks_done(task));
                Ok(Left { parts: Parts::only(count, open.map(|(_, owner)| owner)), at_work: Vec::new() })
            }
            Kind::CacheClips { .. } => {
                bail!("--missing: cache-clips makes only files that are not there, submit it with --shards")
            }
        }
    }

    /// Seconds that all of it takes on one machine like this, measured as `egofx plan --probe` does; `None` where it cannot be.
    pub fn probe(&self, seconds: f64) -> anyhow::Result<Option<f64>> {
        let Kind::Extract(extract) = &self.kind else { return Ok(None) };
        let inputs = extract.inputs()?;
        let plan = inputs.plan(extract, |_, _| false)?;
        let (fetching, compute) = (&extract.fetching, &extract.compute);
        let (ffmpeg, threads) = (&extract.ffmpeg, compute.decoder_threads());
        let source = fetching.measured(ffmpeg, threads, &inputs.manifest, Some(&extract.out))?;
        let settled = compute.settle(&[], &inputs.models, &inputs.sets)?;
        let found = estimate(&plan, &inputs.sets, &inputs.models, &settled, &source, seconds)?;
        Ok(found.map(|found| found.total_sec()))
    }
}

impl Kind {
    fn transcode((options, size, chunks): (Transcode, Size, Option<ChunkLength>)) -> Self {
        Self::Transcode(Box::new(options), size, chunks)
    }
}

impl Inputs {
    /// The whole plan without what is `done`.
    fn plan(&self, extract: &Extract, done: impl Fn(SetId, &UnitUid) -> bool) -> anyhow::Result<Plan> {
        let wanted = extract.work.wanted(&self.manifest, &self.text_inputs, &self.sets);
        Ok(Plan::new(wanted, Shard::WHOLE, done)?)
    }
}

impl Survey {
    fn of<'v>(videos: impl Iterator<Item = (&'v VideoUid, Option<&'v Path>)>, manifest: &Manifest) -> Self {
        let absent = videos.filter(|(_, path)| !path.is_some_and(is_there)).map(|(uid, path)| {
            path.map_or_else(
                || format!("{uid}: no file was found"),
                |path| format!("{uid}: no file {}", path.display()),
            )
        });
        let rejected = manifest.rejected.iter().map(ToString::to_string).collect();
        Self { videos: 0, absent: absent.collect(), rejected }
    }
}

/// A pattern of images such as `%d.jpeg` is there if its folder is; nobody asks for objects.
fn is_there(path: &Path) -> bool {
    let is_pattern = || path.file_name().is_some_and(|name| name.to_string_lossy().contains('%'));
    url::of(path).is_some() || path.exists() || is_pattern() && path.parent().is_some_and(Path::is_dir)
}

fn is_given(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
}

fn left_of_extract(extract: &Extract, count: Option<u32>) -> anyhow::Result<Left> {
    let inputs = extract.inputs()?;
    let folders: Vec<_> = inputs.sets.values().map(|set| extract.out.join(&set.recipe.name)).collect();
    let stores: Vec<_> = folders.iter().filter(|folder| folder.join(STORE_FILE).exists()).collect();
    ensure!(!stores.is_empty(), no_store(&extract.out));
    let mut parts = Vec::new();
    for store in &stores {
        parts.extend(StoreReader::open(store)?.committed_by_part()?.into_keys());
    }
    let count = count.or_else(|| most(parts)).with_context(|| no_store(&extract.out))?;
    let done = inputs.sets.try_map(|set| committed(&extract.out, set))?;
    let wanted = extract.work.wanted(&inputs.manifest, &inputs.text_inputs, &inputs.sets);
    let open = wanted.unfinished(count, |set, unit| done[set].contains(unit))?;
    let mut alive = BTreeSet::new();
    for store in stores {
        let workers = StoreStatus::read(store)?.workers.into_iter().filter(|worker| worker.is_alive);
        let parts = workers.filter_map(|worker| worker.shard.parse::<Shard>().ok());
        alive.extend(parts.filter(|part| part.count() == count).map(Shard::index));
    }
    let at_work = open.intersection(&alive).copied().collect();
    Ok(Left { parts: Parts::only(count, open.difference(&alive).copied()), at_work })
}

/// What the store of `set` holds, by its ledgers and the lengths of its files.
fn committed(out: &Path, set: &FeatureSet) -> anyhow::Result<BTreeSet<UnitUid>> {
    let folder = out.join(&set.recipe.name);
    if !folder.join(STORE_FILE).exists() {
        return Ok(BTreeSet::new());
    }
    let store = StoreReader::open(&folder)?;
    let mut found = BTreeSet::new();
    for entry in store.committed()?.iter() {
        if store.look_at(entry)?.is_none() {
            found.insert(entry.unit_uid.clone());
        }
    }
    Ok(found)
}

/// The largest count of `parts`.
fn most(parts: Vec<Shard>) -> Option<u32> {
    parts.into_iter().map(Shard::count).max()
}

fn no_store(out: &Path) -> String {
    format!(
        "{}: no run has been here, so that nothing is known of what it left: submit once with --shards N and without --missing",
        out.display()
    )
}
