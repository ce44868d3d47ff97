//! What a benchmark asks about its clips: one row for each sentence or label, in columns.
//!
//! Written beside a manifest and read by whatever needs texts: text features, converters, evaluators. Not for clips, which
//! are the manifest's, nor for what a window means to a head: times are as annotated, empty windows included. Every row
//! has an id that no other row has.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::ids::{ClipUid, IdError};

/// The columns that every table has, in the order in which they are written.
const OURS: [&str; 5] = ["query_id", "clip_uid", "text", "start_sec", "end_sec"];

/// The column that lists the clips among which a question lets choose.
pub const CHOICES: &str = "choices";

/// One sentence or label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Query<'q> {
    /// Its name, once in a table; the same whichever files it was read together with.
    pub id: &'q str,
    /// The clip that it is about.
    pub clip_uid: &'q ClipUid,
    /// The sentence or the name of the label, as annotated; empty where there are only labels in further columns.
    pub text: &'q str,
    /// First second of the window in the clip, as annotated.
    pub start_sec: Option<f64>,
    /// Last second of the window in the clip, as annotated: it may lie behind the clip's end or on the start.
    pub end_sec: Option<f64>,
}

/// A table of queries, held in columns: millions of rows take about as much memory as their file.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    ids: Texts,
    clips: Vec<ClipUid>,
    texts: Texts,
    spans: Vec<[Option<f64>; 2]>,
    extra: Vec<(String, Texts)>,
    /// Row by hash of its id.
    rows: HashMap<u64, usize>,
}

/// A table that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum QueriesError {
    /// The CSV could not be read, or not be split into rows of equal length.
    #[error("{}: cannot read the queries: {cause}", .path.display())]
    Read {
        /// The table.
        path: PathBuf,
        /// What the csv reader said.
        cause: csv::Error,
    },
    /// The first columns are others.
    #[error("{}: expected the columns {}, found {found}", .path.display(), OURS.join(","))]
    Header {
        /// The table.
        path: PathBuf,
        /// The header.
        found: String,
    },
    /// A cell that means nothing in its column.
    #[error("{}: row {row}: {column}: expected a number or nothing, found {found:?}", .path.display())]
    Number {
        /// The table.
        path: PathBuf,
        /// The row, from 1, the header not counted.
        row: usize,
        /// The column.
        column: &'static str,
        /// The cell.
        found: String,
    },
    /// A clip whose name could not be a file's.
    #[error("{}: row {row}: {cause}", .path.display())]
    Uid {
        /// The table.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// What is wrong with it.
        cause: IdError,
    },
    /// Two rows bear one name.
    #[error("{}: row {row}: query_id {id:?} occurs in an earlier row", .path.display())]
    Taken {
        /// The table.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// The id.
        id: String,
    },
    /// The output refused the rows.
    #[error("cannot write the queries: {cause}")]
    Write {
        /// What the csv writer said.
        cause: csv::Error,
    },
}

impl Queries {
    /// An empty table with these further columns.
    pub fn new(columns: &[&str]) -> Self {
        let extra = columns.iter().map(|&name| (name.to_owned(), Texts::default())).collect();
        Self { extra, ..Self::default() }
    }

    /// Adds a row, with one cell for each further column; `false`, with nothing added, if its id is taken.
    pub fn push(&mut self, query: Query<'_>, extra: &[&str]) -> bool {
        debug_assert_eq!(extra.len(), self.extra.len(), "a cell for each further column");
        let row = self.len();
        // Were two ids ever to share a hash, the later one would only miss this check.
        let first = *self.rows.entry(hash_of(query.id)).or_insert(row);
        if first != row && self.ids.get(first) == query.id {
            return false;
        }
        self.ids.push(query.id);
        self.clips.push(query.clip_uid.clone());
        self.texts.push(query.text);
        self.spans.push([query.start_sec, query.end_sec]);
        for ((_, column), cell) in self.extra.iter_mut().zip(extra) {
            column.push(cell);
        }
        true
    }

    /// The row with this id.
    pub fn find(&self, id: &str) -> Option<Query<'_>> {
        self.rows.get(&hash_of(id)).and_then(|&row| self.get(row)).filter(|query| query.id == id)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// The row of that number, from 0; `None` behind the last.
    pub fn get(&self, row: usize) -> Option<Query<'_>> {
        let [start_sec, end_sec] = *self.spans.get(row)?;
        let (id, text) = (self.ids.get(row), self.texts.get(row));
        Some(Query { id, clip_uid: &self.clips[row], text, start_sec, end_sec })
    }

    /// The clips that a row is asked of: the choices of a multiple-choice question (column `choices`, uids separated by
    /// blanks), else the one clip that it is about. Uids that could not name a clip, which [`Self::read`] refuses, are left out.
    pub fn clips_of(&self, row: usize) -> Vec<ClipUid> {
        let choices = self.cell(CHOICES, row).unwrap_or_default();
        let choices: Vec<ClipUid> = choices.split_whitespace().filter_map(|uid| ClipUid::parse(uid).ok()).collect();
        if choices.is_empty() { self.clips.get(row).cloned().into_iter().collect() } else { choices }
    }

    /// All rows, in the order of their source.
    pub fn iter(&self) -> impl Iterator<Item = Query<'_>> {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// Names of the further columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().map(|(name, _)| name.as_str())
    }

    /// The cells of a further column, row by row; `None` if there is no such column.
    pub fn column(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let cells = self.cells(name)?;
        Some((0..self.len()).map(|row| cells.get(row)))
    }

    /// One cell of a further column, in a row that exists; `None` if there is no such column.
    pub fn cell(&self, name: &str, row: usize) -> Option<&str> {
        self.cells(name).map(|cells| cells.get(row))
    }

    fn cells(&self, name: &str) -> Option<&Texts> {
        self.extra.iter().find(|(found, _)| found == name).map(|(_, cells)| cells)
    }

    /// Keeps the rows that `keep` accepts; says how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(Query<'_>) -> bool) -> usize {
        let mut kept = Self::new(&self.columns().collect::<Vec<_>>());
        for (row, query) in self.iter().enumerate().filter(|(_, query)| keep(*query)) {
            kept.push(query, &self.extra.iter().map(|(_, cells)| cells.get(row)).collect::<Vec<_>>());
        }
        let gone = self.len() - kept.len();
        *self = kept;
        gone
    }

    /// Writes a header and one row for each query: `query_id`, `clip_uid`, `text`, `start_sec`, `end_sec` and the further
    /// columns. [`Self::read`] gives them back to the bit.
    ///
    /// # Errors
    /// [`QueriesError::Write`].
    pub fn write_csv(&self, out: impl io::Write) -> Result<(), QueriesError> {
        let refused = |cause| QueriesError::Write { cause };
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(OURS.into_iter().chain(self.columns())).map_err(refused)?;
        for (row, query) in self.iter().enumerate() {
            let [start, end] = [query.start_sec, query.end_sec].map(|sec| sec.map(|sec| sec.to_string()));
            let ours = [query.id, query.clip_uid.as_str(), query.text];
            let times = [start.as_deref().unwrap_or_default(), end.as_deref().unwrap_or_default()];
            let extra = self.extra.iter().map(|(_, cells)| cells.get(row));
            writer.write_record(ours.into_iter().chain(times).chain(extra)).map_err(refused)?;
        }
        writer.flush().map_err(|error| refused(error.into()))
    }

    /// Reads what [`Self::write_csv`] wrote.
    ///
    /// # Errors
    /// [`QueriesError`] for a file that cannot be read, other first columns, a cell that is no number, a name that could not be a
    /// file's, or an id that occurred before.
    pub fn read(path: &Path) -> Result<Self, QueriesError> {
        let error = |cause| QueriesError::Read { path: path.to_owned(), cause };
        let mut reader = csv::Reader::from_path(path).map_err(error)?;
        let header: Vec<String> = reader.headers().map_err(error)?.iter().map(str::to_owned).collect();
        if header.len() < OURS.len() || header[..OURS.len()] != OURS {
            return Err(QueriesError::Header { path: path.to_owned(), found: header.join(",") });
        }
        let mut queries = Self::new(&header[OURS.len()..].iter().map(String::as_str).collect::<Vec<_>>());
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(error)? {
            queries.push_record(path, &record)?;
        }
        Ok(queries)
    }

    fn push_record(&mut self, path: &Path, record: &csv::StringRecord) -> Result<(), QueriesError> {
        let (path, row) = (|| path.to_owned(), self.len() + 1);
        let number = |at: usize| match &record[at] {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| QueriesError::Number {
                path: path(),
                row,
                column: OURS[at],
                found: text.to_owned(),
            }),
        };
        let clip_uid = &ClipUid::parse(&record[1]).map_err(|cause| QueriesError::Uid { path: path(), row, cause })?;
        let (start_sec, end_sec) = (number(3)?, number(4)?);
        let query = Query { id: &record[0], clip_uid, text: &record[2], start_sec, end_sec };
        let further: Vec<&str> = record.iter().skip(OURS.len()).collect();
        let choices = self.columns().position(|name| name == CHOICES).map_or("", |at| further[at]);
        for choice in choices.split_whitespace() {
            ClipUid::parse(choice).map_err(|cause| QueriesError::Uid { path: path(), row, cause })?;
        }
        match self.push(query, &further) {
            true => Ok(()),
            false => Err(QueriesError::Taken { path: path(), row, id: record[0].to_owned() }),
        }
    }
}

fn hash_of(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Many short texts, one behind the other.
#[derive(Debug, Clone, Default, PartialEq)]
struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    fn get(&self, row: usize) -> &str {
        let begin = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[begin..self.ends[row]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Queries {
        let mut queries = Queries::new(&["split", "label"]);
        let clip = ClipUid::parse("c").unwrap();
        let query = |id, text, start_sec, end_sec| Query { id, clip_uid: &clip, text, start_sec, end_sec };
        assert!(
            queries
                .push(query("a_0", " where is the  \"d\u{e9}cor\", then?\n", Some(1.0 / 3.0), Some(0.0)), &["val", ""])
        );
        assert!(queries.push(query("a_1", "", None, None), &["", "wash_/_\"dry\""]));
        assert!(!queries.push(query("a_0", "again", None, None), &["", ""]));
        queries
    }

    fn read(text: &str) -> Result<Queries, QueriesError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.csv");
        std::fs::write(&path, text).unwrap();
        Queries::read(&path)
    }

    #[test]
    fn a_table_reads_back_as_it_was() {
        let queries = table();
        let mut bytes = Vec::new();
        queries.write_csv(&mut bytes).unwrap();
        let back = read(&String::from_utf8(bytes).unwrap()).unwrap();
        assert_eq!(back.iter().collect::<Vec<_>>(), queries.iter().collect::<Vec<_>>());
        assert_eq!(back.extra, queries.extra);
        assert_eq!(back.column("label").unwrap().collect::<Vec<_>>(), ["", "wash_/_\"dry\""]);
        assert_eq!((back.find("a_1"), back.find("a_2")), (back.get(1), None));
        assert!(back.column("nothing").is_none() && back.get(2).is_none());
    }

    #[test]
    fn rows_can_be_taken_out() {
        let mut queries = table();
        assert_eq!(queries.retain(|query| query.id != "a_0"), 1);
        assert_eq!(queries.iter().map(|query| query.id).collect::<Vec<_>>(), ["a_1"]);
        assert_eq!(queries.column("label").unwrap().collect::<Vec<_>>(), ["wash_/_\"dry\""]);
        assert!(Queries::new(&[]).is_empty() && !queries.is_empty());
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let header = "query_id,clip_uid,text,start_sec,end_sec\n";
        for (text, words) in [
            ("id,text\n", "expected the columns query_id,clip_uid,text,start_sec,end_sec, found id,text"),
            (&format!("{header}q,c,t,x,\n"), "row 1: start_sec: expected a number or nothing, found \"x\""),
            (&format!("{header}q,../c,t,,\n"), "row 1: uid \"../c\" contains '.'"),
            (&format!("{header}q,c,t,,\nq,c,t,,\n"), "row 2: query_id \"q\" occurs in an earlier row"),
            ("query_id,clip_uid,text,start_sec,end_sec,choices\nq,c,t,,,c d/e\n", "row 1: uid \"d/e\" contains '/'"),
            (&format!("{header}q,c\n"), "cannot read the queries: CSV error: record 1"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(matches!(Queries::read(Path::new("/nowhere/q.csv")), Err(QueriesError::Read { .. })));
    }
}
