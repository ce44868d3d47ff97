//! Adam in the three forms that the heads were published with, with a state that can be saved.
//!
//! Not for learning rates over time: see `schedule`. Parameters are taken in the order of their names, so that a step does
//! not depend on the order in which a network was built. As in PyTorch, a parameter without a gradient is left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tch::nn::VarStore;
use tch::{Kind, Tensor};

use crate::error::TrainError;
use crate::native::{self, AdamStep, Decay};

/// The `[train.optimizer]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    /// Which form.
    pub kind: OptimizerKind,
    /// Learning rate that the schedule multiplies.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Decay of the two running means.
    pub betas: [f64; 2],
    /// What keeps the denominator from zero.
    pub eps: f64,
    /// Multiplier of the learning rate for heads and cross-attention, where the network has such (EgoVLPv2's
    /// `lr_mult_head` and `lr_mult_cross_modal`).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub head_lr_mult: f64,
}

fn one() -> f64 {
    1.0
}

fn is_one(factor: &f64) -> bool {
    *factor == 1.0
}

/// Forms of Adam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// `torch.optim.Adam`: the decay is part of the gradient.
    Adam,
    /// `torch.optim.AdamW`: weights decay before the step.
    Adamw,
    /// HuggingFace's AdamW: weights decay after the step, and `eps` is added before the bias of the second mean is
    /// corrected.
    HfAdamw,
}

/// The parameter group of one parameter, as in `torch.optim`: its weight decay and learning rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamGroup {
    /// Whether it decays.
    pub decays: bool,
    /// How fast it learns.
    pub lr_mult: LrMult,
}

/// The learning rate of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LrMult {
    /// That of the experiment.
    Base,
    /// That of the experiment, times its `head_lr_mult`.
    Head,
    /// That of the experiment, times this.
    Times(f64),
}

impl OptimizerSettings {
    /// Refuses what PyTorch's optimisers refuse.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), String> {
        let Self { lr, weight_decay, betas, eps, head_lr_mult, .. } = *self;
        for (key, found) in [("lr", lr), ("weight_decay", weight_decay), ("eps", eps), ("head_lr_mult", head_lr_mult)] {
            if !(found.is_finite() && found >= 0.0) {
                return Err(format!("train.optimizer.{key} is {found}, expected 0 or more"));
            }
        }
        match betas.into_iter().find(|beta| !(0.0..1.0).contains(beta)) {
            Some(beta) => Err(format!("train.optimizer.betas has {beta}, expected 0 or more and less than 1")),
            None => Ok(()),
        }
    }

    fn lr_scale(&self, lr_mult: LrMult) -> f64 {
        match lr_mult {
            LrMult::Base => 1.0,
            LrMult::Head => self.head_lr_mult,
            LrMult::Times(factor) => factor,
        }
    }
}

struct Param {
    name: String,
    weight: Tensor,
    group: ParamGroup,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    steps: Tensor,
    /// The value of `steps`, at hand without asking the device.
    count: i32,
}

/// The optimiser of one network.
pub struct Optimizer {
    settings: OptimizerSettings,
    params: Vec<Param>,
}

impl Optimizer {
    /// For all trainable parameters of `variables`, each treated as `treat` says by name and shape.
    pub fn new(variables: &VarStore, settings: &OptimizerSettings, treat: impl Fn(&str, &[i64]) -> ParamGroup) -> Self {
        let named: BTreeMap<String, Tensor> = variables.variables().into_iter().collect();
        let trainable = named.into_iter().filter(|(_, weight)| weight.requires_grad());
        let param = |(name, weight): (String, Tensor)| Param {
            group: treat(&name, &weight.size()),
            exp_avg: weight.zeros_like(),
            exp_avg_sq: weight.zeros_like(),
            steps: Tensor::zeros([], (Kind::Float, weight.device())),
            count: 0,
            name,
            weight,
        };
        Self { settings: settings.clone(), params: trainable.map(param).collect() }
    }

    /// All parameters, in the order of their names.
    pub fn weights(&self) -> Vec<Tensor> {
        self.params.iter().map(|param| param.weight.shallow_clone()).collect()
    }

    /// The gradients of all parameters that have one, in the order of their names.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.params.iter().filter_map(Param::gradient).collect()
    }

    /// The gradients' 2-norm before they were scaled down to `max_norm`, where that is given.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn clip_grad_norm(&self, max_norm: Option<f64>) -> Result<f64, TrainError> {
        let gradients = self.gradients();
        let norm = native::norm(&gradients)?;
        if let Some(max_norm) = max_norm {
            // As torch.nn.utils.clip_grad_norm_ has it.
            let factor = max_norm / (norm + 1e-6);
            if factor < 1.0 {
                native::scale(&gradients, factor)?;
            }
        }
        Ok(norm)
    }

    /// The learning rates of a step at `factor` times that of the experiment, by name: `lr`, and those of parameters that have
    /// another one.
    pub fn learning_rates(&self, factor: f64) -> Vec<(String, f64)> {
        let mut rates = vec![("lr".to_owned(), self.settings.lr * factor)];
        for lr_mult in self.params.iter().map(|param| param.group.lr_mult) {
            let scale = self.settings.lr_scale(lr_mult);
            let name = match lr_mult {
                LrMult::Head => "lr head".to_owned(),
                LrMult::Base | LrMult::Times(_) => format!("lr x{scale}"),
            };
            if scale != 1.0 && rates.iter().all(|(known, _)| *known != name) {
                rates.push((name, self.settings.lr * factor * scale));
            }
        }
        rates
    }

    /// One step at `factor` times the learning rate.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn step(&mut self, factor: f64) -> Result<(), TrainError> {
        let mut groups: BTreeMap<(bool, u64, i32), Vec<&mut Param>> = BTreeMap::new();
        for param in self.params.iter_mut().filter(|param| param.gradient().is_some()) {
            param.count += 1;
            let ParamGroup { decays, lr_mult } = param.group;
            groups.entry((decays, self.settings.lr_scale(lr_mult).to_bits(), param.count)).or_default().push(param);
        }
        for ((decays, lr_scale, count), params) in groups {
            let lr = self.settings.lr * factor * f64::from_bits(lr_scale);
            step_group(&self.settings, lr, decays, count, &params)?;
        }
        Ok(())
    }

    /// Drops the gradients, as `zero_grad(set_to_none=True)` does.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn zero_grad(&self) -> Result<(), TrainError> {
        let weights: Vec<Tensor> = self.params.iter().map(|param| param.weight.shallow_clone()).collect();
        Ok(native::zero_grad(&weights)?)
    }

    /// The state by name: `exp_avg.*`, `exp_avg_sq.*`, `steps.*`. The tensors are the optimiser's own.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let entries = self.params.iter().flat_map(|param| {
            let parts = [("exp_avg", &param.exp_avg), ("exp_avg_sq", &param.exp_avg_sq), ("steps", &param.steps)];
            parts.map(|(part, tensor)| (format!("{part}.{}", param.name), tensor.shallow_clone()))
        });
        entries.collect()
    }

    /// To be called after the tensors of [`Self::state`] were written to.
    pub fn restored(&mut self) {
        self.params.iter_mut().for_each(|param| param.count = param.steps.double_value(&[]) as i32);
    }
}

impl Param {
    fn gradient(&self) -> Option<Tensor> {
        Some(self.weight.grad()).filter(Tensor::defined)
    }
}

fn step_group(
    settings: &OptimizerSettings,
    lr: f64,
    decays: bool,
    count: i32,
    params: &[&mut Param],
) -> Result<(), TrainError> {
    let [beta1, beta2] = settings.betas;
    let decay = if decays { settings.weight_decay } else { 0.0 };
    let (kind, in_step, eps) = match settings.kind {
        OptimizerKind::Adam => (Decay::L2, decay, settings.eps),
        OptimizerKind::Adamw => (Decay::Decoupled, decay, settings.eps),
        // Dividing eps by what the second mean is divided by is adding it before that.
        OptimizerKind::HfAdamw => (Decay::L2, 0.0, settings.eps / (1.0 - beta2.powi(count)).sqrt()),
    };
    let step = AdamStep { lr, betas: (beta1, beta2), decay: in_step, eps, kind };
    let list = |part: fn(&Param) -> Tensor| params.iter().map(|param| part(param)).collect::<Vec<_>>();
    let weights = list(|param| param.weight.shallow_clone());
    let (exp_avgs, exp_avg_sqs) =
        (list(|param| param.exp_avg.shallow_clone()), list(|param| param.exp_avg_sq.shallow_clone()));
    native::adam(
        step,
        &weights,
        &list(|param| param.weight.grad()),
        &exp_avgs,
        &exp_avg_sqs,
        &list(|param| param.steps.shallow_clone()),
    )?;
    if settings.kind == OptimizerKind::HfAdamw && decay != 0.0 {
        native::scale(&weights, 1.0 - lr * decay)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tch::{Device, nn};

    use super::*;

    fn settings(kind: OptimizerKind, lr: f64, weight_decay: f64, eps: f64) -> OptimizerSettings {
        OptimizerSettings { kind, lr, weight_decay, betas: [0.9, 0.999], eps, head_lr_mult: 1.0 }
    }

    fn json(name: &str) -> Value {
        let path = format!("{}/tests/data/optimizer/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// A weight whose gradient is what it is multiplied by.
    fn push(weight: &Tensor, gradient: &Tensor) {
        (weight * gradient).sum(Kind::Double).backward();
    }

    const ALL: fn(&str, &[i64]) -> ParamGroup = |_, _| ParamGroup { decays: true, lr_mult: LrMult::Base };

    /// HuggingFace's AdamW and PyTorch's on the same gradients, in double precision.
    #[test]
    fn both_adamws_are_the_original_ones() {
        let golden = json("hf_and_torch");
        let (decay, eps) = (golden["weight_decay"].as_f64().unwrap(), golden["eps"].as_f64().unwrap());
        for kind in [OptimizerKind::HfAdamw, OptimizerKind::Adamw] {
            let mut variables = nn::VarStore::new(Device::Cpu);
            let weight = variables.root().var("w", &[1], nn::Init::Const(1.0));
            variables.double();
            let weight = {
                drop(weight);
                variables.variables().remove("w").unwrap()
            };
            let mut optimizer = Optimizer::new(&variables, &settings(kind, 0.01, decay, eps), ALL);
            for (step, gradient) in golden["grads"].as_array().unwrap().iter().enumerate() {
                push(&weight, &Tensor::from_slice(&[gradient.as_f64().unwrap()]));
                optimizer.step(1.0 - step as f64 / 4.0).unwrap();
                optimizer.zero_grad().unwrap();
                let expected = match kind {
                    OptimizerKind::HfAdamw => &golden["hf_steps"][step]["p"],
                    _ => &golden["torch_params"][step],
                };
                let found = weight.double_value(&[0]);
                assert!((found - expected.as_f64().unwrap()).abs() < 1e-9, "{kind:?} {step}: {found} {expected}");
            }
        }
    }

    /// Steps of the original trainer's optimiser, one of them without a gradient.
    #[test]
    fn a_parameter_without_a_gradient_is_left_alone() {
        for case in json("pretraining")["cases"].as_array().unwrap() {
            let floats = |value: &Value| -> Vec<f32> {
                value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
            };
            let variables = nn::VarStore::new(Device::Cpu);
            let start = floats(&case["start"]);
            let weight = variables.root().var_copy("w", &Tensor::from_slice(&start));
            let number = |name: &str| case[name].as_f64().unwrap();
            let mut own = settings(OptimizerKind::HfAdamw, 1.0, number("weight_decay"), number("eps"));
            own.betas = [case["betas"][0].as_f64().unwrap(), case["betas"][1].as_f64().unwrap()];
            let mut optimizer = Optimizer::new(&variables, &own, ALL);
            for (number, step) in case["steps"].as_array().unwrap().iter().enumerate() {
                if !step["grad"].is_null() {
                    push(&weight, &Tensor::from_slice(&floats(&step["grad"])));
                }
                optimizer.step(step["lr"].as_f64().unwrap()).unwrap();
                optimizer.zero_grad().unwrap();
                let expected = Tensor::from_slice(&floats(&step["param"]));
                let off = (&weight - expected).abs().max().double_value(&[]);
                assert!(off < 1e-6, "{} step {number}: {off}", case["name"]);
            }
        }
    }

    #[test]
    fn an_optimiser_goes_on_from_its_state_as_if_nothing_had_happened() {
        let gradients: Vec<Tensor> = (0..6).map(|step| Tensor::from_slice(&[0.3f32, -1.0, step as f32])).collect();
        let start = |weights: &[f32]| {
            let variables = nn::VarStore::new(Device::Cpu);
            let weight = variables.root().var_copy("w", &Tensor::from_slice(weights));
            let own = settings(OptimizerKind::HfAdamw, 0.1, 0.01, 1e-6);
            (Optimizer::new(&variables, &own, ALL), weight, variables)
        };
        let run = |optimizer: &mut Optimizer, weight: &Tensor, steps: &[Tensor]| {
            for gradient in steps {
                push(weight, gradient);
                optimizer.clip_grad_norm(Some(0.5)).unwrap();
                optimizer.step(1.0).unwrap();
                optimizer.zero_grad().unwrap();
            }
        };
        let (mut whole, weight, _kept) = start(&[1.0, 2.0, 3.0]);
        run(&mut whole, &weight, &gradients[..3]);
        let state: Vec<(String, Tensor)> = whole.state().into_iter().map(|(name, t)| (name, t.copy())).collect();
        let (mut resumed, second, _kept) = start(&Vec::<f32>::try_from(&weight).unwrap());
        for (name, tensor) in &state {
            tch::no_grad(|| resumed.state()[name].shallow_clone().copy_(tensor));
        }
        resumed.restored();
        run(&mut whole, &weight, &gradients[3..]);
        run(&mut resumed, &second, &gradients[3..]);
        assert!(weight.equal(&second));
    }

    #[test]
    fn heads_learn_at_a_rate_of_their_own() {
        let variables = nn::VarStore::new(Device::Cpu);
        let weights = ["body", "head", "bias"].map(|name| variables.root().zeros(name, &[1]));
        let settings = OptimizerSettings { head_lr_mult: 4.0, ..settings(OptimizerKind::Adam, 0.01, 0.0, 0.0) };
        let rate = |name: &str, _: &[i64]| match name {
            "body" => ParamGroup { decays: true, lr_mult: LrMult::Base },
            "head" => ParamGroup { decays: true, lr_mult: LrMult::Head },
            _ => ParamGroup { decays: true, lr_mult: LrMult::Times(0.5) },
        };
        let mut optimizer = Optimizer::new(&variables, &settings, rate);
        let rates: Vec<(String, f64)> = optimizer.learning_rates(0.5);
        let expected = [("lr", 0.005), ("lr x0.5", 0.0025), ("lr head", 0.02)];
        assert_eq!(rates, expected.map(|(name, rate)| (name.to_owned(), rate)));
        weights.iter().for_each(|weight| push(weight, &Tensor::from_slice(&[1.0f32])));
        optimizer.step(1.0).unwrap();
        // Adam's first step is as long as its rate.
        for (weight, moved) in weights.iter().zip([0.01, 0.04, 0.005]) {
            assert!((weight.double_value(&[0]) + moved).abs() < 1e-6, "{weight:?}");
        }
    }

    #[test]
    fn gradients_are_scaled_to_the_norm_that_is_allowed_and_no_further() {
        let variables = nn::VarStore::new(Device::Cpu);
        let weight = variables.root().zeros("w", &[2]);
        let optimizer = Optimizer::new(&variables, &settings(OptimizerKind::Adam, 0.1, 0.0, 1e-8), ALL);
        push(&weight, &Tensor::from_slice(&[3.0f32, 4.0]));
        assert_eq!(optimizer.clip_grad_norm(Some(10.0)).unwrap(), 5.0);
        assert_eq!(weight.grad().double_value(&[1]), 4.0);
        assert_eq!(optimizer.clip_grad_norm(Some(1.0)).unwrap(), 5.0);
        assert!((weight.grad().double_value(&[1]) - 0.8).abs() < 1e-6);
    }
}
