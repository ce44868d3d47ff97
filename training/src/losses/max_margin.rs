//! Losses by which a pair is to beat all others by a margin: EPIC-KITCHENS-100 retrieval.
//!
//! Not for relevancies, which are the weights of [`adaptive_max_margin`]. Both directions are one mean.

use egofx::compat::Compat;
use tch::{Kind, Tensor};

/// MI-MM (EgoVLP): the mean of max(0, m − s_ii + s_ij) and of max(0, m − s_ii + s_ji) over all i and j, those with
/// i = j left out if `without_diagonal`. `sim` is `[n, n]`.
///
/// Of one row without its diagonal nothing is left: as released the mean of nothing is NaN, fixed it is 0. The gradient
/// is 0 either way.
pub fn max_margin(sim: &Tensor, margin: f64, without_diagonal: bool, compat: Compat) -> Tensor {
    let margins = Tensor::full([sim.size()[0]], margin, (sim.kind(), sim.device()));
    mean_excess(sim, &margins, without_diagonal, compat)
}

/// The adaptive MI-MM (EgoVLPv2): [`max_margin`] where row i has the margin w_i m, in both directions; `weights` is
/// `[n]`.
pub fn adaptive_max_margin(
    sim: &Tensor,
    weights: &Tensor,
    margin: f64,
    without_diagonal: bool,
    compat: Compat,
) -> Tensor {
    mean_excess(sim, &(weights * margin), without_diagonal, compat)
}

fn mean_excess(sim: &Tensor, margins: &Tensor, without_diagonal: bool, compat: Compat) -> Tensor {
    let n = sim.size()[0];
    let least = margins.unsqueeze(1) - sim.diagonal(0, 0, 1).unsqueeze(1);
    let excess = (&least + sim).relu() + (least + sim.tr()).relu();
    let (excess, count) = if without_diagonal {
        let own = Tensor::eye(n, (Kind::Bool, sim.device()));
        (excess.masked_fill(&own, 0.0), 2 * n * (n - 1))
    } else {
        (excess, 2 * n * n)
    };
    let least_count = i64::from(compat == Compat::Fixed);
    excess.sum(None::<Kind>) / count.max(least_count) as f64
}
