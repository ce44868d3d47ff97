//! Tables of embeddings.

use tch::nn;
use tch::{Tensor, no_grad};

/// `nn.Embedding(rows, dim, padding_idx)`, its first weights normal; the row `padding_idx` is zeros and never learns.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
    padding_idx: i64,
}

impl Embedding {
    /// Of shape `[rows, dim]`, with the standard deviation `std`.
    pub fn new(path: &nn::Path, shape: [i64; 2], std: f64, padding_idx: Option<i64>) -> Self {
        let weight = path.randn("weight", &shape, 0.0, std);
        if let Some(row) = padding_idx {
            let _ = no_grad(|| weight.select(0, row).zero_());
        }
        // -1 is libtorch's word for none.
        Self { weight, padding_idx: padding_idx.unwrap_or(-1) }
    }

    /// The rows of `ids` `[B, L]` (int64): `[B, L, dim]`.
    pub fn rows(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.weight, ids, self.padding_idx, false, false)
    }

    /// The first `count` rows, `[count, dim]`.
    pub fn first(&self, count: i64) -> Tensor {
        self.weight.narrow(0, 0, count)
    }
}
