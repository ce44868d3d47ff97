//! Worlds that several tests make.

use std::path::PathBuf;

use egofx::decode::Tools;
use egofx_train::synthetic::ShapesDataset;

/// Where `make setup` puts its ffmpeg, seen from here.
pub fn bases() -> Vec<PathBuf> {
    vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")]
}

/// The programs that make and read videos.
pub fn tools() -> Tools {
    Tools::find(None, None, &bases()).expect("ffmpeg and ffprobe are needed; run `make setup`")
}

/// A world that holds nearly nothing, to be filled where a test needs it.
pub fn least() -> ShapesDataset {
    ShapesDataset {
        side: 48,
        videos: [1, 5],
        clips_per_video: 5,
        questions: 10,
        changes: [2, 2],
        kitchens: [2, 2],
        homes: [2, 2],
        intervals: [2, 2, 2],
        ..ShapesDataset::small(3, false)
    }
}
