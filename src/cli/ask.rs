//! `egofx ask`: from a video and a question to moments, with nothing to prepare.
//!
//! Not for more than one video. Invariant: graphs and rows are kept in the user's cache, by what they were made of, so that a further
//! question about the same video costs a search.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;

use egofx::digest;
use egofx::durable::{self, Existing, Partial};
use egofx::ids::VideoUid;
use egofx::places::caches;

use super::args::{models_or_default, parsed};
use super::ask_head::AskedHead;
use super::ask_recipe::{Fitted, key, run_self};
use super::search::Search;
use super::search_output::Spans;
use super::tell;

/// How a whole video is seen, and how the tokens of a question are read by the text tower beside; the first whose video tower is
/// there is taken.
const RECIPES: [(&str, &str); 2] = [("egovlp_nlq", "egovlp_nlq_tokens"), ("egovlpv2_mq", "egovlpv2_nlq_tokens")];

/// Find in a video the moments a sentence is most like, and spans by a trained head.
///
/// Its features are extracted first, by egovlp_nlq, or by egovlpv2_mq where there is an EgoVLPv2
/// alone. Graphs of --checkpoint and rows of the video are kept in ~/.cache/egofx/ask (or below
/// XDG_CACHE_HOME) and used again; that folder can be deleted at any time. For many videos:
/// `egofx extract`, and `egofx search`.
///
/// --head takes a head for NLQ that was trained on such features, as `egofx-train export RUN --onnx`
/// writes it. It is asked of each clip of the video, which are equally long and at most 480 s. Spans
/// come clip by clip, that of the window that the sentence is most like first: those of different
/// clips have no scores to be compared by.
///
///   egofx ask kitchen.mp4 "#C C washes a pan" --checkpoint EgoVLP_PT_BEST.pth
///   egofx ask kitchen.mp4 "#C C washes a pan" --head vslnet/ --question "Where did I wash the pan?"
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
    /// The graph of a head for NLQ (.onnx), or the folder of one: its spans are told behind the moments.
    #[arg(long, value_name = "PATH")]
    head: Option<PathBuf>,
    /// What the head is asked, which learnt from questions [default: the sentence].
    #[arg(long, value_name = "TEXT", requires = "head")]
    question: Option<String>,
    /// Most moments, and most spans.
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
        let hash = digest::ends(&self.video).with_context(|| self.video.display().to_string())?;
        let head = self.head.as_deref().map(|head| self.head(head, &cache, &hash)).transpose()?;
        let models = self.model_folder(&cache)?;
        let recipes = recipes(&models)?;
        if let Some(mut head) = head {
            let (rows, tokens) = head.choose(&models, recipes)?;
            let (search, store) = self.search(&rows, &models, &cache, &hash)?;
            let tokens = timed("tokens", || head.tokens(&tokens, &models, self.tokenizer.as_deref()))?;
            let (mut found, best) = timed("search", || search.find_ranked(head.runtime()))?;
            let mut spans = timed("spans", || head.spans([store, tokens], best))?;
            spans.truncate(search.top);
            let answer = found.answers.first_mut().context("an answer")?;
            answer.spans = Some(Spans { question: self.question().to_owned(), spans });
            return search.show(&found);
        }
        let (rows, _) = recipes.into_iter().next().context("a recipe of rows")?;
        let (search, _) = self.search(&rows, &models, &cache, &hash)?;
        let found = timed("search", || search.find())?;
        search.show(&found)
    }

    fn question(&self) -> &str {
        self.question.as_ref().unwrap_or(&self.sentence)
    }

    /// The head at `path`, to be asked about this video.
    fn head(&self, path: &Path, cache: &Path, hash: &str) -> anyhow::Result<AskedHead> {
        let uid = VideoUid::parse(&self.uid())?;
        let folder = cache.join("questions").join(key(&[hash, uid.as_str(), self.question()]));
        AskedHead::open(path, folder, (&uid, &self.path()?), self.question())
    }

    /// The folder of graphs: that of the checkpoint is made if it is not there.
    fn model_folder(&self, cache: &Path) -> anyhow::Result<PathBuf> {
        let Some(checkpoint) = &self.checkpoint else { return models_or_default(self.models.as_deref()) };
        let hash = digest::ends(checkpoint).with_context(|| checkpoint.display().to_string())?;
        let head_size = self.head_size.map(|size| size.to_string());
        let folder = cache.join("models").join(key(&[&hash, &format!("{head_size:?}")]));
        if folder.is_dir() {
            return Ok(folder);
        }
        let made = Partial::begin(&folder).with_context(|| folder.display().to_string())?;
        let path = made.path();
        let mut words: Vec<&OsStr> = vec![checkpoint.as_ref(), "--out".as_ref(), path.as_ref()];
        words.extend(head_size.iter().flat_map(|size| [OsStr::new("--head-size"), OsStr::new(size)]));
        timed("graphs", || run_self("export", &words))?;
        made.commit(Existing::Replace).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// The video's name, if that can be one in a store, and those of its clips and what is asked of them too.
    fn uid(&self) -> String {
        let stem = self.video.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if VideoUid::parse(&format!("{stem}-0000_0")).is_ok() { stem } else { "video".to_owned() }
    }

    /// Where the video is, whatever folder is the current one.
    fn path(&self) -> anyhow::Result<PathBuf> {
        self.video.canonicalize().with_context(|| self.video.display().to_string())
    }

    fn write_manifest(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let video = self.path()?;
        let path = video.to_str().with_context(|| format!("{}: its path is not UTF-8", video.display()))?;
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(["video_uid", "path"])?;
        table.write_record([self.uid().as_str(), path])?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let manifest = folder.join("video.csv");
        durable::write_bytes(&manifest, &table.into_inner()?).with_context(|| manifest.display().to_string())?;
        Ok(manifest)
    }

    /// The search in the video's rows and their store, which is extracted first.
    fn search(&self, rows: &Fitted, models: &Path, cache: &Path, hash: &str) -> anyhow::Result<(Search, PathBuf)> {
        let folder = cache.join("features").join(rows.key(&[hash, &self.uid()]));
        let manifest = self.write_manifest(&folder)?;
        let store = timed("rows", || rows.extract(models, &manifest, &folder, &[]))?;
        Ok((parsed(self.arguments(&store, models, &manifest))?, store))
    }

    /// The arguments of the search.
    fn arguments(&self, store: &Path, models: &Path, manifest: &Path) -> Vec<OsString> {
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

/// Recipes of rows whose video tower is in `models`, and those of tokens by the text tower beside it.
fn recipes(models: &Path) -> anyhow::Result<Vec<(Fitted, &'static str)>> {
    let mut found = Vec::new();
    for (rows, tokens) in RECIPES {
        found.extend(Fitted::of(models, rows)?.map(|rows| (rows, tokens)));
    }
    ensure!(!found.is_empty(), "{}: no card of egovlp_video or egovlpv2_video", models.display());
    Ok(found)
}

/// Does it, and says how long it took.
fn timed<T>(what: &str, act: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    let done = act()?;
    tell(format_args!("{what}: {:.1} s", started.elapsed().as_secs_f64()));
    Ok(done)
}
