//! Features in the forms that other people's training code reads: one file for each consumer, one line in [`CONSUMERS`].
//!
//! Not for computing anything anew: rows pass as they are, unless an option says otherwise, and then the output says it
//! too. Invariant: an output is complete under its name or not there, and memory does not grow with the number of units.

mod actionformer;
mod clips;
mod ego4d;
mod egovlp;
mod egovlpv2;
mod error;
mod groundnlq;
mod hdf5;
mod moments;
mod npy;
mod output;
mod parquet;
mod qfvs;
mod snag;
mod text;
mod vsgn;
mod vslnet;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

pub use clips::Clips;
pub use error::ConvertError;
pub use output::Output;

use crate::features::Source;
use crate::queries::Queries;
use crate::store::{Contract, RowKind};

/// The file beside every output that says what it is, where it came from and what was done to it.
pub const METADATA_FILE: &str = "egofx.json";

/// A form of output: adding one takes a file that has such a constant, and its line in [`CONSUMERS`].
pub struct Consumer {
    /// The name by which it is asked for.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What it needs.
    pub takes: Takes,
    /// Writes everything but the metadata.
    pub write: fn(&Job, &Output) -> Result<Written, ConvertError>,
}

/// What a consumer needs.
pub struct Takes {
    /// What the rows of its features may be; empty for one that takes no features.
    pub rows: &'static [RowKind],
    /// Whether it needs the table of queries.
    pub queries: Need,
    /// Whether it takes a second store, of tokens.
    pub tokens: Need,
    /// Whether it asks where clips lie in their videos.
    pub clips: Need,
}

/// How much an input is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It cannot do without.
    Required,
    /// It does more with it.
    Optional,
    /// It does not look at it.
    Unused,
}

/// Everything that a consumer may look at.
pub struct Job {
    /// The features; `None` only for a consumer that takes none.
    pub source: Option<Source>,
    /// Token features of the queries.
    pub tokens: Option<Source>,
    /// Rows of shots by which videos are cut into segments.
    pub shots: Option<Source>,
    /// The folder of the concepts of every shot.
    pub tags: Option<PathBuf>,
    /// What is asked about the clips.
    pub queries: Option<Queries>,
    /// Where clips lie in their videos.
    pub clips: Clips,
    /// Positions of VSLNet, for labels that count in them.
    pub max_positions: usize,
    /// Numbers of classes, by name; made from the labels if there is none.
    pub classes: Option<PathBuf>,
}

/// What a consumer wrote.
#[derive(Debug, Default, Serialize)]
pub struct Written {
    /// Clips, queries or whatever has a file or record of its own.
    pub units: usize,
    /// Rows of all of them.
    pub rows: u64,
    /// What a person should know, left-out records above all.
    pub notes: Vec<String>,
}

/// All consumers.
pub const CONSUMERS: &[Consumer] = &[
    egovlp::CONSUMER,
    ego4d::CONSUMER,
    egovlpv2::CONSUMER,
    vslnet::CONSUMER,
    actionformer::CONSUMER,
    groundnlq::CONSUMER,
    snag::CONSUMER,
    qfvs::CONSUMER,
    text::NUMPY,
    text::TORCH,
    hdf5::CONSUMER,
    parquet::CONSUMER,
];

impl Consumer {
    /// The consumer called `name`, or [`ConvertError::Unknown`].
    ///
    /// # Errors
    /// [`ConvertError::Unknown`].
    pub fn named(name: &str) -> Result<&'static Self, ConvertError> {
        let known = || CONSUMERS.iter().map(|consumer| consumer.name).collect::<Vec<_>>().join(", ");
        let unknown = || ConvertError::Unknown { found: name.to_owned(), known: known() };
        CONSUMERS.iter().find(|consumer| consumer.name == name).ok_or_else(unknown)
    }

    fn check(&self, job: &Job) -> Result<(), ConvertError> {
        let needs = |what| Err(ConvertError::Needs { format: self.name, what });
        let Takes { rows, queries, tokens, clips: _ } = &self.takes;
        if rows.is_empty() && job.source.as_ref().is_some_and(|source| source.join().is_some()) {
            return Err(ConvertError::NothingToJoin { format: self.name });
        }
        match &job.source {
            None if !rows.is_empty() => return needs("a feature set"),
            Some(source) if !rows.is_empty() => expect_rows(self.name, source, rows)?,
            _ => {}
        }
        match &job.tokens {
            None if *tokens == Need::Required => return needs("a feature set of tokens (--tokens DIR)"),
            Some(source) => expect_rows(self.name, source, &[RowKind::Token])?,
            None => {}
        }
        if job.queries.is_none() && *queries == Need::Required {
            return needs("the table of queries (--queries FILE), which `egofx manifest` writes");
        }
        Ok(())
    }
}

fn expect_rows(format: &'static str, source: &Source, rows: &[RowKind]) -> Result<(), ConvertError> {
    if rows.contains(&source.rows()) {
        return Ok(());
    }
    let expected = rows.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
    Err(ConvertError::WrongRows { path: source.path().to_owned(), format, expected, found: source.rows() })
}

impl Job {
    /// The features, of a consumer that takes some.
    fn source(&self) -> Result<&Source, ConvertError> {
        self.source.as_ref().ok_or(ConvertError::Needs { format: "this format", what: "a feature set" })
    }

    /// The tokens, of a consumer that takes some.
    fn tokens(&self) -> Result<&Source, ConvertError> {
        self.tokens.as_ref().ok_or(ConvertError::Needs { format: "this format", what: "a feature set of tokens" })
    }

    /// The queries, of a consumer that takes some.
    fn queries(&self) -> Result<&Queries, ConvertError> {
        self.queries.as_ref().ok_or(ConvertError::Needs { format: "this format", what: "a table of queries" })
    }
}

/// Writes `job` for `consumer` into the folder `out`; `asked` is what was asked for, for the metadata.
///
/// # Errors
/// Any [`ConvertError`]; nothing is left of the output then, and what `out` held before is still there.
pub fn convert(
    consumer: &Consumer,
    job: &Job,
    out: &Path,
    force: bool,
    asked: &Value,
) -> Result<Written, ConvertError> {
    consumer.check(job)?;
    let output = Output::begin(out, force)?;
    let mut written = (consumer.write)(job, &output)?;
    written
        .notes
        .extend(job.source.iter().flat_map(|source| source.notes().iter().map(|note| format!("joined: {note}"))));
    output.file(METADATA_FILE, |file| {
        Ok(serde_json::to_writer_pretty(file, &metadata(consumer, job, asked, &written))?)
    })?;
    output.finish()?;
    Ok(written)
}

fn metadata(consumer: &Consumer, job: &Job, asked: &Value, written: &Written) -> Value {
    let of = |source: &Source| {
        json!({
            "path": source.path(),
            "rows": source.rows(),
            "units": source.len(),
            "rows_per_sec": source.rows_per_sec(),
            "contract": source.contract(),
            "join": source.join(),
            "joined": joined(source, true),
        })
    };
    json!({
        "format": consumer.name,
        "written_by": concat!("egofx ", env!("CARGO_PKG_VERSION")),
        "source": job.source.as_ref().map(of),
        "tokens": job.tokens.as_ref().map(of),
        "shots": job.shots.as_ref().map(of),
        "options": asked,
        "written": written,
    })
}

/// The stores that are joined, each with its contract and its columns in the joined rows; `None` of one store.
fn joined(source: &Source, with_paths: bool) -> Option<Value> {
    source.join()?;
    let mut end = 0;
    let of = |(path, contract): (&Path, &Contract)| {
        let start = end;
        end += contract.dim;
        let mut of = json!({"columns": [start, end], "contract": contract});
        if with_paths {
            of["path"] = json!(path);
        }
        of
    };
    Some(source.stores().map(of).collect())
}
