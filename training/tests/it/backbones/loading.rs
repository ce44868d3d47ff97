//! Weights of others in networks of ours: tables of other lengths, files of parts, what is missing or too much, and the
//! way back through `egofx export`'s reader.

use std::collections::BTreeMap;
use std::path::Path;

use egofx::arch::{AnswerHeadConfig, Architecture, EgoVlpConfig, EgoVlpV2Config};
use egofx::checkpoint::{Checkpoint, ParamSpec};
use egofx::export::Model;
use egofx_train::backbones::load::{CheckpointFormat, DISTILBERT, EGOVLP, EGOVLP_VIDEO, EGOVLPV2, ROBERTA, VIT, load};
use egofx_train::backbones::{EgoVlp, EgoVlpClasses, EgoVlpV2, EgoVlpV2Answers, Projector};
use egofx_train::checkpoint::{Tensors, write};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use super::support::{
    FULL, Golden, OUTPUT, SMALL, egovlp, egovlp_config, egovlpv2, egovlpv2_config, fill, off, root, variables, video,
};
use crate::support::device::device;

fn write_to(path: &Path, tensors: &Tensors) {
    write(path, tensors, &BTreeMap::new()).unwrap();
}

/// A copy of the tensors under names that `rename` makes; those without a name are left out.
fn renamed(tensors: &Tensors, rename: impl Fn(&str) -> Option<String>) -> Tensors {
    tensors.iter().filter_map(|(name, tensor)| Some((rename(name)?, tensor.shallow_clone()))).collect()
}

/// What loading says that is wrong.
fn refused(path: &Path, format: &CheckpointFormat, fresh: &[&str], into: &VarStore) -> String {
    load(path, format, fresh, &variables(into)).unwrap_err().to_string()
}

fn fresh_egovlp(frames: i64) -> (VarStore, EgoVlp) {
    let store = VarStore::new(device());
    let model = EgoVlp::new(&store.root(), &egovlp_config(frames), false).unwrap();
    (store, model)
}

fn fresh_egovlpv2(projector: Projector) -> (VarStore, EgoVlpV2) {
    let store = VarStore::new(device());
    let model = EgoVlpV2::new(&store.root(), &egovlpv2_config(4, projector), false).unwrap();
    (store, model)
}

#[test]
fn temporal_tables_are_cut_continued_and_stretched_as_the_original_loads_them() {
    let golden = Golden::open("egovlp", "expected");
    for frames in [4, 8, 16, 20] {
        let (store, _) = egovlp(frames);
        golden.compare(&format!("temporal_at_load.t{frames}"), &variables(&store)["video_model.temporal_embed"], 0.0);
    }
    let golden = Golden::open("egovlpv2", "expected");
    for frames in [2, 5, 16] {
        let (store, _) = egovlpv2(frames, SMALL);
        golden.compare(&format!("temporal_at_load.t{frames}"), &variables(&store)["video_model.temporal_embed"], 1e-6);
    }
}

#[test]
fn loading_says_what_it_did() {
    let (store, _) = fresh_egovlpv2(SMALL);
    let loaded = fill(&store, &root("checkpoints/egovlpv2_tiny_smallproj.pth"), &EGOVLPV2, &[]);
    assert_eq!(loaded.taken, variables(&store).len());
    assert_eq!(loaded.left_out, ["text_model.embeddings.position_ids"]);
    assert_eq!((loaded.kept, loaded.temporal_rows), (vec![], None));
    let (store, _) = fresh_egovlp(4);
    let loaded = fill(&store, &root("checkpoints/egovlp_tiny.pth"), &EGOVLP, &[]);
    assert_eq!(loaded.temporal_rows, Some([16, 4]));
}

#[test]
fn whatever_does_not_fit_is_named_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let (store, _) = egovlp(16);
    let mut tensors = variables(&store);
    let moved = tensors.remove("video_model.norm.bias").unwrap();
    tensors.insert("video_model.norm.offset".into(), moved);
    tensors.insert("vid_proj.0.bias".into(), Tensor::zeros([9], (Kind::Float, device())));
    write_to(&path, &tensors);
    let (into, _) = fresh_egovlp(16);
    let before: Tensors = variables(&into).iter().map(|(name, tensor)| (name.clone(), tensor.copy())).collect();
    let error = refused(&path, &EGOVLP, &[], &into);
    for part in [
        "not the weights of EgoVLP: ",
        "video_model.norm.offset is unknown",
        "video_model.norm.bias [32] is missing",
        "vid_proj.0.bias is [9], expected [8]",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(variables(&into).iter().all(|(name, tensor)| tensor.equal(&before[name])));
    let (other, _) = fresh_egovlpv2(SMALL);
    let error = refused(&root("checkpoints/egovlp_tiny.pth"), &EGOVLPV2, &[], &other);
    assert!(error.contains("is unknown"), "{error}");
}

#[test]
fn a_run_of_ours_is_read_past_its_optimiser() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.safetensors");
    let (store, _) = egovlp(16);
    let mut tensors = renamed(&variables(&store), |name| Some(format!("model.{name}")));
    tensors.extend(renamed(&variables(&store), |name| Some(format!("optimizer.mean.{name}"))));
    write_to(&path, &tensors);
    let (into, _) = fresh_egovlp(16);
    fill(&into, &path, &EGOVLP, &[]);
    let expected = variables(&store);
    assert!(variables(&into).iter().all(|(name, tensor)| tensor.equal(&expected[name])));
    let halved = renamed(&expected, |name| Some(format!("ema.{name}")));
    tensors.extend(halved.into_iter().map(|(name, tensor)| (name, (tensor * 0.5).detach())));
    write_to(&path, &tensors);
    fill(&into, &path, &EGOVLP, &[]);
    assert!(variables(&into).iter().all(|(name, tensor)| tensor.equal(&(&expected[name] * 0.5))), "running means");
}

#[test]
fn a_vit_starts_a_video_tower_whose_time_attention_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vit.safetensors");
    let (store, _) = egovlp(16);
    let has = |name: &str| !["timeattn", "norm3", "temporal_embed"].iter().any(|part| name.contains(part));
    let inside = |name: &str| name.strip_prefix("video_model.").filter(|name| has(name)).map(str::to_owned);
    let mut vit = renamed(&variables(&store), inside);
    vit.insert("head.weight".into(), Tensor::ones([5, 32], (Kind::Float, device())));
    write_to(&path, &vit);
    let (into, model) = fresh_egovlp(4);
    let loaded = fill(&into, &path, &VIT, &[]);
    assert_eq!((loaded.taken, loaded.left_out.as_slice()), (vit.len() - 1, &["head.weight".to_owned()][..]));
    let now = variables(&into);
    assert!(vit.keys().filter(|name| *name != "head.weight").all(|n| now[&format!("video_model.{n}")].equal(&vit[n])));
    // Time attention says nothing: what the first block makes of a frame's patches does not depend on the other frames.
    let golden = Golden::open("egovlp", "expected");
    let [a, b] = [0, 4].map(|from| golden.input("video_f8").narrow(1, from, 4));
    let other = Tensor::cat(&[a.narrow(1, 0, 1), b.narrow(1, 1, 3)], 1);
    let first_frame = |model: &EgoVlp, frames: &Tensor| model.video_states(frames).swap_remove(1).narrow(1, 1, 4);
    assert!(off(&first_frame(&model, &a), &first_frame(&model, &other)) <= 1e-6);
    assert!(off(&first_frame(&egovlp(16).1, &a), &first_frame(&egovlp(16).1, &other)) > 1e-2, "it learns to speak");
    // A fused tower takes the same file and leaves what is fused alone.
    let (into, _) = fresh_egovlpv2(SMALL);
    let loaded = fill(&into, &path, &VIT, &[]);
    assert!(loaded.kept.iter().any(|name| name == "video_model.blocks.11.attn.alpha_i2t"));
    vit.remove("norm.weight");
    write_to(&path, &vit);
    assert!(refused(&path, &VIT, &[], &into).contains("video_model.norm.weight [32] is missing"));
}

#[test]
fn texts_start_from_files_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bert.safetensors");
    let ones = || Tensor::ones([3], (Kind::Float, device()));
    let (distilbert, (roberta, _)) = (egovlp(16).0, egovlpv2(4, SMALL));
    let (own, _) = fresh_egovlp(16);
    let (own2, _) = fresh_egovlpv2(SMALL);
    let cases = [
        (&DISTILBERT, ["distilbert.", ""], "vocab_projector.bias", variables(&distilbert), &own),
        (&ROBERTA, ["roberta.", ""], "lm_head.dense.bias", variables(&roberta), &own2),
    ];
    for (format, prefixes, extra, from, into) in cases {
        for prefix in prefixes {
            let inside =
                |name: &str| name.strip_prefix("text_model.").filter(|name| !name.contains("_t2i")).map(str::to_owned);
            let text = renamed(&from, inside);
            let mut file = renamed(&text, |name| Some(format!("{prefix}{name}")));
            file.insert(extra.to_owned(), ones());
            write_to(&path, &file);
            let loaded = fill(into, &path, format, &[]);
            assert_eq!((loaded.taken, loaded.left_out.as_slice()), (text.len(), &[extra.to_owned()][..]));
            let now = variables(into);
            assert!(text.keys().all(|name| now[&format!("text_model.{name}")].equal(&text[name])));
        }
    }
}

#[test]
fn a_classifier_takes_egovlps_video_tower_and_begins_with_classes_of_its_own() {
    let store = VarStore::new(device());
    let model = EgoVlpClasses::new(&store.root(), &video(16), 2, false).unwrap();
    let loaded = fill(&store, &root("checkpoints/egovlp_tiny.pth"), &EGOVLP_VIDEO, &["vid_proj."]);
    assert_eq!(loaded.kept, ["vid_proj.0.bias", "vid_proj.0.weight"]);
    let golden = Golden::open("egovlp", "expected");
    let frames = golden.input("video_f4");
    model.check_video(frames).unwrap();
    let (weight, bias) = (&variables(&store)["vid_proj.0.weight"], &variables(&store)["vid_proj.0.bias"]);
    let expected = golden.expected["video_f4.cls"].linear(weight, Some(bias));
    assert!(off(&model.logits(frames, false), &expected) <= OUTPUT);
}

#[test]
fn first_weights_are_those_of_the_original() {
    let (store, _) = fresh_egovlpv2(FULL);
    let weights = variables(&store);
    let all = |name: &str, value: f64| {
        let off = off(&weights[name], &weights[name].full_like(value));
        assert_eq!(off, 0.0, "{name} is not {value}");
    };
    for (name, value) in [
        ("cls_token", 0.0),
        ("norm.weight", 1.0),
        ("video_model.temporal_embed", 0.0),
        ("video_model.blocks.3.timeattn.qkv.weight", 0.0),
        ("video_model.blocks.3.timeattn.qkv.bias", 0.0),
        ("video_model.blocks.3.timeattn.proj.weight", 1.0),
        ("video_model.blocks.3.timeattn.proj.bias", 0.0),
        ("video_model.blocks.6.attn.alpha_i2t", 0.0),
        ("text_model.encoder.layer.6.alpha_t2i", 0.0),
        ("mlm_score.bias", 0.0),
        ("cross_modal_text_transform.bias", 0.0),
        ("itm_score.fc.bias", 0.0),
    ] {
        all(name, value);
    }
    let spread = |name: &str| weights[name].std(false).double_value(&[]);
    // Uniform in ±1/√32, or normal with a spread of 0.02.
    for (name, expected) in [
        ("video_model.blocks.3.attn.qkv.weight", 0.102),
        ("video_model.blocks.6.attn.qkv_text_i2t.weight", 0.102),
        ("vid_proj.0.weight", 0.102),
        ("video_model.pos_embed", 0.02),
        ("text_model.encoder.layer.6.crossattention_t2i.self.query.weight", 0.02),
        ("text_model.encoder.layer.0.intermediate.dense.weight", 0.02),
        ("mlm_score.decoder.weight", 0.02),
        ("itm_score.fc.weight", 0.02),
        ("cross_modal_video_pooler.dense.weight", 0.02),
    ] {
        let found = spread(name);
        assert!((found / expected - 1.0).abs() < 0.3, "{name}: {found}, expected {expected}");
    }
    let words = &weights["text_model.embeddings.word_embeddings.weight"];
    assert_eq!(words.get(1).abs().max().double_value(&[]), 0.0, "padding");
}

fn listed(config: &impl Architecture) -> BTreeMap<String, Vec<i64>> {
    let shape = |p: &ParamSpec| p.shape.iter().map(|&size| size as i64).collect();
    config.parameters().iter().map(|p| (p.name.clone(), shape(p))).collect()
}

fn shapes(store: &VarStore) -> BTreeMap<String, Vec<i64>> {
    variables(store).into_iter().map(|(name, tensor)| (name, tensor.size())).collect()
}

#[test]
fn a_network_has_the_tensors_that_its_config_lists() {
    let config = EgoVlpConfig { projection_dim: 5, ..EgoVlpConfig::tiny() };
    let store = VarStore::new(device());
    EgoVlp::new(&store.root(), &config, false).unwrap();
    assert_eq!(shapes(&store), listed(&config));
    let full = Projector::Full { dim: 5, hidden_dim: Some(6) };
    for (projector, num_fused_layers) in [(FULL, 6), (SMALL, 0), (Projector::None, 12), (full, 1)] {
        let config = EgoVlpV2Config { projector, num_fused_layers, ..EgoVlpV2Config::tiny() };
        let store = VarStore::new(device());
        EgoVlpV2::new(&store.root(), &config, false).unwrap();
        assert_eq!(shapes(&store), listed(&config));
    }
    let config = EgoVlpV2Config { answers: Some(AnswerHeadConfig { num_answers: 7 }), ..EgoVlpV2Config::tiny() };
    let store = VarStore::new(device());
    EgoVlpV2Answers::new(&store.root(), &config, 7, false).unwrap();
    assert_eq!(shapes(&store), listed(&config));
}

#[test]
fn what_is_written_is_a_checkpoint_that_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trained.safetensors");
    let mut models =
        vec![("egovlp", egovlp(16).0), ("egovlpv2", egovlpv2(4, FULL).0), ("egovlpv2", egovlpv2(4, SMALL).0)];
    let store = VarStore::new(device());
    EgoVlpV2Answers::new(&store.root(), &egovlpv2_config(4, FULL), 7, false).unwrap();
    models.push(("egovlpv2", store));
    for (name, store) in models {
        write_to(&path, &variables(&store));
        let (model, plan) = Model::of(&Checkpoint::open(&path).unwrap(), 16).unwrap();
        assert_eq!((model.name, plan.parameters.len()), (name, variables(&store).len()));
    }
}

#[test]
fn sizes_that_no_network_has_are_refused() {
    let refused = |change: fn(&mut egofx_train::backbones::EgoVlpV2Config)| {
        let mut config = egovlpv2_config(4, FULL);
        change(&mut config);
        let store = VarStore::new(device());
        EgoVlpV2::new(&store.root(), &config, false).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|s| s.video.patch_size = 15),
        "backbone: video.patch_size = 15, expected a divisor of image_size"
    );
    assert_eq!(
        refused(|s| s.num_fused_layers = 13),
        "backbone: num_fused_layers = 13, expected 0 to the number of layers"
    );
    assert_eq!(
        refused(|s| s.text.embed_dim = 64),
        "backbone: text.embed_dim = 64, expected the video tower's embed_dim"
    );
    assert_eq!(refused(|s| s.text.num_heads = 3), "backbone: text.num_heads = 3, expected a divisor of embed_dim");
}
