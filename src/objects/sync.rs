//! What both ways have in common between a store and its copy in a bucket: units first, and what promises them once all are there.
//!
//! Not for the ways, see `send` and `receive`. Invariants: at no moment does the copy promise, by ledger or table, what is not in
//! it, unless a unit was made anew: then for as long as the sync takes; nothing that only the other end knows is overwritten.

use std::collections::{HashMap, HashSet};
use std::io;

use futures_util::{StreamExt, TryStreamExt};
use object_store::{Error as StorageError, GetResult};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use super::error::of_sending;
use super::{Access, ObjectError, Prefix};
use crate::digest::Hasher;
use crate::meter::Meter;
use crate::stop::{self, Cause, Stop};
use crate::store::{STORE_FILE, StoreError};

/// Where an object's metadata holds its sha256.
pub(super) const SHA256: &str = "sha256";

/// A store cannot be copied at all.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// At the other end there is another store, or one that knows more.
    #[error("{place}: {what}: it would be lost by this copy. Name another place, or copy the other way first")]
    Other {
        /// The file at the other end.
        place: String,
        /// What is different.
        what: &'static str,
    },
    /// The system has no threads.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// A file that could not be copied, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncFailure {
    /// The file, relative to the store's folder.
    pub file: String,
    /// Why.
    pub why: String,
}

/// What became of a copy.
#[derive(Debug, Default, Serialize)]
pub struct SyncReport {
    /// Units that are committed.
    pub units: usize,
    /// Files that were copied.
    pub copied: usize,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Files that were there already.
    pub there: usize,
    /// Files of units that were there and were not what the store's records say: copied again, and counted there too.
    pub replaced: Vec<String>,
    /// Files that failed.
    pub failures: Vec<SyncFailure>,
    /// Whether ledgers and tables are there, and with them the copy complete.
    pub complete: bool,
    /// Who asked from outside to stop; in JSON, whether somebody did.
    #[serde(rename = "interrupted", serialize_with = "stop::as_bool")]
    pub stopped: Option<Cause>,
}

/// How to copy.
pub struct Syncing<'s> {
    /// How the bucket is reached.
    pub access: Access,
    /// Files that are under way at a time.
    pub jobs: usize,
    /// Whether objects that were sent, and those that were there already, are read back instead of trusting the sha256 in their
    /// metadata.
    pub read_back: bool,
    /// Ends the copy.
    pub stop: &'s Stop,
    /// Counts files.
    pub meter: &'s Meter,
}

/// What became of a file.
pub(super) enum Outcome {
    /// It was there.
    There,
    /// It is there now; `replaced`: in the place of one that was not as recorded.
    Copied { replaced: bool },
}

impl Syncing<'_> {
    /// Makes `copies`, each with a file's name and length, and tells `report` of them.
    pub(super) async fn all<F>(
        &self,
        copies: impl IntoIterator<Item = (String, u64, F)>,
        jobs: usize,
        report: &mut SyncReport,
    ) where
        F: Future<Output = Result<Outcome, ObjectError>>,
    {
        let going_on = |_: &(String, u64, F)| self.stop.cause().is_none();
        let copying = copies.into_iter().take_while(going_on);
        let copying = copying.map(|(file, bytes, copy)| async move { (file, bytes, copy.await) });
        let mut outcomes = futures_util::stream::iter(copying).buffer_unordered(jobs);
        while let Some((file, bytes, outcome)) = outcomes.next().await {
            match outcome {
                Ok(Outcome::There) => report.there += 1,
                Ok(Outcome::Copied { replaced }) => {
                    log::info!("{file}: copied");
                    report.copied += 1;
                    report.copied_bytes += bytes;
                    report.replaced.extend(replaced.then_some(file));
                }
                Err(error) => {
                    self.meter.failed();
                    report.failures.push(SyncFailure { file, why: error.to_string() });
                    continue;
                }
            }
            self.meter.done(0);
        }
    }

    /// Whether records may follow: all that was copied so far is there.
    pub(super) fn may_promise(&self, report: &SyncReport) -> bool {
        report.failures.is_empty() && self.stop.cause().is_none()
    }

    pub(super) fn ended(&self, mut report: SyncReport) -> SyncReport {
        report.stopped = self.stop.cause();
        report.complete = report.failures.is_empty() && report.stopped.is_none();
        report.failures.sort_by(|a, b| a.file.cmp(&b.file));
        report
    }
}

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("sync").enable_all().build()
}

/// That the record `name` may replace what is at `place`, whose content is `former`.
pub(super) fn check_record(name: &str, place: &str, former: &[u8], new: &[u8]) -> Result<(), SyncError> {
    let other = |what| Err(SyncError::Other { place: place.to_owned(), what });
    let lines = |text: &[u8]| text.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<HashSet<_>>();
    match name {
        STORE_FILE if former != new => other("another store is there"),
        _ if name.ends_with(".jsonl") && !lines(former).is_subset(&lines(new)) => {
            other("it has lines that are not known here")
        }
        _ => Ok(()),
    }
}

/// Keys and lengths of what is there, below a prefix and relative to it.
pub(super) type Listed = HashMap<String, u64>;

pub(super) async fn list(prefix: &Prefix) -> Result<Listed, ObjectError> {
    let below = Some(&prefix.key).filter(|key| !key.as_ref().is_empty());
    let start = below.map_or(0, |key| key.as_ref().len() + 1);
    let objects = prefix.store.list(below).map_ok(|object| (object.location.as_ref()[start..].to_owned(), object.size));
    objects.try_collect().await.map_err(|error| of_sending(&prefix.url, &error))
}

pub(super) fn sha256_of(content: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(content);
    hasher.finish()
}

pub(super) fn described(bytes: u64, sha256: &str) -> String {
    format!("{bytes} bytes with sha256 {sha256}")
}

pub(super) async fn hashed(found: GetResult) -> Result<String, StorageError> {
    let (mut body, mut hasher) = (found.into_stream(), Hasher::default());
    while let Some(bytes) = body.try_next().await? {
        hasher.update(&bytes);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_replace_only_what_they_contain() {
        let check = |name: &str, former: &str, new: &str| {
            check_record(name, "there", former.as_bytes(), new.as_bytes()).map_err(|error| error.to_string())
        };
        assert_eq!(check("ledger/1-of-1.jsonl", "a\nb\n", "a\nb\nc\n"), Ok(()));
        assert_eq!(check("planned.jsonl", "a\nc\n", "a\nb\nc\n"), Ok(()));
        assert_eq!(check("index.parquet", "a", "b"), Ok(()));
        assert!(check("ledger/1-of-1.jsonl", "a\nb\n", "a\n").unwrap_err().contains("there: it has lines"));
        assert!(check("store.json", "a", "b").unwrap_err().contains("there: another store is there"));
    }
}
