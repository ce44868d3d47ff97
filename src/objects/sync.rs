//! A store into a bucket: units first, and what promises them once all of them are there.
//!
//! An object that is there with the length and the sha256 that the record of its unit says is not sent again; every object that
//! was sent is asked for again. Not for removing anything. Invariant: at no moment does the copy promise, by ledger or table, what
//! is not in it, unless a unit was made anew: then for as long as the sync takes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt};
use object_store::{
    Attribute, AttributeValue, Attributes, Error as StorageError, GetOptions, GetResult, MultipartUpload,
    PutMultipartOptions, PutOptions, PutPayload,
};
use serde::Serialize;
use tokio::runtime::Builder;

use super::error::of_sending;
use super::{Access, Object, ObjectError, Objects, Prefix};
use crate::digest::Hasher;
use crate::meter::Meter;
use crate::stop::{self, Cause, Stop};
use crate::store::{Snapshot, StoreError, StoreReader};

/// Where an object's metadata holds its sha256.
const SHA256: &str = "sha256";
/// Files up to this length go in one request, longer ones in parts of it: S3 takes 10,000 parts of at least 5 MiB.
const PART_BYTES: u64 = 8 << 20;

/// A store cannot be copied at all.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bucket cannot be used.
    #[error(transparent)]
    Object(#[from] ObjectError),
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
    /// Files that were sent.
    pub sent: usize,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Files that were there already.
    pub there: usize,
    /// Objects that were there and were not what the store's records say; sent again, and counted there too.
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
    /// Whether objects are read back, those that were there already too, instead of trusting the sha256 in their metadata.
    pub read_back: bool,
    /// Ends the copy.
    pub stop: &'s Stop,
    /// Counts files.
    pub meter: &'s Meter,
}

/// A file to send.
struct Item {
    name: String,
    object: Object,
    content: Content,
    bytes: u64,
    sha256: String,
}

enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// What became of a file.
enum Outcome {
    There,
    Sent { replaced: bool },
}

/// Copies the store in the folder `store` to `url`.
///
/// # Errors
/// [`SyncError`] where nothing could be begun; what goes wrong with single files is in the report.
pub fn send(store: &Path, url: &str, syncing: &Syncing) -> Result<SyncReport, SyncError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("sync").enable_all().build()?;
    let objects = Objects::new(syncing.access.clone());
    let prefix = objects.prefix(url)?;
    runtime.block_on(objects.check_credentials(url))?;
    let snapshot = StoreReader::open(store)?.snapshot()?;
    runtime.block_on(syncing.send(snapshot, &prefix))
}

impl Syncing<'_> {
    async fn send(&self, snapshot: Snapshot, prefix: &Prefix) -> Result<SyncReport, SyncError> {
        let listed = list(prefix).await?;
        let mut report = SyncReport { units: snapshot.units.len(), ..SyncReport::default() };
        let units: Vec<Item> = snapshot
            .units
            .iter()
            .map(|entry| Item {
                name: entry.file.clone(),
                object: prefix.object(&entry.file),
                content: Content::File(snapshot.root.join(&entry.file)),
                bytes: entry.bytes,
                sha256: entry.sha256.clone(),
            })
            .collect();
        self.meter.expect(units.len() + snapshot.records.len());
        self.send_all(units, &listed, self.jobs, &mut report).await;
        let records = snapshot.records.into_iter().map(|(name, content)| Item {
            object: prefix.object(&name),
            bytes: content.len() as u64,
            sha256: sha256_of(&content),
            content: Content::Bytes(content),
            name,
        });
        // One after the other: each promises what those before it hold.
        for record in records {
            if report.failures.is_empty() && self.stop.cause().is_none() {
                self.send_all(vec![record], &listed, 1, &mut report).await;
            }
        }
        report.stopped = self.stop.cause();
        report.complete = report.failures.is_empty() && report.stopped.is_none();
        report.failures.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(report)
    }

    async fn send_all(&self, items: Vec<Item>, listed: &Listed, jobs: usize, report: &mut SyncReport) {
        let going_on = |_: &Item| self.stop.cause().is_none();
        let sending = items.into_iter().take_while(going_on).map(|item| async move {
            let outcome = self.send_one(&item, listed).await;
            (item.name, item.bytes, outcome)
        });
        let mut outcomes = futures_util::stream::iter(sending).buffer_unordered(jobs);
        while let Some((file, bytes, outcome)) = outcomes.next().await {
            match outcome {
                Ok(Outcome::There) => report.there += 1,
                Ok(Outcome::Sent { replaced }) => {
                    log::info!("{file}: sent");
                    report.sent += 1;
                    report.sent_bytes += bytes;
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

    async fn send_one(&self, item: &Item, listed: &Listed) -> Result<Outcome, ObjectError> {
        let known = listed.get(item.object.key.as_ref());
        let found = match known {
            Some(bytes) if *bytes == item.bytes => self.found(item).await?,
            Some(bytes) => Some(format!("{bytes} bytes")),
            None => None,
        };
        let expected = described(item.bytes, &item.sha256);
        if found.as_ref() == Some(&expected) {
            return Ok(Outcome::There);
        }
        if let Some(found) = &found {
            log::warn!("{}: expected {expected}, found {found}: sent again", item.object.url);
        }
        item.send().await?;
        let there = self.found(item).await?.unwrap_or_else(|| "nothing".to_owned());
        if there != expected {
            return Err(ObjectError::Unproved { url: item.object.url.clone(), expected, found: there });
        }
        // Records change with every run: only a unit's file stays what it is.
        Ok(Outcome::Sent { replaced: found.is_some() && matches!(item.content, Content::File(_)) })
    }

    /// Length and sha256 of the object, by its metadata or by its bytes; `None` if there is none.
    async fn found(&self, item: &Item) -> Result<Option<String>, ObjectError> {
        let Object { store, key, url } = &item.object;
        let asked = GetOptions { head: !self.read_back, ..GetOptions::default() };
        let found = match store.get_opts(key, asked).await {
            Err(StorageError::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| ObjectError::of(url, &error))?,
        };
        let bytes = found.meta.size;
        if !self.read_back {
            let sha256 = found.attributes.get(&Attribute::Metadata(SHA256.into()));
            return Ok(Some(described(bytes, sha256.map_or("unknown", |value| value.as_ref()))));
        }
        let sha256 = hashed(found).await.map_err(|error| ObjectError::of(url, &error))?;
        Ok(Some(described(bytes, &sha256)))
    }
}

/// Keys and lengths of what is there.
type Listed = HashMap<String, u64>;

async fn list(prefix: &Prefix) -> Result<Listed, ObjectError> {
    let below = Some(&prefix.key).filter(|key| !key.as_ref().is_empty());
    let objects = prefix.store.list(below).map_ok(|object| (object.location.to_string(), object.size));
    objects.try_collect().await.map_err(|error| of_sending(&prefix.url, &error))
}

fn sha256_of(content: &[u8]) -> String {
    let mut hasher = Hasher::default();
    hasher.update(content);
    hasher.finish()
}

fn described(bytes: u64, sha256: &str) -> String {
    format!("{bytes} bytes with sha256 {sha256}")
}

async fn hashed(found: GetResult) -> Result<String, StorageError> {
    let (mut body, mut hasher) = (found.into_stream(), Hasher::default());
    while let Some(bytes) = body.try_next().await? {
        hasher.update(&bytes);
    }
    Ok(hasher.finish())
}

impl Item {
    /// Sends it; nothing is there under its name before all of it has come and is what its record says.
    async fn send(&self) -> Result<(), ObjectError> {
        let attributes: Attributes =
            [(Attribute::Metadata(SHA256.into()), AttributeValue::from(self.sha256.clone()))].into_iter().collect();
        let Object { store, key, url } = &self.object;
        let refused = |error: StorageError| of_sending(url, &error);
        let path = match &self.content {
            Content::Bytes(content) => {
                let payload = PutPayload::from(content.clone());
                let options = PutOptions { attributes, ..PutOptions::default() };
                return store.put_opts(key, payload, options).await.map(drop).map_err(refused);
            }
            Content::File(path) => path,
        };
        let mut reader = Reader::open(path)?;
        let first = reader.part()?;
        if self.bytes <= PART_BYTES {
            self.check(reader)?;
            let options = PutOptions { attributes, ..PutOptions::default() };
            return store.put_opts(key, first.into(), options).await.map(drop).map_err(refused);
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = store.put_multipart_opts(key, options).await.map_err(refused)?;
        let sent = self.send_parts(reader, first, &mut *upload).await;
        let ended = match &sent {
            Ok(()) => upload.complete().await.map(drop).map_err(refused),
            Err(_) => upload.abort().await.map_err(refused),
        };
        sent.and(ended)
    }

    async fn send_parts(
        &self,
        mut reader: Reader,
        first: Vec<u8>,
        upload: &mut dyn MultipartUpload,
    ) -> Result<(), ObjectError> {
        let mut part = first;
        while !part.is_empty() {
            upload.put_part(part.into()).await.map_err(|error| of_sending(&self.object.url, &error))?;
            part = reader.part()?;
        }
        self.check(reader)
    }

    /// That what was read is what is on record.
    fn check(&self, reader: Reader) -> Result<(), ObjectError> {
        let (file, expected) = (reader.name, described(self.bytes, &self.sha256));
        let found = described(reader.bytes, &reader.hasher.finish());
        if found == expected { Ok(()) } else { Err(ObjectError::Local { file, expected, found }) }
    }
}

/// Reads a file part by part, and hashes what it reads.
struct Reader {
    file: File,
    name: String,
    hasher: Hasher,
    bytes: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, ObjectError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
        Ok(Self { file, name, hasher: Hasher::default(), bytes: 0 })
    }

    /// The next part; empty at the end.
    fn part(&mut self) -> Result<Vec<u8>, ObjectError> {
        let mut part = Vec::new();
        let read = (&mut self.file).take(PART_BYTES).read_to_end(&mut part);
        read.map_err(|error| unreadable(&self.name, &error))?;
        self.hasher.update(&part);
        self.bytes += part.len() as u64;
        Ok(part)
    }
}

fn unreadable(name: &str, error: &io::Error) -> ObjectError {
    ObjectError::Local { file: name.to_owned(), expected: "a file".to_owned(), found: error.to_string() }
}
