//! Where Hugging Face's own tools keep what they have fetched: `<cache>/models--<owner>--<name>/snapshots/<revision>/`.
//!
//! Not for fetching, and not for the environment. Invariant: `refs/main` decides which snapshot is the current one; where
//! it is missing, only a single snapshot will do.

use std::fs;
use std::path::{Path, PathBuf};

use super::vocabulary::Files;
use super::{TextError, TextModel};

/// The folder that holds the tokenizer of `model`, in the first of `caches` that has it.
pub(super) fn find(model: TextModel, caches: &[PathBuf]) -> Result<PathBuf, TextError> {
    let mut looked = Vec::new();
    for cache in caches {
        for name in model.repositories() {
            let repository = cache.join(format!("models--{}", name.replace('/', "--")));
            let snapshot = current_snapshot(&repository)?.unwrap_or(repository);
            if Files::in_folder(&snapshot).is_some() {
                return Ok(snapshot);
            }
            looked.push(snapshot);
        }
    }
    Err(TextError::NotFound { model, looked })
}

/// The current snapshot of a repository's folder; `None` if `path` is none.
pub(super) fn current_snapshot(path: &Path) -> Result<Option<PathBuf>, TextError> {
    let snapshots = path.join("snapshots");
    let main = path.join("refs/main");
    if let Ok(revision) = fs::read_to_string(&main) {
        let revision = revision.trim();
        // It becomes part of a path.
        if revision.is_empty() || !revision.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(TextError::Broken { path: main, why: format!("{revision:?} is not a revision") });
        }
        return Ok(Some(snapshots.join(revision)));
    }
    let entries = fs::read_dir(&snapshots).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match &names[..] {
        [] => Ok(None),
        [one] => Ok(Some(snapshots.join(one))),
        _ => Err(TextError::Ambiguous { repository: path.to_owned(), snapshots: names }),
    }
}
