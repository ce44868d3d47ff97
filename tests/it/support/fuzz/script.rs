//! Programs written by tests.
//!
//! A file that is open for writing in any process cannot be run ("text file busy"), and a child that another thread is about
//! to start holds copies of this process's descriptors. So the file is written by a shell, and never open here.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable file.
pub fn write_executable(path: &Path, text: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{} was not written", path.display());
}
