//! EgoVLPv2's pretraining: EgoNCE between the towers, masked language modelling (MLM) with the clip in view, and video-text
//! matching (VTM) with hard negatives.
//!
//! Source: Pramanick et al., "EgoVLPv2: Egocentric Video-Language Pre-training with Fusion in the Backbone", 2023, section 3.
//! A step has three passes: each tower on its own, fused with masked tokens (MLM), fused with the pairs of VTM.

use egofx::compat::Compat;
use egofx::metric::egomcq::CHOICES;
use egofx::text::TextModel;
use tch::{Kind, Tensor, nn};

use super::data::Pairs;
use super::questions::Asked;
use super::{Backbone, Compared, Step};
use crate::backbones::load::{CheckpointFormat, EGOVLPV2, ROBERTA, VIT};
use crate::backbones::{BackboneError, EgoVlpV2, EgoVlpV2Config, VideoConfig};
use crate::error::TrainError;
use crate::loss_sums::Losses;
use crate::losses::{IGNORED, LossTerms, Masked, VtmPairs, classification, egonce, mine_hard_negatives, mlm_loss};
use crate::optimizer::{LrMult, ParamGroup};
use crate::rng::{self, Purpose};

impl Backbone for EgoVlpV2 {
    const NAME: &'static str = "egovlpv2";
    const ABOUT: &'static str = "EgoVLPv2: EgoNCE, MLM and VTM, fused in the backbone";
    const TEXT: TextModel = TextModel::EgoVlpV2;
    const OWN: &'static CheckpointFormat = &EGOVLPV2;
    const STARTS: &'static [&'static CheckpointFormat] = &[&EGOVLPV2, &VIT, &ROBERTA];

    type Settings = EgoVlpV2Config;

    fn video_config(settings: &EgoVlpV2Config) -> &VideoConfig {
        &settings.video
    }

    fn build(
        path: &nn::Path,
        settings: &EgoVlpV2Config,
        activation_checkpointing: bool,
    ) -> Result<Self, BackboneError> {
        Self::new(path, settings, activation_checkpointing)
    }

    fn param_group(name: &str) -> ParamGroup {
        param_group(name)
    }

    fn sentences(&self, ids: &Tensor, mask: &Tensor, train: bool) -> Tensor {
        self.text(ids, mask, train).pooled
    }

    fn clips(&self, frames: &Tensor, train: bool) -> Tensor {
        self.video(frames, train)
    }

    fn matches(&self, asked: &Asked) -> Option<Tensor> {
        // Each sentence meets its five clips.
        let [ids, mask] =
            [&asked.ids, &asked.mask].map(|rows| rows.repeat_interleave_self_int(CHOICES as i64, Some(0), None));
        let logits = self.vtm(&self.fused(&asked.frames, &ids, &mask, false));
        Some(logits.softmax(-1, Kind::Float).select(1, 1))
    }

    fn losses(&self, pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Losses, TrainError> {
        let weights = step.losses.weights;
        let on = |weight: f64| weight != 0.0;
        let egonce = on(weights.egonce).then(|| egonce(&compared.sim, &compared.positives, step.losses.temperature));
        let masked = pairs.masked.as_ref().filter(|_| on(weights.mlm));
        let mlm = masked.map(|masked| mlm(self, pairs, masked, step)).transpose()?;
        let vtm = on(weights.vtm).then(|| vtm(self, pairs, compared, step)).transpose()?;
        let terms = LossTerms { egonce, mlm, vtm };
        let total = terms.total(weights).ok_or_else(|| TrainError::Batch {
            head: Self::NAME,
            why: "losses.weights are all 0: there is nothing to learn".into(),
        })?;
        let LossTerms { egonce, mlm, vtm } = terms;
        let named = [("EgoNCE", egonce), ("MLM loss", mlm), ("VTM loss", vtm)];
        Ok(Losses { total, parts: named.into_iter().filter_map(|(name, loss)| Some((name, loss?))).collect() })
    }
}

/// Mean over all masked tokens of all ranks. As [`mlm_loss`] of all rows gathered, of which only the
/// sums travel.
fn mlm(model: &EgoVlpV2, pairs: &Pairs, masked: &Masked, step: &Step) -> Result<Tensor, TrainError> {
    let fused = model.fused(&pairs.frames, &masked.ids, &pairs.mask, true);
    let mean = mlm_loss(&model.mlm(&fused), &masked.labels);
    let count = masked.labels.ne(IGNORED).sum(Kind::Float);
    let total = |scalar: &Tensor| Ok::<_, TrainError>(step.all_gather(&scalar.view(1))?.sum(Kind::Float));
    Ok(total(&(mean * &count))? / total(&count)?.clamp_min(1.0))
}

fn vtm(model: &EgoVlpV2, pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Tensor, TrainError> {
    let vtm_pairs = vtm_pairs(compared, pairs.ids.size()[0], step);
    let row = |rows: &Tensor, index: &Tensor| Ok::<_, TrainError>(step.all_gather(rows)?.index_select(0, index));
    let frames = row(&pairs.frames, &vtm_pairs.video_index)?;
    let (ids, mask) = (row(&pairs.ids, &vtm_pairs.text_index)?, row(&pairs.mask, &vtm_pairs.text_index)?);
    let logits = model.vtm(&model.fused(&frames, &ids, &mask, true));
    Ok(classification(&step.all_gather(&logits)?, &step.all_gather(&vtm_pairs.labels)?))
}

/// The pairs of this rank. As released each rank draws for itself, one half of its rows to match; `fixed` draws for all rows
/// at once, so that the draws do not depend on how many ranks there are.
fn vtm_pairs(compared: &Compared, count: i64, step: &Step) -> VtmPairs {
    let place = step.context.world.place();
    let (count, first) = (count as usize, place.rank * count as usize);
    let temperature = step.losses.mining_temperature.unwrap_or(step.losses.temperature);
    let mine = |first: usize, count: usize, stream: u64| {
        let mut draw = rng::generator(step.context.seed, Purpose::Sample { number: stream });
        let Compared { sim, positives } = compared;
        mine_hard_negatives(sim, positives, first, count, temperature, step.compat, &mut draw)
    };
    if step.compat == Compat::AsReleased {
        return mine(first, count, place.rank as u64);
    }
    let all = mine(0, count * place.size, 0);
    let own = |rows: &Tensor| rows.narrow(0, first as i64, count as i64);
    VtmPairs { labels: own(&all.labels), video_index: own(&all.video_index), text_index: own(&all.text_index) }
}

/// Parts of the names of weights that do not decay. As released: norms 3 and those before cross-attention decay.
const STAY: [&str; 5] = ["bias", "LayerNorm.weight", "norm.weight", "norm1.weight", "norm2.weight"];
/// Parts of the names of weights that learn at a rate of their own: the heads', and those of cross-attention.
const HEADS: [&str; 7] = ["mlm_score", "itm_score", "txt_proj", "vid_proj", "cross_modal", "i2t", "t2i"];

/// How the optimiser treats a weight of EgoVLPv2 (table D.1 of the paper, names as in the code).
pub fn param_group(name: &str) -> ParamGroup {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    ParamGroup { decays: !has(&STAY), lr_mult: if has(&HEADS) { LrMult::Head } else { LrMult::Base } }
}
