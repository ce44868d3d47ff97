//! Files that a command writes, together or not at all, and never over something else unasked.
//!
//! Invariant: a command that is given again finds what it wrote and leaves that as it is, its time too, so that neither make
//! nor a person meets an error; of several outputs none is written before all may be.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use anyhow::{Context, ensure};

use egofx::durable::{self, Existing, Partial};

/// A file to be written, and what writes it.
pub struct Output<'o> {
    /// Its place.
    pub path: &'o Path,
    /// Writes its content; the same content every time.
    pub write: &'o dyn Fn(&mut dyn Write) -> anyhow::Result<()>,
}

/// Writes all `outputs`, or none of them. One that holds the same content already is left as it is.
///
/// # Errors
/// One that holds another content, unless `force` is given; nothing is written then.
pub fn write_all(outputs: &[Output], force: bool) -> anyhow::Result<()> {
    let mut absent = Vec::new();
    for output in outputs {
        durable::clean(output.path).with_context(|| output.path.display().to_string())?;
        if !holds(output)? {
            let free = force || !output.path.exists();
            ensure!(free, "{} exists already and holds something else; --force overwrites it", output.path.display());
            absent.push(output);
        }
    }
    let made = absent.iter().map(|output| make(output)).collect::<anyhow::Result<Vec<Partial>>>()?;
    Ok(durable::commit_all(made, if force { Existing::Replace } else { Existing::Refuse })?)
}

/// A file beside its place.
fn make(output: &Output) -> anyhow::Result<Partial> {
    let made = Partial::begin(output.path).map_err(anyhow::Error::from).and_then(|partial| {
        partial.fill(anyhow::Error::from, |file| {
            let mut heard = Heard { file, failed: None };
            // Whoever writes may have put the device's words into others.
            (output.write)(&mut heard).map_err(|error| heard.failed.map_or(error, anyhow::Error::from))
        })?;
        Ok(partial)
    });
    made.with_context(|| output.path.display().to_string())
}

/// Keeps what a device said.
struct Heard<W> {
    file: W,
    failed: Option<io::Error>,
}

impl<W: Write> Heard<W> {
    fn hear<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        let again = |error: &io::Error| error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error);
        done.inspect_err(|error| self.failed = Some(again(error)))
    }
}

impl<W: Write> Write for Heard<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes);
        self.hear(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.file.flush();
        self.hear(flushed)
    }
}

/// Whether the file holds already, byte for byte, what would be written.
fn holds(output: &Output) -> anyhow::Result<bool> {
    let Ok(file) = File::open(output.path) else { return Ok(false) };
    let mut same = Same { there: BufReader::new(file), so_far: true };
    (output.write)(&mut same)?;
    Ok(same.so_far && same.there.read(&mut [0]).is_ok_and(|more| more == 0))
}

/// Compares what is written to it with what is there.
struct Same<R> {
    there: R,
    so_far: bool,
}

impl<R: Read> Write for Same<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.so_far {
            let mut there = vec![0; bytes.len()];
            // What cannot be read, a folder for instance, is something else.
            self.so_far = self.there.read_exact(&mut there).is_ok() && there == bytes;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(path: &Path, text: &'static str, force: bool) -> Result<(), String> {
        let write = |out: &mut dyn Write| Ok(out.write_all(text.as_bytes())?);
        write_all(&[Output { path, write: &write }], force).map_err(|error| error.to_string())
    }

    #[test]
    fn the_same_content_is_left_alone_and_another_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/list.csv");
        write(&path, "a,b\n", false).unwrap();
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        write(&path, "a,b\n", false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), written, "not even touched");
        for other in ["a,b\nc\n", "a,b", "a;b\n", ""] {
            let error = write(&path, other, false).unwrap_err();
            assert!(
                error.ends_with("list.csv exists already and holds something else; --force overwrites it"),
                "{error}"
            );
        }
        write(&path, "a,b", true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b");
        assert!(write(folder.path(), "a", false).unwrap_err().contains("exists already"), "a folder");
    }

    #[test]
    fn of_two_files_none_is_written_where_one_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a.csv", "a.queries.csv"].map(|name| folder.path().join(name));
        fs::write(&second, "mine").unwrap();
        let write = |out: &mut dyn Write| Ok(out.write_all(b"list")?);
        let both = [&first, &second].map(|path| Output { path, write: &write });
        assert!(write_all(&both, false).unwrap_err().to_string().contains("a.queries.csv exists already"));
        assert!(!first.exists());
        write_all(&both, true).unwrap();
        assert_eq!([&first, &second].map(|path| fs::read_to_string(path).unwrap()), ["list", "list"]);
    }
}
