//! Shipped experiments, small enough for tests that only ask what becomes of a run.

use std::path::{Path, PathBuf};

/// A shipped experiment, smaller and of one epoch, written into `folder`.
pub fn smaller(folder: &Path, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in [
        ("image_size = 48", "image_size = 24"),
        ("embed_dim = 64\ndepth = 4", "embed_dim = 32\ndepth = 2"),
        ("num_fused_layers = 2", "num_fused_layers = 1"),
        ("batch = 32", "batch = 8"),
    ] {
        assert!(text.contains(from), "{name} has no {from}");
        text = text.replace(from, to);
    }
    let text = text.replace("epochs = 30", "epochs = 1").replace("epochs = 20", "epochs = 1");
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
