//! Waiting until files and names are on the device.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes new names in `folder` survive a power cut.
///
/// # Errors
/// Those of the file system. Some network and FUSE file systems cannot sync a folder; their renames are as durable as they
/// get.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|file| file.sync_all()) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Waits until the bytes of `path` are on the device; this is where a late "disk full" shows.
///
/// # Errors
/// Those of the file system.
pub fn sync_file(path: &Path) -> io::Result<()> {
    // Opened for writing because some network file systems flush only then.
    File::options().write(true).open(path)?.sync_all()
}
