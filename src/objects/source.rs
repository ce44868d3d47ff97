//! A source of frames whose videos may lie in object storage.
//!
//! Not for decoding: another source does, on copies. Invariant: what comes of a copy is what comes of the file itself, but for
//! the name by which people are told of it.

use std::path::Path;
use std::sync::Arc;

use super::error::shown;
use super::{ObjectError, Staging};
use crate::decode::{FrameSource, FrameStream, Origin, ProbeError, Transform, VideoInfo};
use crate::time::Fps;
use crate::url;

/// Fetches what has a URL, and has `inner` decode it.
pub struct StagedSource<S> {
    /// Who decodes.
    pub inner: S,
    /// Where copies are kept; `None` where no video has a URL.
    pub staging: Option<Staging>,
}

impl<S> StagedSource<S> {
    /// What is fetched, and by whom; `None` for a path of this machine.
    fn fetched<'s, 'p>(&'s self, path: &'p Path) -> Option<(&'s Staging, &'p str)> {
        self.staging.as_ref().zip(url::of(path))
    }
}

impl<S: FrameSource> FrameSource for StagedSource<S> {
    fn probe(&self, path: &Path, fps: Option<Fps>) -> Result<VideoInfo, ProbeError> {
        let Some((staging, url)) = self.fetched(path) else { return self.inner.probe(path, fps) };
        let copy = staging.copy_of(url).map_err(|error| fetch_error(&error))?;
        match self.inner.probe(copy.path(), fps) {
            Ok(video) => Ok(VideoInfo { origin: Some(Origin::new(&shown(url), Arc::new(copy))), ..video }),
            Err(error) => Err(ProbeError::Copy { url: shown(url), error: Box::new(error) }),
        }
    }

    fn prefetch(&self, path: &Path) {
        // What lies elsewhere is not probed ahead: that is to have a copy, and only who decodes one may ask for it.
        match self.fetched(path) {
            Some((staging, url)) => staging.prefetch(url),
            None => self.inner.prefetch(path),
        }
    }

    fn forget(&self, path: &Path) {
        match self.fetched(path) {
            Some((staging, url)) => staging.forget(url),
            None => self.inner.forget(path),
        }
    }

    fn open(&self, video: &VideoInfo, wanted: &[u64], transforms: &[Transform]) -> FrameStream {
        let frames = self.inner.open(video, wanted, transforms);
        // The copy stays as long as somebody reads it.
        let origin = video.origin.clone();
        Box::new(frames.inspect(move |_| _ = &origin))
    }

    fn dropped(&self, video: &VideoInfo, wanted: &[u64]) -> u64 {
        self.inner.dropped(video, wanted)
    }

    fn version(&self) -> String {
        self.inner.version()
    }
}

fn fetch_error(error: &ObjectError) -> ProbeError {
    ProbeError::Fetch { why: error.to_string() }
}
