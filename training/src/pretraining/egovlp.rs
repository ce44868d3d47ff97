//! EgoVLP's pretraining: two towers that EgoNCE pulls together.
//!
//! Source: Lin et al., "Egocentric Video-Language Pretraining", 2022, equations 1 to 4.

use egofx::compat::Compat;
use egofx::text::TextModel;
use tch::{Tensor, nn};

use super::data::{LossSettings, Pairs};
use super::{Backbone, Compared, Step};
use crate::backbones::load::{CheckpointFormat, DISTILBERT, EGOVLP, VIT};
use crate::backbones::{BackboneError, EgoVlp, EgoVlpConfig, VideoConfig};
use crate::error::TrainError;
use crate::loss_sums::Losses;
use crate::losses::{Rule, egonce};
use crate::optimizer::{LrMult, ParamGroup};

impl Backbone for EgoVlp {
    const NAME: &'static str = "egovlp";
    const ABOUT: &'static str = "EgoVLP: EgoNCE between two towers";
    const TEXT: TextModel = TextModel::EgoVlp;
    const OWN: &'static CheckpointFormat = &EGOVLP;
    const STARTS: &'static [&'static CheckpointFormat] = &[&EGOVLP, &VIT, &DISTILBERT];

    type Settings = EgoVlpConfig;

    fn video_config(settings: &EgoVlpConfig) -> &VideoConfig {
        &settings.video
    }

    fn build(path: &nn::Path, settings: &EgoVlpConfig, activation_checkpointing: bool) -> Result<Self, BackboneError> {
        Self::new(path, settings, activation_checkpointing)
    }

    fn misses(losses: &LossSettings) -> Option<&'static str> {
        let has_others = losses.weights.mlm != 0.0 || losses.weights.vtm != 0.0;
        has_others.then_some("losses.weights: EgoVLP has no heads for MLM and VTM, expected mlm = 0 and vtm = 0")
    }

    /// The original leaves no weight out.
    fn param_group(_name: &str) -> ParamGroup {
        ParamGroup { decays: true, lr_mult: LrMult::Base }
    }

    fn sentences(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text(ids, mask, train)
    }

    fn clips(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video(frames, train)
    }

    fn rule(rule: Rule, compat: Compat) -> Rule {
        rule.in_egovlp(compat)
    }

    fn losses(&self, _pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Losses, TrainError> {
        let total = egonce(&compared.sim, &compared.positives, step.losses.temperature);
        Ok(Losses { total, parts: vec![] })
    }
}
