//! `egofx report`: a store on a page.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use clap::builder::PossibleValuesParser;

use egofx::compat::Compat;
use egofx::durable;
use egofx::ids::VideoUid;
use egofx::manifest::{Clip, Manifest, Video};
use egofx::meter::Meter;
use egofx::page::{self, BENCHMARKS, GENERATOR, Options, Predictions, VideoFile, View};
use egofx::thumbnails::{HEIGHT, Thumbnailer};

use super::args::Ffmpeg;
use super::progress::{Progress, Reporting};
use super::{bytes, say, say_json, tell};

/// Bytes at the beginning of a file in which a page says that it is one.
const HEAD: u64 = 4096;

/// Write a page that shows a store in a browser.
///
/// What was run, where rows are and where they are missing, thumbnails, how alike the rows of a video are, a map of all rows, and
/// what looks wrong. One file that loads nothing: it can be sent to somebody. A store that is being written is shown as far as it
/// is committed. Thumbnails are decoded now, out of the videos that --manifest or --videos names.
#[derive(Args)]
pub struct Report {
    /// A feature set, or a folder of several.
    #[arg(value_name = "STORE")]
    path: PathBuf,
    /// The file to write [default: report.html in STORE]. A page that is there already is replaced.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The manifest by which the store was made: it says where videos are.
    #[arg(short, long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Folders that are searched, with all folders below, for files named <video_uid>.mp4 (or .mkv, .webm, ...).
    #[arg(long, value_name = "DIR")]
    videos: Vec<PathBuf>,
    /// No thumbnails: nothing is decoded.
    #[arg(long)]
    no_thumbnails: bool,
    /// Set rows against those of the same clips and times in another store.
    #[arg(long, value_name = "STORE")]
    against: Option<PathBuf>,
    /// Show at most N videos with time line, thumbnails and similarities, those first of which something is missing.
    #[arg(long, value_name = "N", default_value_t = 40)]
    detail: usize,
    #[command(flatten)]
    predictions: Predicted,
    /// Replace a file that is no page of this program.
    #[arg(long)]
    force: bool,
    /// Print what the page would show as JSON on stdout, and write no file.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    #[command(flatten)]
    reporting: Reporting,
}

/// Predictions, with the options of `egofx eval`.
#[derive(Args)]
struct Predicted {
    /// Predictions of NLQ or MQ, drawn on the time lines, with the numbers of `egofx eval` beside them.
    #[arg(long, value_name = "FILE", requires = "annotations", help_heading = "Predictions")]
    predictions: Option<PathBuf>,
    /// The truth: nlq_val.json, moments_val.json or VSGN's clip_annotations.json.
    #[arg(short, long, value_name = "FILE", requires = "predictions", help_heading = "Predictions")]
    annotations: Option<PathBuf>,
    /// What was predicted [default: what the predictions say].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(BENCHMARKS), help_heading = "Predictions")]
    benchmark: Option<String>,
    /// The retrieval track of MQ, where it is a file of its own.
    #[arg(long, value_name = "FILE", help_heading = "Predictions")]
    retrieval: Option<PathBuf>,
    /// The split of MQ to score, where the annotations hold several.
    #[arg(long, value_name = "NAME", help_heading = "Predictions")]
    split: Option<String>,
    /// How MQ is scored.
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["official", "actionformer"]), help_heading = "Predictions")]
    protocol: Option<String>,
    /// Score as the original evaluator does, or without its faults [default: as the note beside the predictions says, else
    /// as-released].
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new([Compat::AsReleased.name(), Compat::Fixed.name()]), help_heading = "Predictions")]
    compat: Option<String>,
    /// Score incomplete predictions.
    #[arg(long, help_heading = "Predictions")]
    allow_missing: bool,
}

impl Report {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let out = self.out.clone().unwrap_or_else(|| self.path.join("report.html"));
        if !self.json {
            self.check_free(&out)?;
        }
        let meter = Meter::default();
        let options = self.options(meter.clone())?;
        let progress = Progress::of_meter(&meter, "units", self.reporting.shown(self.json));
        let view = page::read(&self.path, &options);
        progress.finish();
        let view = view?;
        if self.json {
            say_json(&view)?;
        } else {
            let html = page::html(&view);
            durable::write_bytes(&out, html.as_bytes()).with_context(|| format!("cannot write {}", out.display()))?;
            say(&format!("{}  {}\n", out.display(), bytes(html.len() as u64)))?;
            if !self.reporting.quiet {
                summary(&view);
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A page may be written anew; what else is there is somebody's.
    fn check_free(&self, out: &Path) -> anyhow::Result<()> {
        let mut head = Vec::new();
        let read = File::open(out).and_then(|file| file.take(HEAD).read_to_end(&mut head));
        let is_page = read.is_ok() && String::from_utf8_lossy(&head).contains(GENERATOR);
        ensure!(
            is_page || self.force || !out.exists(),
            "{} exists already and is no page of egofx report; --force overwrites it",
            out.display()
        );
        Ok(())
    }

    fn options(&self, meter: Meter) -> anyhow::Result<Options> {
        let videos = if self.no_thumbnails { BTreeMap::new() } else { self.videos()? };
        let thumbnailer = if self.no_thumbnails {
            None
        } else {
            Some(Thumbnailer { tools: self.ffmpeg.known_tools()?, height: HEIGHT })
        };
        Ok(Options {
            against: self.against.clone(),
            predictions: self.predictions.read()?,
            thumbnailer,
            videos,
            detailed: self.detail,
            meter,
        })
    }

    /// Where the store's videos are.
    fn videos(&self) -> anyhow::Result<BTreeMap<VideoUid, VideoFile>> {
        let uids = page::video_uids(&self.path)?;
        let mut manifest = match &self.manifest {
            Some(path) => Manifest::read(path)?,
            None => {
                let videos = uids.iter().map(unlocated).collect();
                Manifest { name: String::new(), videos, rejected: Vec::new() }
            }
        };
        manifest.locate(&self.videos)?;
        let wanted = manifest.videos.into_iter().filter(|video| uids.contains(&video.uid));
        let file = |video: Video| Some((video.uid, VideoFile { path: video.path?, fps: video.fps }));
        Ok(wanted.filter_map(file).collect())
    }
}

fn unlocated(uid: &VideoUid) -> Video {
    let clips = vec![Clip::whole(uid, 1)];
    Video { uid: uid.clone(), path: None, duration_sec: None, num_frames: None, fps: None, clips }
}

impl Predicted {
    fn read(&self) -> anyhow::Result<Option<Predictions>> {
        let (Some(predictions), Some(annotations)) = (&self.predictions, &self.annotations) else { return Ok(None) };
        let benchmark = match &self.benchmark {
            Some(benchmark) => benchmark.clone(),
            None => Predictions::benchmark_of(predictions)?.to_owned(),
        };
        let choices = [("split", &self.split), ("protocol", &self.protocol)];
        let choices = choices.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        Ok(Some(Predictions {
            benchmark,
            predictions: predictions.clone(),
            annotations: annotations.clone(),
            files: self.retrieval.iter().map(|path| ("retrieval", path.clone())).collect(),
            choices: choices.collect(),
            compat: self.compat.as_deref().and_then(Compat::named),
            allow_missing: self.allow_missing,
        }))
    }
}

/// What a person should know of a page before looking at it.
fn summary(view: &View) {
    view.notes.iter().for_each(|note| tell(format_args!("egofx: {note}")));
    for set in &view.sets {
        let name = &set.contract.feature_set;
        let wrong = set.checks.iter().filter(|check| check.is_wrong);
        wrong.for_each(|check| tell(format_args!("egofx: {name}: {}: {}", check.what, check.count)));
    }
}
