//! `egofx ask --head`: a trained NLQ head, the question that it is asked of each clip of the video, and its spans.
//!
//! Not for rows, which are those of the search.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use egofx::backbone::{Provider, Runtime};
use egofx::benchmark::{Benchmark, Sources};
use egofx::decode::outline;
use egofx::durable;
use egofx::heads::predict::OpenHead;
use egofx::heads::spans::{Clips, Span};
use egofx::heads::{Difference, Expected, Files, Split, nlq};
use egofx::ids::VideoUid;
use egofx::meter::Meter;

use super::args::{Ffmpeg, OnnxRuntime, cores, parsed};
use super::ask_recipe::Fitted;

/// A head that is open, the clips of the video, and the tables in `folder` that say what is asked of them.
pub struct AskedHead {
    path: PathBuf,
    runtime: Runtime,
    head: OpenHead,
    takes: nlq::Settings,
    clips: Clips,
    folder: PathBuf,
}

impl AskedHead {
    /// Opens the head at `path`, which must be one for NLQ, cuts the video into clips, and writes into `folder` what is asked of
    /// them: annotations in the official form, and the tables that `egofx manifest nlq` makes of them.
    pub fn open(
        path: &Path,
        folder: PathBuf,
        (uid, video): (&VideoUid, &Path),
        question: &str,
    ) -> anyhow::Result<Self> {
        ensure!(!question.trim().is_empty(), "the question is empty");
        let runtime = Runtime::load(&parsed::<OnnxRuntime>([])?.library_search(), Provider::Cpu)?;
        let head = OpenHead::open(&runtime, path, "nlq", cores())?;
        let takes = head.settings()?;
        let duration_sec = outline(&parsed::<Ffmpeg>([])?.known_tools()?, video)?.duration_sec;
        let clips = duration_sec.and_then(|sec| Clips::of(uid, sec)).with_context(|| {
            format!("{}: it does not say how long it is, and --head needs that to cut it into clips", video.display())
        })?;
        let asked = Self { path: path.to_owned(), runtime, head, takes, clips, folder };
        asked.write(video, question)?;
        Ok(asked)
    }

    /// ONNX Runtime, in which the head is open.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn annotations(&self) -> PathBuf {
        self.folder.join("nlq.json")
    }

    fn manifest(&self) -> PathBuf {
        self.folder.join("nlq.csv")
    }

    fn write(&self, video: &Path, question: &str) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let write =
            |path: &Path, bytes: &[u8]| durable::write_bytes(path, bytes).with_context(|| path.display().to_string());
        write(&self.annotations(), self.clips.annotations(question).to_string().as_bytes())?;
        let sources = Sources { annotations: vec![self.annotations()], videos: vec![], ..Sources::default() };
        let mut built = (Benchmark::find("nlq")?.build)(&sources)?;
        built.manifest.videos.iter_mut().for_each(|found| found.path = Some(video.to_owned()));
        let (mut clips, mut queries) = (Vec::new(), Vec::new());
        built.manifest.write_csv(&mut clips)?;
        built.queries.context("queries of NLQ")?.write_csv(&mut queries)?;
        write(&self.manifest(), &clips)?;
        write(&self.manifest().with_extension("queries.csv"), &queries)
    }

    /// The first of the `recipes` of rows and the one of tokens beside it that give what the head takes.
    pub fn choose(&self, models: &Path, recipes: Vec<(Fitted, &str)>) -> anyhow::Result<(Fitted, Fitted)> {
        let mut refused = Vec::new();
        for (rows, tokens) in recipes {
            let Some(tokens) = Fitted::of(models, tokens)? else {
                refused.push(format!("{tokens} has no card in {}", models.display()));
                continue;
            };
            match differs(&self.takes.features, &rows)?.or(differs(&self.takes.tokens, &tokens)?) {
                Some(why) => refused.push(why),
                None => return Ok((rows, tokens)),
            }
        }
        anyhow::bail!(
            "{head}: it takes other features than `egofx ask` extracts: {why}; extract by hand what it was trained on, by a RECIPE of rows \
             and one of TOKENS, and predict:\n  \
             egofx extract -m {manifest} -p RECIPE -p TOKENS -o features/\n  \
             egofx predict nlq --head {head} --features features/RECIPE --tokens features/TOKENS --annotations {annotations} -o nlq.json",
            head = self.path.display(),
            why = refused.join("; "),
            manifest = self.manifest().display(),
            annotations = self.annotations().display(),
        )
    }

    /// Extracts the question's tokens, and says where they are.
    pub fn tokens(&self, recipe: &Fitted, models: &Path, tokenizer: Option<&Path>) -> anyhow::Result<PathBuf> {
        let more: Vec<OsString> =
            tokenizer.iter().flat_map(|path| [OsString::from("--tokenizer"), path.into()]).collect();
        let vocabulary = tokenizer.unwrap_or(Path::new("")).to_string_lossy();
        recipe.extract(models, &self.manifest(), &self.folder.join(recipe.key(&[&vocabulary])), &more)
    }

    /// Spans that answer, by the stores of rows and tokens; `best` are seconds of the video, best first.
    pub fn spans(
        &mut self,
        [rows, tokens]: [PathBuf; 2],
        best: impl IntoIterator<Item = f64>,
    ) -> anyhow::Result<Vec<Span>> {
        let files = Files {
            features: Some(rows),
            tokens: Some(tokens),
            annotations: vec![(Split::Whole, self.annotations())],
            // A video may end before its header says, and then its last clip may have no rows.
            allow_missing: true,
            ..Files::default()
        };
        let prediction = self.head.predict(&files, &Meter::default())?;
        Ok(self.clips.spans(&prediction.submission, best)?)
    }
}

/// In what the rows of a recipe differ from those that a head takes.
fn differs(expected: &Expected, recipe: &Fitted) -> anyhow::Result<Option<String>> {
    let differs = expected.difference(&recipe.contract()?);
    let said = |Difference { field, expected, found }| {
        format!("{field} of {} is {found}, the head takes {expected}", recipe.name())
    };
    Ok(differs.map(said))
}
