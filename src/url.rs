//! Names of files that are URLs: of objects that lie elsewhere.
//!
//! Not for opening them, see `objects`. Invariant: a path is a URL or a path of this machine, told apart by its text alone.

use std::path::Path;

/// The URL that a manifest gives for a path; `None` for a path of this machine.
pub fn of(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| is_url(text))
}

/// Whether a text is a URL: a scheme, `://`, and something behind that.
pub fn is_url(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    text.split_once("://").is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for url in ["s3://bucket/a b/c.mp4", "https://host/a.mp4?token=1", "gs://b/k", "S3://b/k"] {
            assert_eq!(of(Path::new(url)), Some(url));
        }
        for path in ["a.mp4", "/data/a.mp4", "./s3://a", "s3:/bucket/a", "://a", "s3://", "a b://c", "", "/x/s3://b/k"]
        {
            assert_eq!(of(Path::new(path)), None, "{path}");
        }
    }
}
