//! Three ways to the same numbers, two by two: the networks here, the graphs that `egofx` exports from the same weights
//! and runs with ONNX Runtime, and what the original modules computed.

use std::path::Path;

use egofx::backbone::{Feed, Outputs};
use egofx::checkpoint::Checkpoint;
use egofx::export::{Options, export};
use egofx_train::checkpoint::write;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use super::support::{FULL, Golden, OUTPUT, egovlp, egovlpv2, off, variables};
use crate::support::device::device;
use crate::support::graphs::{floats, ints, run, validator};

/// Graphs of a network's weights, written and exported in a folder of their own.
struct Graphs(tempfile::TempDir);

impl Graphs {
    fn of(store: &VarStore) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write(&path, &variables(store), &std::collections::BTreeMap::new()).unwrap();
        let options =
            Options { head_size: 16, further: vec![], debug: true, tokens: None, licence: "MIT".into(), force: false };
        export(&Checkpoint::open(&path).unwrap(), &options, &validator(), folder.path()).unwrap();
        Self(folder)
    }

    fn run(&self, graph: &str, feeds: &[Feed]) -> Outputs {
        run(&Path::new(self.0.path()).join(format!("{graph}.onnx")), feeds)
    }
}

/// Asserts that network, graph and original agree, each with each.
#[track_caller]
fn agree(what: &str, network: &Tensor, outputs: &Outputs, output: &str, original: &Tensor) {
    let graph = &outputs.iter().find(|(name, _)| name == output).unwrap_or_else(|| panic!("no output {output}")).1;
    let graph = Tensor::from_slice(graph).view(original.size().as_slice()).to_device(device());
    let pairs = [
        ("network and graph", network, &graph),
        ("network and original", network, original),
        ("graph and original", &graph, original),
    ];
    for (names, a, b) in pairs {
        let off = off(a, &b.to_kind(Kind::Float));
        println!("{what}, {names}: {off:.1e}");
        assert!(off <= OUTPUT, "{what}: {names} differ by {off:e}");
    }
}

#[test]
fn egovlp_the_graph_and_the_original_agree() {
    let golden = Golden::open("egovlp", "expected");
    let (store, model) = egovlp(16);
    let graphs = Graphs::of(&store);
    for frames in [1, 4, 8, 16] {
        let name = format!("video_f{frames}");
        let video = golden.input(&name);
        let outputs = graphs.run("egovlp_video_debug", &[floats("pixels", video)]);
        agree(&name, &model.video(video, false), &outputs, "embedding", &golden.expected[&format!("{name}.embed")]);
    }
    for name in ["text_padded", "text_full", "text_short", "text_long"] {
        let [ids, mask] = golden.text(name);
        let outputs = graphs.run("egovlp_text_debug", &[ints("ids", ids), ints("mask", mask)]);
        agree(name, &model.text(ids, mask, false), &outputs, "pooled", &golden.expected[&format!("{name}.pooled")]);
    }
}

#[test]
fn egovlpv2_the_graphs_and_the_original_agree() {
    let golden = Golden::open("egovlpv2", "expected");
    let (store, _) = egovlpv2(4, FULL);
    let graphs = Graphs::of(&store);
    for (frames, text) in [(4, "padded"), (4, "pt"), (5, "padded"), (16, "padded")] {
        // The graphs stretch the table of 4 rows themselves.
        let (_, model) = egovlpv2(frames, FULL);
        let (video, text) = (golden.input(&format!("video_f{frames}")), format!("text_{text}"));
        let [ids, mask] = golden.text(&text);
        let expected = |name: &str| &golden.expected[name];
        let outputs = graphs.run("egovlpv2_video_debug", &[floats("pixels", video)]);
        let name = format!("dual.video_f{frames}.embed");
        agree(&name, &model.video(video, false), &outputs, "embedding", expected(&name));
        let outputs = graphs.run("egovlpv2_text_debug", &[ints("ids", ids), ints("mask", mask)]);
        let name = format!("dual.{text}.pooled");
        agree(&name, &model.text(ids, mask, false).pooled, &outputs, "pooled", expected(&name));
        let feeds = [floats("pixels", video), ints("ids", ids), ints("mask", mask)];
        let outputs = graphs.run("egovlpv2_fused_debug", &feeds);
        let (name, fused) = (format!("fused.video_f{frames}.{text}"), model.fused(video, ids, mask, false));
        let matching = model.vtm(&fused);
        agree(&name, &fused.class, &outputs, "class", expected(&format!("{name}.cls")));
        agree(&name, &fused.tokens, &outputs, "text", expected(&format!("{name}.text")));
        agree(&name, &matching, &outputs, "match_logits", expected(&format!("{name}.itm_logits")));
    }
    let (_, model) = egovlpv2(4, FULL);
    let (video, ids, mask) = (golden.input("video_f4"), golden.input("text_pt.mlm_ids"), golden.input("text_pt.mask"));
    let outputs = graphs.run("egovlpv2_fused_debug", &[floats("pixels", video), ints("ids", ids), ints("mask", mask)]);
    let words = model.mlm(&model.fused(video, ids, mask, false));
    let name = "fused.video_f4.text_pt.mlm_logits";
    agree(name, &words, &outputs, "mlm_logits", &golden.expected[name]);
}
