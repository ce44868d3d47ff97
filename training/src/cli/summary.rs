//! Results of runs, as a table for people.

use egofx_train::sweep::{Finished, Spread};

use super::progress::number;
use super::table::Column::{Left, Right};
use super::table::Table;

/// A block for each point of the grid, a row for each score.
pub fn of(finished: &Finished) -> String {
    let blocks = finished.points().into_iter().map(|(point, scores)| {
        let head = if point.is_empty() { String::new() } else { format!("{point}\n") };
        let mut table = Table::new(&[Left(""), Right("best epoch"), Right("last epoch")]);
        for (name, (best, last)) in &scores {
            let mark = if *name == finished.select { "*" } else { " " };
            table.row([format!("{mark} {name}"), shown(name, best), shown(name, last)]);
        }
        head + &table.to_string()
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Mean and deviation.
fn shown(name: &str, spread: &Spread) -> String {
    let mean = number(name, spread.mean);
    if spread.count > 1 { format!("{mean} ± {}", number(name, spread.deviation)) } else { mean }
}
