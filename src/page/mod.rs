//! A store on a page: what was run, where its rows are, how alike they are, and what looks wrong.
//!
//! [`read`] gives that as data, [`html`] as one file that a browser shows without a network. Not for proofs, see `verify`. Invariants:
//! what is committed is shown while runs write; a video that cannot be had costs its thumbnails and nothing else; text of
//! others stays text; the size of a page does not grow with the rows.

mod against;
mod error;
mod frame;
mod gather;
mod health;
mod html;
mod lanes;
mod parts;
mod plane;
mod set;
mod similarity;
mod spans;
mod time;
mod videos;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::ids::VideoUid;
use crate::meter::Meter;
use crate::store::{StoreReader, feature_sets};
use crate::thumbnails::Thumbnailer;
use crate::time::Fps;

pub use error::PageError;
pub use frame::Frame;
pub use html::{GENERATOR, html};
pub use spans::{BENCHMARKS, Predictions};
pub use time::clock;
pub use view::{
    AgainstView, Check, Histogram, Lane, Map, Point, Run, RunKind, RunView, ScoresView, SetView, Similarity, SpanLane,
    Thumbnail, VideoLine, VideoView, View,
};

/// Where a video is.
#[derive(Debug, Clone)]
pub struct VideoFile {
    /// The file, the folder of its chunk files, or what names its images.
    pub path: PathBuf,
    /// The rate of a video that is a folder of images.
    pub fps: Option<Fps>,
}

/// What is to be shown beside the rows.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A store that rows are set against.
    pub against: Option<PathBuf>,
    /// Predictions.
    pub predictions: Option<Predictions>,
    /// What makes thumbnails; nothing for a page without.
    pub thumbnailer: Option<Thumbnailer>,
    /// Where videos are.
    pub videos: BTreeMap<VideoUid, VideoFile>,
    /// How many videos are shown in detail.
    pub detailed: usize,
    /// Counts units that were read.
    pub meter: Meter,
}

/// Looks at the store in the folder `path`, or at all of those in it.
///
/// # Errors
/// [`PageError`] if there is none, or a ledger or file of predictions cannot be read. A unit that cannot be read is shown as such.
pub fn read(path: &Path, options: &Options) -> Result<View, PageError> {
    gather::view(path, options)
}

/// The videos of all feature sets at `path`.
///
/// # Errors
/// [`PageError`], as for [`read`].
pub fn video_uids(path: &Path) -> Result<BTreeSet<VideoUid>, PageError> {
    let mut uids = BTreeSet::new();
    for set in feature_sets(path)? {
        let store = StoreReader::open(&set)?;
        uids.extend(store.committed()?.iter().map(|entry| entry.video_uid.clone()));
        uids.extend(store.planned()?.into_values().map(|unit| unit.video_uid));
    }
    Ok(uids)
}
