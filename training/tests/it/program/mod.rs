//! The program `egofx-train` as people run it: each test starts it, in one process or in several.

mod cli;
mod clip_cache;
mod crash;
mod evaluate;
mod faults;
mod heads;
mod lr_find;
mod pretrain;
mod renamed;
mod settings;
mod together;
mod watch;

use std::sync::OnceLock;

use egofx_train::synthetic::{ShapesDataset, ShapesPaths};

use crate::support::shapes;

/// A small world that is made once for all tests, to be read and left as it is.
fn world() -> &'static ShapesPaths {
    static MADE: OnceLock<(tempfile::TempDir, ShapesPaths)> = OnceLock::new();
    let (_, paths) = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let few = ShapesDataset { changes: [8, 6], intervals: [4, 4, 2], ..shapes::least() };
        let dataset = ShapesDataset { side: 32, videos: [4, 5], clips_per_video: 8, questions: 6, ..few };
        let paths = dataset.write(folder.path(), &shapes::tools()).unwrap();
        (folder, paths)
    });
    paths
}
