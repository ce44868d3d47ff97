//! EgoVLPv2's pretraining: EgoNCE between the towers, words guessed with the clip in view, and pairs told from mined ones.
//!
//! Source: Pramanick et al., "EgoVLPv2: Egocentric Video-Language Pre-training with Fusion in the Backbone", 2023, section 3.
//! A step has three passes: each tower on its own, fused with hidden words, fused with mined pairs.

use egofx::metric::egomcq::CHOICES;
use egofx::text::TextModel;
use tch::{Kind, Tensor, nn};

use super::data::{Asked, Pairs};
use super::{Backbone, Compared, Step};
use crate::backbones::load::{EGOVLPV2, Origin, ROBERTA, VIT};
use crate::backbones::{BackboneError, EgoVlpV2, EgoVlpV2Settings, VideoSettings};
use crate::behaviour::Behaviour;
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::learner::Losses;
use crate::objectives::{self, IGNORED, Masked, Mined, classification, egonce, mine};
use crate::optimizer::{Rate, Treatment};

impl Backbone for EgoVlpV2 {
    const NAME: &'static str = "egovlpv2";
    const ABOUT: &'static str = "EgoVLPv2: EgoNCE, hidden words and matching, fused in the backbone";
    const TEXT: TextModel = TextModel::EgoVlpV2;
    const OWN: &'static Origin = &EGOVLPV2;
    const STARTS: &'static [&'static Origin] = &[&EGOVLPV2, &VIT, &ROBERTA];

    type Settings = EgoVlpV2Settings;

    fn video_settings(settings: &EgoVlpV2Settings) -> &VideoSettings {
        &settings.video
    }

    fn build(path: &nn::Path, settings: &EgoVlpV2Settings, recompute: bool) -> Result<Self, BackboneError> {
        Self::new(path, settings, recompute)
    }

    fn treatment(name: &str) -> Treatment {
        treatment(name)
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
        let logits = self.matching(&self.fused(&asked.frames, &ids, &mask, false));
        Some(logits.softmax(-1, Kind::Float).select(1, 1))
    }

    fn losses(&self, pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Losses, TrainError> {
        let weights = step.losses.weights;
        let on = |weight: f64| weight != 0.0;
        let contrastive =
            on(weights.contrastive).then(|| egonce(&compared.sim, &compared.positives, step.losses.temperature));
        let hidden = pairs.hidden.as_ref().filter(|_| on(weights.words));
        let words = hidden.map(|hidden| words(self, pairs, hidden, step)).transpose()?;
        let matching = on(weights.matching).then(|| matching(self, pairs, compared, step)).transpose()?;
        let parts = objectives::Losses { contrastive, words, matching };
        let total = parts.total(weights).ok_or_else(|| TrainError::Batch {
            head: Self::NAME,
            why: "losses.weights are all 0: there is nothing to learn".into(),
        })?;
        let objectives::Losses { contrastive, words, matching } = parts;
        let named = [("EgoNCE", contrastive), ("words loss", words), ("matching loss", matching)];
        Ok(Losses { total, parts: named.into_iter().filter_map(|(name, loss)| Some((name, loss?))).collect() })
    }
}

/// Mean over all hidden words of all ranks. As [`mlm_loss`](objectives::mlm_loss) of all rows gathered, of which only the
/// sums travel.
fn words(model: &EgoVlpV2, pairs: &Pairs, hidden: &Masked, step: &Step) -> Result<Tensor, TrainError> {
    let fused = model.fused(&pairs.frames, &hidden.ids, &pairs.mask, true);
    let mean = objectives::mlm_loss(&model.words(&fused), &hidden.labels);
    let count = hidden.labels.ne(IGNORED).sum(Kind::Float);
    let total = |scalar: &Tensor| Ok::<_, TrainError>(step.gather(&scalar.view(1))?.sum(Kind::Float));
    Ok(total(&(mean * &count))? / total(&count)?.clamp_min(1.0))
}

fn matching(model: &EgoVlpV2, pairs: &Pairs, compared: &Compared, step: &Step) -> Result<Tensor, TrainError> {
    let mined = mined(compared, pairs.ids.size()[0], step);
    let row = |rows: &Tensor, index: &Tensor| Ok::<_, TrainError>(step.gather(rows)?.index_select(0, index));
    let frames = row(&pairs.frames, &mined.video_index)?;
    let (ids, mask) = (row(&pairs.ids, &mined.text_index)?, row(&pairs.mask, &mined.text_index)?);
    let logits = model.matching(&model.fused(&frames, &ids, &mask, true));
    Ok(classification(&step.gather(&logits)?, &step.gather(&mined.labels)?))
}

/// The pairs of this rank. As released each rank draws for itself, one half of its rows to match; `fixed` draws for all rows
/// at once, so that the draws do not depend on how many ranks there are.
fn mined(compared: &Compared, count: i64, step: &Step) -> Mined {
    let place = step.context.world.place();
    let (count, first) = (count as usize, place.rank * count as usize);
    let temperature = step.losses.mining_temperature.unwrap_or(step.losses.temperature);
    let mine = |first: usize, count: usize, stream: u64| {
        let mut draw = draws::generator(step.context.seed, Purpose::Sample { number: stream });
        let Compared { sim, positives } = compared;
        mine(sim, positives, first, count, temperature, step.behaviour, &mut draw)
    };
    if step.behaviour == Behaviour::Compat {
        return mine(first, count, place.rank as u64);
    }
    let all = mine(0, count * place.size, 0);
    let own = |rows: &Tensor| rows.narrow(0, first as i64, count as i64);
    Mined { labels: own(&all.labels), video_index: own(&all.video_index), text_index: own(&all.text_index) }
}

/// Parts of the names of weights that do not decay. As released: norms 3 and those before cross-attention decay.
const STAY: [&str; 5] = ["bias", "LayerNorm.weight", "norm.weight", "norm1.weight", "norm2.weight"];
/// Parts of the names of weights that learn at a rate of their own: the heads', and those of cross-attention.
const HEADS: [&str; 7] = ["mlm_score", "itm_score", "txt_proj", "vid_proj", "cross_modal", "i2t", "t2i"];

/// How the optimiser treats a weight of EgoVLPv2 (table D.1 of the paper, names as in the code).
pub fn treatment(name: &str) -> Treatment {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    Treatment { decays: !has(&STAY), rate: if has(&HEADS) { Rate::Heads } else { Rate::Base } }
}
