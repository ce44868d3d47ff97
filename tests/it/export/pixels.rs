//! Pixels on their way into a tower against what the original transforms made of the same pattern, in
//! `tests/data/transforms` (its README says how): the graph's part alone, and with what comes before it.

use std::fs;
use std::path::{Path, PathBuf};

use egofx::backbone::{Dim, Feed, GraphSession};
use egofx::checkpoint::Checkpoint;
use egofx::decode::{FfmpegSource, Filter, FrameSource, HwAccel, Reader, Transform};
use egofx::export::{
    self, MODELS, Options, Scale,
    onnx::{Attribute, DataType, GraphProto, ModelProto, NodeProto, attribute, model, value_info},
};
use egofx::pixels::Pixels;
use prost::Message;
use serde::Deserialize;

use crate::support::graphs::{Golden, output, session, session_for_floats, validator};
use crate::support::videos;

/// Largest difference of a normalised value from the original; versions of PyTorch differ by a third of it.
pub const NORMALISED: f32 = 2e-4;
/// Largest difference in 8-bit levels where ffmpeg has rounded to 8 bits in between.
const LEVELS: f32 = 1.0;
/// The same where a reader's frame was scaled in single precision, before the graph: what differs is the last bit of where a
/// pixel lies, some hundred thousandths of 255 levels.
const SCALED: f32 = 5e-3;
/// The same behind the graph, which scales once more.
const RESIZED: f32 = 1e-2;
/// ImageNet's standard deviation, which a level is divided by.
const STD: [f32; 3] = [0.229, 0.224, 0.225];

#[derive(Deserialize)]
struct Cases {
    grid: Vec<usize>,
    sizes: Vec<Size>,
}

#[derive(Deserialize)]
pub struct Size {
    width: usize,
    height: usize,
    frames: usize,
    pixel_0_0: [u8; 3],
    last_pixel: [u8; 3],
}

impl Size {
    pub fn new(width: usize, height: usize, frames: usize) -> Self {
        let at = |t: usize, y: usize, x: usize| {
            [0, 1, 2].map(|c: usize| (7 * x + 13 * y + 61 * c + 29 * t + ((x * y) >> 4) + 3 * ((x ^ y) & 31)) as u8)
        };
        let last_pixel = at(frames - 1, height - 1, width - 1);
        Self { width, height, frames, pixel_0_0: at(0, 0, 0), last_pixel }
    }

    /// RGB24 frames of the pattern.
    fn frames(&self) -> Vec<u8> {
        let (w, h) = (self.width, self.height);
        let at = |i: usize| {
            let (t, y, x, c) = (i / (h * w * 3), i / (w * 3) % h, i / 3 % w, i % 3);
            (7 * x + 13 * y + 61 * c + 29 * t + ((x * y) >> 4) + 3 * ((x ^ y) & 31)) as u8
        };
        let frames: Vec<u8> = (0..self.frames * h * w * 3).map(at).collect();
        assert_eq!((&frames[..3], &frames[frames.len() - 3..]), (&self.pixel_0_0[..], &self.last_pixel[..]));
        frames
    }

    /// Whether the transforms' first resize leaves the frames as they are.
    fn is_cut_only(&self) -> bool {
        self.width.min(self.height) == 256
    }

    /// The centred 256x256 of `frames`, its offset rounded half to even.
    fn cut(&self, frames: &[u8]) -> Vec<u8> {
        let offset = |size: usize| ((size - 256) as f64 / 2.0).round_ties_even() as usize;
        let (x, y) = (offset(self.width), offset(self.height));
        let row = |i: usize| {
            let from = ((i / 256 * self.height + y + i % 256) * self.width + x) * 3;
            &frames[from..from + 256 * 3]
        };
        (0..self.frames * 256).flat_map(row).copied().collect()
    }

    /// The pattern as a film without loss.
    pub fn film(&self, folder: &Path) -> PathBuf {
        fs::write(folder.join("pattern.rgb"), self.frames()).unwrap();
        let raw = format!("-f rawvideo -pix_fmt rgb24 -r 25 -s {}x{} -i", self.width, self.height);
        let mut args: Vec<_> = raw.split(' ').map(Into::into).collect();
        args.push(videos::url(&folder.join("pattern.rgb")));
        args.extend("-c:v ffv1 -pix_fmt bgr0".split(' ').map(Into::into));
        let path = folder.join("pattern.mkv");
        args.push(videos::url(&path));
        videos::ffmpeg(args);
        path
    }
}

/// The places of the golden files, along both axes.
pub fn grid() -> Vec<usize> {
    cases().grid
}

fn cases() -> Cases {
    serde_json::from_slice(&fs::read(videos::data("transforms/cases.json")).unwrap()).unwrap()
}

/// The part of an exported video graph that comes before its tower: frames of 256x256 to `[B * F, 3, 224, 224]`.
fn pixel_graph(folder: &Path) -> GraphSession {
    let parameters = MODELS[0].sized(Scale::Tiny).parameters;
    let checkpoint = Checkpoint::seeded("random", 1, parameters);
    let options =
        Options { head_size: 16, further: vec![], debug: false, tokens: None, licence: "MIT".into(), force: false };
    export::export(&checkpoint, &options, &validator(), folder).unwrap();
    let bytes = fs::read(folder.join("egovlp_video.onnx")).unwrap();
    let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.node.retain(|node| node.name().starts_with("pixels/"));
    let used = |name: &str| graph.node.iter().any(|node| node.input.iter().any(|input| input == name));
    graph.initializer.retain(|tensor| used(tensor.name()));
    let last = graph.node.last().unwrap().output[0].clone();
    let shape = ["T", "3", "224", "224"].map(|n| n.parse().map_or(Dim::Named(n.into()), Dim::Fixed));
    graph.output = vec![value_info(&last, DataType::Float, &shape)];
    graph.output[0].name = Some(last);
    fs::write(folder.join("pixels.onnx"), model.encode_to_vec()).unwrap();
    session(folder, "pixels")
}

/// The largest difference of the graph's pixels of `frames` (256x256) from the golden ones: normalised and in levels. The
/// graph takes what they are.
fn difference(graph: &mut GraphSession, golden: &Golden, case: (&Size, &[usize]), frames: Pixels) -> [f32; 2] {
    let (size, grid) = case;
    let shape = vec![1, size.frames, 256, 256, 3];
    let feed = match frames {
        Pixels::U8(levels) => Feed::Bytes("frames", levels.into(), shape),
        Pixels::F32(floats) => Feed::Floats("frames", floats.into(), shape),
    };
    let outputs = graph.run(&[feed]).unwrap();
    let found = &outputs[0].1;
    assert_eq!(found.len(), size.frames * 3 * 224 * 224);
    let (shape, expected) = golden.floats(&format!("{}x{}.grid", size.width, size.height));
    assert_eq!(shape, [3, size.frames, grid.len(), grid.len()]);
    let n = grid.len();
    let mut worst = [0.0_f32; 2];
    for (i, expected) in expected.iter().enumerate() {
        let (c, t, y, x) = (i / (n * n * size.frames), i / (n * n) % size.frames, grid[i / n % n], grid[i % n]);
        let off = (found[((t * 3 + c) * 224 + y) * 224 + x] - expected).abs();
        assert!(!off.is_nan());
        worst = [worst[0].max(off), worst[1].max(off * STD[c] * 255.0)];
    }
    worst
}

#[test]
fn the_graph_resizes_and_normalises_as_the_original_transforms() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = pixel_graph(folder.path());
    let (golden, Cases { grid, sizes }) = (Golden(open_golden()), cases());
    let cut_only: Vec<_> = sizes.iter().filter(|size| size.is_cut_only()).collect();
    assert_eq!(cut_only.len(), 6);
    for size in cut_only {
        let cut = Pixels::U8(size.cut(&size.frames()));
        let [normalised, levels] = difference(&mut graph, &golden, (size, &grid), cut);
        println!("{}x{}: {normalised:.1e}, {levels:.4} levels", size.width, size.height);
        assert!(normalised <= NORMALISED, "{}x{}: {normalised:e}", size.width, size.height);
    }
}

fn open_golden() -> Checkpoint {
    Checkpoint::open(&videos::data("transforms/expected.safetensors")).unwrap()
}

/// The frames of a film as `transform` gives them: as floats if they were scaled so.
pub fn transformed(film: &Path, size: &Size, transform: Transform) -> Pixels {
    let source = FfmpegSource { tools: videos::tools(), threads: 2, hwaccel: HwAccel::None };
    let video = source.probe(film, None).unwrap();
    let wanted: Vec<u64> = (0..size.frames as u64).collect();
    let frames = source.open(&video, &wanted, &[transform]).map(Result::unwrap);
    let frames: Vec<_> = frames.map(|mut frame| frame.pixels.remove(0)).collect();
    match *frames[0] {
        Pixels::U8(_) => Pixels::U8(frames.iter().flat_map(|pixels| pixels.levels().into_owned()).collect()),
        Pixels::F32(_) => Pixels::F32(frames.iter().flat_map(|pixels| pixels.floats().into_owned()).collect()),
    }
}

/// `bilinear` averages where it makes an image smaller, which the original transforms do not. They only ever met videos
/// whose shorter side was 256 already, scaled down by ffmpeg, where both filters leave the frames as they are.
#[test]
fn what_is_scaled_and_the_graph_are_the_original_transforms_and_ffmpeg_within_a_level() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = pixel_graph(folder.path());
    let mut graph_of_floats = session_for_floats(folder.path(), "pixels").unwrap();
    let (golden, Cases { grid, sizes }) = (Golden(open_golden()), cases());
    for size in &sizes {
        let film = size.film(folder.path());
        let shrinks = size.width.min(size.height) > 256;
        let aliased = Transform::centred(256, 256, Filter::BilinearAliased);
        let plain = Transform::centred(256, 256, Filter::Bilinear);
        let aliased_by_decord = aliased.read_by(Reader::Decord);
        let [plain, aliased] = [plain, aliased]
            .map(|transform| difference(&mut graph, &golden, (size, &grid), transformed(&film, size, transform))[1]);
        let read = transformed(&film, size, aliased_by_decord);
        assert_eq!(matches!(read, Pixels::U8(_)), size.is_cut_only(), "{}x{}", size.width, size.height);
        let read = Pixels::F32(read.floats().into_owned());
        let read = difference(&mut graph_of_floats, &golden, (size, &grid), read)[1];
        println!(
            "{}x{}: bilinear {plain:.2} levels, bilinear-aliased {aliased:.2}, read {read:.1e}",
            size.width, size.height
        );
        assert!(aliased <= LEVELS, "{}x{}: {aliased}", size.width, size.height);
        assert!(read <= RESIZED, "{}x{}: {read}", size.width, size.height);
        // Measured: 2 levels from 257 lines, 43 from 333 columns, 102 from 1080 lines of this pattern.
        assert_eq!(plain > LEVELS, shrinks, "{}x{}: {plain}", size.width, size.height);
    }
}

/// EgoVLPv2's EPIC-KITCHENS scales to 224 at once and cuts 224 out, on levels of 0 to 255: `egovlpv2_epic.toml`.
#[test]
fn frames_of_epic_kitchens_are_those_of_the_original_transform() {
    #[derive(Deserialize)]
    struct Case {
        width: usize,
        frame_ids: Vec<usize>,
    }
    let folder = tempfile::tempdir().unwrap();
    let golden = Golden(Checkpoint::open(&videos::data("transforms/epic_v2.safetensors")).unwrap());
    let films: Vec<Case> = serde_json::from_slice(&fs::read(videos::data("sampling/epic_v2.json")).unwrap()).unwrap();
    let grid = cases().grid;
    for (number, Case { width, frame_ids }) in films.into_iter().enumerate() {
        let size = Size::new(width, 256, 7);
        let transform = Transform::centred(224, 224, Filter::BilinearAliased).read_by(Reader::Decord);
        let frames = transformed(&size.film(folder.path()), &size, transform);
        assert!(matches!(frames, Pixels::F32(_)));
        let frames = frames.floats();
        let (shape, expected) = golden.floats(&format!("epic{number}.grid_first_last"));
        let n = grid.len();
        assert_eq!(shape, [2, 3, n, n]);
        // The first and the last frame; the pattern's frame is a frame's number modulo 7.
        let shown = [frame_ids[0] % 7, frame_ids[frame_ids.len() - 1] % 7];
        let worst = (0..expected.len()).fold(0.0_f32, |worst, i| {
            let (t, c, y, x) = (shown[i / (3 * n * n)], i / (n * n) % 3, grid[i / n % n], grid[i % n]);
            let level = frames[((t * 224 + y) * 224 + x) * 3 + c];
            let normalised = (level - [123.675, 116.28, 103.53][c]) / [58.395, 57.12, 57.375][c];
            worst.max((normalised - expected[i]).abs() * [58.395, 57.12, 57.375][c])
        });
        println!("epic{number}: {worst:.1e} levels");
        assert!(worst <= SCALED, "epic{number}: {worst} levels");
    }
}

#[test]
fn black_becomes_minus_mean_over_deviation() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = pixel_graph(folder.path());
    let outputs = graph.run(&[Feed::Bytes("frames", vec![0; 256 * 256 * 3].into(), vec![1, 1, 256, 256, 3])]).unwrap();
    let black = [-2.117_904, -2.035_714_4, -1.804_444_4];
    for (plane, black) in output(&outputs, "pixels/Add").chunks(224 * 224).zip(black) {
        assert!(plane.iter().all(|v| (v - black).abs() < 1e-6), "{} {black}", plane[0]);
    }
}

/// A graph that shifts the bits of its frames cannot take floats in their place, and says what else there is.
#[test]
fn a_graph_that_computes_on_uint8_is_refused_where_floats_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let node = |op: &str, inputs: &[&str], output: &str, setting: (&str, Attribute)| NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute: vec![attribute(setting.0, &setting.1)],
        ..Default::default()
    };
    let shape = [Dim::Named("B".into())];
    let graph = GraphProto {
        name: Some("shifting".into()),
        node: vec![
            node("BitShift", &["frames", "frames"], "shifted", ("direction", Attribute::Text("RIGHT"))),
            node("Cast", &["shifted"], "row", ("to", Attribute::Int(DataType::Float as i64))),
        ],
        input: vec![value_info("frames", DataType::Uint8, &shape)],
        output: vec![value_info("row", DataType::Float, &shape)],
        ..Default::default()
    };
    fs::write(folder.path().join("shifting.onnx"), model(graph, &[("", 21)], &[]).encode_to_vec()).unwrap();
    session(folder.path(), "shifting");
    let words = session_for_floats(folder.path(), "shifting").err().unwrap().to_string();
    assert!(words.contains("shifting.onnx") && words.contains("in place of uint8"), "{words}");
}
