//! One object into one file: measured, then read from its first byte to its last, from where it broke off if it did.
//!
//! `object_store` makes failed requests again, and goes on within a body for some minutes; a body that takes longer than its
//! patience is gone on with here. Not for where the file lies. Invariant: what is written has the length, the ETag and the time
//! of the object that was measured, or an error says otherwise.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use futures_util::StreamExt;
use object_store::{Error as StorageError, GetOptions, GetRange, GetResult, ObjectMeta};

use super::error::{shown, words};
use super::{Object, ObjectError};

/// Length, ETag and time of an object.
pub(super) async fn measure(object: &Object) -> Result<ObjectMeta, ObjectError> {
    let head = GetOptions { head: true, ..GetOptions::default() };
    match object.store.get_opts(&object.key, head).await {
        Ok(found) => Ok(found.meta),
        // An answer to HEAD has no body that would say why, some servers know no HEAD, and a URL may be signed for GET alone.
        Err(error) if is_of_request(&error) => {
            let found = object.store.get_opts(&object.key, GetOptions::default()).await;
            found.map(|found| found.meta).map_err(|error| ObjectError::of(&object.url, &error))
        }
        Err(error) => Err(ObjectError::of(&object.url, &error)),
    }
}

/// Whether the server has understood the request and does not like it.
fn is_of_request(error: &StorageError) -> bool {
    use StorageError::{NotFound, PermissionDenied, Unauthenticated};
    let is_told = matches!(error, NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. });
    is_told || error.to_string().contains("status code: 4")
}

/// What became of one try.
enum Try {
    /// The last byte is there.
    Whole,
    /// It broke off.
    Broken(ObjectError),
    /// The server cannot begin in the midst.
    FromTheStart,
}

/// Writes the object that was measured as `meta` to `file`; `refused` makes an error of the system's.
pub(super) async fn fetch(
    object: &Object,
    meta: &ObjectMeta,
    file: &mut File,
    refused: impl Fn(io::Error) -> ObjectError,
) -> Result<(), ObjectError> {
    let (mut at, mut furthest) = (0, 0);
    loop {
        match attempt(object, meta, file, &mut at, &refused).await? {
            Try::Whole => return Ok(()),
            Try::Broken(_) if at > furthest => {
                log::info!("{}: broke off after {at} of {} bytes; gone on with", shown(&object.url), meta.size);
                furthest = at;
            }
            Try::Broken(error) => return Err(error),
            Try::FromTheStart => {
                file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(&refused)?;
                at = 0;
            }
        }
    }
}

/// Reads on from byte `at`.
async fn attempt(
    object: &Object,
    meta: &ObjectMeta,
    file: &mut File,
    at: &mut u64,
    refused: &impl Fn(io::Error) -> ObjectError,
) -> Result<Try, ObjectError> {
    let broken = |at: u64, why: String| {
        Try::Broken(ObjectError::Short { url: shown(&object.url), expected: meta.size, found: at, why })
    };
    let range = (*at > 0).then_some(GetRange::Bounded(*at..meta.size));
    // A weak ETag never matches.
    let if_match = meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
    let found = match object.store.get_opts(&object.key, GetOptions { range, if_match, ..GetOptions::default() }).await
    {
        Err(StorageError::NotSupported { .. }) if *at > 0 => return Ok(Try::FromTheStart),
        Err(error) => {
            return match ObjectError::of(&object.url, &error) {
                ObjectError::Failed { why, .. } => Ok(broken(*at, why)),
                final_one => Err(final_one),
            };
        }
        Ok(found) => found,
    };
    check(object, meta, &found)?;
    let mut body = found.into_stream();
    while let Some(bytes) = body.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Ok(broken(*at, words(&error))),
        };
        *at += bytes.len() as u64;
        if *at > meta.size {
            let (expected, found) = (format!("{} bytes", meta.size), "more".to_owned());
            return Err(ObjectError::Changed { url: shown(&object.url), expected, found });
        }
        file.write_all(&bytes).map_err(refused)?;
    }
    Ok(if *at == meta.size { Try::Whole } else { broken(*at, "the body ended early".into()) })
}

/// That an answer is of the object that was measured.
fn check(object: &Object, meta: &ObjectMeta, found: &GetResult) -> Result<(), ObjectError> {
    let words = |meta: &ObjectMeta| {
        let tag = meta.e_tag.as_deref().unwrap_or("none");
        format!("{} bytes with ETag {tag} of {}", meta.size, meta.last_modified)
    };
    let (expected, found) = (words(meta), words(&found.meta));
    if expected == found { Ok(()) } else { Err(ObjectError::Changed { url: shown(&object.url), expected, found }) }
}
