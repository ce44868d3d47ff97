//! The network as a whole.
//!
//! Not for losses. Every intermediate stage is in the [`Output`]; nothing in it depends on the other clips of a batch.

use egofx::export::Graph;
use tch::nn;
use tch::{Kind, Tensor};

use super::anchors;
use super::boundary::BoundaryAdjust;
use super::onnx;
use super::pyramid::Pyramid;
use super::readout::{AnchorHead, CurveHead};
use super::settings::{Settings, SettingsError};

/// Likelihoods cell by cell, each `[B, T]`.
#[derive(Debug)]
pub struct Curves {
    /// Of a moment going on.
    pub action: Tensor,
    /// Of a moment starting.
    pub start: Tensor,
    /// Of a moment ending.
    pub end: Tensor,
}

/// What the network makes of a batch, stage by stage. A is the number of anchors of all levels, finest first.
#[derive(Debug)]
pub struct Output {
    /// The encoder's levels `[B, C, T / 2^l]`, from fine to coarse.
    pub encoded: Vec<Tensor>,
    /// The decoder's levels, from coarse to fine.
    pub decoded: Vec<Tensor>,
    /// Class scores of the decoder's levels `[B, scales * classes, L]`.
    pub level_scores: Vec<Tensor>,
    /// Coded boxes of the decoder's levels `[B, scales * 2, L]`.
    pub level_codes: Vec<Tensor>,
    /// Anchors `[A, 2]` in cells.
    pub anchors: Tensor,
    /// Class scores `[B, A, classes]` before the softmax.
    pub scores: Tensor,
    /// Boxes in cells `[B, A, 2]`.
    pub boxes: Tensor,
    /// Boxes with their ends moved `[B, A, 2]`.
    pub adjusted: Tensor,
    /// The curves of the finest level.
    pub curves: Curves,
}

impl Output {
    /// Class probabilities `[B, A, classes]`.
    pub fn probabilities(&self) -> Tensor {
        self.scores.softmax(-1, self.scores.kind())
    }
}

/// The network.
#[derive(Debug)]
pub struct Vsgn {
    settings: Settings,
    pyramid: Pyramid,
    head: AnchorHead,
    boundary: BoundaryAdjust,
    action: CurveHead,
    start: CurveHead,
    end: CurveHead,
    anchors: Tensor,
}

impl Vsgn {
    /// For features of `input_dim` numbers a cell, with weights under the names of the original state dict, as PyTorch
    /// starts them.
    ///
    /// # Errors
    /// Settings that make no network.
    pub fn new(path: &nn::Path, input_dim: i64, settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let curve = |name: &str| CurveHead::new(&(path / name), settings.embed_dim);
        let anchors = anchors::table(settings.length as usize, settings.levels, &settings.anchor_scales);
        Ok(Self {
            settings: settings.clone(),
            pyramid: Pyramid::new(&(path / "xGPN"), input_dim, settings),
            head: AnchorHead::new(&(path / "head_dec"), settings),
            boundary: BoundaryAdjust::new(&(path / "bd_adjust"), settings.embed_dim),
            action: curve("head_actionness"),
            start: curve("head_startness"),
            end: curve("head_endness"),
            anchors: anchors::tensor(&anchors, path.device()),
        })
    }

    /// Of features `[B, D, T]`, of which `num_cells` `[B]` (whole numbers) hold the clip. The latter matters only where
    /// clips are stitched to copies of themselves.
    pub fn forward(&self, features: &Tensor, num_cells: &Tensor) -> Output {
        let copies = self.settings.stitching.then(|| self.copies(num_cells));
        let encoded = self.pyramid.encode(features, copies.as_ref());
        let decoded = self.pyramid.decode(&encoded);
        let (level_scores, level_codes): (Vec<_>, Vec<_>) = decoded.iter().map(|x| self.head.forward(x)).unzip();
        let scores = by_anchor(&level_scores, self.settings.classes);
        let anchors = self.anchors.to_device(features.device());
        let boxes = anchors::decode(&by_anchor(&level_codes, 2), &anchors.unsqueeze(0));
        let finest = &decoded[decoded.len() - 1];
        let curve = |head: &CurveHead| head.forward(finest);
        let curves = Curves { action: curve(&self.action), start: curve(&self.start), end: curve(&self.end) };
        let adjusted = self.boundary.forward(&boxes, finest);
        Output { encoded, decoded, level_scores, level_codes, anchors, scores, boxes, adjusted, curves }
    }

    /// Where each clip's copy starts `[B]`; the grid's end for clips without.
    fn copies(&self, num_cells: &Tensor) -> Tensor {
        let Settings { length, stitch_gap, short_ratio, .. } = self.settings;
        let short = num_cells.to_kind(Kind::Double).le(short_ratio * length as f64);
        (num_cells + stitch_gap).where_self(&short, &num_cells.full_like(length))
    }
}

/// The network as a graph, which is computed as [`Vsgn::forward`] does; see `onnx`.
pub fn graph(input_dim: i64, settings: &Settings) -> impl Fn(&mut Graph) + use<> {
    let settings = settings.clone();
    move |g| onnx::build(g, input_dim as usize, &settings)
}

/// Levels `[B, scales * numbers, L]`, from coarse to fine, as `[B, A, numbers]` from fine to coarse.
fn by_anchor(levels: &[Tensor], numbers: i64) -> Tensor {
    let fine_first: Vec<&Tensor> = levels.iter().rev().collect();
    let all = Tensor::cat(&fine_first, 2);
    all.transpose(1, 2).reshape([all.size()[0], -1, numbers])
}
