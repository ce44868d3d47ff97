//! LaViLa's graphs: clips to class tokens and embeddings, sentences to embeddings.
//!
//! Its tensors are those of [`LavilaConfig`]. A classifier has neither projections nor a text tower.

use crate::arch::{Family, LavilaConfig, LavilaProjection, LavilaText, TextKind, clip, distilbert};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{first, linear, times};
use crate::export::model::{Cost, Exported, GraphPlan, TokenPlan};
use crate::export::pixels::{self, Frames, Normalisation};
use crate::export::signature::{dims, text_inputs};
use crate::export::tokens;
use crate::export::towers::clip::{ClipText, at_end_mark};
use crate::export::towers::distilbert::DistilBert;
use crate::export::towers::video::VideoTower;
use crate::measure::Measure;

/// Pixels of towers made of CLIP. The first mean is not CLIP's, but what they were trained with.
const OPENAI: Normalisation = Normalisation {
    mean: [108.327_3 / 255.0, 116.746_01 / 255.0, 104.093_735 / 255.0],
    std: [68.500_534 / 255.0, 66.632_16 / 255.0, 70.323_166 / 255.0],
    about: "LaViLa's mean and std (of 0 to 255: 108.3272985, 116.7460125, 104.09373615; 68.5005327, 66.6321579, 70.32316305)",
};
/// Those of the others.
const IMAGENET: Normalisation = Normalisation { about: "/255, ImageNet mean and std", ..pixels::IMAGENET };

fn tower(config: &LavilaConfig) -> VideoTower {
    VideoTower::unfused(&config.video, config.form())
}

/// What its video tower takes: frames of its own size.
fn frames(config: &LavilaConfig) -> Frames {
    let by = if config.family == Family::OpenAi { OPENAI } else { IMAGENET };
    let side = config.video.image_size;
    Frames { side, image: side, count: None, by }
}

fn video(config: &LavilaConfig, g: &mut Graph) {
    let pixels = pixels::frames(g, frames(config));
    let class = tower(config).dual(g, &pixels);
    g.output("class", &class, &dims(&["B"], &[config.video.embed_dim]));
    if let Some(text) = &config.text {
        let embedding = g.precisely(|g| match text.projection {
            LavilaProjection::Matrices => times(g, "image_projection", &class),
            LavilaProjection::Linear => linear(g, "image_projection.0", &class),
        });
        g.output("embedding", &embedding, &dims(&["B"], &[text.projection_dim]));
    }
}

fn text(text: &LavilaText, g: &mut Graph) {
    let [ids, mask] = text_inputs(g);
    let (hidden, token) = match text.kind {
        TextKind::Clip => {
            let hidden = ClipText(text.config.clone()).forward(g, &ids);
            let token = at_end_mark(g, &hidden, &ids, &mask);
            (hidden, token)
        }
        TextKind::DistilBert => {
            let hidden = bert(text).forward(g, &ids, &mask);
            let token = first(g, &hidden);
            (hidden, token)
        }
    };
    let pooled = projected(g, text.projection, &token);
    g.output("pooled", &pooled, &dims(&["B"], &[text.projection_dim]));
    g.output("hidden", &hidden, &dims(&["B", "L"], &[text.config.embed_dim]));
}

fn bert(text: &LavilaText) -> DistilBert {
    DistilBert { tower: LavilaConfig::DISTILBERT, config: text.config.clone() }
}

fn projected(g: &mut Graph, projection: LavilaProjection, token: &Value) -> Value {
    g.precisely(|g| match projection {
        LavilaProjection::Matrices => times(g, "text_projection", token),
        LavilaProjection::Linear => {
            let token = g.op("Relu", &[token], &[]);
            linear(g, "text_projection.1", &token)
        }
    })
}

impl Exported for LavilaConfig {
    fn frame_side(&self) -> usize {
        self.video.image_size
    }

    fn graphs(&self) -> Vec<GraphPlan> {
        let (model, frames) = (self.clone(), 4);
        let (pad_id, vocab_size) = match &self.text {
            Some(LavilaText { kind: TextKind::Clip, config, .. }) => (clip::PAD_ID, config.vocab_size),
            Some(LavilaText { config, .. }) => (distilbert::PAD_ID, config.vocab_size),
            None => (0, 0),
        };
        let graph = |name, about, build| {
            let num_tokens = self.video.num_tokens(frames);
            GraphPlan { name, about, build, frames: frames as u32, num_tokens, vocab_size, pad_id }
        };
        let video =
            graph("video", "clips to class tokens and embeddings", Box::new(move |g: &mut Graph| video(&model, g)));
        let sentences = self
            .text
            .clone()
            .map(|tower| graph("text", "sentences to embeddings", Box::new(move |g: &mut Graph| text(&tower, g))));
        [video].into_iter().chain(sentences).collect()
    }

    fn tokens(&self) -> Option<TokenPlan> {
        Some(tokens::plan(tower(self), frames(self)))
    }

    fn measure(&self) -> Measure {
        Measure::Product
    }

    fn costs(&self) -> Vec<Cost> {
        let (video, dim) = (tower(self), self.video.embed_dim);
        let projection = |width: usize| self.text.as_ref().map_or(0, |text| (width * text.projection_dim) as u64);
        let of = |frames| {
            let macs = video.embed_macs(frames) + video.macs(0..self.video.depth, frames, 0) + projection(dim);
            Cost { what: format!("video, {frames} frames"), macs }
        };
        let sentence = self.text.as_ref().map(|text| {
            let macs = match text.kind {
                TextKind::Clip => ClipText(text.config.clone()).macs(16),
                TextKind::DistilBert => bert(text).macs(16),
            };
            Cost { what: "text, 16 tokens".into(), macs: macs + projection(text.config.embed_dim) }
        });
        [of(4), of(16)].into_iter().chain(sentence).collect()
    }
}
