//! Tables for people on stdout: columns two spaces apart, without lines, numbers on the right.
//!
//! `egofx-train` compiles this file into its own command line. Not for machines, which ask for `--json`.

use std::fmt::{self, Display};

use comfy_table::{CellAlignment, ContentArrangement, presets};

/// A column by its title.
#[derive(Debug, Clone, Copy)]
pub enum Column<'t> {
    /// Text, flush left.
    Left(&'t str),
    /// Numbers, flush right.
    Right(&'t str),
}

/// Rows of cells under titles.
pub struct Table(comfy_table::Table);

impl Table {
    /// Without rows. No titles are shown if all are empty.
    pub fn new(columns: &[Column]) -> Self {
        let title = |column: &Column| match *column {
            Column::Left(title) | Column::Right(title) => title.to_owned(),
        };
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let titles: Vec<String> = columns.iter().map(title).collect();
        if titles.iter().any(|title| !title.is_empty()) {
            table.set_header(titles);
        } else {
            // Columns exist by a row only.
            table.add_row(titles);
        }
        for (column, at) in columns.iter().zip(table.column_iter_mut()) {
            at.set_padding((0, 2));
            at.set_cell_alignment(match column {
                Column::Left(_) => CellAlignment::Left,
                Column::Right(_) => CellAlignment::Right,
            });
        }
        Self(table)
    }

    /// Adds a row; cells that are not given are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Display>) {
        self.0.add_row(cells.into_iter().map(|cell| cell.to_string()).collect::<Vec<_>>());
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let lines = self.0.lines().map(|line| line.trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_it() {
        let mut table = Table::new(&[Column::Left("recipe"), Column::Right("dim"), Column::Left("of")]);
        table.row(["egovlp_nlq", "256", "windows"]);
        table.row(["a", "4096", ""]);
        assert_eq!(table.to_string(), "recipe       dim  of\negovlp_nlq   256  windows\na           4096\n");
        let mut plain = Table::new(&[Column::Left(""), Column::Right("")]);
        plain.row(["mean", "1.50 ± 0.25"]);
        plain.row(["deviation", "1"]);
        assert_eq!(plain.to_string(), "mean       1.50 ± 0.25\ndeviation            1\n");
    }
}
