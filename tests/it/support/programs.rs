//! Which ffmpeg and ffprobe the tests use: those that `egofx` finds by itself, and for comparison those of the PATH.
//!
//! `make setup` puts static builds into `.runtime/ffmpeg`, which the program looks into first. With `EGOFX_TEST_FFMPEG=PATH`
//! the tests stand where that folder links to the programs of the PATH instead (`make test-videos`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use egofx::decode::Tools;

use super::{checkout, graphs};

const NAMES: [&str; 2] = ["ffmpeg", "ffprobe"];

/// The programs that `egofx` itself would find when run in [`base`].
pub fn tools() -> Tools {
    static TOOLS: LazyLock<Tools> = LazyLock::new(|| {
        Tools::find(None, None, &[base().to_owned()]).expect("ffmpeg and ffprobe are needed; run `make setup`")
    });
    TOOLS.clone()
}

/// The folder whose `.runtime` the tests use: the checkout, or one that links to the same but for ffmpeg.
pub fn base() -> &'static Path {
    static BASE: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var("EGOFX_TEST_FFMPEG").as_deref() {
        Err(_) => checkout().to_owned(),
        Ok("PATH") => on_the_path(),
        Ok(other) => panic!("EGOFX_TEST_FFMPEG is {other:?}, expected PATH or nothing"),
    });
    &BASE
}

fn on_the_path() -> PathBuf {
    let found = machines().expect("EGOFX_TEST_FFMPEG asks for the ffmpeg and ffprobe of the PATH");
    let folder = graphs::shared("ffmpeg_of_the_path");
    let runtime = folder.join(".runtime");
    fs::create_dir_all(runtime.join("ffmpeg")).unwrap();
    for entry in fs::read_dir(checkout().join(".runtime")).unwrap().map(Result::unwrap) {
        if entry.file_name() != "ffmpeg" {
            symlink(entry.path(), runtime.join(entry.file_name())).unwrap();
        }
    }
    for (program, name) in [&found.ffmpeg, &found.ffprobe].into_iter().zip(NAMES) {
        symlink(program, runtime.join("ffmpeg").join(name)).unwrap();
    }
    folder
}

/// The ffmpeg and ffprobe of the PATH: of a distribution, where `make test` runs. `None` if it has none, which is told.
pub fn machines() -> Option<Tools> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let [Some(ffmpeg), Some(ffprobe)] = NAMES.map(find) else {
        eprintln!(
            "not compared: no ffmpeg and ffprobe on the PATH; `make setup-test` installs them where there is apt-get"
        );
        return None;
    };
    Some(Tools::find(Some(&ffmpeg), Some(&ffprobe), &[]).unwrap())
}

/// Whether `program` loads libraries when it starts, and so may be given one more.
pub fn loads_libraries(program: &Path) -> bool {
    Command::new("ldd").arg(program).output().unwrap().status.success()
}
