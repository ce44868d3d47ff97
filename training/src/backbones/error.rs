//! What can be wrong with the settings of a backbone or with a batch for it.
//!
//! Not for files of weights, nor for what libtorch says. Invariant: what passes here makes no operation of a network
//! panic, token ids aside, which are not looked at.

use egofx::arch::ConfigError;
use tch::{Kind, Tensor};

/// What is wrong with settings or a batch.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BackboneError {
    /// A size that no network has.
    #[error("backbone: {0}")]
    Config(#[from] ConfigError),
    /// A tensor of another shape than the network or its companions have.
    #[error("backbone: {name} has shape {found:?}, expected {expected}")]
    Shape {
        /// Which one.
        name: &'static str,
        /// Its shape.
        found: Vec<i64>,
        /// What it should be.
        expected: String,
    },
    /// A tensor of another type.
    #[error("backbone: {name} holds {found:?}, expected {expected:?}")]
    Type {
        /// Which one.
        name: &'static str,
        /// Its type.
        found: Kind,
        /// What it should be.
        expected: Kind,
    },
}

/// Of frames `[B, F, 3, image_size, image_size]`; `fits` says which numbers of frames the network takes, `counts` says
/// it in words.
pub(super) fn check_frames(
    frames: &Tensor,
    image_size: usize,
    fits: impl Fn(i64) -> bool,
    counts: &str,
) -> Result<(), BackboneError> {
    let (found, image) = (frames.size(), image_size as i64);
    let holds = found.len() == 5 && found[0] > 0 && fits(found[1]) && found[2..] == [3, image, image];
    if !holds {
        let expected = format!("[B, {counts}, 3, {image}, {image}]");
        return Err(BackboneError::Shape { name: "frames", found, expected });
    }
    check_type("frames", frames, Kind::Float)
}

/// Of token ids and their mask `[B, L]`, at most `longest` tokens.
pub(super) fn check_text(ids: &Tensor, mask: &Tensor, longest: usize) -> Result<(), BackboneError> {
    let found = ids.size();
    if found.len() != 2 || found[0] == 0 || !(1..=longest as i64).contains(&found[1]) {
        return Err(BackboneError::Shape { name: "ids", found, expected: format!("[B, 1 to {longest}]") });
    }
    if mask.size() != found {
        return Err(BackboneError::Shape { name: "mask", found: mask.size(), expected: format!("{found:?}") });
    }
    [("ids", ids), ("mask", mask)].into_iter().try_for_each(|(name, tensor)| check_type(name, tensor, Kind::Int64))
}

fn check_type(name: &'static str, tensor: &Tensor, expected: Kind) -> Result<(), BackboneError> {
    let found = tensor.kind();
    if found == expected { Ok(()) } else { Err(BackboneError::Type { name, found, expected }) }
}
