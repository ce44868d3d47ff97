//! From a command of egofx that takes `--shard` to what an engine takes: a batch script, a manifest.
//!
//! Text only: nothing is read, written or started here. Invariants: every word of the command reaches the engine as the one word
//! that it was; whoever ends with 75 is called again, whoever is killed a bounded number of times, and what failed stays so.

pub mod hyperqueue;
pub mod k8s;
pub mod local;
mod parts;
mod quote;
pub mod slurm;

use std::path::PathBuf;

pub use parts::Parts;

use crate::shell::{self, quoted};

/// What is to be run: a command, cut into parts.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name in queues.
    pub name: String,
    /// The program and its arguments, without `--shard`.
    pub command: Vec<String>,
    /// The folder in which it is run, to which its relative paths refer.
    pub folder: String,
    /// The folder for what the parts say.
    pub logs: String,
    /// The parts.
    pub parts: Parts,
    /// Cores of each part; nothing: what the engine gives.
    pub cpus: Option<u32>,
    /// GPUs of each part.
    pub gpus: u32,
    /// Seconds that a part may take after a signal, as its `--grace` says.
    pub grace_sec: u64,
    /// How often a part is begun again after it was killed.
    pub retries: u32,
}

/// Why there is no script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A text that scripts cannot hold.
    #[error("{what} {text:?} has {found}, which {engine} cannot be given")]
    Text {
        /// What it is.
        what: &'static str,
        /// The text.
        text: String,
        /// What it must not have.
        found: &'static str,
        /// The engine.
        engine: &'static str,
    },
    /// A path that is no UTF-8.
    #[error("{}: expected a path in UTF-8, for a script is a text", .0.display())]
    NotText(PathBuf),
    /// More parts than there is work for.
    #[error(
        "--shards {count}: expected at most {videos}, the number of videos of the plan, for a video is in one part"
    )]
    TooMany {
        /// Parts that were asked for.
        count: u32,
        /// Videos of the plan.
        videos: usize,
    },
    /// A job that is over before it can be warned of its end.
    #[error(
        "--time {}: a part is warned {warn_sec} s before its time is over (--grace and a minute), so that it would be stopped as \
         soon as it begins: give more than twice that, or a shorter --grace",
        slurm::time(*.time_sec)
    )]
    TooShort {
        /// The time that was asked for, in seconds.
        time_sec: u64,
        /// How long before its end a part is warned, in seconds.
        warn_sec: u64,
    },
    /// An option of the engine that the script depends on.
    #[error("{option}: the script depends on its own; {instead}")]
    Owned {
        /// The option.
        option: String,
        /// What to give instead.
        instead: &'static str,
    },
    /// A text that is not what an option takes.
    #[error("{what} {found:?}: expected {expected}")]
    Form {
        /// The option.
        what: &'static str,
        /// What was given.
        found: String,
        /// What would have done.
        expected: &'static str,
    },
}

impl Job {
    /// The lines by which a script's reader knows what it is: comments, each beginning with `#`.
    fn heading(&self, engine: &str, how: &[String]) -> String {
        let Parts { count, .. } = self.parts;
        let which = if self.parts.is_all() { String::new() } else { format!(", of which {}", self.parts) };
        let (version, s) = (env!("CARGO_PKG_VERSION"), if count == 1 { "" } else { "s" });
        let mut lines = format!("# Made by egofx {version} for {engine}: {count} part{s}{which} of\n");
        lines += &format!("#   {}\n", quote::comment(&shell::line(&self.command)));
        how.iter().for_each(|line| lines += &format!("# {}\n", quote::comment(line)));
        lines
    }

    /// What all scripts of shells begin with, behind their comments; `more` are assignments of one engine.
    fn settings(&self, more: &str) -> String {
        let (of, retries) = (self.parts.count, self.retries);
        let (command, folder) = (shell::line(&self.command), quoted(&self.folder));
        format!("\nset -u\nof={of} retries={retries}\n{more}command=({command})\ncd -- {folder} || exit 2\n\n")
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::{Job, Parts};

    /// A job with all that has to be quoted.
    pub fn job() -> Job {
        let command = ["/opt/egofx", "extract", "-m", "my list.csv", "-p", "it's.toml", "-o", "/shared/features"];
        Job {
            name: "egofx-extract".into(),
            command: command.map(str::to_owned).to_vec(),
            folder: "/home/me/a \"b\" $c".into(),
            logs: "/shared/features/logs".into(),
            parts: Parts::all(16),
            cpus: Some(8),
            gpus: 0,
            grace_sec: 20,
            retries: 3,
        }
    }
}
