//! What the environment says: folders in which the programs of this project look for what they need, and their patience.
//!
//! For command lines only: everything else is told such things. Not for looking into these folders.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::shard::{Shard, ShardError, auto};

/// The variable that says how many seconds ffmpeg and ffprobe may give no sign of life while they are waited for.
pub const CHILD_TIMEOUT: &str = "EGOFX_CHILD_TIMEOUT";

/// The variable that says what `--device` is where a command does not.
pub const DEVICE: &str = "EGOFX_DEVICE";

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

/// The variables by which tools of AWS, and of all that speaks S3, are told credentials, region and endpoint: those whose names
/// begin with `AWS_`.
pub fn aws_variables() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.into_string().ok();
    let all = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    all.filter(|(name, _)| name.starts_with("AWS_")).collect()
}

/// The user's folder for what can be made again, our part of it.
pub fn caches() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")))?;
    Some(caches.join("egofx"))
}

/// The folder for what need not last.
pub fn scratch() -> PathBuf {
    std::env::temp_dir()
}

/// What `--shard` was given, and who said so where that was `auto`.
#[derive(Debug, Clone)]
pub struct ShardOption {
    /// The part.
    pub shard: Shard,
    /// The engine that said so.
    pub by: Option<String>,
}

impl ShardOption {
    /// What to tell of it: which part, and which engine gave it; nothing where it was given.
    pub fn told(&self) -> Option<String> {
        Some(format!("part {} by {}", self.shard, self.by.as_ref()?))
    }
}

/// Reads `--shard`: `I/N`, or `auto` for what the engine that started this process says in the environment.
///
/// # Errors
/// Neither, or an environment that says nothing or too much; as text.
pub fn shard(text: &str) -> Result<ShardOption, String> {
    if text != "auto" {
        let shard = text.parse().map_err(|error: ShardError| error.to_string())?;
        return Ok(ShardOption { shard, by: None });
    }
    let found = auto::detect(&|name| std::env::var(name).ok()).map_err(|error| error.to_string())?;
    Ok(ShardOption { shard: found.shard, by: Some(found.by) })
}

/// Folders that may hold `.runtime/`, `onnx/` or the packages that a wheel stands on, in the order in which they are looked at:
/// the working folder; the program's and those above it (in a checkout, the program lies two folders down); the Python
/// environment that the program is installed in, active or not; the active one.
pub fn bases() -> Vec<PathBuf> {
    let program = std::env::current_exe().and_then(|exe| exe.canonicalize()).unwrap_or_default();
    let above = program.ancestors().skip(1).take(3).map(Path::to_owned);
    let own = program.parent().filter(|folder| folder.ends_with("bin")).and_then(Path::parent).map(Path::to_owned);
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let environments = own.into_iter().chain(active).flat_map(|prefix| installed_in(&prefix));
    std::env::current_dir().into_iter().chain(above).chain(environments).collect()
}

/// Where the Python environment `prefix` keeps what is installed: a wheel's data, packages, conda's libraries.
fn installed_in(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = vec![prefix.join("share/egofx")];
    for lib in ["lib", "lib64"].map(|name| prefix.join(name)) {
        let names = std::fs::read_dir(&lib).into_iter().flatten().flatten();
        let mut versions: Vec<_> =
            names.filter(|entry| entry.file_name().to_string_lossy().starts_with("python3")).collect();
        versions.sort_by_key(std::fs::DirEntry::file_name);
        // Debian's own Python calls them otherwise.
        let packages =
            |entry: &std::fs::DirEntry| ["site-packages", "dist-packages"].map(|name| entry.path().join(name));
        folders.extend(versions.iter().rev().flat_map(packages));
        folders.push(lib);
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// The folder for what this user can do without and that should outlast a run; `None` where there is none.
pub fn cache() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache"))).map(|folder| folder.join("egofx"))
}

/// Folders in which the system looks for programs.
pub fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|folders| std::env::split_paths(&folders).collect()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_an_environment_are_found_newest_python_first() {
        let prefix = tempfile::tempdir().unwrap();
        let made = [
            "share/egofx",
            "lib/python3.11/site-packages",
            "lib/python3.12/site-packages",
            "lib/python3/dist-packages",
        ];
        for folder in made.into_iter().chain(["lib/other/site-packages", "bin"]) {
            std::fs::create_dir_all(prefix.path().join(folder)).unwrap();
        }
        let found = installed_in(prefix.path());
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(prefix.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [made[0], made[2], made[1], made[3], "lib"]);
    }
}
