//! What can be wrong with a manifest, as a whole ([`ManifestError`]) and in one entry ([`Rejected`]).
//!
//! Not for findings about the videos themselves: whether a file can be decoded is the decode stage's to say. Every
//! message names the place, what was found and, where it is not obvious, what was expected. It is complete: a cause is
//! part of the text and therefore not reported once more by `Error::source`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{ClipUid, IdError, VideoUid};
use crate::time::TimeSpan;

/// How many rejected entries an error message lists.
const SHOWN_REJECTED: usize = 3;

/// How many names an error message lists, and how many characters of each.
const SHOWN_NAMES: usize = 20;
const SHOWN_CHARS: usize = 40;

/// A manifest that cannot be read, written or matched with its videos.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file could not be opened or read.
    #[error("{}: cannot read the manifest: {cause}", .path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Nothing but blanks in the file.
    #[error("{}: the manifest is empty, expected a csv header or the text of ego4d.json", .path.display())]
    Empty {
        /// The manifest.
        path: PathBuf,
    },
    /// Bytes that are not UTF-8.
    #[error("{}: not UTF-8: byte {byte:#04x} in line {line}, expected a UTF-8 text", .path.display())]
    NotUtf8 {
        /// The manifest.
        path: PathBuf,
        /// Line of the first offending byte, from 1.
        line: u64,
        /// That byte.
        byte: u8,
    },
    /// The header makes sense only with another separator.
    #[error("{}: columns are separated by {found}, expected a comma separated file", .path.display())]
    Separator {
        /// The manifest.
        path: PathBuf,
        /// The separator in words.
        found: &'static str,
    },
    /// No column tells which video a row is about.
    #[error("{}: no column names a video: expected one of {}, found {}",
        .path.display(), .expected.join(", "), listed(.found))]
    NoUidColumn {
        /// The manifest.
        path: PathBuf,
        /// The names that would have served.
        expected: &'static [&'static str],
        /// The header.
        found: Vec<String>,
    },
    /// Rows could not be split into columns.
    #[error("{}: cannot be read as csv: {cause}", .path.display())]
    Csv {
        /// The manifest.
        path: PathBuf,
        /// What the csv reader said.
        cause: csv::Error,
    },
    /// Malformed JSON; the source names line and column.
    #[error("{}: malformed json: {cause}", .path.display())]
    Json {
        /// The manifest.
        path: PathBuf,
        /// What the JSON reader said, with line and column.
        cause: serde_json::Error,
    },
    /// JSON, but not of the form of `ego4d.json`.
    #[error("{}: expected an object with an array `videos`, found {found}", .path.display())]
    NoVideos {
        /// The manifest.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Not one entry can be used.
    #[error("{}: {}", .path.display(), unusable(.rejected))]
    NoUsableRows {
        /// The manifest.
        path: PathBuf,
        /// Why each entry was rejected, in file order.
        rejected: Vec<Rejected>,
    },
    /// A folder to search for videos cannot be listed.
    #[error("{}: cannot search for videos, expected a folder: {cause}", .path.display())]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Two files bear the name of one video.
    #[error("video {video_uid} lies in two places: {} and {}", .first.display(), .second.display())]
    Ambiguous {
        /// The video.
        video_uid: VideoUid,
        /// The file that was found first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
    /// The folders that were searched hold no video that could be used.
    #[error("no usable video file below {}{}", joined(.roots), because(.rejected))]
    NoVideoFiles {
        /// The folders.
        roots: Vec<PathBuf>,
        /// Files that were found and could not be used, in order of their paths.
        rejected: Vec<Rejected>,
    },
    /// A benchmark was not given a source that it is built from.
    #[error("benchmark {benchmark} needs {needs}, none was given")]
    MissingSource {
        /// The benchmark.
        benchmark: &'static str,
        /// The source in words.
        needs: &'static str,
    },
    /// No benchmark has this name.
    #[error("no benchmark is called {name:?}, expected one of {}", .known.join(", "))]
    UnknownBenchmark {
        /// The name that was asked for.
        name: String,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A column of `Clip::extra` whose name would be read back as something else.
    #[error("clip {clip_uid} has an extra column {column:?}, a name that is reserved or would not read back")]
    ReservedColumn {
        /// The clip.
        clip_uid: ClipUid,
        /// The column.
        column: String,
    },
    /// A path that a text file cannot hold.
    #[error("{}: the path of video {video_uid} is not UTF-8, expected a path that csv can hold", .path.display())]
    PathNotUtf8 {
        /// The video.
        video_uid: VideoUid,
        /// Its path.
        path: PathBuf,
    },
    /// The output refused the rows.
    #[error("cannot write the manifest: {cause}")]
    Write {
        /// What the csv writer said.
        cause: csv::Error,
    },
}

/// An entry of a source that cannot be used, and why; the rest of the source still is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Rejected {
    /// Where the entry stands.
    pub place: Place,
    /// What is wrong with it.
    pub reason: RejectReason,
}

/// Where an entry stands in its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Line of a text file, from 1; the first one where quotes make a row span several.
    Line(u64),
    /// Element of `videos` in a JSON file, from 1.
    Entry(u64),
    /// A file, where the source is a folder.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Entry(number) => write!(f, "video {number}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why an entry cannot be used. Times are in seconds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// Fewer or more cells than the header.
    #[error("found {found} columns, expected {expected} as in the header")]
    Columns {
        /// Cells in the row.
        found: usize,
        /// Cells in the header.
        expected: usize,
    },
    /// A quote swallowed the rest of the file.
    #[error("a quote opens here and is not closed before the end of the file")]
    UnclosedQuote,
    /// A JSON value that is not an object.
    #[error("expected an object, found {found}")]
    NotObject {
        /// The kind of value.
        found: &'static str,
    },
    /// A row of a file manifest that is about another kind of file.
    #[error("type {kind:?} is not a video")]
    NotVideo {
        /// The cell `type`.
        kind: String,
    },
    /// A uid that could not be a file name.
    #[error("{column}: {cause}")]
    Uid {
        /// The column that the uid comes from.
        column: &'static str,
        /// What is wrong with it.
        cause: IdError,
    },
    /// A time that is not a finite number.
    #[error("{column} {text:?} is not a finite number")]
    Number {
        /// The column.
        column: &'static str,
        /// The cell.
        text: String,
    },
    /// A time that is none in seconds.
    #[error("{column} {sec:e} is later than any video lasts; seconds are expected")]
    Absurd {
        /// The column.
        column: &'static str,
        /// The number.
        sec: f64,
    },
    /// A start before the video's.
    #[error("start_sec {start_sec} is before the video begins")]
    NegativeStart {
        /// The start.
        start_sec: f64,
    },
    /// A span that holds nothing.
    #[error("end_sec {end_sec} is not after start_sec {start_sec}")]
    EndBeforeStart {
        /// The start.
        start_sec: f64,
        /// The end.
        end_sec: f64,
    },
    /// An end without a start.
    #[error("end_sec {end_sec} is given without start_sec")]
    EndAlone {
        /// The end.
        end_sec: f64,
    },
    /// A start without an end, in a video of unknown length.
    #[error("start_sec {start_sec} is given without end_sec, and the video has no duration_sec")]
    StartAlone {
        /// The start.
        start_sec: f64,
    },
    /// A start without an end, behind the end of the video.
    #[error("start_sec {start_sec} is not before duration_sec {duration_sec}")]
    StartAfterVideo {
        /// The start.
        start_sec: f64,
        /// Length of the video.
        duration_sec: f64,
    },
    /// A clip uid that already means something else.
    #[error("clip_uid {clip_uid} already names {} of video {video_uid} in {place}", interval(.span))]
    ClipConflict {
        /// The uid.
        clip_uid: ClipUid,
        /// Video of the first clip of that name.
        video_uid: VideoUid,
        /// Its span, `None` for the whole video.
        span: Option<TimeSpan>,
        /// Where it stands.
        place: Place,
    },
    /// Another file of the same name.
    #[error("video_uid {video_uid} is also the name of {}", .other.display())]
    SameName {
        /// The uid that both would have.
        video_uid: VideoUid,
        /// The other file.
        other: PathBuf,
    },
}

fn interval(span: &Option<TimeSpan>) -> String {
    span.map_or_else(|| "the whole".to_owned(), |span| format!("{}..{} s", span.start_sec, span.end_sec))
}

/// Names as a message can hold them: an unclosed quote in a header makes one of a whole file.
pub(super) fn listed(names: &[String]) -> String {
    if names.iter().all(String::is_empty) {
        return "no names at all".to_owned();
    }
    let short = |name: &String| name.chars().take(SHOWN_CHARS).collect::<String>();
    let shown = names.iter().take(SHOWN_NAMES).map(short).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn joined(roots: &[PathBuf]) -> String {
    roots.iter().map(|root| Path::display(root).to_string()).collect::<Vec<_>>().join(", ")
}

fn first_of(rejected: &[Rejected]) -> String {
    let shown: Vec<_> = rejected.iter().take(SHOWN_REJECTED).map(Rejected::to_string).collect();
    let more = rejected.len().saturating_sub(SHOWN_REJECTED);
    if more == 0 { shown.join("; ") } else { format!("{}; and {more} more", shown.join("; ")) }
}

fn unusable(rejected: &[Rejected]) -> String {
    match rejected.len() {
        0 => "no entries, expected at least one video".to_owned(),
        count => format!("none of {count} entries can be used: {}", first_of(rejected)),
    }
}

fn because(rejected: &[Rejected]) -> String {
    if rejected.is_empty() { String::new() } else { format!(": {}", first_of(rejected)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(line: u64) -> Rejected {
        Rejected { place: Place::Line(line), reason: RejectReason::EndBeforeStart { start_sec: 9.0, end_sec: 3.0 } }
    }

    #[test]
    fn a_rejected_line_reads_as_a_sentence_with_its_operands() {
        assert_eq!(rejected(7).to_string(), "line 7: end_sec 3 is not after start_sec 9");
    }

    #[test]
    fn lists_of_names_stay_readable() {
        assert_eq!(listed(&["a".repeat(1000), "b".into()]), format!("{}, b", "a".repeat(40)));
        assert!(listed(&vec!["a".to_owned(); 1000]).ends_with("a, a and 980 more"));
        assert_eq!(listed(&[String::new()]), "no names at all");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = ManifestError::Read { path: "m.csv".into(), cause: io::ErrorKind::NotFound.into() };
        assert!(std::error::Error::source(&error).is_none() && error.to_string().ends_with("entity not found"));
    }

    #[test]
    fn a_hopeless_manifest_lists_the_first_reasons_and_counts_the_rest() {
        let error = ManifestError::NoUsableRows { path: "m.csv".into(), rejected: (2..7).map(rejected).collect() };
        let text = error.to_string();
        assert!(text.starts_with("m.csv: none of 5 entries can be used: line 2: end_sec 3"), "{text}");
        assert!(text.ends_with("line 4: end_sec 3 is not after start_sec 9; and 2 more"), "{text}");
        let empty = ManifestError::NoUsableRows { path: "m.csv".into(), rejected: vec![] };
        assert_eq!(empty.to_string(), "m.csv: no entries, expected at least one video");
    }
}
