//! How the blocks of a tower are run, with or without activation checkpointing, and which of them are fused.
//!
//! A block reads nothing but its inputs and its weights, so that one that is run again in the backward pass computes
//! what it computed before, dropout aside.

use std::sync::{Arc, Mutex, PoisonError};

use tch::Tensor;

use crate::native::recomputed;

/// The class token of `x` `[B, L, D]`: `[B, D]`.
pub(super) fn class_token(x: &Tensor) -> Tensor {
    x.select(1, 0)
}

/// How many of the last blocks of a tower have cross-attention to the other one, and the first value of its factor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fusion {
    pub num_layers: usize,
    pub gate_init: f64,
}

impl Fusion {
    /// For towers without cross-attention.
    pub const NONE: Self = Self { num_layers: 0, gate_init: 0.0 };

    /// The first value of the factor of block `i` of `depth`, if it has cross-attention.
    pub fn gate_init_of(self, i: usize, depth: usize) -> Option<f64> {
        (i + self.num_layers >= depth).then_some(self.gate_init)
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
