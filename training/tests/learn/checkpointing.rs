//! Activation checkpointing: parts of a network that are computed again in the backward pass, with the same random draws.

use tch::{Device, Kind, Tensor};

use egofx_train::native::recomputed;

use crate::support::alone;

fn weight() -> Tensor {
    Tensor::from_slice(&[0.5f32, -2.0, 1.5]).set_requires_grad(true)
}

/// A piece with two outputs and dropout.
fn piece(weight: &Tensor) -> impl Fn(&[Tensor]) -> Vec<Tensor> + 'static {
    let weight = weight.shallow_clone();
    move |inputs| vec![(&inputs[0] * &weight).dropout(0.5, true).tanh(), (&inputs[1] * &weight).sin()]
}

fn gradients(run: impl Fn(&[Tensor], &Tensor) -> Vec<Tensor>) -> Vec<Tensor> {
    tch::manual_seed(7);
    let weight = weight();
    let inputs = [1.0, 2.0].map(|scale| {
        (Tensor::arange(300, (Kind::Float, Device::Cpu)).view([100, 3]) * scale * 0.01).set_requires_grad(true)
    });
    let mut outputs = run(&inputs, &weight);
    // A second piece on the first one's outputs, which draws from the same generator.
    outputs = run(&outputs, &weight);
    // Drawn after the pieces: the backward pass must not move the generator.
    let after = Tensor::rand([3], (Kind::Float, Device::Cpu));
    (outputs[0].sum(Kind::Float) + (&outputs[1] * &after).sum(Kind::Float)).backward();
    let [a, b] = inputs.map(|input| input.grad());
    vec![a, b, weight.grad(), outputs[0].detach(), after, Tensor::rand([3], (Kind::Float, Device::Cpu))]
}

#[test]
fn a_piece_that_is_computed_again_has_the_same_outputs_and_gradients_to_the_bit() {
    let _alone = alone();
    let kept = gradients(|inputs, weight| piece(weight)(inputs));
    let again = gradients(|inputs, weight| recomputed(inputs, piece(weight)).unwrap());
    for (number, (kept, again)) in kept.iter().zip(&again).enumerate() {
        assert!(kept.equal(again), "value {number}: {kept} {again}");
    }
}

#[test]
fn a_piece_that_panics_is_an_error() {
    let _alone = alone();
    let error = recomputed(&[weight()], |_| panic!("no such piece")).unwrap_err().to_string();
    assert_eq!(error, "no such piece");
}
