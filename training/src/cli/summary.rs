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

/// A row for each score and a column for each of the `named` lists of them; `select` is marked.
pub fn scores(named: &[(String, Vec<(String, f64)>)], select: &str) -> String {
    let titles = named.iter().map(|(title, _)| Right(title.as_str()));
    let mut table = Table::new(&[Left("")].into_iter().chain(titles).collect::<Vec<_>>());
    let Some((_, first)) = named.first() else { return String::new() };
    for (place, (name, _)) in first.iter().enumerate() {
        let mark = if name == select { "*" } else { " " };
        let values = named.iter().map(|(_, scores)| scores.get(place).map_or(String::new(), |(_, v)| number(name, *v)));
        table.row([format!("{mark} {name}")].into_iter().chain(values));
    }
    table.to_string()
}

/// Mean and deviation.
fn shown(name: &str, spread: &Spread) -> String {
    let mean = number(name, spread.mean);
    if spread.count > 1 { format!("{mean} ± {}", number(name, spread.deviation)) } else { mean }
}
