//! The annotation files of Ego4D's episodic memory: videos, their clips, and what annotators said of each.
//!
//! Not for what they said, which differs from task to task. Invariant: a key that some split leaves out is optional here.

use serde::Deserialize;

/// A file of annotations `A`.
#[derive(Deserialize)]
pub(super) struct File<A> {
    pub(super) videos: Vec<VideoEntry<A>>,
}

#[derive(Deserialize)]
pub(super) struct VideoEntry<A> {
    pub(super) video_uid: String,
    pub(super) split: Option<String>,
    pub(super) clips: Option<Vec<ClipEntry<A>>>,
}

#[derive(Deserialize)]
pub(super) struct ClipEntry<A> {
    pub(super) clip_uid: String,
    pub(super) video_start_sec: Option<f64>,
    pub(super) video_end_sec: Option<f64>,
    /// Test files may have none.
    pub(super) annotations: Option<Vec<A>>,
}
