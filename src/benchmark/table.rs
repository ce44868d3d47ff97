//! Tables of the benchmarks, row by row: separated by commas or tabs, with a header.
//!
//! Not for meaning, and never the whole file at once. A row that cannot be split as the header says costs only itself,
//! and is counted.

use std::path::{Path, PathBuf};

use csv::{ByteRecord, StringRecord};

use super::BenchmarkError;
use super::builder::name_of;
use super::tally::Tally;

/// A table that is being read.
pub(crate) struct Table {
    path: PathBuf,
    name: String,
    reader: csv::Reader<std::fs::File>,
    header: StringRecord,
    bytes: ByteRecord,
    record: StringRecord,
    row: u64,
}

impl Table {
    pub(crate) fn open(path: &Path, delimiter: u8) -> Result<Self, BenchmarkError> {
        let file = std::fs::File::open(path);
        let file = file.map_err(|cause| BenchmarkError::Read { path: path.to_owned(), cause })?;
        // Flexible: rows of another length are told apart below.
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(file);
        let error = |cause| BenchmarkError::Table { path: path.to_owned(), cause };
        let header = reader.headers().map_err(error)?.iter().map(str::trim).collect();
        Ok(Self {
            path: path.to_owned(),
            name: name_of(path),
            reader,
            header,
            bytes: ByteRecord::new(),
            record: StringRecord::new(),
            row: 0,
        })
    }

    /// The place of a column that must be there.
    pub(crate) fn column(&self, column: &str) -> Result<usize, BenchmarkError> {
        let found = || self.header.iter().collect::<Vec<_>>().join(", ").chars().take(200).collect();
        let error = || BenchmarkError::NoColumn { path: self.path.clone(), column: column.to_owned(), found: found() };
        self.optional(column).ok_or_else(error)
    }

    /// The place of a column that some releases lack.
    pub(crate) fn optional(&self, column: &str) -> Option<usize> {
        self.header.iter().position(|found| found == column)
    }

    /// The next sound row; `None` behind the last.
    pub(crate) fn next(&mut self, tally: &mut Tally) -> Result<Option<Row<'_>>, BenchmarkError> {
        loop {
            let more = self.reader.read_byte_record(&mut self.bytes);
            if !more.map_err(|cause| BenchmarkError::Table { path: self.path.clone(), cause })? {
                return Ok(None);
            }
            self.row += 1;
            let at = format_args!("{}: row {}", self.name, self.row);
            let (found, expected) = (self.bytes.len(), self.header.len());
            if found != expected {
                tally.drop("rows with another number of columns", format_args!("{at}: {found}, expected {expected}"));
            } else if self.bytes.as_slice().contains(&b'\n') {
                tally.drop("rows whose quotes run over several lines", at);
            } else {
                match StringRecord::from_byte_record(std::mem::take(&mut self.bytes)) {
                    Ok(record) => {
                        // Gives the buffers back and forth instead of making new ones for each row.
                        self.bytes = std::mem::replace(&mut self.record, record).into_byte_record();
                        return Ok(Some(Row { file: &self.name, number: self.row, record: &self.record }));
                    }
                    Err(_) => tally.drop("rows that are not UTF-8", at),
                }
            }
        }
    }
}

/// One row, split into cells.
pub(crate) struct Row<'t> {
    file: &'t str,
    /// From 1, the header not counted.
    pub number: u64,
    record: &'t StringRecord,
}

impl std::fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: row {}", self.file, self.number)
    }
}

impl<'t> Row<'t> {
    /// A cell as it stands.
    pub(crate) fn cell(&self, at: usize) -> &'t str {
        self.record.get(at).unwrap_or_default()
    }

    /// A cell of a column that may be missing.
    pub(crate) fn maybe(&self, at: Option<usize>) -> &'t str {
        at.map(|at| self.cell(at)).unwrap_or_default()
    }

    /// A cell with a finite number.
    pub(crate) fn number(&self, at: usize) -> Option<f64> {
        self.cell(at).trim().parse().ok().filter(|number: &f64| number.is_finite())
    }
}

/// `[192, 115, 12]` as `192 115 12`; `None` where a text is no such list.
pub(crate) fn numbers(literal: &str) -> Option<String> {
    let inner = literal.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner.is_empty() {
        return Some(String::new());
    }
    // A list of one may end in a comma.
    let cells = inner.strip_suffix(',').unwrap_or(inner).split(',').map(str::trim);
    let cells: Option<Vec<&str>> = cells.map(|cell| cell.parse::<u32>().ok().map(|_| cell)).collect();
    cells.map(|cells| cells.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rows_cost_only_themselves() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xef\xbb\xbfa\tb\n1\t2\n3\n4\t5\t6\n\xff\t7\n8\t\"9\n0\"\n\"x\ty\"\t z \n")
            .unwrap();
        let mut table = Table::open(file.path(), b'\t').unwrap();
        let (a, b) = (table.column("a").unwrap(), table.optional("b"));
        let mut tally = Tally::default();
        let mut rows = Vec::new();
        while let Some(row) = table.next(&mut tally).unwrap() {
            rows.push((row.number, row.cell(a).to_owned(), row.maybe(b).to_owned()));
        }
        let row = |number, a: &str, b: &str| (number, a.to_owned(), b.to_owned());
        assert_eq!(rows, [row(1, "1", "2"), row(6, "x\ty", " z ")]);
        assert_eq!(tally.dropped.iter().map(|finding| finding.count).collect::<Vec<_>>(), [2, 1, 1]);
        let error = table.column("c").unwrap_err().to_string();
        assert!(error.ends_with("no column c, found a, b"), "{error}");
        assert!(matches!(Table::open(Path::new("/nowhere"), b','), Err(BenchmarkError::Read { .. })));
    }

    #[test]
    fn lists_of_numbers_are_literals_of_python() {
        let cases =
            [("[93]", Some("93")), (" [192, 115,12] ", Some("192 115 12")), ("[]", Some("")), ("[4,]", Some("4"))];
        for (literal, numbers_of) in cases {
            assert_eq!(numbers(literal).as_deref(), numbers_of);
        }
        for literal in ["", "93", "[a]", "[1", "[1 2]", "[-1]", "[,]"] {
            assert_eq!(numbers(literal), None, "{literal}");
        }
    }
}
