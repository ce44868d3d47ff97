//! Building the list of a model's tensors, with the distributions that random weights are drawn from.
//!
//! The standard deviations keep activations near unit size through all blocks, so that lower precisions can be judged
//! on random weights; nothing is zero, so that nothing can be left out of a graph unnoticed. They are nobody's training
//! initialisation.

use crate::checkpoint::{Init, ParamSpec};

/// A list of parameters that is being written, one call for each layer.
#[derive(Debug, Default)]
pub struct ParamList(Vec<ParamSpec>);

impl ParamList {
    /// The finished list.
    pub fn into_specs(self) -> Vec<ParamSpec> {
        self.0
    }

    /// `nn.Linear(inputs, outputs)`: a weight `[outputs, inputs]` and its bias.
    pub fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.linear_no_bias(name, outputs, inputs);
        self.bias(name, outputs);
    }

    /// `nn.Linear(inputs, outputs, bias=False)`.
    pub fn linear_no_bias(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.weight(&format!("{name}.weight"), &[outputs, inputs]);
    }

    /// A weight with the standard deviation `1 / sqrt(fan_in)`, where `fan_in` is the product of all dims but the
    /// first.
    pub fn weight(&mut self, name: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        self.push(name, shape, 0.0, (fan_in as f32).powf(-0.5));
    }

    /// The bias `[outputs]` of the layer `name`.
    pub fn bias(&mut self, name: &str, outputs: usize) {
        self.push(&format!("{name}.bias"), &[outputs], 0.0, 0.02);
    }

    /// `nn.LayerNorm(dim)`: weight and bias `[dim]`.
    pub fn layer_norm(&mut self, name: &str, dim: usize) {
        self.push(&format!("{name}.weight"), &[dim], 1.0, 0.1);
        self.push(&format!("{name}.bias"), &[dim], 0.0, 0.1);
    }

    /// `nn.BatchNorm3d(dim)`: weight, bias and the running statistics, each `[dim]`.
    pub fn batch_norm(&mut self, name: &str, dim: usize) {
        self.layer_norm(name, dim);
        self.push(&format!("{name}.running_mean"), &[dim], 0.0, 0.1);
        self.push(&format!("{name}.running_var"), &[dim], 1.0, 0.1);
    }

    /// A table of embeddings, or a class token.
    pub fn embedding(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, 0.0, 0.5);
    }

    /// The learnt factor of an attention, a single number; for cross-attention the EgoVLPv2 paper reports 0.05 to 0.4.
    pub fn gate(&mut self, name: &str, shape: &[usize]) {
        self.push(name, shape, 0.2, 0.05);
    }

    /// A matrix `[inputs, outputs]` that is multiplied from the right.
    pub fn matrix(&mut self, name: &str, inputs: usize, outputs: usize) {
        self.push(name, &[inputs, outputs], 0.0, (inputs as f32).powf(-0.5));
    }

    /// Any other tensor.
    pub fn push(&mut self, name: &str, shape: &[usize], mean: f32, std: f32) {
        self.0.push(ParamSpec { name: name.to_owned(), shape: shape.to_vec(), init: Init { mean, std } });
    }
}
