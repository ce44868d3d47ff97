//! SlowFast 8x8 R101 against what the originals computed: pytorchvideo's network on tiny random weights, and Ego4D's code
//! around it, in `tests/data/backbones/slowfast` (the README above it says how).

use std::fs;
use std::path::{Path, PathBuf};

use egofx::backbone::{Feed, Outputs};
use egofx::checkpoint::{Checkpoint, Tensor, TensorInfo, read_one_tensor, write_safetensors};
use egofx::decode::{FfmpegSource, FrameSource, HwAccel, Transform};
use egofx::recipe::Recipe;
use serde::Deserialize;

use crate::support::graphs::{
    EXPORTED, Golden, made, max_abs, output, session, slowfast, slowfast_config, slowfast_into,
};
use crate::support::{Workshop, json, videos};

/// Largest difference over the largest value.
const RELATIVE: f32 = 1e-5;
/// Side of the frames of the probes.
const SIDE: usize = 96;
const GRAPH: &str = "slowfast8x8_r101_video";

/// The window of the probes: 32 frames of a pattern with hard edges.
fn frames() -> Vec<u8> {
    let at = |i: usize| {
        let (t, y, x, c) = (i / (SIDE * SIDE * 3), i / (SIDE * 3) % SIDE, i / 3 % SIDE, i % 3);
        (7 * x + 13 * y + 61 * c + 29 * t + ((x * y) >> 4) + 3 * ((x ^ y) & 31)) as u8
    };
    (0..32 * SIDE * SIDE * 3).map(at).collect()
}

/// The same as the original module takes it, frames first.
fn pixels() -> Vec<f32> {
    let value = |level: u8| (f32::from(level) / 255.0 - 0.45) / 0.225;
    let planes = |frame: &[u8]| -> Vec<f32> {
        (0..3).flat_map(|c| frame.iter().skip(c).step_by(3).map(|v| value(*v)).collect::<Vec<_>>()).collect()
    };
    frames().chunks(SIDE * SIDE * 3).flat_map(planes).collect()
}

fn served(folder: &Path) -> Outputs {
    session(folder, GRAPH).run(&[Feed::Bytes("frames", frames().into(), vec![1, 32, SIDE, SIDE, 3])]).unwrap()
}

/// What is kept of a map `[1, C, F, H, W]` that is larger than 6 x 6: every second frame, every third row and column.
fn thinned(values: &[f32], kept: &[usize]) -> Vec<f32> {
    let &[_, channels, frames, height, width] = kept else { return values.to_vec() };
    let whole = |side: usize| 3 * side;
    if values.len() == kept.iter().product::<usize>() {
        return values.to_vec();
    }
    let (f, h, w) = (2 * frames, whole(height), whole(width));
    assert_eq!(values.len(), channels * f * h * w);
    let at = |i: usize| {
        let (c, t, y, x) =
            (i / (frames * height * width), i / (height * width) % frames, i / width % height, i % width);
        values[((c * f + 2 * t) * h + 3 * y) * w + 3 * x]
    };
    (0..kept.iter().product()).map(at).collect()
}

/// The largest difference over the largest value.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    max_abs(found, expected) / expected.iter().fold(0.0, |most: f32, v| most.max(v.abs()))
}

#[test]
fn slowfast_computes_what_the_original_code_computed() {
    let golden = Golden::open("slowfast/expected.safetensors");
    let mut session = session(&EXPORTED, &format!("{GRAPH}_debug"));
    let debug = session.run(&[Feed::Floats("pixels", pixels().into(), vec![1, 32, 3, SIDE, SIDE])]).unwrap();
    let served = served(&EXPORTED);
    let mut compared = 0;
    // The other two have tests of their own.
    for key in golden.names().into_iter().filter(|key| !["clip.features", "lowvar.feature"].contains(&key.as_str())) {
        let (shape, expected) = golden.floats(&key);
        let found = match key.as_str() {
            "feature" => [output(&debug, "embedding"), output(&served, "embedding")].to_vec(),
            "classes" => [output(&debug, "classes"), output(&served, "classes")].to_vec(),
            _ => vec![output(&debug, &format!("probe.{key}"))],
        };
        for found in found {
            let off = distance(&thinned(found, &shape), &expected);
            println!("{key}: within {off:.1e} of its largest value");
            assert!(off <= RELATIVE, "{key}: off by {off:e} of its largest value");
        }
        compared += 1;
    }
    assert_eq!(compared, 20);
}

/// The same weights, scaled so that every batch norm sees a variance of about its epsilon: a wrong one is off by more than the
/// largest value.
#[test]
fn slowfast_has_the_epsilon_of_the_original() {
    let (work, base) = (tempfile::tempdir().unwrap(), slowfast());
    let factor = |name: &str| match name {
        _ if name.ends_with("running_var") => Some(2.0_f32.powi(-16)),
        _ if name.ends_with("running_mean") || name.contains("conv") => Some(2.0_f32.powi(-8)),
        _ => None,
    };
    let scaled = made(work.path(), &base, |name| scaled(&base, name, factor(name)?));
    slowfast_into(&scaled, SIDE, work.path(), false, &[]);
    let (_, expected) = Golden::open("slowfast/expected.safetensors").floats("lowvar.feature");
    let off = distance(output(&served(work.path()), "embedding"), &expected);
    println!("low variance: within {off:.1e} of the largest value");
    assert!(off <= RELATIVE, "off by {off:e}");
}

fn scaled(base: &Checkpoint, name: &str, factor: f32) -> Option<Tensor> {
    let tensor = base.read(name).unwrap();
    let values: Vec<f32> = tensor.to_f32().unwrap().iter().map(|v| v * factor).collect();
    Some(Tensor::from_f32(tensor.shape, &values))
}

/// What Ego4D's code said of its frames.
#[derive(Deserialize)]
struct Info {
    /// The frames of each window of the clip.
    windows: Vec<Vec<u64>>,
    /// Places of the pixels that are kept, along both sides.
    grid: Vec<usize>,
    /// Patterns that went through its transform.
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    width: usize,
    height: usize,
}

fn info() -> Info {
    serde_json::from_slice(&fs::read(videos::data("backbones/slowfast/info.json")).unwrap()).unwrap()
}

fn clip() -> PathBuf {
    videos::data("backbones/slowfast/clip_30fps.mp4")
}

/// Frames of a video as the shipped recipe sees them, 256 x 256, normalised.
fn seen(video: &Path, wanted: &[u64]) -> Vec<Vec<f32>> {
    let normalised = |level: &f32| (level / 255.0 - 0.45) / 0.225;
    levels(video, wanted, recipe().for_video(false)).iter().map(|f| f.iter().map(normalised).collect()).collect()
}

fn recipe() -> Transform {
    Recipe::find(Path::new("slowfast8x8_r101_k400")).unwrap().body.transform.unwrap()
}

fn levels(video: &Path, wanted: &[u64], transform: Transform) -> Vec<Vec<f32>> {
    let source = FfmpegSource { tools: videos::tools(), threads: 1, hwaccel: HwAccel::None };
    let info = source.probe(video, None).unwrap();
    let frames = source.open(&info, wanted, &[transform]).map(Result::unwrap);
    frames.map(|frame| frame.pixels[0].floats().into_owned()).collect()
}

/// Largest difference of a normalised value; versions of PyTorch differ by half of it.
const PIXEL: f32 = 2e-4;

/// Normalised before it is scaled in the original, after it here, and turned by BT.601 though the clip says BT.709.
#[test]
fn frames_are_those_of_ego4ds_reader_and_transform() {
    let (Info { grid, cases, windows }, golden) = (info(), Golden::open("slowfast/pixels.safetensors"));
    let slow: Vec<u64> = [0, 4, 8, 13, 17, 22, 26, 31].map(|i: usize| windows[0][i]).to_vec();
    let compare = |name: &str, frames: &[Vec<f32>]| {
        let (shape, expected) = golden.floats(name);
        let n = grid.len();
        assert_eq!(shape, [3, frames.len(), n, n], "{name}");
        let found = (0..expected.len()).map(|i| {
            let (c, t, y, x) = (i / (frames.len() * n * n), i / (n * n) % frames.len(), i / n % n, i % n);
            frames[t][(grid[y] * 256 + grid[x]) * 3 + c]
        });
        let off = max_abs(&found.collect::<Vec<f32>>(), &expected);
        println!("{name}: within {off:.1e}");
        assert!(off <= PIXEL, "{name}: {off:e}");
    };
    compare("slow.grid", &seen(&clip(), &slow));
    let work = tempfile::tempdir().unwrap();
    for Case { width, height } in cases {
        compare(&format!("pattern.{width}x{height}.grid"), &seen(&film(work.path(), width, height), &[0, 1]));
    }
}

/// The pattern's left half is the pattern of half the width.
#[test]
fn of_a_stereo_video_the_left_half_is_seen() {
    let [two, one] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    // Scaled; only cut; cut out of the middle of the half.
    for (width, height) in [(96, 40), (512, 256), (1024, 256)] {
        let stereo = levels(&film(two.path(), width, height), &[0, 1], recipe().for_video(true));
        let half = levels(&film(one.path(), width / 2, height), &[0, 1], recipe().for_video(false));
        assert!(stereo == half, "{width} x {height}");
    }
}

/// `[height, width, 3]` scaled to other sides by two taps each, between the middles of pixels.
fn bilinear(values: &[f32], (width, height): (usize, usize), (to_width, to_height): (usize, usize)) -> Vec<f32> {
    let taps = |i: usize, from: usize, to: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        (at as usize, (at as usize + 1).min(from - 1), at.fract() as f32)
    };
    let value = |i: usize| {
        let (c, x, y) = (i % 3, i / 3 % to_width, i / 3 / to_width);
        let ((left, right, u), (top, bottom, v)) = (taps(x, width, to_width), taps(y, height, to_height));
        let at = |y: usize, x: usize| values[(y * width + x) * 3 + c];
        let row = |y: usize| at(y, left) * (1.0 - u) + at(y, right) * u;
        row(top) * (1.0 - v) + row(bottom) * v
    };
    (0..to_width * to_height * 3).map(value).collect()
}

/// Ego4D's code made 16 x 32 (height x width) of 64 x 32.
#[test]
fn the_left_half_of_a_high_stereo_video_is_squeezed() {
    let work = tempfile::tempdir().unwrap();
    let film = film(work.path(), 32, 64);
    let whole = &levels(&film, &[0], Transform::whole(recipe().reader))[0];
    let half: Vec<f32> = whole.chunks(32 * 3).flat_map(|row| row[..16 * 3].to_vec()).collect();
    let scaled = bilinear(&bilinear(&half, (16, 64), (32, 16)), (32, 16), (512, 256));
    let middle: Vec<f32> = scaled.chunks(512 * 3).flat_map(|row| row[128 * 3..384 * 3].to_vec()).collect();
    let off = max_abs(&levels(&film, &[0], recipe().for_video(true))[0], &middle);
    assert!(off <= 1e-2, "{off:e}");
}

/// Two frames of the pattern, as a film without loss.
fn film(folder: &Path, width: usize, height: usize) -> PathBuf {
    let at = |i: usize| {
        let (t, y, x, c) = (i / (height * width * 3), i / (width * 3) % height, i / 3 % width, i % 3);
        (7 * x + 13 * y + 61 * c + 29 * t + ((x * y) >> 4) + 3 * ((x ^ y) & 31)) as u8
    };
    let raw = folder.join("pattern.rgb");
    fs::write(&raw, (0..2 * height * width * 3).map(at).collect::<Vec<u8>>()).unwrap();
    let raw = raw.display();
    let how = format!("-f rawvideo -pix_fmt rgb24 -r 25 -s {width}x{height} -i {raw} -c:v ffv1 -pix_fmt bgr0");
    videos::make(folder, "pattern.mkv", &how)
}

/// From the file to the file: what Ego4D's own code saved of the clip, window by window.
#[test]
fn features_of_a_clip_are_those_that_ego4ds_code_saved() {
    let shop = Workshop::new();
    slowfast_into(&slowfast(), 256, &shop.path("models"), false, &[]);
    fs::copy(clip(), shop.path("clip.mp4")).unwrap();
    shop.manifest(&["clip.mp4"]);
    let name = "slowfast8x8_r101_k400";
    let refused = shop.egofx(&format!("extract -m all.csv -p {name} --models models -o features")).ends_with(2);
    refused.says(&["output.dim is 2304", "has 320 features a row"]);
    let recipe = shop.egofx(&format!("recipes {name}")).ends_with(0).stdout;
    shop.write(&format!("{name}.toml"), recipe.replace("dim = 2304", "dim = 320"));
    shop.egofx(&format!("extract -m all.csv -p ./{name}.toml --models models -o features")).ends_with(0);
    shop.egofx(&format!("convert features/{name} --to ego4d-pt -o out")).ends_with(0);

    let read = |path: PathBuf| {
        let tensor = read_one_tensor(&path).unwrap();
        (tensor.shape.clone(), tensor.to_f32().unwrap())
    };
    let (shape, found) = read(shop.path("out/clip.pt"));
    let (saved, expected) = read(videos::data("backbones/slowfast/clip.pt"));
    // The axis of a batch of one goes, as in Ego4D's documentation.
    assert_eq!((shape, saved), (vec![4, 320], vec![4, 1, 320]));
    let off = distance(&found, &expected);
    println!("features of the clip: within {off:.1e} of the largest value");
    assert!(off <= RELATIVE, "off by {off:e}");

    fs::create_dir(shop.path("released")).unwrap();
    fs::copy(videos::data("backbones/slowfast/clip.pt"), shop.path("released/clip.pt")).unwrap();
    shop.egofx(&format!("compare features/{name} released")).ends_with(0);
}

#[test]
fn the_program_says_what_a_checkpoint_of_slowfast_is() {
    let shop = Workshop::new();
    let path = videos::data("checkpoints/slowfast_tiny.pyth").display().to_string();
    let said = json(&shop.egofx(&format!("checkpoint {path} --json")).ends_with(0).stdout);
    assert_eq!((&said["model"]["name"], &said["model"]["fits"]), (&"slowfast8x8_r101".into(), &true.into()));
    assert_eq!((&said["key"], &said["tensor_count"]), (&"model_state".into(), &302.into()));
    assert_eq!(said["parameters"], serde_json::Value::from(slowfast_parameters()), "buffers are no parameters");
    // Random weights: the published network in narrow.
    shop.egofx("export --random slowfast8x8_r101 --tiny --out models").ends_with(0).says(&["1 graph"]);
    let card = fs::read_to_string(shop.path("models/slowfast8x8_r101_video.toml")).unwrap();
    let [takes, does] = ["shape = [\"B\", 32, 256, 256, 3]", "mean 0.45, std 0.225"];
    assert!(card.contains(takes) && card.contains(does), "{card}");
    shop.egofx("export --check --out models").ends_with(0);
}

fn slowfast_parameters() -> usize {
    use egofx::arch::Architecture;
    slowfast_config(256).num_parameters()
}

/// Both ways: nothing may lack, nothing may be too much, and a sibling is called by its name.
#[test]
fn a_checkpoint_that_is_not_quite_slowfast_is_refused() {
    let (shop, base) = (Workshop::new(), slowfast());
    let refused = |drop: &str, add: &[(&str, Tensor)], words: &str| {
        let kept = base.tensors().iter().filter(|(name, _)| *name != drop);
        let mut tensors: std::collections::BTreeMap<String, TensorInfo> =
            kept.map(|(name, info)| (name.clone(), info.clone())).collect();
        tensors.extend(add.iter().map(|(name, Tensor { dtype, shape, .. })| {
            ((*name).to_owned(), TensorInfo { dtype: *dtype, shape: shape.clone() })
        }));
        let mut read = |name: &str| match add.iter().find(|(added, _)| *added == name) {
            Some((_, tensor)) => Ok(tensor.clone()),
            None => base.read(name),
        };
        write_safetensors(&shop.path("made.safetensors"), &tensors, &mut read, &Default::default()).unwrap();
        let run = shop.egofx("export made.safetensors --out out").ends_with(2);
        assert_eq!(run.stderr.trim_end(), format!("egofx: {words}"));
    };
    let norm = "blocks.2.multipathway_fusion.norm";
    let [mean, variance] = ["running_mean", "running_var"].map(|part| format!("{norm}.{part}"));
    refused(&mean, &[], &format!("made.safetensors does not fit slowfast8x8_r101:\n  1 missing: {mean}"));
    let extra = [("blocks.7.weight", Tensor::from_f32(vec![1], &[0.0]))];
    refused("", &extra, "made.safetensors does not fit slowfast8x8_r101:\n  1 unknown: blocks.7.weight");
    let negative = [(variance.as_str(), Tensor::from_f32(vec![32], &[-0.5; 32]))];
    let why = "a variance of 0 or more was expected: the checkpoint is damaged";
    refused("", &negative, &format!("tensor {variance} holds -0.5 at position 0, {why}"));
    let fusion = "blocks.0.multipathway_fusion.conv_fast_to_slow.weight";
    let wider = [(fusion, Tensor::from_f32(vec![4, 2, 7, 1, 1], &[0.1; 56]))];
    let why = "its fusions span 7 frames as those of slowfast_r50 (SlowFast 8x8 R50), 5 were expected";
    refused("", &wider, &format!("made.safetensors is no slowfast8x8_r101 checkpoint: {why}"));
}
