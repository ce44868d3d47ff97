//! Exported graphs against what the original code computed: outputs of EgoVLP's and EgoVLPv2's own modules on tiny random
//! weights, in `tests/data/backbones` (its README says how they were made).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use egofx::backbone::{Feed, Outputs};
use egofx::checkpoint::{Checkpoint, Init, ParamSpec, Tensor};
use tempfile::TempDir;

use crate::support::graphs::{
    EXPORTED, Golden, cosine, egovlp, egovlpv2, egovlpv2_small, exported_into, joined, made, max_abs, output, session,
    shared,
};
use crate::support::videos;

/// Largest difference of an output: ten times the noise between versions of PyTorch, a tenth of what a wrong GELU makes.
const OUTPUT: f32 = 2e-5;
/// Largest difference of an inner state.
const PROBE: f32 = 1e-4;
/// Least cosine of an output.
const COSINE: f64 = 0.999_999;

/// Debug graphs of a checkpoint, in a folder of the test's own.
fn exported(checkpoint: &Checkpoint) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    exported_into(checkpoint, folder.path(), true, &[]);
    folder
}

/// A head of five answers, as PPSA's checkpoints have it.
static ANSWERS: LazyLock<Checkpoint> = LazyLock::new(|| {
    let init = Init { mean: 0.0, std: 0.3 };
    let parameter = |name: &str, shape: &[usize]| ParamSpec { name: name.into(), shape: shape.into(), init };
    Checkpoint::seeded(
        "answers",
        1,
        vec![
            parameter("projector_1.weight", &[5, 32]),
            parameter("projector_1.bias", &[5]),
            parameter("projector_2.weight", &[5, 5]),
            parameter("projector_2.bias", &[5]),
        ],
    )
});

/// Graphs of EgoVLPv2 with small projectors, made once; with two changes that dual mode does not see: an answer head, and dual
/// mode's class token in place of the fused one's.
static SMALL: LazyLock<PathBuf> = LazyLock::new(|| {
    let (folder, work) = (shared("export_small"), tempfile::tempdir().unwrap());
    let base = joined(work.path(), &egovlpv2_small(), |_| true, &ANSWERS);
    let class = |name: &str| (name == "cls_token").then(|| base.read("video_model.cls_token").unwrap());
    exported_into(&made(work.path(), &base, class), &folder, true, &[]);
    folder
});

/// Compares outputs of graphs with a golden file, and in the end counts what was compared.
pub struct Comparison {
    pub golden: Golden,
    most_probe: f32,
    left: BTreeSet<String>,
    worst_output: f32,
    worst_probe: f32,
}

impl Comparison {
    pub fn new(golden: Golden) -> Self {
        let left = golden.names();
        Self { golden, most_probe: PROBE, left, worst_output: 0.0, worst_probe: 0.0 }
    }

    /// The same with another limit for inner states.
    pub fn with_probes_within(self, most_probe: f32) -> Self {
        Self { most_probe, ..self }
    }

    pub fn output(&mut self, key: &str, found: &[f32]) {
        let (_, expected) = self.golden.floats(key);
        let (off, cosine) = (max_abs(found, &expected), cosine(found, &expected));
        assert!(off <= OUTPUT && cosine >= COSINE, "{key}: max abs {off:e}, cosine {cosine}");
        self.worst_output = self.worst_output.max(off);
        self.left.remove(key);
    }

    /// Every golden tensor below `prefix` that the graph gives as a probe of the same name below `probe`.
    pub fn probes(&mut self, prefix: &str, outputs: &Outputs, probe: &str) -> usize {
        let mut count = 0;
        for (name, values) in outputs {
            let Some(name) = name.strip_prefix("probe.").and_then(|name| name.strip_prefix(probe)) else { continue };
            let key = format!("{prefix}{name}");
            if self.left.contains(&key) {
                let off = max_abs(values, &self.golden.floats(&key).1);
                assert!(off <= self.most_probe, "{key}: max abs {off:e}");
                self.worst_probe = self.worst_probe.max(off);
                self.left.remove(&key);
                count += 1;
            }
        }
        count
    }

    /// What nobody compared must be of the kinds in `aside`.
    pub fn finish(self, what: &str, aside: &[&str]) {
        println!("{what}: outputs within {:e}, inner states within {:e}", self.worst_output, self.worst_probe);
        let forgotten: Vec<_> = self.left.iter().filter(|key| !aside.iter().any(|a| key.contains(a))).collect();
        assert!(forgotten.is_empty(), "not compared: {forgotten:?}");
    }
}

/// The same weights, scaled so that every LayerNorm sees a variance of about its epsilon: a wrong epsilon is then off by
/// a tenth and more, not by a hundred-thousandth.
pub fn low_variance(folder: &Path, base: &Checkpoint, model: &str) -> Checkpoint {
    let text = std::fs::read_to_string(videos::data("backbones").join(model).join("lowvar.json")).unwrap();
    let factors: BTreeMap<String, Vec<String>> = serde_json::from_str(&text).unwrap();
    let factor = |name: &str| {
        let hit = factors.iter().find(|(_, names)| names.iter().any(|n| n == name))?;
        hit.0.strip_prefix("factor_").unwrap().parse::<f32>().ok()
    };
    made(folder, base, |name| {
        let factor = factor(name)?;
        let tensor = base.read(name).unwrap();
        let values: Vec<f32> = tensor.to_f32().unwrap().iter().map(|v| v * factor).collect();
        Some(Tensor::from_f32(tensor.shape, &values))
    })
}

/// `video_f4` with its frames in the order 2, 0, 3, 1.
fn permuted(golden: &Golden) -> Feed<'static> {
    let (shape, values) = golden.floats("video_f4");
    let frame: usize = shape[2..].iter().product();
    let frames: Vec<&[f32]> = values.chunks(frame).collect();
    let order = [2, 0, 3, 1];
    let values = (0..shape[0]).flat_map(|b| order.map(|f| frames[b * 4 + f].to_vec())).flatten().collect();
    Feed::Floats("pixels", values, shape)
}

fn egovlp_video(folder: &Path, inputs: &Golden, compared: &mut Comparison, frames: &[usize]) {
    let mut video = session(folder, "egovlp_video_debug");
    for f in frames {
        let outputs = video.run(&[inputs.pixels(&format!("video_f{f}"))]).unwrap();
        compared.output(&format!("video_f{f}.cls"), output(&outputs, "class"));
        compared.output(&format!("video_f{f}.embed"), output(&outputs, "embedding"));
        compared.probes(&format!("video_f{f}."), &outputs, "video.");
    }
}

fn egovlp_text(folder: &Path, inputs: &Golden, compared: &mut Comparison, names: &[&str]) {
    let mut text = session(folder, "egovlp_text_debug");
    for name in names {
        let outputs = text.run(&inputs.text(name, "ids")).unwrap();
        for (key, found) in [("last_hidden", "hidden"), ("tokens", "tokens"), ("pooled", "pooled")] {
            compared.output(&format!("{name}.{key}"), output(&outputs, found));
        }
        compared.probes(&format!("{name}."), &outputs, "text.");
    }
}

#[test]
fn egovlp_computes_what_the_original_code_computed() {
    let folder = &*EXPORTED;
    let inputs = Golden::open("egovlp/inputs.safetensors");
    let mut compared = Comparison::new(Golden::open("egovlp/expected.safetensors"));
    egovlp_video(folder, &inputs, &mut compared, &[1, 4, 8, 16]);
    let mut video = session(folder, "egovlp_video_debug");
    let outputs = video.run(&[permuted(&inputs)]).unwrap();
    compared.output("video_f4_perm2031.embed", output(&outputs, "embedding"));
    egovlp_text(folder, &inputs, &mut compared, &["text_padded", "text_full", "text_short", "text_long"]);
    egovlp_extraction(folder, &inputs, &mut compared);
    // The temporal table has a test of its own, the similarity matrix follows from its factors.
    compared.finish("EgoVLP", &["temporal_at_load", "loaded_t4", "sim.", "patch_conv"]);
}

/// The features that the original NLQ script wrote: 38 frames make 9 windows of 4, the last of which it left zero; and four
/// queries, pooled and per token.
fn egovlp_extraction(folder: &Path, inputs: &Golden, compared: &mut Comparison) {
    let all = ["video_f16", "video_f8"].map(|name| inputs.floats(name).1).concat();
    let mut video = session(folder, "egovlp_video_debug");
    let outputs = video.run(&[Feed::Floats("pixels", all[..36 * 3072].into(), vec![9, 4, 3, 32, 32])]).unwrap();
    let mut rows = output(&outputs, "embedding").to_vec();
    rows[8 * 8..].fill(0.0);
    compared.output("extract.clip", &rows);

    let text = std::fs::read_to_string(videos::data("backbones/egovlp/queries.json")).unwrap();
    let queries: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut session = session(folder, "egovlp_text_debug");
    for (q, query) in queries.as_array().unwrap().iter().enumerate() {
        let ids: Vec<i64> = query["ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let shape = vec![1, ids.len()];
        let mask = vec![1; ids.len()];
        let outputs = session
            .run(&[Feed::Ints("ids", ids.into(), shape.clone()), Feed::Ints("mask", mask.into(), shape)])
            .unwrap();
        let tokens = output(&outputs, "tokens");
        for (key, found) in [("pooled", output(&outputs, "pooled")), ("tokens", &tokens[8..tokens.len() - 8])] {
            let key = format!("extract.{key}.{q}");
            if compared.golden.names().contains(&key) {
                compared.output(&key, found);
            }
        }
    }
}

#[test]
fn egovlp_has_the_epsilons_of_the_original() {
    let work = tempfile::tempdir().unwrap();
    let folder = exported(&low_variance(work.path(), &egovlp(), "egovlp"));
    let folder = folder.path();
    let inputs = Golden::open("egovlp/inputs.safetensors");
    let mut compared = Comparison::new(Golden::open("egovlp/expected_lowvar.safetensors"));
    egovlp_video(folder, &inputs, &mut compared, &[4]);
    egovlp_text(folder, &inputs, &mut compared, &["text_padded"]);
    compared.finish("EgoVLP, low variance", &["sim.", "patch_conv"]);
}

fn egovlpv2_dual(folder: &Path, inputs: &Golden, compared: &mut Comparison, frames: &[usize], texts: &[&str]) {
    let mut video = session(folder, "egovlpv2_video_debug");
    for f in frames {
        let outputs = video.run(&[inputs.pixels(&format!("video_f{f}"))]).unwrap();
        compared.output(&format!("dual.video_f{f}.cls"), output(&outputs, "class"));
        compared.output(&format!("dual.video_f{f}.embed"), output(&outputs, "embedding"));
        compared.probes(&format!("dual.video_f{f}."), &outputs, "video.");
    }
    let mut text = session(folder, "egovlpv2_text_debug");
    for name in texts {
        let outputs = text.run(&inputs.text(name, "ids")).unwrap();
        compared.output(&format!("dual.{name}.last_hidden"), output(&outputs, "hidden"));
        compared.output(&format!("dual.{name}.pooled"), output(&outputs, "pooled"));
        compared.probes(&format!("dual.{name}."), &outputs, "text.");
    }
}

fn egovlpv2_fused(folder: &Path, inputs: &Golden, compared: &mut Comparison, pairs: &[(&str, &str)]) {
    let mut fused = session(folder, "egovlpv2_fused_debug");
    for (video, text) in pairs {
        let [ids, mask] = inputs.text(text, "ids");
        let outputs = fused.run(&[inputs.pixels(video), ids, mask]).unwrap();
        let key = format!("fused.{video}.{text}");
        compared.output(&format!("{key}.cls"), output(&outputs, "class"));
        compared.output(&format!("{key}.text"), output(&outputs, "text"));
        let logits = output(&outputs, "match_logits");
        compared.output(&format!("{key}.itm_logits"), logits);
        let matched: Vec<f32> = logits.chunks(2).map(|l| 1.0 / (1.0 + (l[0] - l[1]).exp())).collect();
        compared.output(&format!("{key}.itm_prob"), &matched);
        compared.probes(&format!("{key}."), &outputs, "");
        compared.probes(&format!("{key}."), &outputs, "video.");
    }
}

#[test]
fn egovlpv2_computes_what_the_original_code_computed() {
    let folder = &*EXPORTED;
    let inputs = Golden::open("egovlpv2/inputs.safetensors");
    let mut compared = Comparison::new(Golden::open("egovlpv2/expected.safetensors"));
    let texts = ["text_padded", "text_full", "text_short", "text_nlq", "text_pt"];
    egovlpv2_dual(folder, &inputs, &mut compared, &[4, 5, 16], &texts);
    let mut video = session(folder, "egovlpv2_video_debug");
    let outputs = video.run(&[permuted(&inputs)]).unwrap();
    compared.output("dual.video_f4_perm2031.embed", output(&outputs, "embedding"));
    let mut pairs = texts.map(|text| ("video_f4", text)).to_vec();
    pairs.extend([("video_f5", "text_padded"), ("video_f16", "text_padded")]);
    egovlpv2_fused(folder, &inputs, &mut compared, &pairs);

    let mut fused = session(folder, "egovlpv2_fused_debug");
    let [ids, mask] = inputs.text("text_pt", "mlm_ids");
    let outputs = fused.run(&[inputs.pixels("video_f4"), ids, mask]).unwrap();
    compared.output("fused.video_f4.text_pt.mlm_logits", output(&outputs, "mlm_logits"));
    egovlpv2_extraction(folder, &inputs, &mut compared);
    compared.finish("EgoVLPv2", &["temporal", "sim.", "nlq.", "small.", "patch_conv"]);
}

/// The features that the original NLQ script wrote for one query of five windows.
fn egovlpv2_extraction(folder: &Path, inputs: &Golden, compared: &mut Comparison) {
    let (clip, other) = (inputs.floats("video_f16").1, inputs.floats("video_f4").1);
    let pixels: Vec<f32> = [&clip[..16 * 3072], &other[4 * 3072..]].concat();
    let ((_, ids), (_, mask)) = (inputs.ints("extract.ids"), inputs.ints("extract.mask"));
    let mut fused = session(folder, "egovlpv2_fused_debug");
    let outputs = fused
        .run(&[
            Feed::Floats("pixels", pixels.into(), vec![5, 4, 3, 32, 32]),
            Feed::Ints("ids", ids.repeat(5).into(), vec![5, 30]),
            Feed::Ints("mask", mask.repeat(5).into(), vec![5, 30]),
        ])
        .unwrap();
    compared.output("extract.fused_video_features", output(&outputs, "class"));
    let mut text = session(folder, "egovlpv2_text_debug");
    let outputs = text.run(&inputs.text("extract", "ids")).unwrap();
    compared.output("extract.dual_text_features", output(&outputs, "hidden"));
}

#[test]
fn egovlpv2_has_the_epsilons_of_the_original() {
    let work = tempfile::tempdir().unwrap();
    let base = egovlpv2(work.path());
    let folder = exported(&low_variance(work.path(), &base, "egovlpv2"));
    let folder = folder.path();
    let inputs = Golden::open("egovlpv2/inputs.safetensors");
    let mut compared = Comparison::new(Golden::open("egovlpv2/expected_lowvar.safetensors"));
    let keys = compared.golden.names();
    egovlpv2_dual(folder, &inputs, &mut compared, &[4], &["text_padded"]);
    let texts = ["text_padded", "text_pt", "text_nlq", "text_full", "text_short"];
    let pairs = texts.map(|text| ("video_f4", text));
    let pairs: Vec<_> = pairs.into_iter().filter(|(v, t)| keys.contains(&format!("fused.{v}.{t}.cls"))).collect();
    egovlpv2_fused(folder, &inputs, &mut compared, &pairs);
    if keys.contains("fused.video_f4.text_pt.mlm_logits") {
        let mut fused = session(folder, "egovlpv2_fused_debug");
        let [ids, mask] = inputs.text("text_pt", "mlm_ids");
        let outputs = fused.run(&[inputs.pixels("video_f4"), ids, mask]).unwrap();
        compared.output("fused.video_f4.text_pt.mlm_logits", output(&outputs, "mlm_logits"));
    }
    compared.finish("EgoVLPv2, low variance", &["sim."]);
}

#[test]
fn small_projectors_of_egovlpv2_are_told_by_their_tensors() {
    let inputs = Golden::open("egovlpv2/inputs.safetensors");
    let mut compared = Comparison::new(Golden::open("egovlpv2/expected.safetensors"));
    let outputs = session(&SMALL, "egovlpv2_video_debug").run(&[inputs.pixels("video_f4")]).unwrap();
    compared.output("small.video_f4.embed", output(&outputs, "embedding"));
    let outputs = session(&SMALL, "egovlpv2_text_debug").run(&inputs.text("text_padded", "ids")).unwrap();
    compared.output("small.text_padded.pooled", output(&outputs, "pooled"));
}

/// The QFVS code was configured to run 8 blocks without text and none with it. They are those of dual mode behind another
/// class token, so with dual mode's token and norm they give what dual mode gives, which is compared with the original.
#[test]
fn qfvs_as_released_runs_eight_blocks_and_no_text() {
    let (base, inputs) = (egovlpv2_small(), Golden::open("egovlpv2/inputs.safetensors"));
    let run = |graph: &str| session(&SMALL, graph).run(&[inputs.pixels("video_f5")]).unwrap();
    let (released, dual) = (run("egovlpv2_qfvs_released_debug"), run("egovlpv2_video_debug"));
    let tokens = output(&released, "probe.video.block7");
    assert!(max_abs(tokens, output(&dual, "probe.video.block7")) <= OUTPUT);
    assert!(!released.iter().any(|(name, _)| name == "probe.video.block8"));
    let class = output(&released, "class");
    let firsts: Vec<f32> =
        tokens.chunks(tokens.len() / (class.len() / 32)).flat_map(|tokens| &tokens[..32]).copied().collect();
    assert_eq!(class, firsts);
    let read = |name: &str| base.read(name).unwrap().to_f32().unwrap();
    let (weight, bias) = (read("cross_modal_video_transform.weight"), read("cross_modal_video_transform.bias"));
    let (scale, shift) = (read("norm.weight"), read("norm.bias"));
    let transformed = |x: &[f32]| -> Vec<f32> {
        let mean = x.iter().sum::<f32>() / 32.0;
        let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 32.0;
        let normal: Vec<f32> =
            (0..32).map(|i| (x[i] - mean) / (variance + 1e-6).sqrt() * scale[i] + shift[i]).collect();
        weight.chunks(32).zip(&bias).map(|(w, b)| w.iter().zip(&normal).map(|(w, x)| w * x).sum::<f32>() + b).collect()
    };
    let expected: Vec<f32> = class.chunks(32).flat_map(transformed).collect();
    assert!(max_abs(output(&released, "video_transform"), &expected) <= OUTPUT);
}

/// Kernel temporal segmentation takes the class token of the unfused half, before any norm.
#[test]
fn the_lower_half_of_the_video_tower_gives_its_class_token() {
    let inputs = Golden::open("egovlpv2/inputs.safetensors");
    let outputs = session(&EXPORTED, "egovlpv2_lower_video_debug").run(&[inputs.pixels("video_f5")]).unwrap();
    let (tokens, class) = (output(&outputs, "video_tokens"), output(&outputs, "class"));
    let firsts = tokens.chunks(tokens.len() / (class.len() / 32)).flat_map(|tokens| &tokens[..32]);
    assert_eq!(class, firsts.copied().collect::<Vec<f32>>());
}

#[test]
fn checkpoints_fine_tuned_on_egotaskqa_have_an_answer_head() {
    let inputs = Golden::open("egovlpv2/inputs.safetensors");
    let [ids, mask] = inputs.text("text_padded", "ids");
    let outputs = session(&SMALL, "egovlpv2_fused_debug").run(&[inputs.pixels("video_f4"), ids, mask]).unwrap();
    let read = |name: &str| ANSWERS.read(name).unwrap().to_f32().unwrap();
    let map = |name: &str, x: &[f32]| -> Vec<f32> {
        let (weight, bias) = (read(&format!("{name}.weight")), read(&format!("{name}.bias")));
        let row = |(w, b): (&[f32], &f32)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + b;
        weight.chunks(x.len()).zip(&bias).map(row).collect()
    };
    let answers = |class: &[f32]| {
        let hidden: Vec<f32> = map("projector_1", class).iter().map(|v| v.max(0.0)).collect();
        map("projector_2", &hidden)
    };
    let expected: Vec<f32> = output(&outputs, "class").chunks(32).flat_map(answers).collect();
    assert!(max_abs(output(&outputs, "answer_logits"), &expected) <= OUTPUT);
}
