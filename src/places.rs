//! What the environment says: folders in which the programs of this project look for what they need, and their patience.
//!
//! For command lines only: everything else is told such things. Not for looking into these folders.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that says how many seconds ffmpeg and ffprobe may give no sign of life while they are waited for.
pub const CHILD_TIMEOUT: &str = "EGOFX_CHILD_TIMEOUT";

/// The longest that anybody waits, in seconds: a year.
const LONGEST_SEC: f64 = 365.0 * 86_400.0;

/// Seconds as [`CHILD_TIMEOUT`] has them; `None` for a text that is no number above 0, or more than a year.
pub fn child_timeout(text: &str) -> Option<Duration> {
    let sec: f64 = text.trim().parse().ok()?;
    (sec > 0.0 && sec <= LONGEST_SEC).then(|| Duration::from_secs_f64(sec))
}

/// What [`CHILD_TIMEOUT`] says, for programs without an option for it.
pub fn child_timeout_set() -> Option<Duration> {
    child_timeout(&std::env::var(CHILD_TIMEOUT).ok()?)
}

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
