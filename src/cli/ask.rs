//! `egofx ask`: from a video and a question to moments, with nothing to prepare.
//!
//! Not for more than one video. Invariant: graphs and rows are kept in the user's cache, by what they were made of, so that a further
//! question about the same video costs a search.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;

use egofx::backbone::Card;
use egofx::decode::Place;
use egofx::digest;
use egofx::durable::{self, Existing, Partial};
use egofx::ids::VideoUid;
use egofx::places::caches;
use egofx::recipe::Recipe;

use super::args::{models_or_default, parsed};
use super::search::Search;
use super::tell;

/// Video towers, and the recipe by which each sees a whole video; the first that is there is taken.
const RECIPES: [(&str, &str); 2] = [("egovlp_video", "egovlp_nlq"), ("egovlpv2_video", "egovlpv2_mq")];
/// Digits of a hash that name a folder.
const DIGITS: usize = 16;

/// Ask a video: find the moments that a sentence is most like.
///
/// Its features are extracted first, by egovlp_nlq, or by egovlpv2_mq where there is an EgoVLPv2
/// alone. Graphs of --checkpoint and rows of the video are kept in ~/.cache/egofx/ask (or below
/// XDG_CACHE_HOME) and used again; that folder can be deleted at any time. For many videos:
/// `egofx extract`, and `egofx search`.
///
///   egofx ask kitchen.mp4 "#C C washes a pan" --checkpoint EgoVLP_PT_BEST.pth
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Ask {
    /// The video.
    video: PathBuf,
    /// The sentence; one in the words of narrations finds most.
    sentence: String,
    /// The checkpoint, of which graphs are made once.
    #[arg(long, value_name = "FILE", conflicts_with = "models")]
    checkpoint: Option<PathBuf>,
    /// Numbers of an attention head of the checkpoint, as for `egofx export`.
    #[arg(long, value_name = "N", requires = "checkpoint")]
    head_size: Option<usize>,
    /// Folder of model cards and graphs, in place of a checkpoint [default: onnx, here or beside the program].
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The vocabulary, as for `egofx search`.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Most moments.
    #[arg(long, value_name = "N", default_value = "10")]
    top: String,
    /// Write a page with thumbnails too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// With --html: overwrite a page that holds something else.
    #[arg(long, requires = "html")]
    force: bool,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Ask {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        ensure!(self.video.is_file(), "{}: no such file: expected a video", self.video.display());
        let cache = caches().context("no folder for what is kept: neither HOME nor XDG_CACHE_HOME is set")?.join("ask");
        let models = self.model_folder(&cache)?;
        let found = RECIPES.iter().find_map(|(tower, recipe)| Some((Card::describe(&models, tower).ok()?, *recipe)));
        let (card, recipe) = found.with_context(|| {
            format!("{}: no card of {}", models.display(), RECIPES.map(|(tower, _)| tower).join(" or "))
        })?;
        let folder = cache.join("features").join(self.key(&card, recipe)?);
        let manifest = self.write_manifest(&folder)?;
        let recipe_file = write_recipe(&folder, recipe, card)?;
        let started = Instant::now();
        let words: [&OsStr; 8] = [
            "-m".as_ref(),
            manifest.as_ref(),
            "-p".as_ref(),
            recipe_file.as_ref(),
            "--models".as_ref(),
            models.as_ref(),
            "-o".as_ref(),
            folder.as_ref(),
        ];
        run_self("extract", &words)?;
        tell(format_args!("rows: {:.1} s", started.elapsed().as_secs_f64()));
        let started = Instant::now();
        let code = parsed::<Search>(self.search(&folder.join(recipe), &models, &manifest))?.run()?;
        tell(format_args!("search: {:.1} s", started.elapsed().as_secs_f64()));
        Ok(code)
    }

    /// The folder of graphs: that of the checkpoint is made if it is not there.
    fn model_folder(&self, cache: &Path) -> anyhow::Result<PathBuf> {
        let Some(checkpoint) = &self.checkpoint else { return models_or_default(self.models.as_deref()) };
        let hash = digest::ends(checkpoint).with_context(|| checkpoint.display().to_string())?;
        let head_size = self.head_size.map(|size| size.to_string());
        let key = digest::text(&format!("{hash} {head_size:?} {}", env!("CARGO_PKG_VERSION")));
        let folder = cache.join("models").join(&key[..DIGITS]);
        if folder.is_dir() {
            return Ok(folder);
        }
        let started = Instant::now();
        let made = Partial::begin(&folder).with_context(|| folder.display().to_string())?;
        let path = made.path();
        let mut words: Vec<&OsStr> = vec![checkpoint.as_ref(), "--out".as_ref(), path.as_ref()];
        words.extend(head_size.iter().flat_map(|size| [OsStr::new("--head-size"), OsStr::new(size)]));
        run_self("export", &words)?;
        made.commit(Existing::Replace).with_context(|| folder.display().to_string())?;
        tell(format_args!("graphs: {:.1} s", started.elapsed().as_secs_f64()));
        Ok(folder)
    }

    /// What the rows depend on, and their store.
    fn key(&self, card: &Card, recipe: &str) -> anyhow::Result<String> {
        let video = digest::ends(&self.video).with_context(|| self.video.display().to_string())?;
        let parts = [&video, &self.uid(), &card.sha256, recipe, env!("CARGO_PKG_VERSION")];
        Ok(digest::text(&parts.join(" "))[..DIGITS].to_owned())
    }

    /// The video's name, if that can be one in a store.
    fn uid(&self) -> String {
        let stem = self.video.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if VideoUid::parse(&stem).is_ok() { stem } else { "video".to_owned() }
    }

    fn write_manifest(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let video = self.video.canonicalize().with_context(|| self.video.display().to_string())?;
        let path = video.to_str().with_context(|| format!("{}: its path is not UTF-8", video.display()))?;
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["video_uid", "path"])?;
        table.write_record([self.uid().as_str(), path])?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let manifest = folder.join("video.csv");
        durable::write_bytes(&manifest, &table.into_inner()?).with_context(|| manifest.display().to_string())?;
        Ok(manifest)
    }

    /// The arguments of the search.
    fn search(&self, store: &Path, models: &Path, manifest: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            vec!["--models".into(), models.into(), "--top".into(), self.top.clone().into()];
        let given = |name: &str, path: &Option<PathBuf>| {
            path.iter().flat_map(|path| [OsString::from(name), path.into()]).collect::<Vec<_>>()
        };
        arguments.extend(given("--tokenizer", &self.tokenizer));
        arguments.extend(given("--html", &self.html));
        arguments.extend(self.html.iter().flat_map(|_| [OsString::from("--manifest"), manifest.into()]));
        arguments.extend(self.force.then(|| "--force".into()));
        arguments.extend(self.json.then(|| "--json".into()));
        arguments.extend(["--".into(), store.into(), self.sentence.clone().into()]);
        arguments
    }
}

/// Writes the recipe of that name for what the card's graph takes and gives: checkpoints of one model differ in the length of a
/// row, and small ones in the size of a frame.
fn write_recipe(folder: &Path, name: &str, card: Card) -> anyhow::Result<PathBuf> {
    let mut body = Recipe::find(Path::new(name))?.body;
    let card = card.video(&body.feature)?;
    body.output.dim = Some(card.feature.dim);
    let side = card.input.height;
    if let Some(transform) = body.transform.as_mut().filter(|transform| transform.crop != side) {
        (transform.place, transform.crop) = (Place::Centre { short_side: side }, side);
    }
    let path = folder.join(format!("{name}.toml"));
    durable::write_bytes(&path, toml::to_string(&body)?.as_bytes()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Runs a command of this program, which says on stderr what it does: stdout is for the answer.
fn run_self(command: &str, arguments: &[&OsStr]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut child = Command::new(program);
    child.arg(command).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let status = child.status().with_context(|| format!("egofx {command} could not be started"))?;
    ensure!(status.success(), "egofx {command} ended with {status}, for the reason above");
    Ok(())
}
