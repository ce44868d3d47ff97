//! Recipes of `egofx ask`: the program's own, fitted to the graphs that are there.
//!
//! Not for choosing among them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use egofx::backbone::{Card, Precision, Towers};
use egofx::decode::Place;
use egofx::recipe::Recipe;
use egofx::store::Contract;
use egofx::{digest, durable};

/// Digits of a hash that name a folder.
const DIGITS: usize = 16;

/// A recipe for what the graph of its card takes and gives: checkpoints of one model differ in the length of a row, and small ones
/// in the size of a frame.
pub struct Fitted {
    recipe: Recipe,
    towers: Towers,
}

impl Fitted {
    /// The program's recipe `name` for its card in `models`; `None` if that is not there.
    pub fn of(models: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let mut recipe = Recipe::find(Path::new(name))?;
        let Ok(card) = Card::describe(models, &recipe.body.backbone) else { return Ok(None) };
        let towers = match recipe.rule() {
            Some(_) => Towers::Text(card.text(&recipe.body.feature)?),
            None => {
                let frames = recipe.body.grid.map(|grid| grid.frames());
                Towers::Video(card.video(&recipe.body.feature, frames)?)
            }
        };
        recipe.body.output.dim = Some(towers.feature().dim);
        if let Some(side) = towers.frames().map(|frames| frames.height)
            && let Some(transform) = recipe.body.transform.as_mut().filter(|transform| transform.crop != side)
        {
            (transform.place, transform.crop) = (Place::Centre { short_side: side }, side);
        }
        Ok(Some(Self { recipe, towers }))
    }

    /// Its name, which is also that of the store.
    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    /// What a store of its rows says of them.
    pub fn contract(&self) -> anyhow::Result<Contract> {
        Ok(self.recipe.contract(&self.towers, Precision::Fp32, None)?)
    }

    /// The name of a folder for its rows of what has these names.
    pub fn key(&self, of: &[&str]) -> String {
        key(&[of, &[&self.towers.last().sha256, self.name()]].concat())
    }

    /// Extracts the clips of `manifest` below `folder`, and says where the rows are.
    pub fn extract(&self, models: &Path, manifest: &Path, folder: &Path, more: &[OsString]) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let recipe = folder.join(format!("{}.toml", self.name()));
        durable::write_bytes(&recipe, toml::to_string(&self.recipe.body)?.as_bytes())
            .with_context(|| recipe.display().to_string())?;
        let given = [("-m", manifest), ("-p", &recipe), ("--models", models), ("-o", folder)];
        let words = given.iter().flat_map(|(name, path)| [OsStr::new(name), path.as_os_str()]);
        run_self("extract", &words.chain(more.iter().map(OsString::as_os_str)).collect::<Vec<_>>())?;
        Ok(folder.join(self.name()))
    }
}

/// The name of a folder for what was made by this version of what has these names.
pub fn key(parts: &[&str]) -> String {
    digest::text(&[parts, &[env!("CARGO_PKG_VERSION")]].concat().join(" "))[..DIGITS].to_owned()
}

/// Runs a command of this program, which says on stderr what it does: stdout is for the answer.
pub fn run_self(command: &str, arguments: &[&OsStr]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("where this program is")?;
    let mut child = Command::new(program);
    child.arg(command).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let status = child.status().with_context(|| format!("egofx {command} could not be started"))?;
    ensure!(status.success(), "egofx {command} ended with {status}, for the reason above");
    Ok(())
}
