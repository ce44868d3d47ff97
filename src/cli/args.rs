//! Arguments that several commands share, and, with [`egofx::places`], the only place that reads the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Command};

use egofx::backbone::{LibrarySearch, Sentence, Towers};
use egofx::decode::{Tools, ToolsError, version_of};
use egofx::feature_set::{FeatureSet, PerSet, TokenizedTable};
use egofx::features::{JoinRows, JoinRule, JoinUnits};
use egofx::manifest::Manifest;
use egofx::pipeline::TextInputs;
use egofx::places::{ShardOption, bases, cache, hub_caches, search_path, shard};
use egofx::plan::Wanted;
use egofx::probes::KeptVersions;
use egofx::queries::Queries;
use egofx::recipe::Recipe;
use egofx::shard::Shard;
use egofx::text::{TextError, TokenizationRule, Tokenizer};

use super::tell;

/// Which videos, which clips, which features.
#[derive(Args)]
pub struct Work {
    /// Videos and clips: our CSV, Ego4D's manifest.csv or ego4d.json.
    ///
    /// Columns of our CSV: video_uid (required), path (a file, or a URL: s3://, https://, http://), clip_uid, start_sec, end_sec,
    /// duration_sec, num_frames, fps. Without start and end the whole video is one unit. Unknown columns are kept.
    #[arg(short, long, value_name = "FILE")]
    pub manifest: PathBuf,
    /// Recipes, one per feature set; several share one decode. A name that `egofx recipes` lists, or the path of a file.
    #[arg(short = 'p', long = "recipe", alias = "pipeline", value_name = "RECIPE", required = true)]
    pub recipes: Vec<PathBuf>,
    /// What is asked about the clips, for recipes that read sentences: the table that `egofx manifest` writes [default:
    /// <manifest>.queries.csv beside the manifest, if it is there].
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// The vocabulary, for recipes that read sentences: tokenizer.json, vocab.txt, vocab.json (merges.txt beside it), or a
    /// folder of these [default: the one in the local Hugging Face cache].
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// Folders that are searched, with all folders below, for files named <video_uid>.mp4 (or .mkv, .webm, ...).
    ///
    /// Not needed for videos whose path the manifest gives.
    #[arg(long, value_name = "DIR")]
    pub videos: Vec<PathBuf>,
    /// Folder of model cards and graphs [default: onnx, here or beside the program].
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Do part I of N: the plan is cut into N parts of about equal length.
    ///
    /// Each machine of a cluster takes one; all may write into the same folder at the same time.
    /// `auto` takes it from the engine that started this process, and says which: Slurm's arrays and srun, indexed Jobs of
    /// Kubernetes and task arrays of HyperQueue (both with EGOFX_SHARD_COUNT set to N), arrays of AWS Batch, ranks of MPI.
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    pub shard: ShardOption,
    /// Only the first N clips of the manifest: a trial before the long run. Sets whose units are whole videos take all clips of
    /// the videos that those lie in.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// ffmpeg and ffprobe, where they are not found by themselves.
#[derive(Args)]
pub struct Ffmpeg {
    /// The ffmpeg to use [default: .runtime/ffmpeg/ffmpeg, else the Python environment's, else the one on the PATH].
    #[arg(long, value_name = "FILE")]
    pub ffmpeg: Option<PathBuf>,
    /// The ffprobe to use [default: as for ffmpeg].
    #[arg(long, value_name = "FILE")]
    pub ffprobe: Option<PathBuf>,
    /// Seconds that ffmpeg and ffprobe may give no sign of life while they are waited for: then they are ended and tried once
    /// more.
    #[arg(long, value_name = "SEC", default_value = "120", env = egofx::places::CHILD_TIMEOUT, value_parser = patience)]
    pub child_timeout: Duration,
}

/// ONNX Runtime, where it is not found by itself.
#[derive(Args)]
pub struct OnnxRuntime {
    /// The ONNX Runtime library to use [default: .runtime/, else the Python environment's].
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    pub ort_lib: Option<PathBuf>,
}

impl Work {
    /// Reads the manifest and finds its videos.
    pub fn read_manifest(&self) -> anyhow::Result<Manifest> {
        let mut manifest = Manifest::read(&self.manifest)?;
        manifest.locate(&self.videos)?;
        Ok(manifest)
    }

    /// Reads the recipes; two of one name are an error, for they would share a store.
    pub fn read_recipes(&self) -> anyhow::Result<Vec<Recipe>> {
        let recipes: Vec<Recipe> = self.recipes.iter().map(|given| Recipe::find(given)).collect::<Result<_, _>>()?;
        for (i, recipe) in recipes.iter().enumerate() {
            let twice = recipes[..i].iter().any(|other| other.name == recipe.name);
            anyhow::ensure!(
                !twice,
                "two recipes are named {:?}: each feature set has a folder of its own",
                recipe.name
            );
        }
        Ok(recipes)
    }

    /// The feature sets of `recipes` and their graphs, and what is asked about the clips: nothing if no recipe reads sentences.
    pub fn feature_sets(
        &self,
        recipes: Vec<Recipe>,
        towers: Vec<Towers>,
    ) -> anyhow::Result<(PerSet<FeatureSet>, TextInputs)> {
        let text_inputs = self.read_text_inputs(&recipes)?;
        let texts: Vec<&str> = text_inputs.queries.iter().map(|query| query.text).collect();
        let set = |(recipe, towers): (Recipe, Towers)| {
            let text = recipe.rule().map(|rule| self.tokenized(rule, &texts)).transpose()?;
            anyhow::Ok(FeatureSet::new(recipe, towers, text))
        };
        let sets = recipes.into_iter().zip(towers).map(set).collect::<anyhow::Result<_>>()?;
        Ok((sets, text_inputs))
    }

    fn tokenized(&self, rule: &TokenizationRule, texts: &[&str]) -> anyhow::Result<TokenizedTable> {
        let tokenizer = self.tokenizer(rule)?;
        let sentences = read_sentences(&tokenizer, rule, texts)?;
        Ok(TokenizedTable { vocabulary_sha256: tokenizer.sha256()?, sentences })
    }

    fn read_text_inputs(&self, recipes: &[Recipe]) -> anyhow::Result<TextInputs> {
        if recipes.iter().all(|recipe| recipe.rule().is_none()) {
            return Ok(TextInputs::default());
        }
        let beside = self.manifest.with_extension("queries.csv");
        let path = self.queries.as_ref().or(Some(&beside).filter(|path| path.is_file())).with_context(|| {
            let reader = recipes.iter().find(|recipe| recipe.rule().is_some()).map_or("", |recipe| &recipe.name);
            format!(
                "recipe {reader} reads sentences: name their table with --queries (there is no {})",
                beside.display()
            )
        })?;
        let queries = Queries::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(TextInputs { name, queries })
    }

    /// What is wanted, as a whole.
    pub fn wanted<'w>(
        &self,
        manifest: &'w Manifest,
        text_inputs: &'w TextInputs,
        sets: &'w PerSet<FeatureSet>,
    ) -> Wanted<'w> {
        Wanted { manifest, queries: Some(&text_inputs.queries), sets, limit: self.limit }
    }

    fn tokenizer(&self, rule: &TokenizationRule) -> Result<Tokenizer, TextError> {
        match &self.tokenizer {
            Some(path) => Tokenizer::open(path),
            None => Tokenizer::find(rule.model, &hub_caches()),
        }
    }

    /// The folder of model cards.
    pub fn models(&self) -> anyhow::Result<PathBuf> {
        models_or_default(self.models.as_deref())
    }
}

/// The folder of model cards that was `given`, or the one at hand.
pub fn models_or_default(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(models) = given {
        anyhow::ensure!(models.is_dir(), "--models {}: not a folder", models.display());
        return Ok(models.to_owned());
    }
    let candidates: Vec<PathBuf> = bases().into_iter().map(|base| base.join("onnx")).collect();
    let found = candidates.iter().find(|folder| folder.is_dir());
    found.cloned().context(
        "no folder onnx/ here or beside the program: `egofx export CHECKPOINT --out onnx` makes one, --models names \
         another folder of model cards",
    )
}

/// Every text alone, so that none is padded to another's length.
fn read_sentences(
    tokenizer: &Tokenizer,
    rule: &TokenizationRule,
    texts: &[&str],
) -> anyhow::Result<Vec<Arc<Sentence>>> {
    let mut cut = 0;
    let mut sentences = Vec::with_capacity(texts.len());
    for text in texts {
        let encoded = tokenizer.encode(rule, &[text])?;
        cut += usize::from(encoded.cut[0] > 0);
        let (ids, mask) = (encoded.ids.row(0).to_vec(), encoded.mask.row(0).to_vec());
        sentences.push(Arc::new(Sentence { ids, mask }));
    }
    if cut > 0 {
        let (name, most, note) = (rule.name, rule.max_length, rule.about_cut());
        log::warn!("rule {name}: {cut} of {} sentences are cut to {most} tokens{note}", texts.len());
    }
    Ok(sentences)
}

impl Ffmpeg {
    /// ffmpeg and ffprobe, which were started.
    ///
    /// # Errors
    /// One of them is not there, or does not run.
    pub fn tools(&self) -> Result<Tools, ToolsError> {
        self.found(version_of)
    }

    /// The same without a start of programs that ran on this machine before: for commands that start them soon in any case.
    ///
    /// # Errors
    /// As for [`tools`](Self::tools), but for a program that ran then and does not now.
    pub fn known_tools(&self) -> Result<Tools, ToolsError> {
        let Some(folder) = cache() else { return self.tools() };
        let kept = KeptVersions::of(&folder, search_path());
        self.found(|program| kept.version(program, || version_of(program)))
    }

    fn found(&self, version: impl Fn(&Path) -> Option<String> + Sync) -> Result<Tools, ToolsError> {
        let tools = Tools::find_by(self.ffmpeg.as_deref(), self.ffprobe.as_deref(), &bases(), version)?;
        Ok(Tools { patience: self.child_timeout, ..tools })
    }
}

impl OnnxRuntime {
    /// Where ONNX Runtime may be.
    pub fn library_search(&self) -> LibrarySearch {
        LibrarySearch { explicit: self.ort_lib.clone(), bases: bases() }
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    egofx::places::child_timeout(text).ok_or_else(|| "expected seconds, more than 0 and at most a year".to_owned())
}

/// `A` as it is read from `arguments`, without a name of a program before them.
pub fn parsed<A: Args>(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<A> {
    let command = A::augment_args(Command::new("egofx").no_binary_name(true));
    Ok(A::from_arg_matches(&command.try_get_matches_from(arguments)?)?)
}

/// The part of `--shard`, which is told if an engine gave it.
pub fn announced(given: &ShardOption) -> Shard {
    given.told().into_iter().for_each(tell);
    given.shard
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How feature sets that differ are joined.
#[derive(Args, Clone, Copy)]
pub struct Joining {
    /// What becomes of units that have more rows in one joined feature set than in another: refuse them, leave out rows that
    /// are not in all sets, fill up with zeros, or put the rows of later sets onto those of the first by their times (means
    /// where that is fewer, the row that is there where it is more), whatever their rates.
    #[arg(
        long,
        value_name = "RULE",
        default_value_t,
        value_parser = PossibleValuesParser::new(JoinRows::ALL.map(JoinRows::name)).try_map(|name| name.parse::<JoinRows>())
    )]
    join_rows: JoinRows,
    /// What becomes of units that are not in all joined feature sets: same refuses them, common leaves them out.
    #[arg(
        long,
        value_name = "RULE",
        default_value_t,
        value_parser = PossibleValuesParser::new(JoinUnits::ALL.map(JoinUnits::name)).try_map(|name| name.parse::<JoinUnits>())
    )]
    join_units: JoinUnits,
}

impl Joining {
    /// As the library has it.
    pub fn rule(self) -> JoinRule {
        JoinRule { rows: self.join_rows, units: self.join_units }
    }
}
