//! What is read off a level: class scores and shifts of its anchors, and off the finest, three curves.
//!
//! Not for boxes. Channels are anchor by anchor: `anchor * classes + class`, `anchor * 2 + coordinate`.

use tch::Tensor;
use tch::nn::{self, Module};

use super::layers;
use super::settings::Settings;
use crate::nn::Conv;

/// Convolutions, each with group norm and ReLU.
#[derive(Debug)]
struct Tower(Vec<(nn::Conv1D, nn::GroupNorm)>);

impl Tower {
    fn new(path: &nn::Path, embed_dim: i64, convs: usize) -> Self {
        let layer = |place: usize| {
            let conv = layers::conv3(path / (3 * place), embed_dim, embed_dim);
            (conv, nn::group_norm(path / (3 * place + 1), layers::GROUPS, embed_dim, Default::default()))
        };
        Self((0..convs).map(layer).collect())
    }

    fn forward(&self, features: &Tensor) -> Tensor {
        let through = |x: Tensor, (conv, norm): &(nn::Conv1D, nn::GroupNorm)| norm.forward(&conv.forward(&x)).relu();
        self.0.iter().fold(features.shallow_clone(), through)
    }
}

/// Scores and shifts, by the same weights at every level.
#[derive(Debug)]
pub(super) struct AnchorHead {
    class_tower: Tower,
    box_tower: Tower,
    classes: nn::Conv1D,
    boxes: nn::Conv1D,
}

impl AnchorHead {
    pub(super) fn new(path: &nn::Path, settings: &Settings) -> Self {
        let (embed_dim, scales) = (settings.embed_dim, settings.anchor_scales.len() as i64);
        Self {
            class_tower: Tower::new(&(path / "cls_tower"), embed_dim, settings.tower_convs),
            box_tower: Tower::new(&(path / "bbox_tower"), embed_dim, settings.tower_convs),
            classes: layers::conv3(path / "cls_logits", embed_dim, scales * settings.classes),
            boxes: layers::conv3(path / "bbox_pred", embed_dim, scales * 2),
        }
    }

    /// Of a level `[B, C, L]`: `[B, scales * classes, L]` and `[B, scales * 2, L]`.
    pub(super) fn forward(&self, level: &Tensor) -> (Tensor, Tensor) {
        let scores = self.classes.forward(&self.class_tower.forward(level));
        (scores, self.boxes.forward(&self.box_tower.forward(level)))
    }
}

/// How likely something is, cell by cell.
#[derive(Debug)]
pub(super) struct CurveHead {
    hidden: nn::Conv1D,
    out: nn::Conv1D,
}

impl CurveHead {
    pub(super) fn new(path: &nn::Path, embed_dim: i64) -> Self {
        Self {
            hidden: layers::conv3(path / 0, embed_dim, embed_dim),
            out: layers::conv(path / 2, embed_dim, 1, Conv::same(1)),
        }
    }

    /// `[B, C, T]` to `[B, T]` within 0 and 1.
    pub(super) fn forward(&self, finest: &Tensor) -> Tensor {
        self.out.forward(&self.hidden.forward(finest).relu()).squeeze_dim(1).sigmoid()
    }
}
