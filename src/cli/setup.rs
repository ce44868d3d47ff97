//! From arguments to what a run needs: cards, models on devices, stores and what they hold. Everything that can be wrong
//! before the first frame is found here.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};
use rayon::prelude::*;

use egofx::backbone::{Backbone, Card, Device, OnnxBackbone, Precision, Provider, Runtime, SessionOptions, VideoCard};
use egofx::ids::UnitUid;
use egofx::recipe::Recipe;
use egofx::store::{Contract, PlannedUnit, Shard, Store};

/// Largest golden error of a provider that does not compute in plain fp32, relative to the largest golden value. It tells
/// a broken provider from a coarse one; real accuracy is measured when a graph is exported.
const COARSE_GOLDEN: f32 = 0.05;

/// The cards of `recipes`, checked against what the recipes feed them.
pub fn cards(models: &Path, recipes: &[Recipe]) -> anyhow::Result<Vec<VideoCard>> {
    recipes.iter().map(|recipe| card(models, recipe).with_context(|| format!("recipe {}", recipe.name))).collect()
}

fn card(models: &Path, recipe: &Recipe) -> anyhow::Result<VideoCard> {
    let card = Card::read(models, &recipe.body.backbone)?.video(&recipe.body.feature)?;
    let (crop, frames) = (recipe.body.transform.crop, recipe.body.grid.frames());
    let (height, width) = (card.input.height, card.input.width);
    ensure!(
        (crop, crop) == (height, width),
        "transform.crop is {crop}, backbone {} takes {height}x{width} pixels",
        card.card.name
    );
    ensure!(
        card.takes_frames(frames),
        "grid.frames is {frames}, backbone {} takes windows of {} frames",
        card.card.name,
        card.input.frames.unwrap_or_default()
    );
    Ok(card)
}

/// One backbone per card on each device, each tried on its golden input.
pub fn backbones(
    runtime: &Runtime,
    models: &Path,
    cards: &[VideoCard],
    devices: &[Device],
    precision: Precision,
    threads: usize,
) -> anyhow::Result<Vec<Vec<Box<dyn Backbone>>>> {
    let load = |device: Device, card: &VideoCard| -> anyhow::Result<Box<dyn Backbone>> {
        let mut backbone =
            OnnxBackbone::load(runtime, models, card, SessionOptions { device, precision, threads, rearrange: true })?;
        check_golden(&mut backbone, &card.card, device, precision)?;
        Ok(Box::new(backbone))
    };
    devices.iter().map(|&device| cards.iter().map(|card| load(device, card)).collect()).collect()
}

fn check_golden(backbone: &mut OnnxBackbone, card: &Card, device: Device, precision: Precision) -> anyhow::Result<()> {
    let found = backbone.golden_error()?;
    let scale = card.golden.scale();
    let reference = device.provider == Provider::Cpu && precision == Precision::Fp32;
    let allowed = if reference { card.golden.max_abs } else { card.golden.max_abs.max(COARSE_GOLDEN * scale) };
    log::info!("{} on {device}: golden output within {found:e}", card.name);
    // A NaN is not within anything.
    ensure!(
        found <= allowed,
        "backbone {} on {device} ({precision}) misses its golden output by {found:e}, allowed {allowed:e}: \
         the provider or the graph is broken",
        card.name
    );
    Ok(())
}

/// An open store and the units that it holds already.
pub struct OpenStore {
    /// The store.
    pub store: Store,
    /// Units whose files were found and match their checksums.
    pub done: BTreeSet<UnitUid>,
}

/// Opens the store of `contract` and checks what it holds; promises it the units of the whole manifest.
pub fn open_store(out: &Path, contract: &Contract, shard: Shard, units: &[PlannedUnit]) -> anyhow::Result<OpenStore> {
    let store = Store::open(out, contract, shard)?;
    store.promise(units)?;
    let committed = store.committed()?;
    let wanted: BTreeSet<&UnitUid> = units.iter().map(|unit| &unit.unit_uid).collect();
    let entries: Vec<_> = committed.iter().filter(|entry| wanted.contains(&entry.unit_uid)).collect();
    let checked: Vec<_> = entries.par_iter().map(|&entry| (entry, store.check_committed(entry))).collect();
    let mut done = BTreeSet::new();
    for (entry, stale) in checked {
        match stale? {
            None => {
                done.insert(entry.unit_uid.clone());
            }
            Some(why) => log::warn!("{}: made anew: {why}", entry.unit_uid),
        }
    }
    Ok(OpenStore { store, done })
}
