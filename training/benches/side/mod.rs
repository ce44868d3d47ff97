//! The other side of a benchmark: a PyTorch program in a process of its own, which answers lines with JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A running program.
pub struct Theirs {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Theirs {
    /// Starts `script` of this folder with the packages of `make setup-torch`.
    pub fn start(script: &str, folder: &Path, arguments: &[String]) -> Fallible<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let packages: PathBuf = root.join("../.runtime/torch");
        if !packages.is_dir() {
            return Err(format!("{} is absent: run `make setup-torch`", packages.display()).into());
        }
        let mut child = Command::new("python3")
            .arg(root.join("benches").join(script))
            .arg(folder)
            .args(arguments)
            .env("PYTHONPATH", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no standard input")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        Ok(Self { child, stdin, stdout })
    }

    /// The answer to a line.
    pub fn ask(&mut self, what: &str) -> Fallible<Value> {
        writeln!(self.stdin, "{what}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// A number in the answer to a line.
    pub fn number(&mut self, what: &str, name: &str) -> Fallible<f64> {
        let answer = self.ask(what)?;
        answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}").into())
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
