//! Gradients and optimiser steps against those of the original training code. The losses here are the least that is
//! needed for them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use egofx_train::backbones::{EgoVlp, EgoVlpV2};
use egofx_train::optimizer::{LrMult, Optimizer, OptimizerKind, OptimizerSettings, ParamGroup};
use egofx_train::pretraining::egovlpv2::param_group;
use serde_json::Value;
use tch::nn::VarStore;
use tch::{Kind, Reduction, Tensor};

use super::support::{FULL, egovlp, egovlpv2, off, tensors, variables};

/// Of a gradient's norm, relative; the original differs by as much from itself between versions of its libraries.
const NORM: f64 = 1e-4;
/// Of what is zero but for rounding, and of single elements.
const ELEMENT: f64 = 2e-5;
const LOSS: f64 = 2e-5;
/// Of a weight after three steps, each of which moves it by up to 1.2e-4.
const STEPPED: f64 = 1e-6;

/// A training batch and what came of it.
struct Batch {
    tensors: BTreeMap<String, Tensor>,
    expected: Value,
}

impl Batch {
    fn open(model: &str) -> Self {
        let file = |kind: &str| -> PathBuf {
            [env!("CARGO_MANIFEST_DIR"), "tests/data/backbones", &format!("{model}.{kind}")].iter().collect()
        };
        let expected = serde_json::from_str(&std::fs::read_to_string(file("json")).unwrap()).unwrap();
        Self { tensors: tensors(&file("safetensors")), expected }
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn rows(&self, of: &str, index: &str) -> Tensor {
        self.get(of).index_select(0, &self.indices(index))
    }

    fn indices(&self, name: &str) -> Tensor {
        let indices: Vec<i64> = serde_json::from_value(self.expected[name].clone()).unwrap();
        Tensor::from_slice(&indices).to_device(self.get("video").device())
    }

    /// EgoNCE with a temperature of 0.05: pairs that share a verb and a noun are positive too.
    fn egonce(&self, texts: &Tensor, videos: &Tensor) -> Tensor {
        let unit = |x: &Tensor| x / x.norm_scalaropt_dim(2.0, [1i64], true).clamp_min(1e-8);
        let share = |name: &str| self.get(name).matmul(&self.get(name).tr()).gt(0.0);
        let own = Tensor::eye(texts.size()[0], (Kind::Bool, texts.device()));
        let positive = share("verb_vec").logical_and(&share("noun_vec")).logical_or(&own).to_kind(Kind::Float);
        let sims = unit(texts).matmul(&unit(videos).tr());
        let side = |scores: Tensor| -> Tensor {
            let shares = (scores / 0.05).softmax(1, None) * &positive;
            -shares.sum_dim_intlist(1, false, None).log().mean(None)
        };
        side(sims.shallow_clone()) + side(sims.tr())
    }

    #[track_caller]
    fn loss(&self, name: &str, loss: &Tensor) {
        let (expected, found) = (self.expected["losses"][name].as_f64().unwrap(), loss.double_value(&[]));
        assert!((found - expected).abs() <= LOSS, "{name} is {found}, expected {expected}");
    }

    /// Compares the norm and sixteen elements of each parameter's gradient.
    fn gradients(&self, store: &VarStore) {
        let (variables, rows) = (variables(store), self.get("gradients"));
        assert_eq!(variables.len() as i64, rows.size()[0]);
        let (mut norms, mut elements) = (0.0f64, 0.0f64);
        for (row, (name, weight)) in variables.iter().enumerate() {
            let (gradient, count) = (weight.grad().flatten(0, -1), weight.numel() as i64);
            let expected = Vec::<f64>::try_from(rows.get(row as i64).to_kind(Kind::Double)).unwrap();
            let norm = gradient.to_kind(Kind::Double).norm().double_value(&[]);
            let apart = (norm - expected[0]).abs();
            assert!(apart <= (NORM * expected[0]).max(ELEMENT), "{name}: norm {norm}, expected {}", expected[0]);
            norms = norms.max(apart);
            for (i, expected) in expected[1..].iter().enumerate() {
                let found = gradient.double_value(&[i as i64 * count / 16]);
                assert!((found - expected).abs() <= ELEMENT, "{name}, element {i}: {found}, expected {expected}");
                elements = elements.max((found - expected).abs());
            }
        }
        println!("{} gradients: norms within {norms:.1e}, elements within {elements:.1e}", variables.len());
    }

    fn after3(&self, store: &VarStore) {
        let variables = variables(store);
        let expected = self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix("after3.")?, tensor)));
        let mut compared = 0;
        for (name, expected) in expected {
            let off = off(&variables[name], expected);
            println!("{name} after three steps: {off:.1e}");
            assert!(off <= STEPPED, "{name} is off by {off:e}");
            compared += 1;
        }
        assert!(compared >= 8);
    }
}

fn settings(weight_decay: f64, betas: [f64; 2], eps: f64) -> OptimizerSettings {
    OptimizerSettings { kind: OptimizerKind::HfAdamw, lr: 3e-5, weight_decay, betas, eps, head_lr_mult: 4.0 }
}

fn egovlp_loss(batch: &Batch, model: &EgoVlp) -> Tensor {
    let texts = model.text(batch.get("ids"), batch.get("mask"), false);
    batch.egonce(&texts, &model.video(batch.get("video"), false))
}

#[test]
fn egovlps_gradients_and_steps_are_the_originals() {
    let (batch, (store, model)) = (Batch::open("egovlp"), egovlp(16));
    let losses: Vec<f64> = serde_json::from_value(batch.expected["losses"].clone()).unwrap();
    let treat = |_: &str, _: &[i64]| ParamGroup { decays: false, lr_mult: LrMult::Base };
    let mut optimizer = Optimizer::new(&store, &settings(0.0, [0.9, 0.999], 1e-6), treat);
    for (step, expected) in losses.iter().enumerate() {
        let loss = egovlp_loss(&batch, &model);
        let found = loss.double_value(&[]);
        assert!((found - expected).abs() <= LOSS, "step {step}: {found}, expected {expected}");
        if step == 3 {
            break;
        }
        optimizer.zero_grad().unwrap();
        loss.backward();
        if step == 0 {
            batch.gradients(&store);
        }
        optimizer.step(1.0).unwrap();
    }
    batch.after3(&store);
}

/// EgoNCE, masked words and matching, as the original training adds them up.
fn egovlpv2_losses(batch: &Batch, model: &EgoVlpV2) -> [Tensor; 3] {
    let (video, ids, mask) = (batch.get("video"), batch.get("ids"), batch.get("mask"));
    let egonce = batch.egonce(&model.text(ids, mask, false).pooled, &model.video(video, false));
    let words = model.mlm(&model.fused(video, batch.get("mlm_ids"), mask, false)).flatten(0, 1);
    let labels = batch.get("mlm_labels").flatten(0, 1);
    let mlm = words.cross_entropy_loss(&labels, None::<Tensor>, Reduction::Mean, -100, 0.0);
    let [ids, mask] = ["ids", "mask"].map(|name| batch.rows(name, "text_index"));
    let logits = model.vtm(&model.fused(&batch.rows("video", "video_index"), &ids, &mask, false));
    let labels = batch.indices("labels");
    let itm = logits.cross_entropy_loss(&labels, None::<Tensor>, Reduction::Mean, -100, 0.0);
    [egonce, mlm, itm]
}

#[test]
fn egovlpv2s_gradients_and_steps_are_the_originals() {
    let (batch, (store, model)) = (Batch::open("egovlpv2"), egovlpv2(4, FULL));
    let rates: Vec<f64> = serde_json::from_value(batch.expected["lr"].clone()).unwrap();
    let mut optimizer = Optimizer::new(&store, &settings(0.01, [0.9, 0.98], 1e-8), |name, _| param_group(name));
    for (step, rate) in rates.iter().enumerate() {
        let losses = egovlpv2_losses(&batch, &model);
        let loss: Tensor = &losses[0] + &losses[1] + &losses[2] * 2.0;
        optimizer.zero_grad().unwrap();
        loss.backward();
        if step == 0 {
            let names = ["EgoNCE", "loss_mlm", "loss_itm", "loss_total"];
            names.iter().zip(losses.iter().chain([&loss])).for_each(|(name, loss)| batch.loss(name, loss));
            batch.gradients(&store);
        }
        optimizer.step(rate / 3e-5).unwrap();
    }
    batch.after3(&store);
}

#[test]
fn padding_learns_nothing_even_where_something_is_read_of_it() {
    let padded = Tensor::from_slice2(&[[101i64, 7, 102, 0, 0]]).to_device(crate::support::device::device());
    let (store, model) = egovlp(16);
    model.text_hidden(&padded, &padded.ne(0).to_kind(Kind::Int64), false).square().sum(Kind::Float).backward();
    let most = |store: &VarStore, name: &str, row: i64| {
        let table = &variables(store)[&format!("text_model.embeddings.{name}_embeddings.weight")];
        table.grad().get(row).abs().max().double_value(&[])
    };
    assert!(most(&store, "word", 7) > 0.0 && most(&store, "position", 4) > 0.0);
    assert_eq!(most(&store, "word", 0), 0.0);
    let padded = Tensor::from_slice2(&[[0i64, 7, 2, 1, 1]]).to_device(crate::support::device::device());
    let (store, model) = egovlpv2(4, FULL);
    let text = model.text(&padded, &padded.ne(1).to_kind(Kind::Int64), false);
    (text.tokens.square() * Tensor::arange(32, (Kind::Float, padded.device()))).sum(Kind::Float).backward();
    assert!(most(&store, "word", 7) > 0.0 && most(&store, "position", 2) > 0.0);
    assert_eq!((most(&store, "word", 1), most(&store, "position", 1)), (0.0, 0.0));
}
