//! What can be wrong with the settings of VSLNet or with a batch for it.
//!
//! Not for what libtorch says. Invariant: what passes here makes no operation of the head panic.

use tch::Tensor;

use super::settings::{Dims, Settings};

/// What is wrong with settings or a batch.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VslnetError {
    /// A setting that no network has.
    #[error("vslnet: {name} = {found}, expected {expected}")]
    Setting {
        /// What it is called.
        name: &'static str,
        /// What was asked for.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A tensor of another shape than the head or its companions have.
    #[error("vslnet: {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Which one.
        name: String,
        /// Its shape.
        found: Vec<i64>,
        /// What it should be.
        expected: Vec<i64>,
    },
    /// Fewer positions than one, or more than the head has.
    #[error("vslnet: {name} has {found} positions, expected 1 to {most}")]
    Length {
        /// Which one.
        name: &'static str,
        /// Its positions.
        found: i64,
        /// Those of the head.
        most: i64,
    },
}

pub(super) fn check_settings(dims: Dims, settings: &Settings) -> Result<(), VslnetError> {
    let Settings { embed_dim, num_heads, max_position_embeddings, dropout, .. } = *settings;
    let counts = [
        ("video dim", dims.video),
        ("query dim", dims.query),
        ("embed_dim", embed_dim),
        ("num_heads", num_heads),
        ("max_position_embeddings", max_position_embeddings),
    ];
    for (name, count) in counts {
        expect(count > 0, name, count as f64, "1 or more")?;
    }
    expect(embed_dim % num_heads == 0, "num_heads", num_heads as f64, "a divisor of embed_dim")?;
    expect((0.0..1.0).contains(&dropout), "dropout", dropout, "0 or more and less than 1")
}

fn expect(holds: bool, name: &'static str, found: f64, expected: &'static str) -> Result<(), VslnetError> {
    if holds { Ok(()) } else { Err(VslnetError::Setting { name, found, expected }) }
}

/// Of features `[B, L, dim]` and their mask, where `[B, most L, dim]` is what the head takes.
pub(super) fn check_shapes(
    name: &'static str,
    features: &Tensor,
    mask: &Tensor,
    [batch, most, dim]: [i64; 3],
) -> Result<(), VslnetError> {
    let length = features.size().get(1).copied().unwrap_or(0);
    same(name, features, &[batch, length, dim])?;
    same(&format!("the mask of {name}"), mask, &[batch, length])?;
    if (1..=most).contains(&length) { Ok(()) } else { Err(VslnetError::Length { name, found: length, most }) }
}

fn same(name: &str, tensor: &Tensor, expected: &[i64]) -> Result<(), VslnetError> {
    let found = tensor.size();
    if found == expected {
        return Ok(());
    }
    Err(VslnetError::Shape { name: name.to_owned(), found, expected: expected.to_vec() })
}
