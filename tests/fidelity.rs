//! Features from the video file on, against those of the originals' pipelines: their readers, their transforms in single
//! precision, the same tower. `tests/data/fidelity/README.md` says how the golden ones were made, `docs/fidelity.md` what the
//! distances mean.

mod common;
mod graphs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use egofx::backbone::{Feed, GraphSession};
use egofx::checkpoint::Checkpoint;
use egofx::decode::{FfmpegSource, FrameSource, HwAccel, Pixels};
use egofx::export::{self, MODELS, Options, Scale};
use egofx::recipe::{Recipe, Transform};
use egofx::time::Fps;
use graphs::{cosine, judge, max_abs, session};
use serde::Deserialize;

/// What features of the originals' frames may differ by.
const MET: f32 = 1e-5;

/// The same where the original scales in floating point from another size and what is scaled here is rounded to 8 bits, half a
/// level at most. Measured: 6.2e-4 at most.
const ROUNDED: f32 = 2e-3;

/// Recipes whose frames are scaled here, so that they are rounded.
const SCALED: [&str; 3] = ["egovlp_charades", "egovlpv2_epic", "egovlpv2_egotaskqa"];

/// Features of one file, as an original's pipeline made them.
#[derive(Deserialize)]
struct Case {
    recipe: String,
    graph: String,
    output: String,
    /// A video, or a folder of pictures, below `tests/data`.
    source: String,
    /// Frames of each row.
    windows: Vec<Vec<u64>>,
    features: Vec<Vec<f32>>,
}

impl Case {
    /// Whether frames are scaled after they were read.
    fn is_scaled(&self) -> bool {
        // Prepared, a portrait is narrower than the square.
        SCALED.contains(&self.recipe.as_str()) || self.source.contains("rotated")
    }

    /// The frames of all windows, as the shipped recipe has them.
    fn frames(&self) -> (Transform, BTreeMap<u64, Pixels>) {
        let recipe = Recipe::read(&common::root().join(format!("pipelines/{}.toml", self.recipe))).unwrap();
        let transform = recipe.body.transform.unwrap();
        let source = FfmpegSource { tools: common::tools(), threads: 1, hwaccel: HwAccel::None };
        let video = source.probe(&common::data(&self.source), Fps::new(30, 1)).unwrap();
        let mut wanted = self.windows.concat();
        wanted.sort_unstable();
        wanted.dedup();
        let frames = source.open(&video, &wanted, &[transform]).map(Result::unwrap);
        (transform, frames.map(|mut frame| (frame.index, frame.pixels.remove(0))).collect())
    }

    /// The largest difference and the least cosine of a row.
    fn distance(&self, graph: &mut GraphSession) -> (f32, f64) {
        let (transform, frames) = self.frames();
        let side = transform.crop as usize;
        let rows = self.windows.iter().zip(&self.features).map(|(window, expected)| {
            let pixels: Vec<u8> = window.iter().flat_map(|index| frames[index].iter().copied()).collect();
            let shape = vec![1, window.len(), side, side, 3];
            let (_, found) = graph.run_rows(&[Feed::Bytes("frames", pixels.into(), shape)], &self.output).unwrap();
            (max_abs(&found, expected), cosine(&found, expected))
        });
        rows.fold((0.0, 1.0), |(most, least), (off, cosine)| (most.max(off), least.min(cosine)))
    }
}

fn export(model: &str, folder: &Path) {
    let model = MODELS.iter().find(|known| known.name == model).unwrap();
    let checkpoint = Checkpoint::seeded("random", 1, (model.sized)(Scale::Tiny).layout.parameters);
    let options = Options { head_size: 16, further: vec![], debug: false, licence: "MIT".into(), force: false };
    export::export(&checkpoint, &options, &judge(), folder).unwrap();
}

#[test]
fn every_recipe_meets_the_features_of_its_original_from_the_file_on() {
    let folder = tempfile::tempdir().unwrap();
    ["egovlp", "egovlpv2"].into_iter().for_each(|model| export(model, folder.path()));
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(common::data("fidelity/expected.json")).unwrap()).unwrap();
    assert!(cases.len() >= 13);
    let distances = cases.iter().map(|case| {
        let (off, cosine) = case.distance(&mut session(folder.path(), &case.graph));
        println!("{} of {}: {off:.1e}, cosine {cosine:.9}", case.recipe, case.source);
        let most = if case.is_scaled() { ROUNDED } else { MET };
        (off <= most, format!("{} of {}: {off:.1e}, at most {most:.0e}", case.recipe, case.source))
    });
    let missed: Vec<String> = distances.filter(|(met, _)| !met).map(|(_, words)| words).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
