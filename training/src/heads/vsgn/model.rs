//! The network as a whole.
//!
//! Not for losses. Every intermediate stage is in the [`Output`]; nothing in it depends on the other clips of a batch.

use serde::{Deserialize, Serialize};
use tch::nn;
use tch::{Kind, Tensor};

use super::boundary::BoundaryAdjust;
use super::head::{AnchorHead, CurveHead};
use super::pyramid::Pyramid;
use super::{anchors, layers};

/// Sizes and options of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Numbers of a cell's feature.
    pub input_dim: i64,
    /// Channels everywhere behind the first convolution: a multiple of 32; 256 in the original.
    pub width: i64,
    /// Cells of the grid: 928.
    pub length: i64,
    /// Levels of the pyramid: 5.
    pub levels: usize,
    /// Classes with background, which is class 0: 111.
    pub classes: i64,
    /// Convolutions of each tower of the head: 4.
    pub tower_convs: usize,
    /// Lengths of a cell's anchors, in cells of its level: 1 and 10.
    pub anchor_scales: Vec<f64>,
    /// Whether the encoder passes messages between cells that look alike (xGPN).
    pub graph: bool,
    /// Of how many cells, itself among them: 12.
    pub neighbours: i64,
    /// Whether short clips are followed by an enlarged copy of themselves (VSS). The published runs on Ego4D have none.
    pub stitching: bool,
    /// Empty cells between a clip and its copy: 30.
    pub stitch_gap: i64,
    /// Clips of at most this part of the grid are short: 0.4.
    pub short_ratio: f64,
}

/// Settings that make no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The group norms do not fit.
    #[error("width {0}: expected a multiple of 32")]
    Width(i64),
    /// A level does not halve.
    #[error("length {length} at {levels} levels: expected a length that halves {} times", levels.saturating_sub(1))]
    Length { length: i64, levels: usize },
    /// More neighbours than the coarsest level that looks for them has cells.
    #[error("{neighbours} neighbours: expected 1 to {most}, the cells of the coarsest input of a level")]
    Neighbours { neighbours: i64, most: i64 },
    /// Something that must be there is not.
    #[error("{name} is {value}: expected at least {least}")]
    TooFew { name: &'static str, value: i64, least: i64 },
}

impl Settings {
    /// Whether they make a network.
    ///
    /// # Errors
    /// The first setting that does not.
    pub fn check(&self) -> Result<(), SettingsError> {
        let scales = self.anchor_scales.len() as i64;
        let counted = [
            ("input_dim", self.input_dim, 1),
            ("length", self.length, 1),
            ("levels", self.levels as i64, 1),
            ("classes", self.classes, 2),
            ("anchor_scales", scales, 1),
            ("stitch_gap", self.stitch_gap, 0),
        ];
        if let Some(&(name, value, least)) = counted.iter().find(|(_, value, least)| value < least) {
            return Err(SettingsError::TooFew { name, value, least });
        }
        if self.width < 1 || self.width % layers::GROUPS != 0 {
            return Err(SettingsError::Width(self.width));
        }
        if self.levels > 62 || self.length % (1 << (self.levels - 1)) != 0 {
            return Err(SettingsError::Length { length: self.length, levels: self.levels });
        }
        let most = self.length >> self.levels.saturating_sub(2);
        match self.graph && !(1..=most).contains(&self.neighbours) {
            true => Err(SettingsError::Neighbours { neighbours: self.neighbours, most }),
            false => Ok(()),
        }
    }

    /// Whether a clip of `num_cells` is stitched to an enlarged copy of itself.
    pub fn stitches(&self, num_cells: i64) -> bool {
        self.stitching && num_cells as f64 <= self.short_ratio * self.length as f64
    }

    /// The first cell of the copy.
    pub fn copy_from(&self, num_cells: i64) -> i64 {
        num_cells + self.stitch_gap
    }
}

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
    /// With weights under the names of the original state dict, as PyTorch starts them.
    ///
    /// # Errors
    /// Settings that make no network.
    pub fn new(path: &nn::Path, settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let curve = |name: &str| CurveHead::new(&(path / name), settings.width);
        let anchors = anchors::table(settings.length as usize, settings.levels, &settings.anchor_scales);
        Ok(Self {
            settings: settings.clone(),
            pyramid: Pyramid::new(&(path / "xGPN"), settings),
            head: AnchorHead::new(&(path / "head_dec"), settings),
            boundary: BoundaryAdjust::new(&(path / "bd_adjust"), settings.width),
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

/// Levels `[B, scales * numbers, L]`, from coarse to fine, as `[B, A, numbers]` from fine to coarse.
fn by_anchor(levels: &[Tensor], numbers: i64) -> Tensor {
    let fine_first: Vec<&Tensor> = levels.iter().rev().collect();
    let all = Tensor::cat(&fine_first, 2);
    all.transpose(1, 2).reshape([all.size()[0], -1, numbers])
}
