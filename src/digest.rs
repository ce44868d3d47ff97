//! SHA-256 of texts and files, in lower-case hexadecimal: how graphs, recipes, sources and feature files are told apart.
//!
//! Not for deciding what to hash. Invariant: a file is read in pieces, however long it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

const MIB: u64 = 1 << 20;

/// The digest of what is written to it.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes in `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything that was written.
    pub fn finish(self) -> String {
        hex(self.0.finalize().as_slice())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Digest of a text.
pub fn text(text: &str) -> String {
    hex(Sha256::digest(text.as_bytes()).as_slice())
}

/// Length in bytes and digest of a file.
///
/// # Errors
/// Those of the file system.
pub fn file(path: &Path) -> io::Result<(u64, String)> {
    let mut hasher = Hasher::default();
    let length = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((length, hasher.finish()))
}

/// Digest over a file's length and its first and last MiB: enough to tell downloads apart without reading hours of video.
///
/// # Errors
/// Those of the file system.
pub fn ends(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut bytes = length.to_le_bytes().to_vec();
    (&mut file).take(MIB).read_to_end(&mut bytes)?;
    file.seek(SeekFrom::Start(length.saturating_sub(MIB)))?;
    file.take(MIB).read_to_end(&mut bytes)?;
    Ok(hex(Sha256::digest(&bytes).as_slice()))
}

/// [`ends`] of a video in one or several files: of several, the digest of their digests.
///
/// # Errors
/// Those of the file system.
pub fn ends_of(paths: &[&Path]) -> io::Result<String> {
    if let [path] = paths {
        return ends(path);
    }
    let digests = paths.iter().map(|path| ends(path)).collect::<io::Result<Vec<_>>>()?;
    Ok(text(&digests.join("\n")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_standards() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text("abc"), abc);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(file(&path).unwrap(), (3, abc.to_owned()));
    }

    #[test]
    fn the_ends_of_a_long_file_tell_it_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut bytes = vec![7; 3 << 20];
        std::fs::write(&path, &bytes).unwrap();
        let before = ends(&path).unwrap();
        *bytes.last_mut().unwrap() = 8;
        std::fs::write(&path, &bytes).unwrap();
        assert_ne!(ends(&path).unwrap(), before);
    }
}
