//! EgoVLPv2's pretraining: EgoNCE between the towers, words guessed with the clip in view, and pairs told from mined ones.
//!
//! Source: Pramanick et al., "EgoVLPv2: Egocentric Video-Language Pre-training with Fusion in the Backbone", 2023, section 3.
//! A step has three passes: each tower on its own, fused with hidden words, fused with mined pairs.

use egofx::text::TextModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::nn;
use tch::{Device, Kind, Tensor};

use super::data::{Asked, Batch, Corpus, LossSettings, Pairs};
use super::questions::{self, Answered, Scores};
use crate::backbones::load::{EGOVLPV2, ROBERTA, VIT, load_any};
use crate::backbones::{EgoVlpV2, EgoVlpV2Settings};
use crate::behaviour::Behaviour;
use crate::checkpoint::Tensors;
use crate::corpora::frames::ClipSettings;
use crate::draws::{self, Purpose};
use crate::error::TrainError;
use crate::learner::{Context, Draw, Fold, Learner, Losses};
use crate::objectives::{self, IGNORED, Masked, Mined, classification, cosine, egonce, mine, positives};
use crate::optimizer::Treatment;
use crate::sources::Sources;

/// The tables of an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How clips are shown.
    pub clips: ClipSettings,
    /// The network.
    pub backbone: EgoVlpV2Settings,
    /// Compute the inner values of blocks again in the backward pass, for a third more time and far less memory.
    pub recompute: bool,
    /// What is learnt.
    pub losses: LossSettings,
}

/// EgoVLPv2 as it learns.
pub struct Pretraining {
    model: EgoVlpV2,
    losses: LossSettings,
    behaviour: Behaviour,
}

/// The data of a run and what its batches need to know.
pub struct Data {
    corpus: Corpus,
    losses: LossSettings,
}

/// Embeddings of pairs, or scores of answers.
pub enum Output {
    /// `[B, D]` each: sentences, clips.
    Pairs(Tensor, Tensor),
    /// Of questions.
    Questions(Answered),
}

/// What all ranks' pairs come to when they are set side by side.
struct Compared {
    /// Cosines `[N, N]` of all sentences with all clips.
    sim: Tensor,
    /// Which of them are true.
    positives: Tensor,
}

impl Pretraining {
    /// The network.
    pub fn model(&self) -> &EgoVlpV2 {
        &self.model
    }

    fn answered(&self, asked: &Asked) -> Answered {
        let Asked { frames, ids, mask, .. } = asked;
        let dual = questions::dual(&self.model.text(ids, mask, false).pooled, &self.model.video(frames, false));
        // Each sentence meets its five clips.
        let [ids, mask] = [ids, mask].map(|rows| rows.repeat_interleave_self_int(5, Some(0), None));
        let logits = self.model.matching(&self.model.fused(frames, &ids, &mask, false));
        let fusion = logits.softmax(-1, Kind::Float).select(1, 1).view_as(&dual);
        Answered { dual, fusion: Some(fusion) }
    }

    fn compared(&self, pairs: &Pairs, output: [&Tensor; 2], context: &Context) -> Result<Compared, TrainError> {
        let gather = |rows: &Tensor| context.world.gather(rows, self.behaviour);
        let positives = positives(&gather(&pairs.verbs)?, &gather(&pairs.nouns)?, self.losses.positives);
        let [texts, videos] = output;
        Ok(Compared { sim: cosine(&gather(texts)?, &gather(videos)?), positives })
    }

    /// Mean over all hidden words of all ranks. As [`mlm_loss`](objectives::mlm_loss) of all rows gathered, of which only
    /// the sums travel.
    fn words(&self, pairs: &Pairs, hidden: &Masked, context: &Context) -> Result<Tensor, TrainError> {
        let fused = self.model.fused(&pairs.frames, &hidden.ids, &pairs.mask, true);
        let mean = objectives::mlm_loss(&self.model.words(&fused), &hidden.labels);
        let count = hidden.labels.ne(IGNORED).sum(Kind::Float);
        let gather = |scalar: &Tensor| context.world.gather(&scalar.view(1), self.behaviour);
        let sum = gather(&(mean * &count))?.sum(Kind::Float);
        Ok(sum / gather(&count)?.sum(Kind::Float).clamp_min(1.0))
    }

    fn matching(&self, pairs: &Pairs, compared: &Compared, context: &Context) -> Result<Tensor, TrainError> {
        let gather = |rows: &Tensor| context.world.gather(rows, self.behaviour);
        let mined = self.mined(compared, pairs.ids.size()[0], context);
        let row = |rows: &Tensor, index: &Tensor| Ok::<_, TrainError>(gather(rows)?.index_select(0, index));
        let frames = row(&pairs.frames, &mined.video_index)?;
        let (ids, mask) = (row(&pairs.ids, &mined.text_index)?, row(&pairs.mask, &mined.text_index)?);
        let logits = self.model.matching(&self.model.fused(&frames, &ids, &mask, true));
        Ok(classification(&gather(&logits)?, &gather(&mined.labels)?))
    }

    /// The pairs of this rank. As released each rank draws for itself, one half of its rows to match; `fixed` draws for all
    /// rows at once, so that the draws do not depend on how many ranks there are.
    fn mined(&self, compared: &Compared, count: i64, context: &Context) -> Mined {
        let place = context.world.place();
        let (count, first) = (count as usize, place.rank * count as usize);
        let temperature = self.losses.temperature;
        let Compared { sim, positives } = compared;
        if self.behaviour == Behaviour::Compat {
            let rank = place.rank as u64;
            let mut draw = draws::generator(context.seed, Purpose::Sample { number: rank });
            return mine(sim, positives, first, count, temperature, self.behaviour, &mut draw);
        }
        let mut draw = draws::generator(context.seed, Purpose::Sample { number: 0 });
        let all = mine(sim, positives, 0, count * place.size, temperature, self.behaviour, &mut draw);
        let own = |rows: &Tensor| rows.narrow(0, first as i64, count as i64);
        Mined { labels: own(&all.labels), video_index: own(&all.video_index), text_index: own(&all.text_index) }
    }

    fn of_pairs(&self, output: [&Tensor; 2], pairs: &Pairs, context: &Context) -> Result<Losses, TrainError> {
        let weights = self.losses.weights;
        let compared = self.compared(pairs, output, context)?;
        let on = |weight: f64| weight != 0.0;
        let contrastive =
            on(weights.contrastive).then(|| egonce(&compared.sim, &compared.positives, self.losses.temperature));
        let hidden = pairs.hidden.as_ref().filter(|_| on(weights.words));
        let words = hidden.map(|hidden| self.words(pairs, hidden, context)).transpose()?;
        let matching = if on(weights.matching) { Some(self.matching(pairs, &compared, context)?) } else { None };
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

impl Learner for Pretraining {
    const NAME: &'static str = "egovlpv2";
    const TASK: &'static str = "pretrain";
    const ABOUT: &'static str = "EgoVLPv2: EgoNCE, hidden words and matching, fused in the backbone";

    type Settings = Settings;
    type Data = Data;
    type Batch = Batch;
    type Output = Output;
    type Prediction = Scores;

    fn open(settings: &Settings, behaviour: Behaviour, sources: &Sources) -> Result<Data, TrainError> {
        let clips = (&settings.clips, settings.backbone.video.image);
        let corpus = Corpus::open(sources, TextModel::EgoVlpV2, clips, &settings.losses, behaviour)?;
        Ok(Data { corpus, losses: settings.losses.clone() })
    }

    fn remarks(data: &Data) -> Vec<String> {
        data.corpus.remarks()
    }

    fn folds(data: &Data) -> Vec<Fold> {
        vec![data.corpus.fold()]
    }

    fn samples(data: &Data) -> Vec<usize> {
        data.corpus.fold().validation
    }

    fn new(path: &nn::Path, settings: &Settings, behaviour: Behaviour) -> Result<Self, String> {
        let model = EgoVlpV2::new(path, &settings.backbone, settings.recompute).map_err(|error| error.to_string())?;
        Ok(Self { model, losses: settings.losses.clone(), behaviour })
    }

    fn load(path: &std::path::Path, into: &Tensors) -> Result<(), TrainError> {
        load_any(path, &[&EGOVLPV2, &VIT, &ROBERTA], &[], into).map(|_| ())
    }

    fn treatment(name: &str, _shape: &[i64]) -> Treatment {
        treatment(name)
    }

    fn batch(data: &Data, samples: &[usize], draw: Option<&mut Draw>) -> Result<Batch, TrainError> {
        data.corpus.batch(samples, &data.losses, draw)
    }

    fn to_device(batch: Batch, device: Device) -> Batch {
        batch.to_device(device)
    }

    fn forward(&self, batch: &Batch, train: bool) -> Result<Output, TrainError> {
        Ok(match batch {
            Batch::Pairs(pairs) => Output::Pairs(
                self.model.text(&pairs.ids, &pairs.mask, train).pooled,
                self.model.video(&pairs.frames, train),
            ),
            Batch::Questions(asked) => Output::Questions(self.answered(asked)),
        })
    }

    fn losses(&self, output: &Output, batch: &Batch, context: &Context) -> Result<Losses, TrainError> {
        match (output, batch) {
            (Output::Pairs(texts, videos), Batch::Pairs(pairs)) => self.of_pairs([texts, videos], pairs, context),
            (Output::Questions(answered), Batch::Questions(asked)) => {
                Ok(Losses { total: answered.loss(asked, self.losses.temperature), parts: vec![] })
            }
            _ => Err(TrainError::Batch { head: Self::NAME, why: "an output of another batch".into() }),
        }
    }

    fn predictions(&self, output: &Output, batch: &Batch) -> Vec<(usize, Scores)> {
        match (output, batch) {
            (Output::Questions(answered), Batch::Questions(asked)) => answered.scores(asked),
            _ => vec![],
        }
    }

    fn score(data: &Data, predictions: &[(usize, Scores)]) -> Result<Vec<(String, f64)>, TrainError> {
        questions::score(&data.corpus, predictions)
    }

    fn submission(data: &Data, predictions: &[(usize, Scores)]) -> Result<Value, TrainError> {
        Ok(questions::submission(&data.corpus, predictions))
    }
}

/// Parts of the names of weights that do not decay. As released: norms 3 and those before cross-attention decay.
const STAY: [&str; 9] = [
    "bias",
    "LayerNorm.bias",
    "LayerNorm.weight",
    "norm.bias",
    "norm.weight",
    "norm1.bias",
    "norm1.weight",
    "norm2.bias",
    "norm2.weight",
];
/// Parts of the names of weights that learn four times as fast: the heads', and those of cross-attention.
const FAST: [&str; 7] = ["mlm_score", "itm_score", "txt_proj", "vid_proj", "cross_modal", "i2t", "t2i"];

/// How the optimiser treats a weight of EgoVLPv2 (table D.1 of the paper, names as in the code).
pub fn treatment(name: &str) -> Treatment {
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    Treatment { decays: !has(&STAY), lr_scale: if has(&FAST) { 4.0 } else { 1.0 } }
}
