//! Folders in which the programs of this project look for what they need, as the environment says.
//!
//! For command lines only: everything else is told where things are. Not for looking into these folders.

use std::path::{Path, PathBuf};

/// Folders that may hold `.runtime/` and `onnx/`: the working folder, the program's and those above it (in a checkout,
/// the program lies two folders down).
pub fn bases() -> Vec<PathBuf> {
    let program = std::env::current_exe().and_then(|exe| exe.canonicalize()).unwrap_or_default();
    let above = program.ancestors().skip(1).take(3).map(Path::to_owned);
    std::env::current_dir().into_iter().chain(above).collect()
}

/// Folders where Hugging Face's tools keep what they fetched, by the variables that those obey.
pub fn hub_caches() -> Vec<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let homes = [
        given("HF_HOME"),
        given("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")),
        given("HOME").map(|home| home.join(".cache/huggingface")),
    ];
    let hubs = homes.into_iter().flatten().map(|home| home.join("hub"));
    given("HF_HUB_CACHE").into_iter().chain(hubs).collect()
}
