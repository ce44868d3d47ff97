//! The layers that all backbones are made of, on tokens `[B, L, W]`, and how their blocks are run.
//!
//! Not for attention in groups; see `divided`. Invariant: a layer reads nothing but its inputs and its weights, so that
//! a block that is run again computes what it computed before, dropout aside.

use std::sync::{Arc, Mutex, PoisonError};

use tch::nn::{self, Init, Module};
use tch::{Tensor, no_grad};

use crate::native::recomputed;

/// The first weights of a linear map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum First {
    /// PyTorch's own: weights and biases uniform in ±1 / √fan in.
    Uniform,
    /// BERT's: weights normal with this spread, biases zero.
    Normal(f64),
    /// Zeros.
    Zeros,
    /// Ones, with zeros for biases.
    Ones,
}

impl First {
    /// Of weights and of biases.
    fn inits(self, input: i64) -> [Init; 2] {
        let bound = (input as f64).powf(-0.5);
        let (uniform, zeros) = (Init::Uniform { lo: -bound, up: bound }, Init::Const(0.0));
        match self {
            Self::Uniform => [uniform, uniform],
            Self::Normal(spread) => [Init::Randn { mean: 0.0, stdev: spread }, zeros],
            Self::Zeros => [zeros, zeros],
            Self::Ones => [Init::Const(1.0), zeros],
        }
    }
}

/// A linear map with a bias.
pub(super) fn linear(path: nn::Path, input: i64, output: i64, first: First) -> nn::Linear {
    let [ws_init, bs_init] = first.inits(input);
    nn::linear(path, input, output, nn::LinearConfig { ws_init, bs_init: Some(bs_init), bias: true })
}

/// A linear map without one.
pub(super) fn matrix(path: nn::Path, input: i64, output: i64, first: First) -> nn::Linear {
    let [ws_init, _] = first.inits(input);
    nn::linear(path, input, output, nn::LinearConfig { ws_init, bs_init: None, bias: false })
}

/// A convolution of pictures by windows of `side` that neither overlap nor leave gaps; first weights as PyTorch's own.
pub(super) fn patches(path: nn::Path, channels: i64, width: i64, side: i64) -> nn::Conv2D {
    let [ws_init, bs_init] = First::Uniform.inits(channels * side * side);
    nn::conv2d(path, channels, width, side, nn::ConvConfig { stride: side, ws_init, bs_init, ..Default::default() })
}

/// A layer norm over the last dimension.
pub(super) fn norm(path: nn::Path, width: i64, eps: f64) -> nn::LayerNorm {
    nn::layer_norm(path, vec![width], nn::LayerNormConfig { eps, ..Default::default() })
}

/// A table `[rows, width]` of embeddings, its first weights normal with a spread; `pad` is a row of zeros that never learns.
#[derive(Debug)]
pub(super) struct Table {
    weight: Tensor,
    pad: i64,
}

impl Table {
    pub fn new(path: &nn::Path, [rows, width]: [i64; 2], spread: f64, pad: Option<i64>) -> Self {
        let weight = path.randn("weight", &[rows, width], 0.0, spread);
        if let Some(pad) = pad {
            let _ = no_grad(|| weight.select(0, pad).zero_());
        }
        Self { weight, pad: pad.unwrap_or(-1) }
    }

    /// The rows of `ids`.
    pub fn rows(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, ids, self.pad, false, false)
    }

    /// The first `count` rows, `[count, width]`.
    pub fn first(&self, count: i64) -> Tensor {
        self.weight.narrow(0, 0, count)
    }
}

/// Two linear maps with GELU (of erf) between.
#[derive(Debug)]
pub(super) struct Mlp {
    enter: nn::Linear,
    leave: nn::Linear,
}

impl Mlp {
    /// Of the maps at `enter` and `leave`, with `[width, hidden]` as their sizes.
    pub fn new([enter, leave]: [nn::Path; 2], [width, hidden]: [i64; 2], first: First) -> Self {
        Self { enter: linear(enter, width, hidden, first), leave: linear(leave, hidden, width, first) }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.leave.forward(&self.enter.forward(x).gelu("none"))
    }
}

/// `x` `[B, L, W]` as `[B, heads, L, W / heads]`, nothing copied.
pub(super) fn split(x: &Tensor, heads: i64) -> Tensor {
    let size = x.size();
    x.view([size[0], size[1], heads, size[2] / heads]).transpose(1, 2)
}

/// Attention of `q` `[B, L, W]` to `k` and `v` `[B, M, W]`: `[B, L, W]`. `mask` `[B, 1, 1, M]` is true for keys that
/// count; `dropout` is a share of the weights.
pub(super) fn attend([q, k, v]: [&Tensor; 3], heads: i64, mask: Option<&Tensor>, dropout: f64) -> Tensor {
    let [q, k, v] = [q, k, v].map(|x| split(x, heads));
    let mixed = Tensor::scaled_dot_product_attention(&q, &k, &v, mask, dropout, false, None, false);
    mixed.transpose(1, 2).flatten(2, 3)
}

/// The mask `[B, L]` of zeros and ones as [`attend`] takes it.
pub(super) fn keys_that_count(mask: &Tensor) -> Tensor {
    mask.ne(0).unsqueeze(1).unsqueeze(1)
}

/// Token 0 of `x` `[B, L, W]`: `[B, W]`.
pub(super) fn first(x: &Tensor) -> Tensor {
    x.select(1, 0)
}

/// How many of the last layers of a tower attend to the other one, and what that is multiplied with at first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fusion {
    pub layers: i64,
    pub gate: f64,
}

impl Fusion {
    /// For towers that stand alone.
    pub const NONE: Self = Self { layers: 0, gate: 0.0 };

    /// The gate of layer `i` of `depth`, if it has one.
    pub fn gate_of(self, i: i64, depth: i64) -> Option<f64> {
        (i >= depth - self.layers).then_some(self.gate)
    }
}

/// A block that a network and what runs it again in the backward pass both hold. The lock makes it fit for other
/// threads, which tensors alone are not.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub fn new(block: T) -> Self {
        Self(Arc::new(Mutex::new(block)))
    }

    /// What `run` makes of the block.
    pub fn with<R>(&self, run: impl FnOnce(&T) -> R) -> R {
        run(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// What `block` makes of `inputs`. With `recompute`, only its inputs are kept for the backward pass, in which it is run
/// again.
///
/// # Panics
/// As tch's own operators do, where libtorch refuses.
pub(super) fn run(
    recompute: bool,
    inputs: &[&Tensor],
    block: impl Fn(&[Tensor]) -> Vec<Tensor> + Send + 'static,
) -> Vec<Tensor> {
    let inputs: Vec<Tensor> = inputs.iter().map(|input| input.shallow_clone()).collect();
    if !recompute {
        return block(&inputs);
    }
    recomputed(&inputs, block).unwrap_or_else(|error| panic!("{error}"))
}

/// [`run`] of a block with one output.
pub(super) fn run_one(
    recompute: bool,
    inputs: &[&Tensor],
    block: impl Fn(&[Tensor]) -> Tensor + Send + 'static,
) -> Tensor {
    run(recompute, inputs, move |inputs| vec![block(inputs)]).remove(0)
}
