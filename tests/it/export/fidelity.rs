//! Features from the video file on, against those of the originals' pipelines: their readers, their transforms in single
//! precision, the same tower. `tests/data/fidelity/README.md` says how the golden ones were made, `docs/book/src/appendix/fidelity.md` what the
//! distances mean.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use egofx::backbone::{Backbone, GraphPrecision, Input, OnnxBackbone, Towers};
use egofx::batch::pack;
use egofx::checkpoint::Checkpoint;
use egofx::decode::{FfmpegSource, FrameSource, HwAccel};
use egofx::export::{MODELS, Scale};
use egofx::ids::TaskId;
use egofx::ndarray::Array2;
use egofx::pixels::Pixels;
use egofx::recipe::Recipe;
use egofx::sample::Clip;
use egofx::time::Fps;
use serde::Deserialize;

use crate::support::graphs::{self, backbone, cosine, exported_into, max_abs, shared};
use crate::support::videos;

/// What features of the originals' frames may differ by.
const MET: f32 = 1e-5;

/// Features of one file, as an original's pipeline made them.
#[derive(Deserialize)]
struct Case {
    recipe: String,
    graph: String,
    output: String,
    /// A video, or a folder of images, below `tests/data`.
    source: String,
    /// Frames of each row.
    windows: Vec<Vec<u64>>,
    features: Vec<Vec<f32>>,
}

/// By the names of graph and output.
type Backbones = BTreeMap<(String, String), OnnxBackbone>;

impl Case {
    /// The windows, as the shipped recipe sees them.
    fn clips(&self) -> Vec<Clip> {
        let recipe = Recipe::find(Path::new(&self.recipe)).unwrap();
        let transform = recipe.body.transform.unwrap();
        let source = FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None };
        let video = source.probe(&videos::data(&self.source), Fps::new(30, 1)).unwrap();
        let mut wanted = self.windows.concat();
        wanted.sort_unstable();
        wanted.dedup();
        let frames = source.open(&video, &wanted, &[transform]).map(Result::unwrap);
        let frames: BTreeMap<u64, Arc<Pixels>> =
            frames.map(|mut frame| (frame.index, frame.pixels.remove(0))).collect();
        let clip = |(window, indices): (u64, &Vec<u64>)| Clip {
            task: TaskId::new(0),
            window,
            frames: indices.iter().map(|index| frames[index].clone()).collect(),
        };
        (0..).zip(&self.windows).map(clip).collect()
    }

    /// Whether frames are scaled after they were read, the largest difference and the least cosine of a row.
    fn distance(&self, backbones: &mut Backbones) -> (bool, f32, f64) {
        let backbone = backbones
            .entry((self.graph.clone(), self.output.clone()))
            .or_insert_with(|| backbone(&EXPORTED, &Towers::single(&EXPORTED, &self.graph, &self.output).unwrap()));
        let clips = self.clips();
        let found = rows(backbone, &clips);
        for (i, clip) in clips.iter().enumerate() {
            assert_eq!(rows(backbone, std::slice::from_ref(clip)).row(0), found.row(i), "row {i} alone");
        }
        let is_scaled = matches!(*clips[0].frames[0], Pixels::F32(_));
        let rows = found.rows().into_iter().zip(&self.features).map(|(found, expected)| {
            (max_abs(found.as_slice().unwrap(), expected), cosine(found.as_slice().unwrap(), expected))
        });
        let (off, cosine) =
            rows.fold((0.0, 1.0), |(most, least): (f32, f64), (off, cosine)| (most.max(off), least.min(cosine)));
        (is_scaled, off, cosine)
    }
}

fn rows(backbone: &mut impl Backbone, clips: &[Clip]) -> Array2<f32> {
    backbone.forward(&Input::Windows(&pack(clips, Pixels::U8(Vec::new())))).unwrap()
}

/// Graphs of both tiny models, of weights that the original code was given too; EgoVLP's in 8-bit integers as well. Made once.
static EXPORTED: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = shared("export_fidelity");
    for (name, further) in [("egovlp", &[GraphPrecision::Int8][..]), ("egovlpv2", &[])] {
        let model = MODELS.iter().find(|known| known.name == name).unwrap();
        let checkpoint = Checkpoint::seeded("random", 1, model.sized(Scale::Tiny).parameters);
        exported_into(&checkpoint, &folder, false, further);
    }
    folder
});

#[test]
fn every_recipe_meets_the_features_of_its_original_from_the_file_on() {
    let mut backbones = Backbones::new();
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(videos::data("fidelity/expected.json")).unwrap()).unwrap();
    assert!(cases.len() >= 18);
    let mut scaled = 0;
    let distances = cases.iter().map(|case| {
        let (is_scaled, off, cosine) = case.distance(&mut backbones);
        scaled += usize::from(is_scaled);
        println!("{} of {}: scaled {is_scaled}, {off:.1e}, cosine {cosine:.9}", case.recipe, case.source);
        (off <= MET, format!("{} of {}: {off:.1e}, at most {MET:.0e}", case.recipe, case.source))
    });
    let missed: Vec<String> = distances.filter(|(met, _)| !met).map(|(_, words)| words).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(scaled >= 9, "{scaled}");
}

/// Frames that were only cut travel as `uint8`, and as `float32` in one batch with others, or behind them: a row must not show
/// which.
#[test]
fn levels_give_the_same_bits_as_floats_of_their_values() {
    for (graph, output, side) in [
        ("egovlp_video", "embedding", 256),
        ("egovlp_video_int8", "embedding", 256),
        ("egovlpv2_video", "class", 256),
        ("egovlpv2_video_plain", "embedding", 224),
        ("egovlpv2_lower_video", "class", 256),
    ] {
        let towers = Towers::single(&EXPORTED, graph, output).unwrap();
        let side = towers.frames().map_or(side, |input| input.width as usize);
        let level = |seed: usize, i: usize| graphs::noise(seed, i) as u8;
        let frame = |seed: usize| Pixels::U8((0..side * side * 3).map(|i| level(seed, i)).collect());
        let cut =
            |window: u64| Clip { task: TaskId::new(0), window, frames: (0..4).map(|f| Arc::new(frame(f))).collect() };
        let scaled = Clip {
            frames: (4..8)
                .map(|f| Arc::new(Pixels::F32(frame(f).floats().iter().map(|v| v * 0.97).collect())))
                .collect(),
            ..cut(1)
        };
        let mut backbone = backbone(&EXPORTED, &towers);
        let alone = rows(&mut backbone, &[cut(0), cut(1)]);
        let mixed = rows(&mut backbone, &[scaled.clone(), cut(0)]);
        let after = rows(&mut backbone, &[cut(0)]);
        assert_eq!((mixed.row(1), after.row(0)), (alone.row(0), alone.row(0)), "{graph}");
        assert_eq!(rows(&mut backbone, &[scaled]).row(0), mixed.row(0), "{graph}");
        assert_ne!(mixed.row(0), mixed.row(1), "{graph}");
    }
}
