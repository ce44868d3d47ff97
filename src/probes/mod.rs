//! Probes that cost a run nothing: made ahead of the decoders, and kept for whoever asks again.
//!
//! Not for looking at files, see `decode`. A run asks by `KeepingSource { AheadSource { .. } }`. Invariant: a result that was made before is handed out only where sizes and times of
//! change say that a probe would find the same now; errors are never kept, and found anew by who asks.

mod ahead;
mod kept;
mod versions;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use ahead::AheadSource;
pub use kept::{Keeping, KeepingSource};
pub use versions::KeptVersions;

use crate::decode;

/// A file or folder as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    mtime_sec: i64,
    mtime_ns: i64,
}

/// All that a probe of `path` looks at, as it is now; `None` where no ffprobe would look at it, or something is not there.
fn stamps(path: &Path) -> Option<Vec<Stamp>> {
    let inputs = decode::inputs(path).into_iter().map(stamp).collect::<Option<Vec<_>>>()?;
    (!inputs.is_empty()).then_some(inputs)
}

fn stamp(path: PathBuf) -> Option<Stamp> {
    let found = fs::metadata(&path).ok()?;
    Some(Stamp { bytes: found.len(), mtime_sec: found.mtime(), mtime_ns: found.mtime_nsec(), path })
}
