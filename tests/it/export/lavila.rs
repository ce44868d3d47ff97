//! LaViLa's graphs against what the original modules computed on tiny random weights (`tests/data/backbones/lavila`), and what is
//! made of checkpoints that are none of its dual encoders.
//!
//! Heads of the two towers differ in size there, which those of real models do not: towers of two checkpoints are put together
//! so that one size serves both.

use std::path::Path;

use egofx::backbone::Feed;
use egofx::checkpoint::{Checkpoint, Tensor, TensorInfo, write_safetensors};
use egofx::decode::{Filter, Reader, Transform};
use egofx::export::{self, Model, Options};
use egofx::measure::Measure;
use tempfile::TempDir;

use super::golden::{Comparison, low_variance};
use super::pixels::{NORMALISED, Size, grid, transformed};
use crate::support::graphs::{Golden, made, max_abs, output, session, validator};
use crate::support::videos;

/// Largest difference of an inner state.
const PROBE: f32 = 5e-5;
/// What the names of the text towers' tensors begin with.
const TEXT: [&str; 6] =
    ["token_embedding", "positional_embedding", "transformer.", "ln_final", "text_projection", "textual."];

pub fn checkpoint(name: &str) -> Checkpoint {
    Checkpoint::open(&videos::data("backbones/lavila").join(name).join("checkpoint.pth")).unwrap()
}

fn golden(name: &str, file: &str) -> Golden {
    Golden::open(&format!("lavila/{name}/{file}.safetensors"))
}

fn comparison(name: &str, file: &str) -> Comparison {
    Comparison::new(golden(name, file)).with_probes_within(PROBE)
}

/// Debug graphs beside those for use.
fn exported(checkpoint: &Checkpoint, head_size: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options =
        Options { head_size, further: vec![], debug: true, tokens: None, licence: "MIT".into(), force: false };
    let made = export::export(checkpoint, &options, &validator(), folder.path()).unwrap();
    assert!(made.cards.iter().all(|card| card.measure == Measure::Product), "as its EgoMCQ ranks");
    folder
}

/// The video tower of `video` and the text tower of `text`.
pub fn put_together(video: &Checkpoint, text: &Checkpoint) -> (TempDir, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let is_text = |name: &String| TEXT.iter().any(|prefix| name.starts_with(prefix));
    let of = |checkpoint: &Checkpoint, wanted: bool| -> Vec<(String, TensorInfo)> {
        let tensors = checkpoint.tensors().iter().filter(|(name, _)| is_text(name) == wanted);
        tensors.map(|(name, info)| (name.clone(), info.clone())).collect()
    };
    let tensors = of(video, false).into_iter().chain(of(text, true)).collect();
    let mut read = |name: &str| if is_text(&name.to_owned()) { text.read(name) } else { video.read(name) };
    let path = folder.path().join("joined.safetensors");
    write_safetensors(&path, &tensors, &mut read, &std::collections::BTreeMap::new()).unwrap();
    let joined = Checkpoint::open(&path).unwrap();
    (folder, joined)
}

/// A video `[.., 3, F, H, W]` as a graph takes it, `[B, F, 3, H, W]`.
pub fn pixels((shape, values): (Vec<usize>, Vec<f32>)) -> Feed<'static> {
    let [.., frames, height, width] = shape[..] else { panic!("{shape:?}") };
    let plane = height * width;
    let clips: Vec<&[f32]> = values.chunks(3 * frames * plane).collect();
    let count = clips.len();
    let at = |clip: &[f32], f: usize, c: usize| clip[(c * frames + f) * plane..][..plane].to_vec();
    let frame = |clip: &[f32], f: usize| (0..3).flat_map(|c| at(clip, f, c)).collect::<Vec<f32>>();
    let values: Vec<f32> =
        clips.into_iter().flat_map(|clip| (0..frames).flat_map(|f| frame(clip, f)).collect::<Vec<_>>()).collect();
    Feed::Floats("pixels", values.into(), vec![count, frames, 3, height, width])
}

/// Ids of texts, all of whose places count.
fn words((shape, ids): (Vec<usize>, Vec<i64>)) -> [Feed<'static>; 2] {
    let mask = vec![1; ids.len()];
    [Feed::Ints("ids", ids.into(), shape.clone()), Feed::Ints("mask", mask.into(), shape)]
}

fn compare_video(folder: &Path, stem: &str, inputs: &Golden, compared: &mut Comparison, frames: &[usize]) {
    let mut video = session(folder, &format!("{stem}_video_debug"));
    for f in frames {
        let outputs = video.run(&[pixels(inputs.floats(&format!("video_f{f}")))]).unwrap();
        compared.output(&format!("video_f{f}.cls"), output(&outputs, "class"));
        compared.output(&format!("video_f{f}.embed"), output(&outputs, "embedding"));
        compared.probes(&format!("video_f{f}."), &outputs, "video.");
    }
}

/// `video_f4` with its frames in the order 2, 0, 3, 1.
fn compare_permuted(folder: &Path, stem: &str, inputs: &Golden, compared: &mut Comparison) {
    let Feed::Floats(name, values, shape) = pixels(inputs.floats("video_f4")) else { unreachable!() };
    let frames: Vec<&[f32]> = values.chunks(shape[2..].iter().product()).collect();
    let values: Vec<f32> =
        (0..shape[0]).flat_map(|b| [2, 0, 3, 1].map(|f| frames[b * 4 + f].to_vec())).flatten().collect();
    let outputs =
        session(folder, &format!("{stem}_video_debug")).run(&[Feed::Floats(name, values.into(), shape)]).unwrap();
    compared.output("video_f4_perm2031.embed", output(&outputs, "embedding"));
}

/// Inner states are kept of the first 12 places.
fn compare_text(folder: &Path, stem: &str, feeds: &[Feed], compared: &mut Comparison) {
    let Feed::Ints(_, _, shape) = &feeds[0] else { unreachable!() };
    let mut outputs = session(folder, &format!("{stem}_text_debug")).run(feeds).unwrap();
    compared.output("text.embed", output(&outputs, "pooled"));
    for (_, values) in outputs.iter_mut().filter(|(name, _)| name.starts_with("probe.")) {
        let text = values.len() / shape[0];
        let kept = text / shape[1] * 12;
        *values = values.chunks(text).flat_map(|text| text[..kept].to_vec()).collect();
    }
    assert!(compared.probes("text.", &outputs, "text.") > 0);
}

fn normalised(values: &[f32], dim: usize) -> Vec<f32> {
    let norm = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>().sqrt();
    values.chunks(dim).flat_map(|row| row.iter().map(|v| v / norm(row)).collect::<Vec<_>>()).collect()
}

/// Products of the rows of two matrices.
fn products(a: &[f32], b: &[f32], dim: usize) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    a.chunks(dim).flat_map(|a| b.chunks(dim).map(|b| dot(a, b)).collect::<Vec<_>>()).collect()
}

#[test]
fn clips_tower_of_patches_of_16_and_its_text_tower_compute_what_the_original_computed() {
    let (base, large) = (checkpoint("base"), checkpoint("large"));
    let inputs = golden("base", "inputs");
    let mut compared = comparison("base", "expected");
    let (_video, video) = put_together(&base, &large);
    let video = exported(&video, 16);
    compare_video(video.path(), "lavila_base", &inputs, &mut compared, &[1, 3, 4]);
    compare_permuted(video.path(), "lavila_base", &inputs, &mut compared);
    let run = |name: &str| {
        let outputs = session(video.path(), "lavila_base_video_debug").run(&[pixels(inputs.floats(name))]).unwrap();
        output(&outputs, "embedding").to_vec()
    };
    // As many frames as a model of that many rows takes.
    for frames in [8, 16] {
        compared
            .output(&format!("inflated_t{frames}.video_f{frames}.embed"), &run(&format!("inflate.video_f{frames}")));
    }
    let (clips, choices, videos) = (run("video_f4"), run("zs.mcq.video"), run("zs.mir.video"));

    let (_text, text) = put_together(&large, &base);
    let text = exported(&text, 8);
    compare_text(text.path(), "lavila_large", &words(inputs.ints("text.ids")), &mut compared);
    let read = |name: &str| {
        let outputs = session(text.path(), "lavila_large_text").run(&words(inputs.ints(name))).unwrap();
        output(&outputs, "pooled").to_vec()
    };
    // Their end mark was cut off: the start mark's token is taken, the same of both.
    let cut = read("text_cut.ids");
    compared.output("text_cut.embed", &cut);
    compared.output("norm.image_embed", &normalised(&clips, 8));
    compared.output("norm.text_embed", &normalised(&read("text.ids")[..2 * 8], 8));
    let scores: Vec<f32> = read("zs.mcq.ids")
        .chunks(8)
        .zip(choices.chunks(5 * 8))
        .flat_map(|(text, clips)| products(text, clips, 8))
        .collect();
    compared.output("zs.mcq.scores", &scores);
    let texts = normalised(&read("zs.mir.ids"), 8);
    compared.output("zs.mir.similarity", &products(&normalised(&videos, 8), &texts, 8));

    // Four frames in a model of sixteen: the first rows of its stretched table, which is part of the model.
    let (folder, joined) = put_together(&base, &large);
    let (shape, table) = compared.golden.floats("temporal_at_load.t16.bilinear");
    let stretched = made(folder.path(), &joined, |name| {
        (name == "visual.temporal_embed").then(|| Tensor::from_f32(shape.clone(), &table))
    });
    let stretched = exported(&stretched, 16);
    let outputs =
        session(stretched.path(), "lavila_base_video_debug").run(&[pixels(inputs.floats("video_f4"))]).unwrap();
    compared.output("inflated_t16.video_f4.embed", output(&outputs, "embedding"));
    compared.finish("LaViLa, patches of 16", &["temporal_at_load", "logit_scale"]);
}

#[test]
fn a_table_of_time_is_stretched_between_the_middles_of_its_rows() {
    let (_folder, joined) = put_together(&checkpoint("base"), &checkpoint("large"));
    let folder = exported(&joined, 16);
    let golden = golden("base", "expected");
    for frames in [2, 8, 16] {
        // Frames that are alike differ by their rows, which `ln_pre` comes behind.
        let feed = Feed::Floats("pixels", vec![0.25; frames * 3 * 1024].into(), vec![1, frames, 3, 32, 32]);
        let outputs = session(folder.path(), "lavila_base_video_debug").run(&[feed]).unwrap();
        let tokens = output(&outputs, "probe.video.before_ln_pre");
        let (_, table) = golden.floats(&format!("temporal_at_load.t{frames}.bilinear"));
        let patch = |f: usize| &tokens[(1 + 4 * f) * 32..][..32];
        for f in 0..frames {
            let found: Vec<f32> = patch(f).iter().zip(patch(0)).map(|(a, b)| a - b).collect();
            let expected: Vec<f32> = table[f * 32..][..32].iter().zip(&table).map(|(a, b)| a - b).collect();
            assert!(max_abs(&found, &expected) <= 2e-6, "row {f} of {frames}");
        }
    }
}

#[test]
fn clips_tower_of_patches_of_14_computes_what_the_original_computed() {
    let (base, large) = (checkpoint("base"), checkpoint("large"));
    let inputs = golden("large", "inputs");
    let mut compared = comparison("large", "expected");
    let (_video, video) = put_together(&large, &base);
    let video = exported(&video, 8);
    compare_video(video.path(), "lavila_large", &inputs, &mut compared, &[4]);
    compare_permuted(video.path(), "lavila_large", &inputs, &mut compared);
    let (_text, text) = put_together(&base, &large);
    let text = exported(&text, 16);
    compare_text(text.path(), "lavila_base", &words(inputs.ints("text.ids")), &mut compared);
    let outputs = session(text.path(), "lavila_base_text").run(&words(inputs.ints("text_cut.ids"))).unwrap();
    compared.output("text_cut.embed", output(&outputs, "pooled"));
    compared.finish("LaViLa, patches of 14", &["norm.", "logit_scale"]);
}

/// Ids and a mask of floats.
fn masked(inputs: &Golden) -> [Feed<'static>; 2] {
    let ((shape, ids), (_, mask)) = (inputs.ints("text.ids"), inputs.floats("text.mask"));
    let mask: Vec<i64> = mask.into_iter().map(|v| v as i64).collect();
    [Feed::Ints("ids", ids.into(), shape.clone()), Feed::Ints("mask", mask.into(), shape)]
}

#[test]
fn a_gated_tower_with_distilbert_computes_what_the_original_computed() {
    let (bert, large) = (checkpoint("distilbert"), checkpoint("large"));
    let inputs = golden("distilbert", "inputs");
    let mut compared = comparison("distilbert", "expected");
    let (_video, video) = put_together(&bert, &large);
    let video = exported(&video, 16);
    compare_video(video.path(), "lavila_base", &inputs, &mut compared, &[4]);
    compare_permuted(video.path(), "lavila_base", &inputs, &mut compared);
    let text = exported(&bert, 8);
    compare_text(text.path(), "lavila_distilbert", &masked(&inputs), &mut compared);
    compared.finish("LaViLa, gated, DistilBERT", &["norm.", "logit_scale"]);
}

/// In half precision, and without a temperature.
#[test]
fn the_converted_egovlp_computes_what_the_original_computed() {
    let inputs = golden("egovlp", "inputs");
    let mut compared = comparison("egovlp", "expected");
    let folder = exported(&checkpoint("egovlp"), 16);
    compare_video(folder.path(), "lavila_egovlp", &inputs, &mut compared, &[4, 16]);
    compare_permuted(folder.path(), "lavila_egovlp", &inputs, &mut compared);
    let outputs = session(folder.path(), "lavila_egovlp_text").run(&masked(&inputs)).unwrap();
    compared.output("text.embed", output(&outputs, "pooled"));
    compared.finish("LaViLa, converted EgoVLP", &["norm.", "logit_scale"]);
}

#[test]
fn lavila_has_the_epsilons_of_the_original() {
    let large = checkpoint("large");
    for (name, text_stem) in [("base", "lavila_large"), ("distilbert", "lavila_distilbert")] {
        let work = tempfile::tempdir().unwrap();
        let base = checkpoint(name);
        let low = low_variance(work.path(), &base, &format!("lavila/{name}"));
        let inputs = golden(name, "inputs");
        let mut compared = comparison(name, "expected_lowvar");
        let (_video, video) = put_together(&low, &large);
        let video = exported(&video, 16);
        compare_video(video.path(), "lavila_base", &inputs, &mut compared, &[4]);
        let (_text, joined) = put_together(&large, &low);
        let (text, feeds) = match name {
            "base" => (exported(&joined, 8), words(inputs.ints("text.ids"))),
            _ => (exported(&low, 8), masked(&inputs)),
        };
        compare_text(text.path(), text_stem, &feeds, &mut compared);
        compared.finish(&format!("LaViLa {name}, low variance"), &[]);
    }
}

/// LaViLa scales to the tower's size at once, on floats of 0 to 255.
#[test]
fn frames_are_those_of_the_original_transform() {
    let golden = Golden::open("../transforms/lavila.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let openai = ([108.327_3, 116.746_01, 104.093_735], [68.500_534, 66.632_16, 70.323_166]);
    let imagenet = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    for name in golden.names() {
        let (shape, expected) = golden.floats(&name);
        let (size, side) =
            if let Some(size) = name.strip_prefix("336px.") { (size, 336) } else { (name.as_str(), 224) };
        let (size, (mean, std)) =
            if let Some(size) = size.strip_prefix("egovlp.") { (size, imagenet) } else { (size, openai) };
        let (width, height) = size.trim_end_matches(".grid").split_once('x').unwrap();
        let size = Size::new(width.parse().unwrap(), height.parse().unwrap(), shape[1]);
        let transform = Transform::centred(side, side, Filter::BilinearAliased).read_by(Reader::Decord);
        let frames = transformed(&size.film(folder.path()), &size, transform);
        let (frames, side) = (frames.floats(), side as usize);
        // The indices of 224 pixels are those of 336 too.
        let (grid, n) = (grid(), shape[2]);
        let worst = (0..expected.len()).fold(0.0_f32, |worst, i| {
            let (c, t, y, x) = (i / (n * n * shape[1]), i / (n * n) % shape[1], grid[i / n % n], grid[i % n]);
            let level = frames[((t * side + y) * side + x) * 3 + c];
            worst.max(((level - mean[c]) / std[c] - expected[i]).abs())
        });
        println!("{name}: {worst:.1e}");
        assert!(worst <= NORMALISED, "{name}: {worst:e}");
    }
}

/// The graph subtracts and divides by LaViLa's own numbers, or by ImageNet's in the tower that was EgoVLP's.
#[test]
fn a_served_graph_normalises_as_its_family_does() {
    let openai = ([108.327_3, 116.746_01, 104.093_735], [68.500_534, 66.632_16, 70.323_166]);
    let imagenet = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    let (_joined, base) = put_together(&checkpoint("base"), &checkpoint("large"));
    for (checkpoint, stem, (mean, std)) in [(base, "base", openai), (checkpoint("egovlp"), "egovlp", imagenet)] {
        let folder = exported(&checkpoint, 16);
        let frames: Vec<u8> = (0..4 * 32 * 32 * 3).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let values: Vec<f32> = (0..4 * 3 * 1024)
            .map(|i| {
                let (f, c, place) = (i / (3 * 1024), i / 1024 % 3, i % 1024);
                (f32::from(frames[(f * 1024 + place) * 3 + c]) - mean[c]) / std[c]
            })
            .collect();
        let debug = Feed::Floats("pixels", values.into(), vec![1, 4, 3, 32, 32]);
        let expected = session(folder.path(), &format!("lavila_{stem}_video_debug")).run(&[debug]).unwrap();
        let served = Feed::Bytes("frames", frames.into(), vec![1, 4, 32, 32, 3]);
        let found = session(folder.path(), &format!("lavila_{stem}_video")).run(&[served]).unwrap();
        for name in ["class", "embedding"] {
            let off = max_abs(output(&found, name), output(&expected, name));
            assert!(off <= 2e-5, "{stem} {name}: {off:e}");
        }
    }
}

/// `base` with these tensors of one number each besides, and without those that `left_out` begins.
fn changed(folder: &Path, base: &Checkpoint, more: &[&str], left_out: &[&str]) -> Checkpoint {
    let mut tensors = base.tensors().clone();
    tensors.retain(|name, _| !left_out.iter().any(|prefix| name.starts_with(prefix)));
    let one = || Tensor::from_f32(vec![1], &[0.5]);
    let added = |name: &&str| ((*name).to_owned(), TensorInfo { dtype: one().dtype, shape: vec![1] });
    tensors.extend(more.iter().map(added));
    let mut read = |name: &str| if more.contains(&name) { Ok(one()) } else { base.read(name) };
    let path = folder.join("changed.safetensors");
    write_safetensors(&path, &tensors, &mut read, &std::collections::BTreeMap::new()).unwrap();
    Checkpoint::open(&path).unwrap()
}

fn refused(checkpoint: &Checkpoint) -> String {
    Model::of(checkpoint, 8).err().unwrap().to_string()
}

#[test]
fn a_narrator_is_refused_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let base = checkpoint("base");
    for more in [&["img_queries", "text_decoder.lm_head.weight"][..], &["text_decoder.transformer.wte.weight"]] {
        let words = refused(&changed(folder.path(), &base, more, &TEXT));
        assert!(words.starts_with("changed.safetensors is no lavila checkpoint: it is a narrator"), "{words}");
        assert!(words.ends_with(more[0]), "{words}");
    }
}

#[test]
fn of_a_classifier_the_video_tower_is_taken() {
    let (folder, base) = (tempfile::tempdir().unwrap(), checkpoint("base"));
    let left_out = [&TEXT[..], &["image_projection", "logit_scale"]].concat();
    let classifier = changed(folder.path(), &base, &["fc_cls.weight", "fc_cls.bias"], &left_out);
    let (_, plan) = Model::of(&classifier, 16).unwrap();
    assert_eq!((plan.name.as_str(), plan.graphs.len()), ("lavila-base", 1));
    let graphs = exported(&classifier, 16);
    let inputs = golden("base", "inputs");
    let outputs = session(graphs.path(), "lavila_base_video").run(&[Feed::Bytes(
        "frames",
        vec![9; 3072].into(),
        vec![1, 1, 32, 32, 3],
    )]);
    assert_eq!(outputs.unwrap().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["class"]);
    let outputs = session(graphs.path(), "lavila_base_video_debug").run(&[pixels(inputs.floats("video_f4"))]).unwrap();
    comparison("base", "expected").output("video_f4.cls", output(&outputs, "class"));
    let half = changed(folder.path(), &base, &["fc_cls.weight"], &[]);
    let words = refused(&half);
    assert!(
        words.contains("changed.safetensors does not fit lavila-base") && words.contains("ln_final.bias"),
        "{words}"
    );
}

/// What transformers of other releases left in a file is no weight; everything else has to be known.
#[test]
fn every_tensor_is_known_and_there() {
    let (folder, bert) = (tempfile::tempdir().unwrap(), checkpoint("distilbert"));
    Model::of(&changed(folder.path(), &bert, &["textual.embeddings.position_ids"], &[]), 8).unwrap();
    Model::of(&changed(folder.path(), &bert, &[], &["logit_scale"]), 8).unwrap();
    let words = refused(&changed(folder.path(), &bert, &["visual.patch_embed.proj.bias"], &[]));
    assert!(words.contains("does not fit lavila-distilbert:\n  1 unknown: visual.patch_embed.proj.bias"), "{words}");
    let words = refused(&changed(folder.path(), &bert, &[], &["visual.blocks.1.alpha_timeattn"]));
    assert!(words.contains("1 missing: visual.blocks.1.alpha_timeattn"), "{words}");
    let words = refused(&changed(folder.path(), &bert, &[], &["textual."]));
    assert!(words.contains("is no lavila checkpoint: textual.embeddings.word_embeddings.weight is missing"), "{words}");
}
