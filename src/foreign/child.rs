//! A process of its own that reads foreign files: the same program, started with [`ARGUMENT`], that answers requests.
//!
//! Requests go to its stdin, answers come from its stdout, as frames of a length and bytes. Not for what is asked: programs
//! say what they answer, see [`serve`]. Invariant: a process that was asked about one file is never asked about another, and
//! none that has failed is asked again.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::limits;

/// The only argument of a process that serves.
pub const ARGUMENT: &str = "__read-foreign";
/// Longest wait for the next bytes of an answer. Loops are ended by their processor time long before: this is for a process
/// that is stopped and for file systems that do not answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// Longest part of a request, in bytes.
const LONGEST_PART: u64 = 1 << 20;
/// Answers begin with one of these.
const DONE: u8 = b'+';
const REFUSED: u8 = b'-';

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How, by a word that the serving program knows.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What in it, an object's name for instance; may be empty.
    pub name: String,
}

/// Why there is no answer about a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// What the reader says of the file.
    #[error("{0}")]
    Refused(String),
    /// The reader ended without an answer.
    #[error("damage by which its reader {}", ended(.0))]
    Ended(ExitStatus),
    /// The reader was silent for too long and was ended.
    #[error("a file about which its reader says nothing for {} s", LONGEST_SILENCE.as_secs())]
    Silent,
    /// No reader could be started, or it could not be talked to.
    #[error("no process to read it in: {0}")]
    Io(#[from] io::Error),
}

/// What ended a reader, in words.
fn ended(status: &ExitStatus) -> impl fmt::Display {
    match status.signal() {
        Some(libc::SIGPROF) => "comes to no end".to_owned(),
        Some(libc::SIGABRT) => "gives up (it asks for more memory than the file's length allows, or aborts)".to_owned(),
        Some(libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL) => "crashes".to_owned(),
        _ => format!("stops ({status})"),
    }
}

/// The program that serves, once it is known.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
/// The process that was asked last.
static LAST: Mutex<Option<Child>> = Mutex::new(None);

/// From here on foreign files that C code reads are read by processes of `program`, which calls [`serve`] when its only
/// argument is [`ARGUMENT`]. Programs that never call this read such files themselves.
pub fn isolate(program: &Path) {
    let _ = PROGRAM.set(program.to_owned());
}

/// What a process of its own answers; `None` if no program serves, and the caller reads the file itself.
pub fn ask(request: &Request) -> Option<Result<Vec<u8>, Fault>> {
    let program = PROGRAM.get()?;
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let child = last.take().filter(|child| child.path == request.path);
    let answer = child.map_or_else(|| Child::start(program, &request.path), Ok).and_then(|mut child| {
        let answer = child.ask(request)?;
        *last = Some(child);
        Ok(answer)
    });
    Some(answer)
}

/// A process that reads one file.
struct Child {
    path: PathBuf,
    process: process::Child,
    requests: ChildStdin,
    answers: BufReader<Watched>,
}

impl Child {
    fn start(program: &Path, path: &Path) -> Result<Self, Fault> {
        let mut command = Command::new(program);
        command.arg0("egofx").arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (requests, answers) = pipes.ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Self { path: path.to_owned(), process, requests, answers: BufReader::new(Watched(answers)) })
    }

    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Fault> {
        match self.exchange(request) {
            Ok((DONE, answer)) => Ok(answer),
            Ok((_, words)) => Err(Fault::Refused(String::from_utf8_lossy(&words).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::Silent),
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
                Err(Fault::Ended(self.process.wait()?))
            }
            Err(error) => Err(Fault::Io(error)),
        }
    }

    fn exchange(&mut self, request: &Request) -> io::Result<(u8, Vec<u8>)> {
        for part in [request.what.as_bytes(), request.path.as_os_str().as_bytes(), request.name.as_bytes()] {
            write_frame(&mut self.requests, part)?;
        }
        let mut kind = [0];
        self.answers.read_exact(&mut kind)?;
        Ok((kind[0], read_frame(&mut self.answers, u64::MAX)?))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may hang; what is over already cannot be killed, and that is no failure.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pipe that is not waited for without end.
struct Watched(ChildStdout);

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let most = libc::c_int::try_from(LONGEST_SILENCE.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one structure, which lives through the call.
        match unsafe { libc::poll(&raw mut pipe, 1, most) } {
            0 => Err(io::ErrorKind::TimedOut.into()),
            found if found < 0 => Err(io::Error::last_os_error()),
            _ => self.0.read(into),
        }
    }
}

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

fn read_frame(from: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut bytes = Vec::new();
    if length > most || from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// Serves requests of stdin until it ends: `answer` gives the bytes of an answer, or words about the file. Ends behind the
/// first file that is refused, since a library may have been harmed by it.
///
/// # Errors
/// Pipes that cannot be used, limits that cannot be set.
pub fn serve(answer: impl Fn(&str, &Path, &str) -> Result<Vec<u8>, String>) -> io::Result<()> {
    limits::begin()?;
    let (mut requests, mut answers) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let Ok(what) = read_frame(&mut requests, LONGEST_PART) else { return Ok(()) };
        let path = PathBuf::from(OsString::from_vec(read_frame(&mut requests, LONGEST_PART)?));
        let name = String::from_utf8_lossy(&read_frame(&mut requests, LONGEST_PART)?).into_owned();
        limits::renew(std::fs::metadata(&path).map_or(0, |file| file.len()))?;
        let read = super::parse(|| answer(&String::from_utf8_lossy(&what), &path, &name));
        limits::rest()?;
        let (kind, bytes) = match read {
            Ok(Ok(bytes)) => (DONE, bytes),
            Ok(Err(words)) => (REFUSED, words.into_bytes()),
            Err(panicked) => (REFUSED, panicked.to_string().into_bytes()),
        };
        answers.write_all(&[kind])?;
        write_frame(&mut answers, &bytes)?;
        if kind == REFUSED {
            return Ok(());
        }
    }
}

/// Whether a program with these arguments, its own name first, is to [`serve`].
pub fn is_asked(mut arguments: impl Iterator<Item = OsString>) -> bool {
    let serves = arguments.nth(1).is_some_and(|argument| argument == OsStr::new(ARGUMENT));
    serves && arguments.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_and_never_beyond_their_end() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, b"abc").unwrap();
        write_frame(&mut bytes, b"").unwrap();
        let mut rest = &bytes[..];
        assert_eq!(read_frame(&mut rest, 3).unwrap(), b"abc");
        assert_eq!(read_frame(&mut rest, 3).unwrap(), b"");
        assert!(read_frame(&mut rest, 3).is_err());
        assert!(read_frame(&mut &bytes[..], 2).is_err());
        assert!(read_frame(&mut &bytes[..10], 3).is_err());
        assert!(read_frame(&mut &u64::MAX.to_le_bytes()[..], u64::MAX).is_err());
    }

    fn request(path: &str) -> Request {
        Request { what: "x", path: path.into(), name: String::new() }
    }

    /// What becomes of a request to a program that does as `script` says.
    fn asked(script: &str) -> Fault {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("reader");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Child::start(&program, Path::new("f")).unwrap().ask(&request("f")).unwrap_err()
    }

    #[test]
    fn a_reader_that_dies_is_told_by_how_it_died() {
        let said = |script: &str| asked(&format!("head -c 20 > /dev/null; {script}")).to_string();
        assert_eq!(said("kill -SEGV $$"), "damage by which its reader crashes");
        assert_eq!(said("kill -PROF $$"), "damage by which its reader comes to no end");
        assert!(said("kill -ABRT $$").contains("more memory than the file's length allows"));
        assert!(said("exit 3").contains("stops (exit status: 3)"));
        assert_eq!(said("printf -- '-\\4\\0\\0\\0\\0\\0\\0\\0torn'"), "torn");
    }

    #[test]
    fn only_the_argument_alone_asks_a_program_to_serve() {
        let asked = |arguments: &[&str]| is_asked(arguments.iter().map(OsString::from));
        assert!(asked(&["egofx", ARGUMENT]));
        assert!(!asked(&["egofx", ARGUMENT, "x"]) && !asked(&["egofx"]) && !asked(&[ARGUMENT]));
    }
}
