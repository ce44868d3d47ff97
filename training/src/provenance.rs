//! What a run was made with: the program, the machine, and whatever it read, one entry for each start of the run.
//!
//! Not for the experiment itself, which is kept whole beside it. Invariant: nothing here decides a number, and what cannot be
//! read is left to whoever needs it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use egofx::digest::{self, Hasher};
use egofx::durable;
use egofx::store::{StoreReader, feature_sets};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::sources::{Sources, Split};

/// The file, in the folder of an experiment.
pub const PROVENANCE_FILE: &str = "provenance.json";

/// The version of this package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static COMMIT: OnceLock<String> = OnceLock::new();

/// Says of which commit the program is: the library is compiled without knowing, or every commit would compile it anew.
pub fn set_commit(commit: &str) {
    // Only what is said first counts.
    let _ = COMMIT.set(commit.to_owned());
}

/// The commit of the program.
pub fn commit() -> &'static str {
    COMMIT.get().map_or("not recorded", String::as_str)
}

/// One start of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// When, in UTC.
    pub date: String,
    /// The command line.
    pub command: Vec<String>,
    /// What the command line changed in the experiment file.
    pub set: Vec<String>,
    /// Versions of the program and of what it runs with.
    pub versions: Versions,
    /// Where it computes.
    pub device: String,
    /// Threads of libtorch's operators.
    pub threads: usize,
    /// Threads that make batches.
    pub workers: usize,
    /// Processes that train together.
    pub processes: usize,
    /// What it reads.
    #[serde(flatten)]
    pub inputs: Inputs,
}

/// Versions of the program and of what it runs with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Version of this package.
    pub egofx_train: String,
    /// Its commit.
    pub commit: String,
    /// Of libtorch.
    pub libtorch: String,
    /// Of HDF5.
    pub hdf5: String,
    /// Of ffmpeg, where videos are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ffmpeg: Option<String>,
}

/// What a run reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// The experiment file, annotations and first weights.
    pub files: Vec<InputFile>,
    /// Stores of features.
    pub stores: Vec<InputStore>,
    /// Folders that are not looked into: videos, clips.
    pub folders: Vec<PathBuf>,
}

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The option that named it.
    pub option: String,
    /// Where it is.
    pub path: PathBuf,
    /// Of its bytes; of a folder, of what `sha256sum` prints of its text files in the order of their paths below it.
    pub sha256: Option<String>,
}

/// A store of features, as it says itself what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputStore {
    /// The option that named it.
    pub option: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its name.
    pub feature_set: String,
    /// Of whatever changes a row.
    pub fingerprint: String,
    /// The weights by which it was made.
    pub checkpoint: String,
    /// Of that file.
    pub checkpoint_sha256: String,
    /// Of the graph by which it was made.
    pub onnx_sha256: String,
    /// Files of rows.
    pub units: usize,
    /// Over the names and the SHA-256 of all files of rows, as the store has them on record.
    pub content_sha256: String,
}

impl Inputs {
    /// Of an experiment file, what it reads, and first weights.
    pub fn of(config: &Path, sources: &Sources, init: &[PathBuf]) -> Self {
        let split = |(split, path): &(Split, PathBuf)| {
            let option = match split {
                Split::Train => "train",
                Split::Validation => "val",
                Split::Whole => "annotations",
            };
            (option, path.clone())
        };
        let one = |option: &'static str, path: &Option<PathBuf>| path.clone().map(|path| (option, path));
        let Sources { features, joined, tokens, shots, classes, tags, tokenizer, .. } = sources;
        let files = [("config", config.to_owned())].into_iter().chain(sources.annotations.iter().map(split));
        let files = files.chain(one("classes", classes)).chain(one("tags", tags)).chain(one("tokenizer", tokenizer));
        let files = files.chain(init.iter().map(|path| ("init", path.clone())));
        let joined = features.iter().chain(&joined.stores).map(|path| ("features", path));
        let stores =
            joined.chain(tokens.iter().map(|path| ("tokens", path))).chain(shots.iter().map(|path| ("shots", path)));
        Self {
            files: files.map(|(option, path)| InputFile::of(option, path)).collect(),
            stores: stores.filter_map(|(option, path)| InputStore::of(option, path)).collect(),
            folders: sources.videos.iter().chain(&sources.clip_caches).cloned().collect(),
        }
    }
}

impl InputFile {
    fn of(option: &str, path: PathBuf) -> Self {
        let sha256 = if path.is_dir() { text_files(&path) } else { digest::file(&path).map(|(_, sum)| sum) };
        Self { option: option.to_owned(), path, sha256: sha256.ok() }
    }
}

/// Of what `sha256sum` prints of the text files below `folder`, in the order of their paths: annotations of whole folders are
/// texts, and videos may lie beside them.
fn text_files(folder: &Path) -> io::Result<String> {
    let (mut found, mut pending) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => pending.push(path),
                Some("txt" | "json" | "csv" | "tsv" | "model") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    let mut hasher = Hasher::default();
    for path in found {
        let (_, sum) = digest::file(&path)?;
        let below = path.strip_prefix(folder).unwrap_or(&path);
        hasher.update(format!("{sum}  {}\n", below.display()).as_bytes());
    }
    Ok(hasher.finish())
}

impl InputStore {
    /// Of the only store at `path`; `None` for what cannot be opened.
    fn of(option: &str, path: &Path) -> Option<Self> {
        let sets = feature_sets(path).ok()?;
        let [set] = sets.as_slice() else { return None };
        let reader = StoreReader::open(set).ok()?;
        let (contract, committed) = (reader.contract().clone(), reader.committed().ok()?);
        let mut hasher = Hasher::default();
        for entry in committed.iter() {
            hasher.update(format!("{}  {}\n", entry.sha256, entry.unit_uid).as_bytes());
        }
        Some(Self {
            option: option.to_owned(),
            path: set.clone(),
            feature_set: contract.feature_set,
            fingerprint: contract.fingerprint,
            checkpoint: contract.checkpoint,
            checkpoint_sha256: contract.checkpoint_sha256,
            onnx_sha256: contract.onnx_sha256,
            units: committed.len(),
            content_sha256: hasher.finish(),
        })
    }
}

/// The starts of the run in `folder`, the first one first; none if they are not on record.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Unexpected`] for a file that was changed.
pub fn read(folder: &Path) -> Result<Vec<Start>, TrainError> {
    let path = folder.join(PROVENANCE_FILE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(TrainError::io("read", &path))?,
    };
    let other = |error: serde_json::Error| {
        TrainError::unexpected(&path, "the starts of a run, as egofx-train writes them", format!("{error}; remove it"))
    };
    serde_json::from_slice(&bytes).map_err(other)
}

/// Adds a start to those of the run in `folder`.
///
/// # Errors
/// As for [`read`].
pub fn append(folder: &Path, start: &Start) -> Result<(), TrainError> {
    let mut starts = read(folder)?;
    starts.push(start.clone());
    let path = folder.join(PROVENANCE_FILE);
    let text = serde_json::to_string_pretty(&starts).unwrap_or_default() + "\n";
    durable::write_bytes(&path, text.as_bytes()).map_err(TrainError::io("write", &path))
}
