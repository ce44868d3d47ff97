//! Reads a feature set: its contract, and the rows of each unit with their times.
//!
//!     cargo run --release --example read_store -- features/demo
//!
//! Every file is compared with the hash of its ledger before it is parsed.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use egofx::store::StoreReader;

fn main() -> Result<(), Box<dyn Error>> {
    let store = std::env::args().nth(1).ok_or("usage: read_store FEATURE_SET")?;
    print!("{}", described(Path::new(&store))?);
    Ok(())
}

/// A line for the feature set, and one for each unit: its rows, which of them are missing, when the first one begins and
/// the mean norm of those that are there.
///
/// # Errors
/// The store cannot be read.
pub fn described(path: &Path) -> Result<String, Box<dyn Error>> {
    let store = StoreReader::open(path)?;
    let contract = store.contract();
    let mut text = format!("{}: {}, {} features a row\n", contract.feature_set, contract.backbone, contract.dim);
    for entry in store.committed()?.iter() {
        let unit = store.read_entry(entry)?; // features: [rows, dim], f32
        let is_missing = |row: usize| unit.meta[row].missing;
        let norms: Vec<f32> = unit.features.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
        let there: Vec<f32> = (0..norms.len()).filter(|row| !is_missing(*row)).map(|row| norms[row]).collect();
        let mean = there.iter().sum::<f32>() / there.len().max(1) as f32;
        let start = unit.meta.first().map_or(f64::NAN, |row| row.start_sec);
        let missing = norms.len() - there.len();
        writeln!(
            text,
            "{}: {} rows from {start:.3} s, {missing} missing, mean norm {mean:.3}",
            entry.unit_uid,
            norms.len()
        )?;
    }
    Ok(text)
}
