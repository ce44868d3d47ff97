//! Losses that pull a sentence to its clip and away from the other clips of a batch, and the other way round.
//!
//! Not for what is positive; see [`positives`](super::positives). All rows are anchors, whatever they were drawn for.

use tch::{Kind, Tensor};

/// EgoNCE (Lin et al., 2022, equation 3) of similarities `[n, n]`, rows sentences: minus the mean over rows of
/// log Σ_j m_ij softmax_j(s_ij / τ), and the same over columns. `positives` is symmetric and true on the diagonal.
///
/// The original takes the logarithm of the sum of probabilities; here it is a difference of two logarithms of sums,
/// which is the same number and never the logarithm of 0.
pub fn egonce(sim: &Tensor, positives: &Tensor, temperature: f64) -> Tensor {
    let logits = sim / temperature;
    let kept = logits.masked_fill(&positives.logical_not(), f64::NEG_INFINITY);
    let one_way = |dim: i64| (logits.logsumexp([dim], false) - kept.logsumexp([dim], false)).mean(None::<Kind>);
    one_way(1) + one_way(0)
}

/// InfoNCE of similarities `[n, n]`: the sum of the cross-entropies of rows and of columns, each a mean. The loss that
/// Charades-Ego is tuned with as well (`NormSoftmaxLoss`).
pub fn infonce(sim: &Tensor, temperature: f64) -> Tensor {
    let logits = sim / temperature;
    let one_way = |dim: i64| -logits.log_softmax(dim, None::<Kind>).diagonal(0, 0, 1).mean(None::<Kind>);
    one_way(1) + one_way(0)
}
