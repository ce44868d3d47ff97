//! What `egofx resize` and `egofx chunk` share: which videos, how they are encoded, the run and its account.
//!
//! Not for what one of them does alone. Invariant: an error before the first video ends with 2, a video that failed with 1.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use egofx::benchmark::{Benchmark, Sources};
use egofx::claims::Steal;
use egofx::decode::{Outline as VideoOutline, outline};
use egofx::grid::egoclip::ChunkLength;
use egofx::ids::VideoUid;
use egofx::manifest::Manifest;
use egofx::places::{ShardOption, shard};
use egofx::shard::Shard;
use egofx::transcode::{
    AUDIO, Control, PRESETS, Report, Settings, Size, Standing, Task, Transcoder, check_settings, run_shared,
    tasks_of_all,
};

use super::args::{Ffmpeg, announced, cores};
use super::interrupt::Grace;
use super::progress::{Progress, Reporting};
use super::sharing::SharingOptions;
use super::{FAILED, bytes, complain, plural, say, say_json, tell};

/// Options of both commands.
#[derive(Args)]
pub struct Transcode {
    /// Videos: our CSV, Ego4D's manifest.csv or ego4d.json. Without it, every video file below --videos.
    #[arg(short, long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Folders that are searched, with all folders below, for video files; with a manifest, for those whose path it does not
    /// give.
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// Where the outputs go. What is known of them is kept in <DIR>/.egofx.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Quality, 0 to 51: lower is better and larger. 23 is x264's own default and what the original used; at 18 one hardly
    /// sees a difference to the source.
    #[arg(long, value_name = "N", default_value_t = 23, value_parser = clap::value_parser!(u8).range(..=51))]
    crf: u8,
    /// Time spent on compression, from ultrafast to veryslow: slower ones give smaller files of the same quality.
    #[arg(long, value_name = "NAME", default_value = "medium", value_parser = PRESETS)]
    preset: String,
    /// Most frames from one key frame to the next [default: 250, x264's own]. Fewer make random access faster and files
    /// larger.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keyint: Option<u32>,
    /// What the outputs are for. Training reads short clips here and there, and decodes from the key frame before: with one
    /// every 30 frames (--keyint 30) that takes half the time and less, and files are some percent larger.
    #[arg(long = "for", value_name = "USE", conflicts_with = "keyint")]
    purpose: Option<Purpose>,
    /// What becomes of the sound: copied, encoded as AAC (for sound that MP4 cannot hold), or left out.
    #[arg(long, value_name = "HOW", default_value = "copy", value_parser = AUDIO.map(|(name, _)| name))]
    audio: String,
    /// Videos that are worked on at the same time [default: half the cores]. ffmpeg uses several cores for each, unless
    /// --threads is given; on many cores, many jobs of few threads are faster.
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Threads of each decoder and each encoder [default: ffmpeg's choice]. Changes bytes a little, as x264 does.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Do part I of N: the videos are divided into N parts of about equal length.
    ///
    /// Each machine of a cluster takes one; all may write into the same folder at the same time.
    /// `auto` takes it from the engine that started this process, and says which: Slurm's arrays and srun, indexed Jobs of
    /// Kubernetes and task arrays of HyperQueue (both with EGOFX_SHARD_COUNT set to N), arrays of AWS Batch, ranks of MPI.
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: ShardOption,
    /// Only the first N videos of the list: a trial before the long run.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Say what would be done, by the headers of the files, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replace outputs that were not made here, or with other settings. Outputs that fit are kept all the same.
    #[arg(long)]
    force: bool,
    /// Print the report as JSON on stdout, and draw no bar.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sharing: SharingOptions,
    #[command(flatten)]
    pub grace: Grace,
    #[command(flatten)]
    reporting: Reporting,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
}

/// What outputs are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Clips that are read at random.
    Training,
}

impl Purpose {
    /// Most frames from one key frame to the next.
    const fn keyint(self) -> u32 {
        match self {
            Self::Training => 30,
        }
    }
}

/// A number of pixels for a side: even, because chroma has half the pixels.
pub fn side(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(side) if (2..=8192).contains(&side) && side % 2 == 0 => Ok(side),
        _ => Err("expected an even number of pixels from 2 to 8192".to_owned()),
    }
}

impl Transcode {
    /// Runs it: with frames of `size`, in `chunks`.
    pub fn run(self, size: Size, chunks: Option<ChunkLength>) -> anyhow::Result<ExitCode> {
        let listener = self.grace.listen()?;
        let manifest = self.read_manifest()?;
        self.check_out()?;
        let shard = announced(&self.shard);
        let (tasks, others) = tasks_of_all(&manifest, shard, self.limit);
        let terms = self.sharing.terms(&self.shard);
        let transcoder = self.transcoder(size, chunks)?;
        check_settings(&transcoder, &tasks)?;
        if terms.is_some_and(|terms| terms.steal != Steal::Never) {
            check_settings(&transcoder, &others)?;
        }
        if self.dry_run {
            return self.preview(&transcoder, &tasks, &manifest);
        }
        let control = Arc::new(Control { stop: listener.begin(), ..Control::default() });
        let bar = Progress::of_transcoding(&control, &tasks, self.reporting.shown(self.json));
        let jobs = self.jobs.map_or_else(|| (cores() / 2).max(1), NonZeroUsize::get);
        let report = run_shared(&transcoder, (&tasks, &others), (shard, terms), jobs, &control);
        bar.finish();
        self.publish(&report?, &manifest)
    }

    /// What makes the outputs: with frames of `size`, in `chunks`.
    fn transcoder(&self, size: Size, chunks: Option<ChunkLength>) -> anyhow::Result<Transcoder> {
        Ok(Transcoder {
            tools: self.ffmpeg.tools()?,
            settings: self.settings(size, chunks)?,
            out: self.out.clone(),
            threads: self.threads.map_or(0, NonZeroUsize::get),
            force: self.force,
        })
    }

    /// What a run finds before its first video: the manifest, all tasks, and what makes their outputs.
    pub fn inputs(&self, size: Size, chunks: Option<ChunkLength>) -> anyhow::Result<(Manifest, Vec<Task>, Transcoder)> {
        ensure!(!self.dry_run, "--dry-run: nothing would be done on any node");
        let manifest = self.read_manifest()?;
        self.check_out()?;
        let (tasks, _) = tasks_of_all(&manifest, Shard::WHOLE, self.limit);
        let transcoder = self.transcoder(size, chunks)?;
        check_settings(&transcoder, &tasks)?;
        Ok((manifest, tasks, transcoder))
    }

    fn read_manifest(&self) -> anyhow::Result<Manifest> {
        let Some(path) = &self.manifest else {
            ensure!(!self.videos.is_empty(), "no videos are named: give --manifest FILE, --videos DIR, or both");
            let sources = Sources { annotations: Vec::new(), videos: self.videos.clone(), ..Sources::default() };
            return Ok((Benchmark::find("folder")?.build)(&sources)?.manifest);
        };
        let mut manifest = Manifest::read(path)?;
        manifest.locate(&self.videos)?;
        Ok(manifest)
    }

    /// Outputs among the sources would be sources of the next run.
    fn check_out(&self) -> anyhow::Result<()> {
        let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
        let out = absolute(&self.out).with_context(|| self.out.display().to_string())?;
        for root in &self.videos {
            let inside = absolute(root).is_ok_and(|root| out.starts_with(root));
            let (out, root) = (self.out.display(), root.display());
            ensure!(!inside, "--out {out} lies in --videos {root}: outputs would be taken for sources by the next run");
        }
        Ok(())
    }

    fn settings(&self, size: Size, chunks: Option<ChunkLength>) -> anyhow::Result<Settings> {
        let preset = PRESETS.into_iter().find(|preset| *preset == self.preset).context("an unknown preset")?;
        let audio = AUDIO.into_iter().find(|(name, _)| *name == self.audio).context("an unknown --audio")?;
        let keyint = self.purpose.map(Purpose::keyint).or(self.keyint);
        Ok(Settings { size, chunks, crf: self.crf, preset, keyint, audio: audio.1 })
    }

    /// What would be done: a line for each video.
    fn preview(&self, transcoder: &Transcoder, tasks: &[Task], manifest: &Manifest) -> anyhow::Result<ExitCode> {
        let lines: Vec<Forecast> = tasks.iter().map(|task| Forecast::of(transcoder, task)).collect();
        if self.json {
            say_json(&lines)?;
        } else {
            say(&lines.iter().map(Forecast::line).collect::<String>())?;
        }
        tell_rejected(manifest);
        let failed = !manifest.rejected.is_empty() || lines.iter().any(|line| line.state == State::Error);
        Ok(ExitCode::from(if failed { FAILED } else { 0 }))
    }

    fn publish(&self, report: &Report, manifest: &Manifest) -> anyhow::Result<ExitCode> {
        tell_rejected(manifest);
        for failure in &report.failures {
            tell(format_args!("egofx: {}: {}", failure.video_uid, failure.why));
        }
        let failed = !report.failures.is_empty() || !manifest.rejected.is_empty() || report.unreached > 0;
        let code = match report.stopped {
            Some(cause) => cause.exit_code(),
            None if failed => FAILED,
            None => 0,
        };
        let said = if self.json {
            let mut json = serde_json::to_value(report)?;
            json["rejected"] = json!(manifest.rejected.iter().map(ToString::to_string).collect::<Vec<_>>());
            json["exit_code"] = json!(code);
            say_json(&json)
        } else if self.reporting.quiet {
            Ok(())
        } else {
            summary(report);
            say(&format!("{}\n", self.out.display()))
        };
        if let Err(error) = said {
            complain(&error);
            return Ok(ExitCode::from(code.max(FAILED)));
        }
        Ok(ExitCode::from(code))
    }
}

fn tell_rejected(manifest: &Manifest) {
    manifest.rejected.iter().for_each(|rejected| tell(format_args!("egofx: manifest: {rejected}")));
}

fn summary(report: &Report) {
    tell(format_args!(
        "{} made, {} done before, {} failed, {} not reached",
        plural(report.made.len(), "video"),
        report.done_before,
        report.failures.len(),
        report.unreached
    ));
    if let Some(shared) = &report.shared {
        tell(format_args!(
            "shared: {} of other parts, {} of this part by others; {} taken over, {} computed twice",
            plural(shared.taken_videos, "video"),
            shared.made_elsewhere,
            shared.taken_over,
            shared.computed_twice
        ));
    }
    if report.made.is_empty() {
        return;
    }
    let source: u64 = report.made.iter().map(|record| record.source_bytes).sum();
    let made: u64 = report.made.iter().map(egofx::transcode::Record::bytes).sum();
    tell(format_args!(
        "{:.1} s of video in {:.1} s ({:.1} times real time), {} became {}",
        report.video_sec,
        report.elapsed_sec,
        report.video_sec / report.elapsed_sec.max(1e-9),
        bytes(source),
        bytes(made)
    ));
}

/// What would be done about one video.
#[derive(Serialize)]
struct Forecast<'t> {
    video_uid: &'t VideoUid,
    source: &'t Option<PathBuf>,
    output: PathBuf,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(flatten)]
    outline: Option<Outline>,
}

/// Whether there is anything to do about a video.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Done,
    Make,
    Error,
}

/// What becomes of a video that is to be made, by its header.
#[derive(Serialize)]
struct Outline {
    /// Width and height in pixels, before and after.
    from: [u32; 2],
    to: [u32; 2],
    /// `None` where the header does not tell.
    duration_sec: Option<f64>,
    /// Chunk files; `None` where the video stays whole or its length is not known.
    chunks: Option<u64>,
}

impl<'t> Forecast<'t> {
    fn of(transcoder: &Transcoder, task: &'t Task) -> Self {
        let output = transcoder.out.join(transcoder.name_of(&task.video_uid));
        let forecast =
            |state, why, outline| Self { video_uid: &task.video_uid, source: &task.path, output, state, why, outline };
        let path = match transcoder.standing(task) {
            Ok(Standing::Done(_)) => return forecast(State::Done, None, None),
            Ok(Standing::Open) => task.path.as_deref(),
            Err(error) => return forecast(State::Error, Some(error.to_string()), None),
        };
        match path.map(|path| outline(&transcoder.tools, path)).transpose() {
            Ok(of) => forecast(State::Make, None, of.map(|of| Outline::of(&transcoder.settings, &of))),
            Err(error) => forecast(State::Error, Some(error.to_string()), None),
        }
    }

    /// For people.
    fn line(&self) -> String {
        let output = self.output.display();
        let more = match (&self.why, &self.outline) {
            (Some(why), _) => why.clone(),
            (None, None) => output.to_string(),
            (None, Some(Outline { from, to, duration_sec, chunks })) => {
                let sec = duration_sec.map_or("unknown length".into(), |sec| format!("{sec:.1} s"));
                let chunks = chunks.map_or(String::new(), |n| format!(", {}", plural(n as usize, "chunk")));
                format!("{output}  {}x{} to {}x{}, {sec}{chunks}", from[0], from[1], to[0], to[1])
            }
        };
        format!("{:<5}  {}  {more}\n", self.state.name(), self.video_uid)
    }
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Make => "make",
            Self::Error => "error",
        }
    }
}

impl Outline {
    fn of(settings: &Settings, of: &VideoOutline) -> Self {
        let chunks = |sec: f64, chunks: ChunkLength| (sec / f64::from(chunks.sec)).ceil().max(1.0) as u64;
        Self {
            from: [of.width, of.height],
            to: settings.size.of(of.width, of.height).into(),
            duration_sec: of.duration_sec,
            chunks: of.duration_sec.zip(settings.chunks).map(|(sec, of)| chunks(sec, of)),
        }
    }
}
