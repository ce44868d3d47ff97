//! From arguments to what a run needs: cards, models on devices, stores and what they hold. Everything that can be wrong
//! before the first frame is found here.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rayon::prelude::*;

use egofx::backbone::{
    Backbone, Card, Device, FrameInput, OnnxBackbone, Precision, Provider, Runtime, SessionOptions, Towers, Windows,
};
use egofx::decode::Stereo;
use egofx::feature_set::{FeatureSet, PerSet};
use egofx::ids::UnitUid;
use egofx::manifest::Manifest;
use egofx::recipe::{Frames, Fusion, Recipe};
use egofx::shard::Shard;
use egofx::store::{Contract, PlannedUnit, Store};

/// Largest golden error of a provider that does not compute in plain fp32, relative to the largest golden value. It tells
/// a broken provider from a coarse one; real accuracy is measured when a graph is exported.
const COARSE_GOLDEN: f32 = 0.05;

/// Tells of recipes that see one eye of stereo videos where nothing says which videos are stereo.
pub fn warn_of_eyes(manifest: &Manifest, sets: &PerSet<FeatureSet>) {
    if manifest.videos.iter().any(|video| video.is_stereo() != Ok(None)) {
        return;
    }
    let sees_one = |set: &&FeatureSet| set.recipe.frames().is_some_and(|f| f.transform.stereo == Stereo::LeftHalf);
    for set in sets.values().filter(sees_one) {
        let (recipe, manifest) = (&set.recipe.name, &manifest.name);
        log::warn!(
            "recipe {recipe} sees the left half of stereo videos, and no clip of {manifest} says in a column is_stereo whether its \
             video is one: all of every frame is seen"
        );
    }
}

/// The graphs of `recipes` for `precision`, checked against what the recipes feed them and ask of them.
pub fn towers(models: &Path, recipes: &[Recipe], precision: Precision) -> anyhow::Result<Vec<Towers>> {
    let of = |recipe: &Recipe| towers_of(models, recipe, precision).with_context(|| format!("recipe {}", recipe.name));
    recipes.iter().map(of).collect()
}

fn towers_of(models: &Path, recipe: &Recipe, precision: Precision) -> anyhow::Result<Towers> {
    let body = &recipe.body;
    let graph = |name: &str| precision.graph(name);
    let backbone = graph(&body.backbone);
    let towers = match &body.fusion {
        Some(Fusion { lower_video, lower_text }) => {
            Towers::fused(models, [&graph(lower_video), &graph(lower_text), &backbone], &body.feature)?
        }
        None => {
            let frames = body.grid.map(|grid| grid.frames());
            Towers::single_of(models, &backbone, &body.feature, frames)?
        }
    };
    check_dim(recipe, &towers)?;
    let takes = |yes| if yes { "takes" } else { "does not take" };
    for (what, given, taken) in [
        ("frames (tables grid and transform)", recipe.frames().is_some(), towers.frames().is_some()),
        ("sentences (table text)", recipe.rule().is_some(), towers.takes_sentences()),
    ] {
        ensure!(given == taken, "backbone {} {} {what}", body.backbone, takes(taken));
    }
    if let (Some(frames), Some(input)) = (recipe.frames(), towers.frames()) {
        check_frames(&frames, input, &body.backbone)?;
    }
    Ok(towers)
}

/// That a row has as many features as the recipe says. The same graph's name stands for several checkpoints, whose
/// projections differ in nothing but their width.
fn check_dim(recipe: &Recipe, towers: &Towers) -> anyhow::Result<()> {
    let (card, feature) = (towers.last(), towers.feature());
    let Some(wanted) = recipe.body.output.dim.filter(|dim| *dim != feature.dim) else { return Ok(()) };
    let Card { name, checkpoint, .. } = card;
    let (given, output) = (feature.dim, &feature.name);
    if card.random_weights {
        let recipe = &recipe.name;
        log::warn!(
            "recipe {recipe}: rows of {given} features, {wanted} are asked for: {checkpoint}, good for trials only"
        );
        return Ok(());
    }
    let shape = card.outputs.iter().find(|known| known.name == *output).map(|known| known.shape.as_slice());
    // [B, what a row holds]
    if let Some([_, of_row @ ..]) = shape.filter(|shape| shape.len() > 2) {
        let of_row: Vec<String> = of_row.iter().map(ToString::to_string).collect();
        let of_row = of_row.join(" x ");
        bail!(
            "output.dim is {wanted}, {output} of card {name} has {given} numbers a row ({of_row}): egofx export --tokens=GRID makes \
             it with another grid, and grid.frames is F. Export it anew with the grid that is wanted, or change output.dim in a \
             copy of the recipe"
        );
    }
    let cause = match (wanted, given) {
        (4096, 256) => {
            "its projections are small (EgoVLPv2_smallproj.pth, for EPIC-KITCHENS and Charades-Ego); the recipe is for EgoVLPv2.pth"
        }
        (256, 4096) => "its projections are large (EgoVLPv2.pth); the recipe is for EgoVLPv2_smallproj.pth",
        _ => "the recipe is for another checkpoint",
    };
    bail!(
        "output.dim is {wanted}, {output} of card {name} has {given} features a row. The card was made of {checkpoint}: {cause}. \
         Export that one into a folder of its own (egofx export CHECKPOINT --out DIR) and name it with --models DIR, or \
         change output.dim in a copy of the recipe"
    );
}

fn check_frames(frames: &Frames, input: &FrameInput, backbone: &str) -> anyhow::Result<()> {
    let (crop, count) = (frames.transform.crop, frames.grid.frames());
    let (height, width) = (input.height, input.width);
    ensure!(
        (crop, crop) == (height, width),
        "transform.crop is {crop}, backbone {backbone} takes {height}x{width} pixels"
    );
    ensure!(
        input.takes(count),
        "grid.frames is {count}, backbone {backbone} takes windows of {} frames",
        input.frames.unwrap_or_default()
    );
    Ok(())
}

/// One backbone per feature set on each device, each tried on its golden input.
pub fn backbones(
    runtime: &Runtime,
    models: &Path,
    sets: &PerSet<FeatureSet>,
    devices: &[Device],
    precision: Precision,
    (threads, batch_size): (usize, usize),
) -> anyhow::Result<Vec<PerSet<Box<dyn Backbone>>>> {
    let load = |device: Device, set: &FeatureSet| -> anyhow::Result<Box<dyn Backbone>> {
        let options = SessionOptions { device, precision, threads, rearrange: true };
        let golden = if device.provider == Provider::Cpu { Golden::AsTheCard } else { Golden::Coarse };
        let mut backbone = OnnxBackbone::load_for(runtime, models, &set.towers, options, windows(set, batch_size))?;
        for (card, found) in backbone.golden_errors()? {
            check_golden(card, found, options, golden)?;
        }
        Ok(Box::new(backbone))
    };
    devices.iter().map(|&device| sets.try_map(|set| load(device, set))).collect()
}

/// What a backbone of `set` is asked at once.
fn windows(set: &FeatureSet, batch_size: usize) -> Option<Windows> {
    Some(Windows { most: batch_size, frames: set.recipe.frames()?.grid.frames() as usize })
}

/// How near a golden output has to be met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Golden {
    /// As near as its card says, where the arithmetic is the graph's own.
    AsTheCard,
    /// So that nothing is broken.
    Coarse,
}

/// An error unless what a card's golden input gave, `found` away from its golden output, is near enough.
pub fn check_golden(card: &Card, found: f32, options: SessionOptions, golden: Golden) -> anyhow::Result<()> {
    let SessionOptions { device, precision, .. } = options;
    let most = card.golden.max_abs;
    // An int8 graph's golden output is its own.
    let plain = matches!(precision, Precision::Fp32 | Precision::Int8);
    let is_near = plain && golden == Golden::AsTheCard;
    let allowed = if is_near { most } else { most.max(COARSE_GOLDEN * card.golden.scale()) };
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
