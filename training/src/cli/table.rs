//! Results of runs, as a table for people.

use egofx_train::sweep::{Finished, Spread};

use super::progress::number;

/// A block for each point of the grid, a row for each score.
pub fn of(finished: &Finished) -> String {
    let blocks = finished.points().into_iter().map(|(point, scores)| {
        let head = if point.is_empty() { String::new() } else { format!("{point}\n") };
        let width = scores.keys().map(String::len).max().unwrap_or_default().max(5);
        let title = format!("  {:<width$}  {:>16}  {:>16}\n", "", "best epoch", "last epoch");
        let rows = scores.iter().map(|(name, (best, last))| {
            let mark = if *name == finished.select { "*" } else { " " };
            format!("{mark} {name:<width$}  {:>16}  {:>16}\n", shown(name, best), shown(name, last))
        });
        head + &title + &rows.collect::<String>()
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Mean and deviation.
fn shown(name: &str, spread: &Spread) -> String {
    let mean = number(name, spread.mean);
    if spread.count > 1 { format!("{mean} ± {}", number(name, spread.deviation)) } else { mean }
}
