//! `egofx search`: moments that a sentence, or another moment, is most like.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;

use egofx::backbone::{Device, OnnxBackbone, Precision, Provider, Runtime, SessionOptions};
use egofx::manifest::Manifest;
use egofx::meter::Meter;
use egofx::ndarray::{Array2, Axis};
use egofx::places::hub_caches;
use egofx::queries::Queries;
use egofx::search::{
    Hit, Index, Instant, MomentRule, SearchError, current, expect_moments, expect_one_space, expect_text_space,
    find_row, search, search_batch, text_model, text_tower, vectors,
};
use egofx::store::StoreReader;
use egofx::text::Tokenizer;
use egofx::thumbnails::{HEIGHT, Thumbnailer};

use super::args::{Ffmpeg, OnnxRuntime, cores, models_or_default};
use super::index::{IndexPlace, open_stores};
use super::outputs::{Output, write_all};
use super::progress::{Progress, Reporting};
use super::search_output::{Answer, csv, json, table};
use super::search_page::{images, page};
use super::setup::{Golden, check_golden};
use super::{say, say_json, tell};

/// Find moments by a sentence: STORE... "#C C washes a pan".
///
/// The text tower of the checkpoint that made the rows reads the sentence, and its cosine with
/// every window ranks them: exact, in one pass over the store's index (`egofx index`), which is
/// written where it is missing or out of date. Rows have to be projected into the space of
/// sentences: recipes with feature = "embedding" (egovlp_nlq, egovlp_mcq, egovlpv2_mq, ...). EgoVLP
/// and EgoVLPv2 were trained on narrations, in which #C is the person who wears the camera:
/// sentences in their words find most.
///
/// Windows of one moment are one answer: from the best window on it grows to both sides, along
/// windows of the same clip that overlap or adjoin it (a gap of half a window counts as adjoining)
/// and score at most --margin below the best. Its score is that of its best window. Of equal scores
/// the one in the first store and of the first row comes first.
///
///   egofx search features/egovlp_nlq "#C C washes a pan"
///   egofx search features/egovlp_nlq --like 0a1b@12.5
///   egofx search features/egovlp_nlq --batch nlq_val.queries.csv --csv > found.csv
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Search {
    /// Feature sets, or folders of several (those that no sentence can be compared with are passed over); then the sentence, unless
    /// --like or --batch is given.
    #[arg(value_name = "STORE... SENTENCE", required = true)]
    stores_and_sentence: Vec<OsString>,
    /// Search by a moment in place of a sentence: by the window of that video that covers the second and whose middle is nearest.
    /// Moments of the video that cover that second are left out. Needs no model.
    #[arg(long, value_name = "VIDEO@SECOND", value_parser = instant, conflicts_with = "batch")]
    like: Option<Instant>,
    /// Search for all sentences of a table of queries, as `egofx manifest` writes it; each in all stores, whatever clip it is about.
    #[arg(long, value_name = "FILE")]
    batch: Option<PathBuf>,
    /// Most moments for a query.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub top: usize,
    /// How far below its best window a window of a moment may score.
    #[arg(long, value_name = "COSINE", default_value_t = 0.05, value_parser = margin)]
    margin: f32,
    #[command(flatten)]
    place: IndexPlace,
    /// Folder of model cards and graphs [default: onnx, here or beside the program].
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The vocabulary: tokenizer.json, vocab.txt, vocab.json (merges.txt beside it), or a folder of these [default: the one in the
    /// local Hugging Face cache].
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Print as JSON on stdout.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print as CSV on stdout.
    #[arg(long)]
    csv: bool,
    /// Write a page with a thumbnail of each moment too: one file that loads nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// With --html: overwrite a page that holds something else.
    #[arg(long, requires = "html")]
    force: bool,
    /// With --html: the manifest of the videos, for thumbnails; without it there are none.
    #[arg(short, long, value_name = "FILE", requires = "html")]
    manifest: Option<PathBuf>,
    /// With --manifest: folders that are searched for videos whose path it does not give.
    #[arg(long, value_name = "DIR", requires = "manifest")]
    videos: Vec<PathBuf>,
    #[command(flatten)]
    ffmpeg: Ffmpeg,
    #[command(flatten)]
    onnx_runtime: OnnxRuntime,
    #[command(flatten)]
    reporting: Reporting,
}

/// What was found, in which stores.
pub struct Found {
    /// One answer for each query.
    pub answers: Vec<Answer>,
    /// Paths of the stores, by number.
    pub stores: Vec<String>,
}

/// What is asked, in the form that answers repeat.
struct SearchQuery {
    query_id: Option<String>,
    text: Option<String>,
}

impl Search {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let found = self.find()?;
        self.show(&found)
    }

    /// The moments that were asked for.
    pub fn find(&self) -> anyhow::Result<Found> {
        let (stores, asked) = self.opened()?;
        let hits = match &self.like {
            Some(at) => {
                let indexes = self.indexes(&stores)?;
                vec![search(&indexes, find_row(&indexes, at)?.view(), self.rule(), Some(at))?]
            }
            None => {
                let (queries, indexes) = self.by_text(&stores, &asked, None)?;
                self.hits(&queries, &indexes)?
            }
        };
        Ok(self.found(asked, hits, &stores))
    }

    /// The same for a sentence, with the runtime that is `loaded`, for a process has one; and the middles of all windows, best
    /// first.
    pub fn find_ranked(&self, loaded: &Runtime) -> anyhow::Result<(Found, Vec<f64>)> {
        let (stores, asked) = self.opened()?;
        let (queries, indexes) = self.by_text(&stores, &asked, Some(loaded))?;
        let windows = MomentRule { top: usize::MAX, margin: 0.0 };
        let windows = search(&indexes, queries.index_axis(Axis(0), 0), windows, None)?;
        let hits = self.hits(&queries, &indexes)?;
        Ok((self.found(asked, hits, &stores), windows.iter().map(|hit| hit.moment.best_sec).collect()))
    }

    fn opened(&self) -> anyhow::Result<(Vec<StoreReader>, Vec<SearchQuery>)> {
        let (paths, asked) = self.asked()?;
        let stores = match self.like {
            Some(_) => open_stores(&paths, expect_moments)?,
            None => open_stores(&paths, |store| expect_moments(store).and_then(|()| expect_text_space(store)))?,
        };
        expect_one_space(&stores)?;
        Ok((stores, asked))
    }

    fn hits(&self, queries: &Array2<f32>, indexes: &[Index]) -> anyhow::Result<Vec<Vec<Hit>>> {
        match queries.nrows() {
            1 => Ok(vec![search(indexes, queries.index_axis(Axis(0), 0), self.rule(), None)?]),
            _ => Ok(search_batch(indexes, queries.view(), self.rule())?),
        }
    }

    fn rule(&self) -> MomentRule {
        MomentRule { top: self.top, margin: self.margin }
    }

    fn found(&self, asked: Vec<SearchQuery>, hits: Vec<Vec<Hit>>, stores: &[StoreReader]) -> Found {
        let answers = asked.into_iter().zip(hits).map(|(asked, hits)| self.answer(asked, hits)).collect();
        Found { answers, stores: stores.iter().map(|store| store.path().display().to_string()).collect() }
    }

    /// Says what was found, in the form that was asked for.
    pub fn show(&self, Found { answers, stores }: &Found) -> anyhow::Result<ExitCode> {
        if let Some(html) = &self.html {
            self.write_page(html, answers, stores)?;
        }
        if self.json {
            say_json(&json(answers, stores))?;
        } else {
            say(&if self.csv { csv(answers, stores)? } else { table(answers, stores) })?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_page(&self, html: &Path, answers: &[Answer], stores: &[String]) -> anyhow::Result<()> {
        let images = match &self.manifest {
            Some(manifest) => {
                let mut manifest = Manifest::read(manifest)?;
                manifest.locate(&self.videos)?;
                let thumbnailer = Thumbnailer { tools: self.ffmpeg.known_tools()?, height: HEIGHT };
                let (images, said) = images(answers, &manifest, &thumbnailer);
                said.iter().for_each(|why| tell(format_args!("no thumbnail: {why}")));
                images
            }
            None => answers.iter().map(|answer| vec![None; answer.places().len()]).collect(),
        };
        let page = page(answers, stores, &images);
        let write = |file: &mut dyn Write| Ok(file.write_all(page.as_bytes())?);
        write_all(&[Output { path: html, write: &write }], self.force)
    }

    /// The stores, and what is asked of them.
    fn asked(&self) -> anyhow::Result<(Vec<PathBuf>, Vec<SearchQuery>)> {
        let mut paths: Vec<PathBuf> = self.stores_and_sentence.iter().map(PathBuf::from).collect();
        if self.like.is_some() {
            return Ok((paths, vec![SearchQuery { query_id: None, text: None }]));
        }
        if let Some(batch) = &self.batch {
            let queries = Queries::read(batch)?;
            ensure!(!queries.is_empty(), "{}: no query", batch.display());
            let empty = queries.iter().find(|query| query.text.trim().is_empty());
            ensure!(
                empty.is_none(),
                "{}: query {}: its text is empty",
                batch.display(),
                empty.map_or("", |query| query.id)
            );
            let asked = |query: egofx::queries::Query| SearchQuery {
                query_id: Some(query.id.to_owned()),
                text: Some(query.text.to_owned()),
            };
            return Ok((paths, queries.iter().map(asked).collect()));
        }
        let last = paths.pop().filter(|_| !paths.is_empty());
        let last =
            last.context("expected stores and behind them a sentence in quotation marks (or --like, or --batch)")?;
        ensure!(!last.is_dir(), "{} is a folder: the sentence stands behind the stores", last.display());
        let text = last.into_os_string().into_string();
        let text = text.map_err(|text| anyhow::anyhow!("the sentence {text:?} is not UTF-8"))?;
        if text.trim().is_empty() {
            return Err(SearchError::NoSentence { what: "the sentence".to_owned() }.into());
        }
        Ok((paths, vec![SearchQuery { query_id: None, text: Some(text) }]))
    }

    fn answer(&self, asked: SearchQuery, hits: Vec<Hit>) -> Answer {
        let like = self.like.as_ref().map(|at| format!("{}@{}", at.video_uid, at.sec));
        Answer { query_id: asked.query_id, text: asked.text, like, hits, spans: None }
    }

    /// Unit vectors of the sentences, and the indexes that they are compared with.
    fn by_text(
        &self,
        stores: &[StoreReader],
        asked: &[SearchQuery],
        loaded: Option<&Runtime>,
    ) -> anyhow::Result<(Array2<f32>, Vec<Index>)> {
        // The model first: an index may take long.
        let queries = self.vectors(&stores[0], asked, loaded)?;
        Ok((queries, self.indexes(stores)?))
    }

    /// Indexes with rows.
    fn indexes(&self, stores: &[StoreReader]) -> anyhow::Result<Vec<Index>> {
        let mut indexes = Vec::new();
        for store in stores {
            let meter = Meter::default();
            let progress = Progress::of_meter(&meter, "units", self.reporting.shown(self.json || self.csv));
            let (index, made) = current(store, &self.place.of(store)?, &meter)?;
            progress.finish();
            if let Some(why) = made.filter(|_| !self.reporting.quiet) {
                tell(format_args!("{}: written: {why}", index.path().display()));
            }
            indexes.push(index);
        }
        if indexes.iter().all(|index| index.rows() == 0) {
            return Err(SearchError::Empty { path: stores[0].path().to_owned() }.into());
        }
        Ok(indexes)
    }

    /// Unit vectors of all sentences, by the text tower that belongs to `store`.
    fn vectors(
        &self,
        store: &StoreReader,
        asked: &[SearchQuery],
        loaded: Option<&Runtime>,
    ) -> anyhow::Result<Array2<f32>> {
        let models = models_or_default(self.models.as_deref())?;
        let towers = text_tower(&models, store)?;
        let tokenizer = match (&self.tokenizer, text_model(&towers)) {
            (Some(path), _) => Tokenizer::open(path)?,
            (None, Some(model)) => Tokenizer::find(model, &hub_caches())?,
            (None, None) => {
                anyhow::bail!(
                    "{}: its name does not tell whose vocabulary it reads: --tokenizer names one",
                    towers.last().name
                )
            }
        };
        let device = Device { provider: Provider::Cpu, ordinal: 0 };
        let options = SessionOptions { device, precision: Precision::Fp32, threads: cores(), rearrange: true };
        let runtime = match loaded {
            Some(runtime) => runtime.clone(),
            None => Runtime::load(&self.onnx_runtime.library_search(), Provider::Cpu)?,
        };
        let mut backbone = OnnxBackbone::load(&runtime, &models, &towers, options)?;
        for (card, found) in backbone.golden_errors()? {
            check_golden(card, found, options, Golden::AsTheCard)?;
        }
        let texts: Vec<&str> = asked.iter().filter_map(|asked| asked.text.as_deref()).collect();
        Ok(vectors(&mut backbone, &tokenizer, &texts)?)
    }
}

/// `VIDEO@SECOND`.
fn instant(text: &str) -> Result<Instant, String> {
    let (video, sec) = text.rsplit_once('@').ok_or("expected VIDEO@SECOND, for instance 0a1b@12.5")?;
    let sec: Option<f64> = sec.parse().ok().filter(|sec: &f64| sec.is_finite() && *sec >= 0.0);
    let sec = sec.ok_or_else(|| format!("expected a second behind the @, found {text:?}"))?;
    if video.is_empty() {
        Err("expected a video before the @".to_owned())
    } else {
        Ok(Instant { video_uid: video.to_owned(), sec })
    }
}

fn margin(text: &str) -> Result<f32, String> {
    let margin = text.parse().ok().filter(|margin: &f32| (0.0..=2.0).contains(margin));
    margin.ok_or_else(|| format!("expected a difference of cosines, 0 to 2, found {text:?}"))
}
