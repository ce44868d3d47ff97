//! Tables of text, as benchmarks publish them.

/// A table with quotes where they are needed.
pub(super) fn table(separator: char, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let quoted = |cell: String| match cell.contains([separator, '"']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    let line = |row: Vec<String>| {
        let cells: Vec<String> = row.into_iter().map(quoted).collect();
        cells.join(&separator.to_string()) + "\n"
    };
    rows.into_iter().map(line).collect()
}

/// The names of columns.
pub(super) fn header(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
