//! Object storage: what lies behind `s3://` and `https://`, as files of this machine and back.
//!
//! [`Objects`] finds the store of a URL, [`Staging`] keeps passing copies of objects in a bounded folder, and
//! [`StagedSource`] is a source of frames that stands on such copies: the one step between a manifest and the decoders.
//! [`send`] and [`receive`] copy stores.
//! Not for what the bytes mean. Invariants: a file is handed out whole or not at all, of the length that the store gave
//! before its first byte, and of one version of the object; nothing is left when a [`Staging`] is dropped.

mod error;
mod fetch;
mod receive;
mod room;
mod send;
mod source;
mod staging;
mod sync;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{ClientOptions, GetOptions, HeaderValue, ObjectStore, RetryConfig};

pub use error::ObjectError;
use error::{shown, words};
pub use receive::{receive, stores_at};
pub use send::send;
pub use source::StagedSource;
pub use staging::{Staged, Staging};
pub use sync::{SyncError, SyncFailure, SyncReport, Syncing};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long credentials may take to be found.
const CREDENTIALS: Duration = Duration::from_secs(30);
/// How long a server may say nothing in the midst of an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// How object storage is reached.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Names and values of the variables `AWS_*`: credentials, region, endpoint and what else `object_store` knows.
    pub variables: Vec<(String, String)>,
    /// How often a request that failed by the network or by the server is made again, with growing pauses.
    pub retries: usize,
}

/// The objects that URLs name.
#[derive(Debug)]
pub struct Objects {
    access: Access,
    /// By bucket: each has its connections and its credentials.
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

/// One object, there or not.
#[derive(Clone)]
pub(crate) struct Object {
    pub store: Arc<dyn ObjectStore>,
    pub key: Key,
    pub url: String,
}

/// All objects whose keys begin with that of a folder.
#[derive(Clone)]
pub(crate) struct Prefix {
    pub store: Arc<dyn ObjectStore>,
    pub key: Key,
    pub url: String,
}

impl Prefix {
    /// The object `name`, of parts between `/`, below it.
    pub(crate) fn object(&self, name: &str) -> Object {
        let key = name.split('/').fold(self.key.clone(), |key, part| key.join(part));
        Object { store: self.store.clone(), key, url: format!("{}/{name}", self.url) }
    }
}

impl Objects {
    /// Those that are reached by `access`.
    pub fn new(access: Access) -> Self {
        static TLS: Once = Once::new();
        // Whoever uses this library may have chosen another one, which is as good.
        TLS.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        Self { access, buckets: Mutex::default() }
    }

    /// The object that `url` names.
    ///
    /// # Errors
    /// [`ObjectError::Url`] for a URL that names none, [`ObjectError::Failed`] for settings that make no client.
    pub(crate) fn object(&self, url: &str) -> Result<Object, ObjectError> {
        let is_none = |why: &str| ObjectError::Url { url: url.to_owned(), why: why.to_owned() };
        let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
        let (store, key): (Arc<dyn ObjectStore>, Key) = match (s3(url), scheme.as_str()) {
            (Some((bucket, key)), _) => {
                if bucket.is_empty() || key.is_empty() || key.ends_with('/') {
                    return Err(is_none("it names no object, but a bucket or a folder"));
                }
                let key = Key::parse(key).map_err(|error| is_none(&error.to_string()))?;
                (self.bucket(url, bucket)?, key)
            }
            // The whole URL, which may be a signed one, is that of the object.
            (None, "http" | "https") => (self.page(url)?, Key::default()),
            _ => return Err(is_none("of this scheme nothing is read")),
        };
        Ok(Object { store, key, url: url.to_owned() })
    }

    /// The bucket and the prefix that `url` names, without slashes at its ends.
    ///
    /// # Errors
    /// As for [`object`](Self::object).
    pub(crate) fn prefix(&self, url: &str) -> Result<Prefix, ObjectError> {
        let is_none = |why: String| ObjectError::Prefix { url: url.to_owned(), why };
        let (bucket, prefix) = s3(url).ok_or_else(|| is_none("of another scheme".into()))?;
        let key = Key::parse(prefix.trim_matches('/')).map_err(|error| is_none(error.to_string()))?;
        if bucket.is_empty() {
            return Err(is_none("it names no bucket".into()));
        }
        Ok(Prefix { store: self.bucket(url, bucket)?, key, url: url.trim_end_matches('/').to_owned() })
    }

    /// That there are credentials for the bucket of `url`, valid or not: asking the machine for its role takes long where it has
    /// none, and would for each object.
    ///
    /// # Errors
    /// [`ObjectError::NoCredentials`]; those of a URL and of settings that make no client.
    pub(crate) async fn check_credentials(&self, url: &str) -> Result<(), ObjectError> {
        let set = |name: &str| self.access.variables.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
        let Some((bucket, _)) = s3(url).filter(|_| set("AWS_SKIP_SIGNATURE") != Some("true")) else { return Ok(()) };
        let store = self.bucket(url, bucket)?;
        let none = |why: String| ObjectError::NoCredentials { url: shown(url), why };
        match tokio::time::timeout(CREDENTIALS, store.credentials().get_credential()).await {
            Ok(found) => found.map(drop).map_err(|error| none(words(&error))),
            Err(_) => Err(none(format!("nothing came within {} s", CREDENTIALS.as_secs()))),
        }
    }

    /// The client of a bucket, made once.
    fn bucket(&self, url: &str, bucket: &str) -> Result<Arc<AmazonS3>, ObjectError> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = buckets.get(bucket) {
            return Ok(store.clone());
        }
        let endpoint =
            |(name, value): &(String, String)| name.starts_with("AWS_ENDPOINT") && value.starts_with("http:");
        let options = options().with_allow_http(self.access.variables.iter().any(endpoint));
        let mut builder = AmazonS3Builder::new().with_client_options(options).with_retry(self.retry());
        for (name, value) in &self.access.variables {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let built = builder.with_bucket_name(bucket).build();
        let store = Arc::new(built.map_err(|error| ObjectError::of(url, &error))?);
        buckets.insert(bucket.to_owned(), store.clone());
        Ok(store)
    }

    fn page(&self, url: &str) -> Result<Arc<dyn ObjectStore>, ObjectError> {
        let options = options().with_allow_http(url.starts_with("http:"));
        let builder = HttpBuilder::new().with_url(url).with_client_options(options).with_retry(self.retry());
        Ok(Arc::new(builder.build().map_err(|error| ObjectError::of(url, &error))?))
    }

    fn retry(&self) -> RetryConfig {
        RetryConfig { max_retries: self.access.retries, ..RetryConfig::default() }
    }
}

/// That there are credentials for what `url` names, before anything is begun; whether they are valid shows later.
///
/// # Errors
/// [`ObjectError::NoCredentials`]; [`ObjectError::Failed`] for settings that make no client.
pub fn check_credentials(access: &Access, url: &str) -> Result<(), ObjectError> {
    let failed = |error: std::io::Error| ObjectError::Failed { url: shown(url), why: error.to_string() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(Objects::new(access.clone()).check_credentials(url))
}

/// Bucket and key of an S3 URL; `None` for others.
fn s3(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    scheme.eq_ignore_ascii_case("s3").then(|| rest.split_once('/').unwrap_or((rest, "")))
}

/// A video takes longer than any limit on a whole request: only silence ends one.
fn options() -> ClientOptions {
    ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!("egofx/", env!("CARGO_PKG_VERSION"))))
        .with_timeout_disabled()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
}

impl Object {
    /// All of it, for what is small.
    pub(crate) async fn content(&self) -> Result<Vec<u8>, ObjectError> {
        let failed = |error| ObjectError::of(&self.url, &error);
        let found = self.store.get_opts(&self.key, GetOptions::default()).await.map_err(failed)?;
        Ok(found.bytes().await.map_err(failed)?.into())
    }

    /// What its file is called: the last part of the URL, without what is asked of the server.
    pub(crate) fn name(&self) -> String {
        let path =
            if self.key.as_ref().is_empty() { self.url.split(['?', '#']).next() } else { Some(self.key.as_ref()) };
        let last = path.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let decoded = percent_decoded(last).filter(|_| self.key.as_ref().is_empty());
        let name = decoded.unwrap_or_else(|| last.to_owned());
        let is_safe = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']) && name.len() <= 255;
        if is_safe { name } else { "video".to_owned() }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// `a%20b` as `a b`; `None` for what is no UTF-8 then.
fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Objects {
        let variables = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Objects::new(Access { variables, retries: 0 })
    }

    #[test]
    fn urls_name_objects_and_files() {
        for (url, key, name) in [
            ("s3://bucket/a/b c%20.mp4", "a/b c%20.mp4", "b c%20.mp4"),
            ("S3://bucket/v.mp4", "v.mp4", "v.mp4"),
            ("https://host/x/b%20c.mp4?X-Amz-Signature=1/2", "", "b c.mp4"),
            ("http://host/x/..%2f", "", "video"),
        ] {
            let object = objects().object(url).unwrap();
            assert_eq!((object.key.as_ref(), object.name().as_str()), (key, name), "{url}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused_with_what_would() {
        for url in ["s3://bucket", "s3://bucket/folder/", "s3:///key", "s3://bucket/a//b", "gs://bucket/key"] {
            let error = objects().object(url).unwrap_err().to_string();
            assert!(error.starts_with(url) && error.contains("expected s3://BUCKET/KEY"), "{error}");
        }
    }
}
