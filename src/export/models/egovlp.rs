//! EgoVLP's graphs: clips to class tokens and embeddings, sentences to embeddings.
//!
//! Its tensors are those of [`EgoVlpConfig`].

use crate::arch::{EgoVlpConfig, distilbert::PAD_ID};
use crate::export::graph::Graph;
use crate::export::layers::first;
use crate::export::model::{Cost, Exported, GraphPlan, TokenPlan};
use crate::export::pixels::{self, Frames};
use crate::export::signature::{dims, text_inputs};
use crate::export::tokens;
use crate::export::towers::distilbert::DistilBert;
use crate::export::towers::heads::Projection;
use crate::export::towers::video::VideoTower;

/// EgoVLP's parts.
#[derive(Debug, Clone)]
struct EgoVlp {
    video: VideoTower,
    text: DistilBert,
    projection: Projection,
}

impl EgoVlp {
    fn new(config: &EgoVlpConfig) -> Self {
        let video = VideoTower::unfused(&config.video, EgoVlpConfig::FORM);
        let projection = Projection { projector: config.projector(), embed_dim: config.video.embed_dim };
        let text = DistilBert { tower: EgoVlpConfig::TEXT, config: config.text.clone() };
        Self { video, text, projection }
    }

    fn video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.config.image_size);
        let class = self.video.dual(g, &pixels);
        let embedding = self.projection.video(g, &class);
        g.output("class", &class, &dims(&["B"], &[self.video.config.embed_dim]));
        g.output("embedding", &embedding, &dims(&["B"], &[self.projection.dim()]));
    }

    fn text(&self, g: &mut Graph) {
        let [ids, mask] = text_inputs(g);
        let hidden = self.text.forward(g, &ids, &mask);
        let tokens = self.projection.text(g, &hidden);
        let pooled = first(g, &tokens);
        let dim = self.projection.dim();
        g.output("pooled", &pooled, &dims(&["B"], &[dim]));
        g.output("tokens", &tokens, &dims(&["B", "L"], &[dim]));
        g.output("hidden", &hidden, &dims(&["B", "L"], &[self.text.config.embed_dim]));
    }
}

impl Exported for EgoVlpConfig {
    fn frame_side(&self) -> usize {
        pixels::frame_side(self.video.image_size)
    }

    fn graphs(&self) -> Vec<GraphPlan> {
        let graph = |name, about, build: fn(&EgoVlp, &mut Graph)| {
            let (model, frames) = (EgoVlp::new(self), 4);
            let (num_tokens, vocab_size) = (self.video.num_tokens(frames), self.text.vocab_size);
            let build = Box::new(move |g: &mut Graph| build(&model, g));
            GraphPlan { name, about, build, frames: frames as u32, num_tokens, vocab_size, pad_id: PAD_ID }
        };
        vec![
            graph("video", "clips to class tokens and embeddings", EgoVlp::video),
            graph("text", "sentences to embeddings, pooled and per token", EgoVlp::text),
        ]
    }

    fn tokens(&self) -> Option<TokenPlan> {
        Some(tokens::plan(EgoVlp::new(self).video, Frames::resized_to(self.video.image_size)))
    }

    fn costs(&self) -> Vec<Cost> {
        let EgoVlp { video, text, projection } = EgoVlp::new(self);
        let of = |frames| {
            let macs = video.embed_macs(frames) + video.macs(0..self.video.depth, frames, 0) + projection.macs();
            Cost { what: format!("video, {frames} frames"), macs }
        };
        let text = Cost { what: "text, 16 tokens".into(), macs: text.macs(16) + 16 * projection.macs() };
        vec![of(4), of(16), text]
    }
}
