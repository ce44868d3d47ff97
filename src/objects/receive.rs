//! A store out of a bucket.
//!
//! A file that is here with the length and the sha256 that the ledgers say is not fetched again. Not for a store that a run
//! writes to. Invariant: a file has its name once all of it is here and is what its record says.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use futures_util::TryStreamExt;
use object_store::GetOptions;

use super::sync::{Outcome, SyncError, SyncReport, Syncing, check_record, described, list, runtime};
use super::{Access, Object, ObjectError, Objects, Prefix};
use crate::digest::{self, Hasher};
use crate::durable::{self, Existing, Partial};
use crate::ids::UnitUid;
use crate::store::{LedgerEntry, STORE_FILE, Snapshot, is_record};

/// The stores at `url` or one folder below, by their names relative to it; an empty one for `url` itself.
///
/// # Errors
/// [`SyncError`] where the bucket cannot be used.
pub fn stores_at(access: &Access, url: &str) -> Result<BTreeSet<String>, SyncError> {
    let (runtime, objects) = (runtime()?, Objects::new(access.clone()));
    let prefix = objects.prefix(url)?;
    runtime.block_on(objects.check_credentials(url))?;
    let listed = runtime.block_on(list(&prefix))?;
    let of = |key: &String| match key.strip_suffix(STORE_FILE)? {
        "" => Some(String::new()),
        folder => folder.strip_suffix('/').filter(|name| UnitUid::parse(name).is_ok()).map(str::to_owned),
    };
    Ok(listed.keys().filter_map(of).collect())
}

/// Copies the store at `url` to the folder `store`.
///
/// # Errors
/// [`SyncError`] where nothing could be begun; what goes wrong with single files is in the report.
pub fn receive(url: &str, store: &Path, syncing: &Syncing) -> Result<SyncReport, SyncError> {
    let (runtime, objects) = (runtime()?, Objects::new(syncing.access.clone()));
    let prefix = objects.prefix(url)?;
    runtime.block_on(syncing.receive(&prefix, store))
}

impl Syncing<'_> {
    async fn receive(&self, prefix: &Prefix, store: &Path) -> Result<SyncReport, SyncError> {
        let listed = list(prefix).await?;
        let mut records = Vec::new();
        for name in listed.keys().filter(|name| is_record(name)) {
            records.push((name.clone(), prefix.object(name).content().await?));
        }
        let snapshot = Snapshot::of_records(store, records)?;
        for (name, content) in &snapshot.records {
            let path = store.join(name);
            match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                former => {
                    let place = path.display().to_string();
                    let former = former.map_err(|error| unwritable(&place, error))?;
                    check_record(name, &place, &former, content)?;
                }
            }
        }
        let mut report = SyncReport { units: snapshot.units.len(), ..SyncReport::default() };
        let fetching = |entry: &LedgerEntry| {
            let (object, path, entry) = (prefix.object(&entry.file), store.join(&entry.file), entry.clone());
            (entry.file.clone(), entry.bytes, async move { receive_one(&object, &path, &entry).await })
        };
        self.meter.expect(snapshot.units.len() + snapshot.records.len());
        self.all(snapshot.units.iter().map(fetching), self.jobs, &mut report).await;
        for (name, content) in snapshot.records {
            if self.may_promise(&report) {
                let (path, bytes) = (store.join(&name), content.len() as u64);
                self.all([(name, bytes, async move { write_record(&path, &content) })], 1, &mut report).await;
            }
        }
        Ok(self.ended(report))
    }
}

async fn receive_one(object: &Object, path: &Path, entry: &LedgerEntry) -> Result<Outcome, ObjectError> {
    let expected = described(entry.bytes, &entry.sha256);
    let found = digest::file(path).ok().map(|(bytes, sha256)| described(bytes, &sha256));
    if found.as_ref() == Some(&expected) {
        return Ok(Outcome::There);
    }
    let place = path.display().to_string();
    let refused = |error: io::Error| unwritable(&place, error);
    let failed = |error: object_store::Error| ObjectError::of(&object.url, &error);
    let mut body = object.store.get_opts(&object.key, GetOptions::default()).await.map_err(failed)?.into_stream();
    let partial = Partial::begin(path).map_err(refused)?;
    let mut file = fs::File::create_new(partial.path()).map_err(refused)?;
    let (mut hasher, mut length) = (Hasher::default(), 0);
    while let Some(bytes) = body.try_next().await.map_err(failed)? {
        hasher.update(&bytes);
        length += bytes.len() as u64;
        file.write_all(&bytes).map_err(refused)?;
    }
    file.sync_all().map_err(refused)?;
    let there = described(length, &hasher.finish());
    if there != expected {
        return Err(ObjectError::Damaged { url: object.url.clone(), expected, found: there });
    }
    partial.commit(Existing::Replace).map_err(refused)?;
    Ok(Outcome::Copied { replaced: found.is_some() })
}

fn write_record(path: &Path, content: &[u8]) -> Result<Outcome, ObjectError> {
    if fs::read(path).is_ok_and(|former| former == content) {
        return Ok(Outcome::There);
    }
    durable::write_bytes(path, content).map_err(|error| unwritable(&path.display().to_string(), error))?;
    Ok(Outcome::Copied { replaced: false })
}

fn unwritable(place: &str, cause: io::Error) -> ObjectError {
    ObjectError::Unwritable { file: place.to_owned(), cause }
}
