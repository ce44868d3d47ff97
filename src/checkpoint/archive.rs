//! The archive that `torch.save` makes: a zip of stored entries, each aligned.
//!
//! Not for pickles. Invariant: an error of the device is the caller's, and the first one; the library that lays out the
//! archive never meets one, because it panics or goes on where it cannot write.

use std::cell::Cell;
use std::io::{self, Seek, SeekFrom, Write};
use std::rc::Rc;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Alignment of tensors, which is torch's own.
const ALIGNMENT: u16 = 64;
/// The folder inside of it; torch takes any.
const ROOT: &str = "archive";

/// An archive in the making.
pub(super) struct Archive<W: Write + Seek> {
    zip: ZipWriter<Steady<W>>,
    /// The first error of the device, until somebody has been told.
    error: Rc<Cell<Option<io::Error>>>,
}

impl<W: Write + Seek> Archive<W> {
    /// An empty archive, written to `out`.
    pub fn new(out: W) -> Self {
        let error = Rc::new(Cell::new(None));
        let steady = Steady { out, at: 0, length: 0, failed: false, error: error.clone() };
        Self { zip: ZipWriter::new(steady), error }
    }

    /// Adds the entry `name`.
    ///
    /// # Errors
    /// Those of the device; some show only at [`finish`](Self::finish).
    pub fn entry(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .with_alignment(ALIGNMENT);
        self.zip.start_file(format!("{ROOT}/{name}"), options)?;
        self.zip.write_all(bytes)?;
        self.error.take().map_or(Ok(()), Err)
    }

    /// Writes the directory and flushes.
    ///
    /// # Errors
    /// The first that the device gave.
    pub fn finish(self) -> io::Result<()> {
        let mut steady = self.zip.finish()?;
        match self.error.take() {
            Some(error) => Err(error),
            None => steady.out.flush(),
        }
    }
}

/// Takes everything; after the first error of `out` nothing is written any more.
struct Steady<W> {
    out: W,
    at: u64,
    length: u64,
    failed: bool,
    error: Rc<Cell<Option<io::Error>>>,
}

impl<W> Steady<W> {
    fn attempt<T>(&mut self, what: impl FnOnce(&mut W) -> io::Result<T>) {
        if !self.failed
            && let Err(error) = what(&mut self.out)
        {
            self.failed = true;
            self.error.set(Some(error));
        }
    }
}

impl<W: Write + Seek> Write for Steady<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|out| out.write_all(bytes));
        self.at += bytes.len() as u64;
        self.length = self.length.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write + Seek> Seek for Steady<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        self.attempt(|out| out.seek(SeekFrom::Start(at)));
        self.at = at;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A device with room for so many bytes.
    struct Small(Cursor<Vec<u8>>, usize);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.position() as usize + bytes.len() > self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Small {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    fn write(out: impl Write + Seek) -> io::Result<()> {
        let mut archive = Archive::new(out);
        archive.entry("data.pkl", b"pickle")?;
        archive.entry("data/0", &[7; 100])?;
        archive.finish()
    }

    #[test]
    fn a_device_that_is_full_at_any_byte_is_an_error_and_no_panic() {
        let mut whole = Cursor::new(Vec::new());
        write(&mut whole).unwrap();
        let length = whole.get_ref().len();
        write(Small(Cursor::new(Vec::new()), length)).unwrap();
        for room in 0..length {
            let error = write(Small(Cursor::new(Vec::new()), room)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room} of {length} bytes");
        }
    }
}
