//! `egofx index`: what a search reads in place of a store's files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use serde_json::{Value, json};

use egofx::meter::Meter;
use egofx::search::{Found, Index, SearchError, build, expect_moments, index_file};
use egofx::store::{StoreReader, feature_sets};

use super::progress::{Progress, Reporting, Shown};
use super::{bytes, plural, say, say_json, tell};

/// Write the index of a store, which `egofx search` reads.
///
/// It is the file search.index in the folder of the store: all rows behind one another, in half precision. `egofx search` writes it where it is missing or where the store has changed;
/// this command does so beforehand, and compares an index that is there with its checksum. A store that is being written is indexed
/// as far as it is committed. The file can be deleted at any time; it takes 2 bytes for a feature and 20 for a row.
#[derive(Args)]
pub struct IndexCommand {
    /// Feature sets, or folders of several, in which those are passed over that no search is for.
    #[arg(value_name = "STORE", required = true)]
    stores: Vec<PathBuf>,
    #[command(flatten)]
    place: IndexPlace,
    /// Write the index even if there is one of what the store holds now.
    #[arg(long)]
    force: bool,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reporting: Reporting,
}

impl IndexCommand {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let stores = open_stores(&self.stores, expect_moments)?;
        let shown = self.reporting.shown(self.json);
        let told = stores.iter().map(|store| self.one(store, shown)).collect::<anyhow::Result<Vec<Value>>>()?;
        if self.json {
            say_json(&told)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn one(&self, store: &StoreReader, shown: Shown) -> anyhow::Result<Value> {
        let committed = store.committed()?;
        let path = self.place.of(store)?;
        let why = match Index::find(store, &path, &committed)? {
            Found::Current(_) if self.force => "it was asked for".to_owned(),
            Found::Unusable(why) => why,
            Found::Current(index) => match index.check() {
                Ok(()) => return self.tell(store, &index, None),
                Err(SearchError::Damaged { why, .. }) => format!("it is damaged: {why}"),
                Err(error) => return Err(error.into()),
            },
        };
        let meter = Meter::default();
        let progress = Progress::of_meter(&meter, "units", shown);
        let index = build(store, &path, &committed, &meter)?;
        progress.finish();
        self.tell(store, &index, Some(why))
    }

    fn tell(&self, store: &StoreReader, index: &Index, made: Option<String>) -> anyhow::Result<Value> {
        if !self.json {
            let what = made.as_ref().map_or("is of what it holds".to_owned(), |why| format!("written: {why}"));
            let (rows, size) = (plural(index.rows(), "row"), bytes(index.bytes() as u64));
            say(&format!("{}: {rows}, {size}; {what}\n", index.path().display()))?;
        }
        let feature_set = &store.contract().feature_set;
        Ok(json!({
            "feature_set": feature_set, "path": index.path(), "rows": index.rows(), "dim": index.dim(), "bytes": index.bytes(),
            "written": made,
        }))
    }
}

/// Where indexes are.
#[derive(Args)]
pub struct IndexPlace {
    /// The folder for indexes, where those of the stores may not be written [default: each store's own].
    #[arg(long, value_name = "DIR")]
    index_dir: Option<PathBuf>,
}

impl IndexPlace {
    /// The file of a store's index.
    pub fn of(&self, store: &StoreReader) -> Result<PathBuf, SearchError> {
        index_file(store.path(), self.index_dir.as_deref())
    }
}

/// The stores at `paths` that are `suited`: one that is named itself has to be; in a folder the others are passed over, with a word.
pub fn open_stores(
    paths: &[PathBuf],
    suited: impl Fn(&StoreReader) -> Result<(), SearchError>,
) -> anyhow::Result<Vec<StoreReader>> {
    let mut stores = Vec::new();
    for path in paths {
        stores.extend(stores_at(path, &suited)?);
    }
    Ok(stores)
}

fn stores_at(
    path: &Path,
    suited: &impl Fn(&StoreReader) -> Result<(), SearchError>,
) -> anyhow::Result<Vec<StoreReader>> {
    let sets = feature_sets(path)?;
    ensure!(!sets.is_empty(), "{}: no feature set here or one folder below", path.display());
    let (mut stores, mut passed_over) = (Vec::new(), Vec::new());
    for set in &sets {
        let store = StoreReader::open(set)?;
        match suited(&store) {
            Ok(()) => stores.push(store),
            Err(error) if sets[0] == *path => return Err(error.into()),
            Err(error) => passed_over.push(error.to_string()),
        }
    }
    ensure!(!stores.is_empty(), "{}: nothing to search here: {}", path.display(), passed_over.join("; "));
    passed_over.iter().for_each(|why| tell(format_args!("passed over: {why}")));
    Ok(stores)
}
