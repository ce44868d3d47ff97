//! Whether a file system does what claims stand on, as far as one node can tell by trying.
//!
//! Not a proof: what two nodes see of each other is not tried. A file system that fails here fails there too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use super::error::{ClaimError, of};

/// How many ask at the same time, and how often.
const THREADS: usize = 4;
const ROUNDS: usize = 8;

/// Tries exclusive creation and renaming in `folder`, in files of the worker `run`.
///
/// # Errors
/// [`ClaimError::NotAtomic`], [`ClaimError::Io`].
pub(super) fn try_out(folder: &Path, run: &str) -> Result<(), ClaimError> {
    let wrong = |what: String| ClaimError::NotAtomic { folder: folder.to_owned(), what };
    for round in 0..ROUNDS {
        let path = folder.join(format!("{run}-{round}.probe"));
        let (made, renamed) = (at_once(|_| create(&path)), at_once(|thread| replace(&path, thread)));
        let left = fs::read(&path);
        let _ = fs::remove_file(&path);
        let made = made.into_iter().collect::<io::Result<Vec<bool>>>().map_err(of("create", &path))?;
        match made.iter().filter(|made| **made).count() {
            1 => {}
            n => return Err(wrong(format!("gave one name to {n} of {THREADS} that asked for it exclusively"))),
        }
        renamed.into_iter().collect::<io::Result<()>>().map_err(of("rename a file to", &path))?;
        let left = left.map_err(of("read", &path))?;
        if left.len() != CONTENT || left.iter().any(|byte| *byte != left[0]) {
            return Err(wrong(format!(
                "left a file of {} bytes where whole ones of {CONTENT} were renamed to",
                left.len()
            )));
        }
    }
    Ok(())
}

/// Bytes of a file that is renamed.
const CONTENT: usize = 512;

fn at_once<T: Send>(work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let (start, work) = (Barrier::new(THREADS), &work);
    let start = &start;
    thread::scope(|scope| {
        let run = |thread| {
            scope.spawn(move || {
                start.wait();
                work(thread)
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("nothing panics here")).collect()
    })
}

fn create(path: &Path) -> io::Result<bool> {
    match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        file => file.map(|_| true),
    }
}

fn replace(path: &Path, thread: usize) -> io::Result<()> {
    let own = path.with_extension(format!("{thread}-probe"));
    let written = File::create(&own).and_then(|mut file| file.write_all(&[b'0' + thread as u8; CONTENT]));
    written.and_then(|()| fs::rename(&own, path)).inspect_err(|_| drop(fs::remove_file(&own)))
}
