//! What PPSA shares with EgoVLPv2, and what it adds; by its parts, since nothing of it was published with numbers.

use tch::nn::VarStore;
use tch::{Device, Kind};

use egofx::arch::{Projector, TextConfig, TimeInit, VideoConfig};

use super::*;
use crate::backbones::divided::{Divided, Groups};
use crate::nn::WeightInit;

fn config() -> EgoVlpV2Config {
    let video = VideoConfig {
        image_size: 32,
        patch_size: 8,
        embed_dim: 16,
        depth: 6,
        num_heads: 2,
        mlp_dim: 24,
        num_frames: 3,
        time_init: TimeInit::Zeros,
        initializer_range: 0.02,
    };
    let text = TextConfig { embed_dim: 16, num_heads: 2, mlp_dim: 24, dropout: 0.0, ..TextConfig::base(20, 12, 6) };
    let (projector, num_fused_layers) = (Projector::None, 4);
    EgoVlpV2Config { video, text, projector, num_fused_layers, cross_attn_gate_init: 0.0, answers: None }
}

/// A tensor that looks random, the same on every run.
fn noise(shape: &[i64], seed: i64) -> Tensor {
    let count: i64 = shape.iter().product();
    let at = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed as f64 * 78.233;
    let values = at.sin() * 43758.5453;
    ((&values - values.floor()) * 2.0 - 1.0).to_kind(Kind::Float).view(shape)
}

/// A network none of whose weights are special: time attention speaks, factors and places are not zero.
fn network(compat: Compat) -> (VarStore, Ppsa) {
    let store = VarStore::new(Device::Cpu);
    let model = Ppsa::new(&store.root(), &config(), 5, compat, false).unwrap();
    let variables: Tensors = store.variables().into_iter().collect();
    for (seed, (name, mut weight)) in variables.into_iter().enumerate() {
        let spread = if name.contains("norm") || name.contains("Norm") { 0.1 } else { 0.4 };
        let base = f64::from(u8::from(name.ends_with("weight") && spread < 0.2));
        no_grad(|| weight.copy_(&(noise(&weight.size(), seed as i64) * spread + base)));
    }
    (store, model)
}

fn zero(weights: &[&Tensor]) {
    weights.iter().for_each(|weight| {
        let _ = no_grad(|| weight.shallow_clone().zero_());
    });
}

fn frames() -> Tensor {
    noise(&[2, 3, 3, 32, 32], 1000)
}

fn question() -> [Tensor; 2] {
    let ids = Tensor::from_slice2(&[[0i64, 5, 6, 7, 2], [0, 9, 2, 1, 1]]);
    let mask = ids.ne(1).to_kind(Kind::Int64);
    [ids, mask]
}

fn off(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

#[test]
fn without_the_coarse_stream_the_lower_half_is_egovlpv2s() {
    let (_store, ppsa) = network(Compat::AsReleased);
    let plain = ppsa.model.lower_video(&frames(), false);
    let fine = || ppsa.partition(&frames(), false).0;
    assert!(off(&fine(), &plain) > 1e-2);
    zero(&[&ppsa.coarse_embed]);
    assert!(off(&fine(), &plain) > 1e-2, "the coarse stream speaks");
    zero(&[&ppsa.factors[0]]);
    assert!(off(&fine(), &plain) < 1e-5);
}

#[test]
fn factors_take_from_what_the_other_stream_was_before_it_took() {
    let (_store, ppsa) = network(Compat::AsReleased);
    let fine = noise(&[1, 1 + 3 * 16, 16], 1);
    let coarse = halved(&fine, 4);
    let both = ppsa.advance(0, &[fine.shallow_clone(), coarse.shallow_clone()], false);
    let [alpha, beta] = ppsa.factors.each_ref().map(Tensor::copy);
    zero(&[&ppsa.factors[0], &ppsa.factors[1]]);
    let apart = ppsa.advance(0, &[fine, coarse], false);
    assert!(off(&both[0], &(&apart[0] + alpha * doubled(&apart[1], 4))) < 1e-5, "the class token takes part too");
    assert!(off(&both[1], &(&apart[1] + beta * halved(&apart[0], 4))) < 1e-5);
}

#[test]
fn a_mask_that_keeps_all_changes_nothing_and_one_that_drops_a_frame_is_as_if_it_were_not_there() {
    let store = VarStore::new(Device::Cpu);
    let attention = Divided::new(&store.root(), 16, 2, [WeightInit::PyTorch, WeightInit::PyTorch]);
    let x = noise(&[2, 1 + 3 * 4, 16], 7);
    let masked = |kept: &Tensor| attention.forward(&x, Groups::Space, 4, Some(&key_bias(kept)), Wanted::All);
    let ones = Tensor::ones([2, 3, 4], (Kind::Float, Device::Cpu));
    let plain = attention.forward(&x, Groups::Space, 4, None, Wanted::All);
    assert!(off(&masked(&ones), &plain) < 1e-5);
    let kept = Tensor::cat(&[ones.narrow(1, 0, 2), ones.narrow(1, 0, 1).zeros_like()], 1);
    let without = attention.forward(&x.narrow(1, 0, 9), Groups::Space, 4, None, Wanted::All);
    assert!(off(&masked(&kept).narrow(1, 0, 9), &without) < 1e-5);
    assert!(off(&masked(&kept).narrow(1, 0, 1), &plain.narrow(1, 0, 1)) > 1e-3);
    // A patch of a frame of which nothing is kept sees the class token alone.
    let seen = masked(&kept).narrow(1, 9, 4);
    assert!(off(&seen, &seen.narrow(1, 0, 1).expand([2, 4, 16], false)) < 1e-5);
}

#[test]
fn scores_are_the_logits_of_the_class_tokens_attention() {
    let (_store, ppsa) = network(Compat::AsReleased);
    let x = noise(&[2, 1 + 3 * 4, 16], 8);
    let store = VarStore::new(Device::Cpu);
    let attention = Divided::new(&store.root(), 16, 1, [WeightInit::PyTorch, WeightInit::PyTorch]);
    let weights: Tensors = store.variables().into_iter().collect();
    let values = x.linear(&weights["qkv.weight"].narrow(0, 32, 16), Some(&weights["qkv.bias"].narrow(0, 32, 16)));
    let mixed = attention.class_scores(&x).softmax(1, None).unsqueeze(1).matmul(&values);
    let expected = mixed.linear(&weights["proj.weight"], Some(&weights["proj.bias"]));
    assert!(off(&attention.forward(&x, Groups::Space, 4, None, Wanted::Class), &expected) < 1e-5);
    let scores = ppsa.scores(1, &[noise(&[1, 1 + 3 * 16, 16], 9), noise(&[1, 1 + 3 * 4, 16], 10)]);
    assert_eq!(scores.size(), [1, 3, 16]);
    let sums = scores.sum_dim_intlist(2, false, None);
    assert!(off(&sums, &sums.full_like(2.0)) < 1e-5, "shares of two streams");
}

#[test]
fn the_last_three_blocks_see_quarters_then_frames_then_one_token() {
    let (_store, ppsa) = network(Compat::AsReleased);
    let tokens = noise(&[2, 1 + 3 * 16, 16], 11);
    let kept = Tensor::zeros([2, 3, 16], (Kind::Float, Device::Cpu));
    let _ = kept.narrow(1, 1, 1).narrow(2, 5, 1).fill_(1.0);
    let mut clip = Clip { tokens, key_bias: key_bias(&kept), num_patches: 16 };
    let mut seen = vec![];
    for i in 2..6 {
        clip = ppsa.aggregate(clip, i);
        let kept = clip.key_bias.get(0).gt(0.0).sum(Kind::Int64).int64_value(&[]);
        seen.push((clip.tokens.size()[1], clip.key_bias.size()[1], clip.num_patches, kept));
    }
    assert_eq!(seen, [(49, 49, 16, 2), (13, 13, 4, 2), (4, 4, 1, 2), (2, 2, 1, 2)]);
}

#[test]
fn rows_do_not_depend_on_their_batch_and_gradients_reach_both_streams() {
    let (store, ppsa) = network(Compat::AsReleased);
    let [ids, mask] = question();
    let kept = ppsa.selected(&frames());
    assert_eq!(kept.size(), [2, 3, 16]);
    let counts = Vec::<i64>::try_from(kept.sum_dim_intlist(2, false, Kind::Int64).flatten(0, -1)).unwrap();
    assert!(counts.iter().all(|count| (9..=12).contains(count)), "{counts:?}");
    let logits = ppsa.answers(&frames(), &ids, &mask, false);
    assert_eq!(logits.size(), [2, 5]);
    for row in 0..2 {
        let one = |x: &Tensor| x.narrow(0, row, 1);
        let alone = ppsa.answers(&one(&frames()), &one(&ids), &one(&mask), false);
        assert!(off(&alone, &one(&logits)) < 1e-5, "a row does not depend on its batch");
    }
    logits.square().sum(Kind::Float).backward();
    let variables = store.variables();
    for name in ["alpha", "beta", "coarse_embed", "coarse_blocks.0.attn.qkv.weight", "blocks.5.attn.qkv.weight"] {
        let gradient = variables[&format!("video_model.{name}")].grad();
        assert!(gradient.defined() && gradient.abs().max().double_value(&[]) > 0.0, "{name}");
    }
}

#[test]
fn answers_come_from_the_patches_that_were_selected() {
    let (_store, ppsa) = network(Compat::AsReleased);
    let [ids, mask] = question();
    let words = key_mask(&mask);
    let answers = |kept: &Tensor| {
        let (tokens, _) = ppsa.partition(&frames(), false);
        let mut text = ppsa.model.lower_text(&ids, &words, 0..2, false);
        let mut clip = Clip { tokens, key_bias: key_bias(kept), num_patches: 16 };
        for i in 2..6 {
            clip = ppsa.aggregate(clip, i);
            let state = [&clip.tokens, &text, &words];
            [clip.tokens, text] = ppsa.model.forward_fused(i, state, clip.num_patches, Some(&clip.key_bias), false);
        }
        ppsa.head.forward(&ppsa.model.norm.forward(&class_token(&clip.tokens)), false)
    };
    let (found, kept) = (ppsa.answers(&frames(), &ids, &mask, false), ppsa.selected(&frames()));
    assert!(off(&found, &answers(&kept)) < 1e-6);
    assert!(off(&found, &answers(&kept.ones_like())) > 1e-3);
}

#[test]
fn as_released_starts_coarse_blocks_at_random_and_fixed_as_copies_of_the_trained_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("egovlpv2.safetensors");
    let store = VarStore::new(Device::Cpu);
    EgoVlpV2::new(&store.root(), &config(), false).unwrap();
    let trained: Tensors = store.variables().into_iter().collect();
    crate::checkpoint::write(&path, &trained, &Default::default()).unwrap();
    for compat in [Compat::AsReleased, Compat::Fixed] {
        let store = VarStore::new(Device::Cpu);
        Ppsa::new(&store.root(), &config(), 5, compat, false).unwrap();
        let variables: Tensors = store.variables().into_iter().collect();
        let loaded = Ppsa::start(&path, compat, &variables).unwrap();
        assert_eq!(loaded.taken, trained.len());
        let [fine, coarse] =
            ["blocks", "coarse_blocks"].map(|name| &variables[&format!("video_model.{name}.1.attn.qkv.weight")]);
        assert!(fine.equal(&trained["video_model.blocks.1.attn.qkv.weight"]));
        assert_eq!(fine.equal(coarse), compat == Compat::Fixed);
    }
}

#[test]
fn the_published_grid_works_and_odd_ones_and_too_few_fused_blocks_are_refused() {
    let store = VarStore::new(Device::Cpu);
    let mut published = config();
    (published.video.image_size, published.video.patch_size) = (224, 16);
    let model = Ppsa::new(&store.root(), &published, 5, Compat::AsReleased, false).unwrap();
    let clip = noise(&[1, 3, 3, 224, 224], 12);
    let counts = model.selected(&clip).sum_dim_intlist(2, false, Kind::Int64).max().int64_value(&[]);
    assert!((100..=103).contains(&counts), "{counts}");
    let [ids, mask] = question().map(|x| x.narrow(0, 0, 1));
    assert!(model.answers(&clip, &ids, &mask, true).isfinite().all().int64_value(&[]) == 1);
    let refused = |change: fn(&mut EgoVlpV2Config)| {
        let (mut config, store) = (config(), VarStore::new(Device::Cpu));
        change(&mut config);
        Ppsa::new(&store.root(), &config, 5, Compat::AsReleased, false).unwrap_err().to_string()
    };
    let error = refused(|s| (s.video.image_size, s.video.patch_size) = (48, 16));
    assert_eq!(error, "backbone: video.patch_size = 16, expected an even number of patches on a side");
    let error = refused(|s| s.num_fused_layers = 2);
    assert_eq!(error, "backbone: num_fused_layers = 2, expected 3 or more, and less than the number of layers");
}
