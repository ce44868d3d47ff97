//! Whole videos that stay decoded in memory.
//!
//! Not for decoding them. Invariant: a video that has a place keeps it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use egofx::decode::VideoInfo;

use super::ahead::Pictures;

/// Frames of whole videos that stay decoded in memory as long as there is room: small data sets would be decoded again in
/// each epoch. Clips are drawn evenly, so that the videos that came first are as good to keep as any others.
pub(super) struct Kept {
    room_bytes: Mutex<u64>,
    videos: Mutex<HashMap<PathBuf, Arc<Place>>>,
}

/// All frames of a video, once they have been decoded; whoever wants them meanwhile waits.
pub(super) type Place = Mutex<Option<Arc<Pictures>>>;

impl Kept {
    /// As many as find room in so many bytes.
    pub fn new(bytes: u64) -> Self {
        Self { room_bytes: Mutex::new(bytes), videos: Mutex::default() }
    }

    /// The place of a video of `width * height` pixels that is kept, or that there is room for.
    pub fn place(&self, video: &VideoInfo, [width, height]: [u32; 2]) -> Option<Arc<Place>> {
        let mut videos = self.videos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = videos.get(&video.path) {
            return Some(place.clone());
        }
        let bytes = 3 * u64::from(width) * u64::from(height) * video.timeline.frames();
        let mut room = self.room_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *room = room.checked_sub(bytes)?;
        Some(videos.entry(video.path.clone()).or_default().clone())
    }
}
