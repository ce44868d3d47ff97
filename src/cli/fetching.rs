//! Options by which videos that lie in object storage come to this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use egofx::decode::{FfmpegSource, HwAccel};
use egofx::manifest::Manifest;
use egofx::objects::{Access, ObjectError, StagedSource, Staging, check_credentials};
use egofx::places::{aws_variables, scratch};
use egofx::probes::{Keeping, KeepingSource};
use egofx::stop::Stop;
use egofx::url;

use super::args::Ffmpeg;

/// Where copies of videos lie while they are decoded, and how many.
#[derive(Args)]
pub struct Fetching {
    /// Folder for the copies of videos whose path is a URL (s3://, https://, http://): each is fetched ahead of the decoders, and
    /// removed once it is decoded [default: --out, else TMPDIR].
    ///
    /// A disk of the machine itself is faster than one of the network. Runs may share the folder; each has its own copies.
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Most bytes that the copies of this run may take together; K, M, G or T behind a number are 2^10, 2^20, 2^30 or 2^40.
    /// A video that is larger fails.
    #[arg(long, value_name = "N", default_value = "64G", value_parser = byte_size)]
    cache_bytes: u64,
    #[command(flatten)]
    storage: Storage,
}

/// How object storage is reached.
#[derive(Args)]
pub struct Storage {
    /// How often a request to object storage that failed by the network or the server is made again, with growing pauses.
    #[arg(long, value_name = "N", default_value_t = 10)]
    fetch_retries: usize,
}

impl Fetching {
    /// `inner`, for which videos with URLs are fetched to --cache-dir, or to `folder`.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn source<S>(
        &self,
        inner: S,
        manifest: &Manifest,
        folder: Option<&Path>,
        stop: Arc<Stop>,
    ) -> anyhow::Result<StagedSource<S>> {
        self.check(manifest)?;
        if urls(manifest).next().is_none() {
            return Ok(StagedSource { inner, staging: None });
        }
        let folder = self.cache_dir.clone().or_else(|| folder.map(Path::to_owned)).unwrap_or_else(scratch);
        let staging = Staging::open(self.storage.access(), &folder, self.cache_bytes, stop);
        let refused =
            || format!("cannot keep copies of videos in {}: name a folder with --cache-dir", folder.display());
        Ok(StagedSource { inner, staging: Some(staging.with_context(refused)?) })
    }

    /// What decodes for a measurement: software, with `threads` (0 lets ffmpeg choose), and by the same copies; what runs have found of
    /// videos is read in the output folder `folder`.
    ///
    /// # Errors
    /// There is no ffmpeg, or the folder cannot be used.
    pub fn measured(
        &self,
        ffmpeg: &Ffmpeg,
        threads: usize,
        manifest: &Manifest,
        folder: Option<&Path>,
    ) -> anyhow::Result<KeepingSource<StagedSource<FfmpegSource>>> {
        let source = FfmpegSource { tools: ffmpeg.known_tools()?, threads, hwaccel: HwAccel::None };
        let inner = self.source(source, manifest, folder, Arc::default())?;
        Ok(KeepingSource { inner, keeping: folder.map(Keeping::reading) })
    }

    /// That there are credentials for the videos of `manifest`, should they need some.
    ///
    /// # Errors
    /// There are none.
    pub fn check(&self, manifest: &Manifest) -> Result<(), ObjectError> {
        // One for all: whatever the bucket, the environment gives the same ones.
        let of_s3 = urls(manifest).find(|url| url.starts_with("s3:"));
        of_s3.map_or(Ok(()), |url| check_credentials(&self.storage.access(), url))
    }
}

/// What `manifest` gives for paths that are elsewhere.
fn urls(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.videos.iter().filter_map(|video| url::of(video.path.as_deref()?))
}

impl Storage {
    /// As the environment and the options say.
    pub fn access(&self) -> Access {
        Access { variables: aws_variables(), retries: self.fetch_retries }
    }
}

/// Reads a number of bytes, as `1500000`, `64G` or `64GiB`.
fn byte_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.trim().trim_end_matches("iB").to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => 64,
    };
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1_u64.checked_shl(shift)?));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "expected a number of bytes above 0, such as 500M or 64G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [("1500", 1500), ("2K", 2048), ("3 M", 3 << 20), ("64GiB", 64 << 30), ("1t", 1 << 40)] {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "G", "-1", "1.5G", "1X", "99999999999T", "1 2"] {
            assert!(byte_size(text).is_err(), "{text}");
        }
    }
}
