//! A store into a bucket.
//!
//! An object that is there with the length and the sha256 that the record of its unit says is not sent again; every object that
//! was sent is asked for again. Not for removing anything. Invariant: an object holds what its record says, or is not sent.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use object_store::{
    Attribute, AttributeValue, Attributes, Error as StorageError, GetOptions, MultipartUpload, PutMultipartOptions,
    PutOptions, PutPayload,
};

use super::error::of_sending;
use super::sync::{
    Listed, Outcome, SHA256, SyncError, SyncReport, Syncing, check_record, described, hashed, list, runtime, sha256_of,
};
use super::{Object, ObjectError, Objects, Prefix};
use crate::digest::Hasher;
use crate::store::{Snapshot, StoreReader};

/// Files up to this length go in one request, longer ones in parts of it: S3 takes 10,000 parts of at least 5 MiB.
const PART_BYTES: u64 = 8 << 20;

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

/// Copies the store in the folder `store` to `url`.
///
/// # Errors
/// [`SyncError`] where nothing could be begun; what goes wrong with single files is in the report.
pub fn send(store: &Path, url: &str, syncing: &Syncing) -> Result<SyncReport, SyncError> {
    let (runtime, objects) = (runtime()?, Objects::new(syncing.access.clone()));
    let prefix = objects.prefix(url)?;
    runtime.block_on(objects.check_credentials(url))?;
    let snapshot = StoreReader::open(store)?.snapshot()?;
    runtime.block_on(syncing.send(snapshot, &prefix))
}

impl Syncing<'_> {
    async fn send(&self, snapshot: Snapshot, prefix: &Prefix) -> Result<SyncReport, SyncError> {
        let listed = &list(prefix).await?;
        for (name, content) in &snapshot.records {
            if listed.contains_key(name) {
                let object = prefix.object(name);
                check_record(name, &object.url, &object.content().await?, content)?;
            }
        }
        let mut report = SyncReport { units: snapshot.units.len(), ..SyncReport::default() };
        let units = snapshot.units.iter().map(|entry| Item {
            name: entry.file.clone(),
            object: prefix.object(&entry.file),
            content: Content::File(snapshot.root.join(&entry.file)),
            bytes: entry.bytes,
            sha256: entry.sha256.clone(),
        });
        let sending = |item: Item| (item.name.clone(), item.bytes, async move { self.send_one(&item, listed).await });
        self.meter.expect(snapshot.units.len() + snapshot.records.len());
        self.all(units.map(sending), self.jobs, &mut report).await;
        // One after the other: each promises what those before it hold.
        for (name, content) in snapshot.records {
            if self.may_promise(&report) {
                let (object, bytes, sha256) = (prefix.object(&name), content.len() as u64, sha256_of(&content));
                let record = Item { name, object, content: Content::Bytes(content), bytes, sha256 };
                self.all([sending(record)], 1, &mut report).await;
            }
        }
        Ok(self.ended(report))
    }

    async fn send_one(&self, item: &Item, listed: &Listed) -> Result<Outcome, ObjectError> {
        let known = listed.get(&item.name);
        let found = match known {
            Some(bytes) if *bytes == item.bytes => self.found(item).await?,
            Some(bytes) => Some(format!("{bytes} bytes")),
            None => None,
        };
        let expected = described(item.bytes, &item.sha256);
        if found.as_ref() == Some(&expected) {
            return Ok(Outcome::There);
        }
        // Records change with every run: only a unit's file stays what it is.
        let is_unit = matches!(item.content, Content::File(_));
        if let Some(found) = found.as_ref().filter(|_| is_unit) {
            log::warn!("{}: expected {expected}, found {found}: sent again", item.object.url);
        }
        item.send().await?;
        let there = self.found(item).await?.unwrap_or_else(|| "nothing".to_owned());
        if there != expected {
            return Err(ObjectError::Unproved { url: item.object.url.clone(), expected, found: there });
        }
        Ok(Outcome::Copied { replaced: is_unit && found.is_some() })
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
