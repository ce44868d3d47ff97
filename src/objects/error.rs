//! What can go wrong with objects, in words that name the URL, what was expected, what was found, and the remedy.
//!
//! Not for what is in a file once it is there. Invariant: every error names its URL, without what a signed one has behind `?`.

use std::error::Error;
use std::io;

use object_store::Error as StorageError;

/// Codes of S3 that say that credentials are wrong or too old, whatever the status.
const OF_CREDENTIALS: [&str; 7] = [
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "AccessDenied",
];

/// An object could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The URL names none.
    #[error("{url}: {why}; expected s3://BUCKET/KEY, https://HOST/PATH or http://HOST/PATH of one file")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing says who we are.
    #[error(
        "{url}: there are no credentials ({why}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where \
         there is one), or give this machine a role; for a public bucket set AWS_SKIP_SIGNATURE=true"
    )]
    NoCredentials {
        /// The URL.
        url: String,
        /// What was tried last.
        why: String,
    },
    /// The URL names no place for a store.
    #[error("{url}: {why}; expected s3://BUCKET/PREFIX")]
    Prefix {
        /// The URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of a store is not what its record says.
    #[error(
        "{file}: expected {expected} as its record says, found {found}: egofx verify says more; extract makes it anew"
    )]
    Local {
        /// The file.
        file: String,
        /// On record.
        expected: String,
        /// There.
        found: String,
    },
    /// A file of a store cannot be written, or read.
    #[error("{file}: {cause}")]
    Unwritable {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// An object is not what the ledger of its store says.
    #[error(
        "{url}: expected {expected} as the ledger says, found {found}: nothing of it is kept; send the store there again"
    )]
    Damaged {
        /// The URL.
        url: String,
        /// On record.
        expected: String,
        /// There.
        found: String,
    },
    /// What was sent is not there.
    #[error("{url}: expected {expected} after it was sent, found {found}; give the command again")]
    Unproved {
        /// The URL.
        url: String,
        /// What was sent.
        expected: String,
        /// What is there.
        found: String,
    },
    /// There is no such object.
    #[error("{url}: no such object; correct the path in the manifest, or put the object there")]
    Missing {
        /// The URL.
        url: String,
    },
    /// The server does not let us read it.
    #[error(
        "{url}: access is refused ({why}); expected credentials that may read it: renew AWS_ACCESS_KEY_ID, \
         AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the role of this machine, and give the command again. A key that is \
         not there is refused too where the bucket may not be listed"
    )]
    Refused {
        /// The URL.
        url: String,
        /// The server's words.
        why: String,
    },
    /// It became another one meanwhile.
    #[error(
        "{url}: expected {expected}, found {found}: it was changed, or cut short, on its way; give the command again"
    )]
    Changed {
        /// The URL.
        url: String,
        /// What it was.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Its bytes end before the end.
    #[error("{url}: expected {expected} bytes, found {found}: {why}; nothing of it is used; give the command again")]
    Short {
        /// The URL.
        url: String,
        /// Its length as the server gives it.
        expected: u64,
        /// How many came.
        found: u64,
        /// What ended them.
        why: String,
    },
    /// Requests fail, again and again.
    #[error("{url}: {why}")]
    Failed {
        /// The URL.
        url: String,
        /// The last failure.
        why: String,
    },
    /// The cache cannot hold it.
    #[error("{url}: it has {bytes} bytes, the cache may hold {bound}: give more with --cache-bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// Its length.
        bytes: u64,
        /// The bound.
        bound: u64,
    },
    /// Its copy cannot be written.
    #[error("{url}: cannot write its copy to {folder}: {cause}; name another folder with --cache-dir")]
    Write {
        /// The URL.
        url: String,
        /// The folder of the cache.
        folder: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The run ends.
    #[error("{url}: no longer fetched, because the run was stopped")]
    Abandoned {
        /// The URL.
        url: String,
    },
}

impl ObjectError {
    /// What `error` says of the object at `url`.
    pub(super) fn of(url: &str, error: &StorageError) -> Self {
        let (url, why) = (shown(url), words(error));
        let is_of_credentials = || OF_CREDENTIALS.iter().any(|code| why.starts_with(code));
        match error {
            StorageError::NotFound { .. } => Self::Missing { url },
            StorageError::Precondition { .. } => {
                Self::Changed { url, expected: "the version that was there first".into(), found: "another".into() }
            }
            StorageError::PermissionDenied { .. } | StorageError::Unauthenticated { .. } => Self::Refused { url, why },
            _ if is_of_credentials() => Self::Refused { url, why },
            _ => Self::Failed { url, why },
        }
    }
}

/// What `error` says of sending to `url`, where an object that is not there is no fault of the request.
pub(super) fn of_sending(url: &str, error: &StorageError) -> ObjectError {
    match ObjectError::of(url, error) {
        ObjectError::Missing { url } => ObjectError::Failed { url, why: words(error) },
        other => other,
    }
}

/// A URL for people: what stands behind `?` may be a signature.
pub(super) fn shown(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

/// The code and the message of the server, or what the causes say.
pub(super) fn words(error: &StorageError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> StorageError {
        StorageError::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn the_servers_own_words_are_found_and_credentials_told_from_other_trouble() {
        let expired = "400: <Error><Code>ExpiredToken</Code><Message>The token has expired.</Message></Error>";
        let error = ObjectError::of("s3://b/k", &generic(expired));
        assert!(matches!(&error, ObjectError::Refused { why, .. } if why == "ExpiredToken: The token has expired."));
        assert!(error.to_string().contains("renew AWS_ACCESS_KEY_ID"), "{error}");
        let slow = "503: <Error><Code>SlowDown</Code><Message>Later.</Message></Error>";
        let error = ObjectError::of("https://h/k?X-Amz-Signature=secret", &generic(slow));
        assert_eq!(error.to_string(), "https://h/k: SlowDown: Later.");
    }
}
