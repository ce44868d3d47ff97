//! `egofx-train attention-maps`: cross-attention of the words of a sentence over the frames of a clip.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use tch::no_grad;

use egofx::places::{bases, hub_caches};
use egofx::text::TextModel;
use egofx_train::attention_maps::{self as maps, FrameStrip};
use egofx_train::backbones::{EgoVlpV2, EgoVlpV2Config};
use egofx_train::corpora::ahead::Ahead;
use egofx_train::corpora::choice::Choice;
use egofx_train::corpora::frames::Clips;
use egofx_train::corpora::listed::Clip;
use egofx_train::corpora::listed::ClipRef;
use egofx_train::corpora::words::Words;
use egofx_train::experiment::Experiment;
use egofx_train::learner::{self, Model};
use egofx_train::pretraining::{Pretraining, Settings};
use egofx_train::sources::{Ffmpeg, Sources};

use super::common::Place;
use super::tell;

type Learning = Pretraining<EgoVlpV2>;

/// Write pictures of EgoVLPv2's cross-attention: for each word of a sentence and each fused layer the frames of a clip under a
/// heat map (PNG), and one page that shows them beside the frames and their times (index.html).
#[derive(Args)]
pub struct AttentionMaps {
    /// The weights: a checkpoint of EgoVLPv2, published or of a run.
    weights: PathBuf,
    /// The experiment that says how the network is built.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The video.
    #[arg(long, value_name = "FILE")]
    video: PathBuf,
    /// First second of the clip. Without it and --end, the whole video.
    #[arg(long, value_name = "SECONDS", requires = "end")]
    start: Option<f64>,
    /// Last second of the clip.
    #[arg(long, value_name = "SECONDS", requires = "start")]
    end: Option<f64>,
    /// The sentence.
    #[arg(long, value_name = "SENTENCE")]
    text: String,
    /// The tokenizer: tokenizer.json, or a folder with the vocabulary; without it the one that Hugging Face's tools have
    /// fetched.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// The folder to write.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

impl AttentionMaps {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<()> {
        let experiment = Experiment::read(&self.config)?;
        ensure!(
            experiment.learner == Learning::NAME,
            "{}: learner is {:?}, expected {:?}, which fuses video and text",
            self.config.display(),
            experiment.learner,
            Learning::NAME
        );
        let in_file = || format!("{}", self.config.display());
        let settings: Settings<EgoVlpV2Config> =
            experiment.settings().map_err(anyhow::Error::msg).with_context(in_file)?;
        let words = Words::open(self.tokenizer.as_deref(), TextModel::EgoVlpV2, &hub_caches())?;
        let clips = Clips::new(
            &settings.clips,
            settings.backbone.video.image_size as i64,
            experiment.compat,
            &Sources { ffmpeg: Ffmpeg::in_one_of(bases(), None), ..Sources::default() },
        )?;
        let clip = Clip { video: 0, span: self.start.zip(self.end).map(|(start, end)| [start, end]) };
        let wanted = ClipRef { path: &self.video, clip };
        let frames = clips.clip(&mut Ahead::default(), wanted, Choice::Narrated, None)?;
        let times_sec = clips.times_sec(wanted, Choice::Narrated)?;
        let (found, _) = self.place.find()?;
        let (variables, learner) =
            learner::network::<Learning>(&experiment, 0, found.device).map_err(anyhow::Error::msg)?;
        Learning::load(&self.weights, &learner::weights(&variables))?;
        let (ids, mask) = words.encode("egomcq", &[&self.text])?;
        let [batch, ids_there, mask] =
            [frames.unsqueeze(0), ids.shallow_clone(), mask].map(|t| t.to_device(found.device));
        let weights = no_grad(|| learner.backbone().cross_attn_weights(&batch, &ids_there, &mask));
        let spelled = words.spelled(&Vec::<i64>::try_from(ids.view(-1))?);
        let depth = settings.backbone.video.depth;
        maps::AttentionMaps::of(spelled, &weights, frames.size()[0], depth).write(
            &FrameStrip::of(&frames, times_sec)?,
            &self.text,
            &self.out,
        )?;
        tell(format_args!("{}: open index.html", self.out.display()));
        Ok(())
    }
}
