//! The annotation files of Ego4D's episodic memory: videos, their clips, and what annotators said of each.
//!
//! Not for what they said, which differs from task to task. Invariant: a key that some split leaves out is optional here.

use serde::Deserialize;

/// A file of annotations `A`.
#[derive(Deserialize)]
pub(crate) struct File<A> {
    pub(crate) videos: Vec<VideoEntry<A>>,
}

#[derive(Deserialize)]
pub(crate) struct VideoEntry<A> {
    pub(crate) video_uid: String,
    pub(crate) split: Option<String>,
    pub(crate) clips: Option<Vec<ClipEntry<A>>>,
}

#[derive(Deserialize)]
pub(crate) struct ClipEntry<A> {
    pub(crate) clip_uid: String,
    pub(crate) video_start_sec: Option<f64>,
    pub(crate) video_end_sec: Option<f64>,
    /// Test files may have none.
    pub(crate) annotations: Option<Vec<A>>,
}
