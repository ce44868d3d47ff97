//! Sizes read off a checkpoint's tensors, and the tensors that a model of given sizes has.
//!
//! Not for any one model. Invariant: what a model expects of a checkpoint is one list, which serves strict loading,
//! random weights and the count of parameters alike.

use std::collections::BTreeMap;

use super::error::ExportError;
use crate::checkpoint::{Parameter, TensorInfo};

/// The tensors of a checkpoint that claims to be of some model.
pub struct Sizes<'c> {
    /// The checkpoint's name, for messages.
    pub checkpoint: &'c str,
    /// The model's name, for messages.
    pub model: &'c str,
    /// Names and shapes.
    pub tensors: &'c BTreeMap<String, TensorInfo>,
}

impl Sizes<'_> {
    /// The shape of a tensor of `N` dimensions.
    ///
    /// # Errors
    /// If it is not there, or of another number of dimensions, or empty.
    pub fn shape<const N: usize>(&self, name: &str) -> Result<[usize; N], ExportError> {
        let Some(info) = self.tensors.get(name) else {
            return Err(self.fault(format!("{name} is missing, from which its sizes are read")));
        };
        let shape: Option<[usize; N]> = info.shape.as_slice().try_into().ok();
        shape
            .filter(|shape| !shape.contains(&0))
            .ok_or_else(|| self.fault(format!("{name} has shape {:?}, {N} dimensions were expected", info.shape)))
    }

    /// How many of `name(0)`, `name(1)`, ... there are, without a gap.
    pub fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.tensors.contains_key(&name(i))).count()
    }

    /// Attention heads of `head_dim` numbers in tokens of `width`; no tensor's shape tells.
    ///
    /// # Errors
    /// [`ExportError`] if the width is no multiple of a head's.
    pub fn heads(&self, width: usize, head_dim: usize) -> Result<usize, ExportError> {
        if head_dim == 0 || !width.is_multiple_of(head_dim) {
            let why =
                format!("its tokens have {width} numbers, which heads of {head_dim} do not divide: see --head-size");
            return Err(self.fault(why));
        }
        Ok(width / head_dim)
    }

    /// An error about the checkpoint as a whole.
    pub fn fault(&self, why: String) -> ExportError {
        ExportError::Size(format!("{} is no {} checkpoint: {why}", self.checkpoint, self.model))
    }
}

/// The list of a model's tensors, with the distributions that random weights are drawn from.
///
/// The spreads keep activations near unit size through all blocks, so that lower precisions can be judged on random
/// weights; nothing is zero, so that nothing can be left out unnoticed.
#[derive(Default)]
pub struct Layout {
    /// The tensors.
    pub parameters: Vec<Parameter>,
}

impl Layout {
    /// A matrix `[out, in]` and its bias.
    pub fn linear(&mut self, name: &str, out: usize, of: usize) {
        self.matrix(name, out, of);
        self.bias(name, out);
    }

    /// A matrix `[out, in]` alone.
    pub fn matrix(&mut self, name: &str, out: usize, of: usize) {
        self.tensor(&format!("{name}.weight"), &[out, of]);
    }

    /// A weight whose spread is that of its fan-in, the product of all dimensions but the first.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        self.push(name, shape, 0.0, (fan_in as f32).powf(-0.5));
    }

    /// A bias.
    pub fn bias(&mut self, name: &str, out: usize) {
        self.push(&format!("{name}.bias"), &[out], 0.0, 0.02);
    }

    /// A LayerNorm.
    pub fn norm(&mut self, name: &str, width: usize) {
        self.push(&format!("{name}.weight"), &[width], 1.0, 0.1);
        self.push(&format!("{name}.bias"), &[width], 0.0, 0.1);
    }

    /// Embeddings.
    pub fn table(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, 0.0, 0.5);
    }

    /// A learnt factor of cross-attention; the EgoVLPv2 paper reports 0.05 to 0.4.
    pub fn gate(&mut self, name: &str) {
        self.push(name, &[1], 0.2, 0.05);
    }

    /// Some other tensor.
    pub fn push(&mut self, name: &str, shape: &[usize], mean: f32, std: f32) {
        self.parameters.push(Parameter { name: name.to_owned(), shape: shape.to_vec(), mean, std });
    }
}
