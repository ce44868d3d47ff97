//! Where programs are that are called by their names.
//!
//! Not for which folders those are, which command lines know. Invariant: what is found may be executed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program `name` in the first of `folders` that has it.
pub fn find(name: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| is_executable(path))
}

/// Whether there is a file that may be executed.
pub fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_that_may_be_executed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c", "d"].map(|name| folder.path().join(name));
        for (place, mode) in folders.iter().zip([0o644, 0o755, 0o755]) {
            fs::create_dir(place).unwrap();
            fs::write(place.join("program"), "").unwrap();
            fs::set_permissions(place.join("program"), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(folders[0].join("folder")).unwrap();
        assert_eq!(find(Path::new("program"), &folders), Some(folders[1].join("program")));
        assert_eq!(find(Path::new("folder"), &folders), None);
        assert_eq!(find(Path::new("program"), &[]), None);
    }
}
