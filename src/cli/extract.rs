//! `egofx extract`: plan, run, verify.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use egofx::backbone::Runtime;
use egofx::decode::{CertifiedSource, FfmpegSource, FrameSource, HwAccel, hwaccel_fault};
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::ids::{SetId, UnitUid};
use egofx::manifest::Manifest;
use egofx::pipeline::{self, Control, OnError, Options, PipelineError, Report, Run, Sharing, TextInputs};
use egofx::plan::{Plan, Task, Wanted};
use egofx::probes::{AheadSource, Keeping, KeepingSource};
use egofx::recipe::Recipe;
use egofx::shard::Shard;
use egofx::stop::Cause;
use egofx::store::{PlannedUnit, STORE_FILE, Store, StoreError, StoreReader, schema_of};
use egofx::verify::{VerifyOptions, verify_records, verify_some};

use super::account::Account;
use super::args::{Ffmpeg, Work, announced, cores};
use super::compute::{Backbones, Compute, Settled};
use super::fetching::Fetching;
use super::interrupt::Grace;
use super::progress::{Progress, Reporting};
use super::sharing::SharingOptions;
use super::{logging, setup, with_causes};

/// Turn video into features: plan, decode, infer, store, verify.
///
/// Give the same command again after a crash: what is committed is checked and kept, the rest is done. Exit code 0: every
/// planned row is there and verified; 1: some units failed (listed, and in report.json); 2: nothing was begun; 75: stopped
/// by SIGTERM or SIGUSR1, give the command again; 130: interrupted.
#[derive(Args)]
pub struct Extract {
    #[command(flatten)]
    pub work: Work,
    /// Where feature sets go: <DIR>/<recipe's name>/.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub compute: Compute,
    /// Videos decoded at the same time [default: 1 beside a CPU model, a quarter of the cores beside a GPU].
    ///
    /// More helps when the end of a run names `decode` as the bottleneck.
    #[arg(long, value_name = "N")]
    decoders: Option<usize>,
    /// Who decodes: `cuda` is NVDEC, worth trying when the CPU cannot keep up with a GPU. Frames may then differ by a
    /// level from software's; where it cannot be used, software steps in and the end of the run says so.
    #[arg(long, value_enum, default_value = "none")]
    hwaccel: Hwaccel,
    /// Memory for decoded frames that wait, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: usize,
    /// What becomes of a unit some of whose frames cannot be decoded.
    #[arg(long, value_enum, default_value = "skip")]
    on_error: Policy,
    /// Print the report as JSON on stdout, and draw no bar.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub fetching: Fetching,
    #[command(flatten)]
    sharing: SharingOptions,
    #[command(flatten)]
    pub grace: Grace,
    #[command(flatten)]
    reporting: Reporting,
    #[command(flatten)]
    pub ffmpeg: Ffmpeg,
}

/// What a run reads before anything else.
pub struct Inputs {
    /// Videos and clips.
    pub manifest: Manifest,
    /// The folder of model cards.
    pub models: PathBuf,
    /// The recipes and what was opened for them.
    pub sets: PerSet<FeatureSet>,
    /// What is asked about the clips.
    pub text_inputs: TextInputs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Hwaccel {
    /// Software: the reference.
    None,
    /// NVDEC of the first GPU.
    Cuda,
}

#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// End the run; what is committed stays.
    Fail,
    /// The unit fails, the run goes on, the exit code is 1.
    Skip,
    /// Keep the rows that are true; the others are NaN and flagged `missing`.
    Partial,
}

impl Extract {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let listener = self.grace.listen()?;
        let Inputs { manifest, models, sets, text_inputs } = self.inputs()?;
        let wanted = self.work.wanted(&manifest, &text_inputs, &sets);
        let promised = wanted.promised()?;
        let settled = self.settled(&sets, &models)?;
        let options = self.options(&settled)?;
        let shard = announced(&self.work.shard);
        self.fetching.check(&manifest)?;
        let keeping = Keeping::of(&self.out);
        keeping.clean();
        let ((source, fallback), (runtime, devices)) = self.ready(wanted, shard, &keeping, &settled, &models)?;
        let (mut stores, done) = self.open_stores(&sets, &settled, shard, &promised)?;
        let sharing = self.sharing.of(&stores, &self.work.shard)?;
        let plan = Plan::with_others(wanted, shard, |set, unit| done[set].contains(unit))?;
        let stop = listener.begin();
        let source = self.fetching.source(source, &manifest, Some(&self.out), stop.clone())?;
        let source = KeepingSource { inner: source, keeping: Some(keeping) };
        let control = Arc::new(Control::stopped_by(stop));
        let pulses = self.sharing.pulses(&stores, shard, &control, sharing.as_ref().map(Sharing::tally));
        let progress = Progress::of_extraction(&control, &plan, self.reporting.shown(self.json));
        let options = Options { onnxruntime_version: runtime.version.clone(), ..options };
        let (plan, sets) = (&plan, &sets);
        let run = Run {
            plan,
            sets,
            source: &source,
            text_inputs: &text_inputs,
            options: &options,
            sharing: sharing.as_ref(),
        };
        let (mut report, ended) = pipeline::run(run, devices, &mut stores, &control);
        progress.finish();
        drop(source); // and with it the copies of videos
        drop(sharing); // before the long look at the store: what is not done is anybody's
        report.remarks.extend(settled.remarks.iter().cloned().chain(fallback));
        let trouble = finish(&stores, plan, &done, &report, ended);
        let account = Account {
            out: &self.out,
            shard,
            manifest_path: &self.work.manifest,
            json: self.json,
            quiet: self.reporting.quiet,
            manifest: &manifest,
            sets,
            stores: &stores,
            promised: &promised,
            trouble: &trouble,
            settled: &settled,
        };
        let code = account.publish(&report);
        drop(pulses); // what the report says is there before they are gone
        code
    }

    /// The decoder and the models, which are made ready side by side.
    fn ready(
        &self,
        wanted: Wanted,
        shard: Shard,
        keeping: &Keeping,
        settled: &Settled,
        models: &Path,
    ) -> anyhow::Result<(Started, Loaded)> {
        let (started, loaded) = thread::scope(|scope| {
            let starting = scope.spawn(|| self.start(wanted, shard, keeping));
            let loaded = settled.load(models, wanted.sets);
            (starting.join().unwrap_or_else(|panic| resume_unwind(panic)), loaded)
        });
        Ok((started?, loaded?))
    }

    /// The stores, and what each holds already.
    fn open_stores(
        &self,
        sets: &PerSet<FeatureSet>,
        settled: &Settled,
        shard: Shard,
        promised: &PerSet<Vec<PlannedUnit>>,
    ) -> anyhow::Result<(PerSet<Store>, Done)> {
        let open = |(id, set): (SetId, &FeatureSet)| {
            let contract = set.contract(settled.precision)?;
            let open = setup::open_store(&self.out, &contract, shard, &promised[id])?;
            open.store.computed_by(&settled.providers(), settled.is_asked())?;
            anyhow::Ok((open.store, open.done))
        };
        let opened = sets.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
        let (stores, done): (Vec<Store>, Vec<BTreeSet<UnitUid>>) = opened.into_iter().unzip();
        Ok((stores.into_iter().collect(), done.into_iter().collect()))
    }

    /// The decoder, which looks already at the video that it will begin with; and what to say if it is not the one that was asked
    /// for.
    fn start(&self, wanted: Wanted, shard: Shard, keeping: &Keeping) -> anyhow::Result<Started> {
        let (source, fallback) = self.source()?;
        let source = AheadSource::new(source);
        if let Some(first) = self.first(wanted, shard, keeping) {
            source.prefetch(&first);
        }
        Ok((source, fallback))
    }

    /// The video that a run begins with, if that is known before the stores are opened: where there are none yet, and nothing is kept
    /// of it.
    fn first(&self, wanted: Wanted, shard: Shard, keeping: &Keeping) -> Option<PathBuf> {
        if wanted.sets.values().any(|set| self.out.join(&set.recipe.name).join(STORE_FILE).exists()) {
            return None;
        }
        let plan = Plan::new(wanted, shard, |_, _| false).ok()?;
        plan.jobs.into_iter().next()?.path.filter(|path| !keeping.has(path))
    }

    /// Reads what a run reads before anything else.
    pub fn inputs(&self) -> anyhow::Result<Inputs> {
        let (manifest, recipes, models) = (self.work.read_manifest()?, self.work.read_recipes()?, self.work.models()?);
        let recipes = self.gone_on_with(recipes);
        let towers = setup::towers(&models, &recipes, self.compute.precision)?;
        let (sets, text_inputs) = self.work.feature_sets(recipes, towers)?;
        setup::warn_of_eyes(&manifest, &sets);
        Ok(Inputs { manifest, models, sets, text_inputs })
    }

    /// Recipes whose stores were begun under an older schema stay with it.
    fn gone_on_with(&self, recipes: Vec<Recipe>) -> Vec<Recipe> {
        let schema = |recipe: &Recipe| schema_of(&self.out.join(&recipe.name));
        recipes
            .into_iter()
            .map(|recipe| (schema(&recipe), recipe))
            .map(|(schema, recipe)| recipe.under(schema))
            .collect()
    }

    /// What models run on: as asked, or as the stores were begun, or what is fastest here; people are told of the latter two.
    fn settled(&self, sets: &PerSet<FeatureSet>, models: &Path) -> anyhow::Result<Settled> {
        let stores: Vec<PathBuf> = sets.values().map(|set| self.out.join(&set.recipe.name)).collect();
        let settled = self.compute.settle(&stores, models, sets)?;
        settled.told().into_iter().for_each(|line| logging::note(line, !self.reporting.quiet));
        settled.remarks.iter().for_each(|remark| log::warn!("{remark}"));
        Ok(settled)
    }

    /// What is asked of the pipeline, of a run on `settled`.
    pub fn options(&self, settled: &Settled) -> anyhow::Result<Options> {
        let default_decoders = if settled.on_gpu() { (cores() / 4).clamp(1, 8) } else { (cores() / 8).max(1) };
        let decoders = self.decoders.unwrap_or(default_decoders);
        ensure!((1..=256).contains(&decoders), "--decoders {decoders}: expected 1 to 256");
        Ok(Options {
            decoders,
            batch_size: settled.batch_size(),
            memory_bytes: self.memory.saturating_mul(1 << 20),
            on_error: match self.on_error {
                Policy::Fail => OnError::Fail,
                Policy::Skip => OnError::Skip,
                Policy::Partial => OnError::Partial,
            },
            onnxruntime_version: String::new(),
            provider: settled.names(),
        })
    }

    /// The decoder, and what to say if it is not the one that was asked for.
    fn source(&self) -> anyhow::Result<(CertifiedSource, Option<String>)> {
        let tools = self.ffmpeg.known_tools()?;
        let wanted = match self.hwaccel {
            Hwaccel::None => HwAccel::None,
            Hwaccel::Cuda => HwAccel::Cuda(0),
        };
        let fault = hwaccel_fault(&tools, wanted);
        let hwaccel = if fault.is_some() { HwAccel::None } else { wanted };
        let remark = fault.map(|why| format!("--hwaccel cuda: NVDEC cannot be used ({why}); software decodes"));
        if let Some(remark) = &remark {
            log::warn!("{remark}");
        }
        let source = FfmpegSource { tools, threads: self.compute.decoder_threads(), hwaccel };
        Ok((CertifiedSource::new(source), remark))
    }
}

/// What frames come from.
type Decoder = AheadSource<CertifiedSource>;

/// The decoder, and what to say if it is not the one that was asked for.
type Started = (Decoder, Option<String>);

/// ONNX Runtime and the models on each device.
type Loaded = (Runtime, Backbones);

/// For each feature set the units that its store held before the run.
type Done = PerSet<BTreeSet<UnitUid>>;

/// Writes the indices, re-opens what this run committed and looks at the records of the rest; units that were `done` before
/// have been hashed. What is wrong with it, behind why the run broke off if it has `ended` so: that its index cannot be written for the same reason is no news; nor is it that a full disk
/// has no room for a second one. A scheduler that wants the machine does not wait for a second look: the next call has one.
fn finish(
    stores: &PerSet<Store>,
    plan: &Plan,
    done: &Done,
    report: &Report,
    ended: Result<(), PipelineError>,
) -> Vec<String> {
    let mut no_news = ended.is_err();
    let mut trouble: Vec<String> = ended.err().map(|error| with_causes(&error.into())).into_iter().collect();
    for (set, store) in stores.iter() {
        let own = plan.own().iter().filter(|task| task.set == set).flat_map(Task::units);
        let taken = report.shared.iter().flat_map(|shared| &shared.taken).filter(|(of, _)| *of == set);
        let ours: BTreeSet<&UnitUid> = own.chain(taken.map(|(_, uid)| uid)).collect();
        let failed = report.failures.iter().filter(|f| f.set == set).map(|f| &f.unit_uid).collect::<BTreeSet<_>>();
        let verified = store.finish().and_then(|()| {
            if report.stopped == Some(Cause::Preempted) {
                return Ok(Vec::new());
            }
            let reader = StoreReader::open(store.path())?;
            let committed = reader.committed()?;
            // A unit that failed or was not reached is reported as such, not as a fault of the store.
            let made = |uid: &UnitUid| ours.contains(uid) && !failed.contains(uid) && committed.get(uid).is_some();
            let mut problems = verify_records(&reader, |uid| done[set].contains(uid))?;
            problems.retain(|problem| !problem.unit_uid.as_ref().is_some_and(&made));
            problems.extend(verify_some(&reader, VerifyOptions::of(store.contract()), made)?.problems);
            Ok(problems)
        });
        match verified {
            Ok(problems) => trouble.extend(problems.iter().map(|p| {
                let place = p.unit_uid.as_ref().map_or_else(|| store.path().display().to_string(), UnitUid::to_string);
                format!("{place}: {}", p.what)
            })),
            Err(error) if no_news => log::info!("{}", with_causes(&error.into())),
            Err(error) => {
                no_news = matches!(error, StoreError::DiskFull { .. });
                trouble.push(with_causes(&error.into()));
            }
        }
    }
    trouble
}
