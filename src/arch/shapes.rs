//! Sizes read off the shapes of a state dict.
//!
//! Not for reading values. A size that is read here is one that the network has, if all other tensors agree with it
//! ([`strict_differences`](super::strict_differences)).

use std::collections::BTreeMap;

use super::error::ShapeError;
use crate::checkpoint::TensorInfo;

/// The tensors of a state dict that claims to be of some architecture.
pub struct Shapes<'c> {
    /// Name of the file, for messages.
    pub checkpoint: &'c str,
    /// Name of the architecture, for messages.
    pub architecture: &'c str,
    /// Names, dtypes and shapes.
    pub tensors: &'c BTreeMap<String, TensorInfo>,
}

impl Shapes<'_> {
    /// The shape of the tensor `name`, which has `N` dims, none of them 0.
    ///
    /// # Errors
    /// [`ShapeError`] if it is not there or has another shape.
    pub fn of<const N: usize>(&self, name: &str) -> Result<[usize; N], ShapeError> {
        let Some(info) = self.tensors.get(name) else {
            return Err(self.error(format!("{name} is missing, from which its sizes are read")));
        };
        let shape: Option<[usize; N]> = info.shape.as_slice().try_into().ok();
        shape
            .filter(|shape| !shape.contains(&0))
            .ok_or_else(|| self.error(format!("{name} has shape {:?}, {N} dimensions were expected", info.shape)))
    }

    /// Whether the tensor `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// How many of `name(0)`, `name(1)`, ... there are, up to the first that is missing.
    pub fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.has(&name(i))).count()
    }

    /// The first `i` below `depth` of which `name(i)` is there; `depth` if none is.
    pub fn first(&self, depth: usize, name: impl Fn(usize) -> String) -> usize {
        (0..depth).find(|&i| self.has(&name(i))).unwrap_or(depth)
    }

    /// Attention heads of `head_dim` values in tokens of `embed_dim`; no tensor's shape tells.
    ///
    /// # Errors
    /// [`ShapeError`] if `head_dim` does not divide `embed_dim`.
    pub fn num_heads(&self, embed_dim: usize, head_dim: usize) -> Result<usize, ShapeError> {
        if head_dim == 0 || !embed_dim.is_multiple_of(head_dim) {
            let why =
                format!("its tokens have {embed_dim} dims, which heads of {head_dim} do not divide: see --head-size");
            return Err(self.error(why));
        }
        Ok(embed_dim / head_dim)
    }

    /// An error about the state dict as a whole.
    pub fn error(&self, why: String) -> ShapeError {
        ShapeError { checkpoint: self.checkpoint.to_owned(), architecture: self.architecture.to_owned(), why }
    }
}

/// Whether a tensor is a temporal positional embedding `[1, frames, embed_dim]`, whose length may differ between a file and a
/// network.
pub fn is_temporal_embedding(name: &str) -> bool {
    name.ends_with("temporal_embed")
}
