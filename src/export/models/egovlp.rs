//! EgoVLP (NeurIPS 2022, arXiv 2206.01670): a space-time video tower and DistilBERT, apart but for a shared space.
//!
//! Not for the towers themselves. Invariant: names and shapes are those of `showlab/EgoVLP`'s state dict.

use crate::export::ExportError;
use crate::export::graph::Graph;
use crate::export::layers::first;
use crate::export::model::{Cost, GraphPlan, Model, Plan, Scale};
use crate::export::pixels;
use crate::export::signature::{dims, text_inputs};
use crate::export::sizes::{Layout, Sizes};
use crate::export::towers::distilbert::DistilBert;
use crate::export::towers::heads::Projection;
use crate::export::towers::video::{TooFewRows, VideoTower};

/// EgoVLP.
pub const MODEL: Model = Model {
    name: "egovlp",
    about: "EgoVLP (NeurIPS 2022, github.com/showlab/EgoVLP)",
    marks: &["video_model.cls_token", "text_model.transformer.layer.0.attention.q_lin.weight"],
    // Some releases of transformers store this buffer.
    ignored: &["text_model.embeddings.position_ids"],
    read,
    sized,
};

/// Epsilon of the video tower's norms.
const EPS: f32 = 1e-6;

#[derive(Debug, Clone)]
struct EgoVlp {
    video: VideoTower,
    text: DistilBert,
    projection: Projection,
}

fn read(sizes: &Sizes, head_size: usize) -> Result<Plan, ExportError> {
    let video = VideoTower::read(sizes, head_size, EPS, TooFewRows::Zeros)?;
    let text = DistilBert::read(sizes, head_size)?;
    Ok(EgoVlp { video, text, projection: Projection::read(sizes)? }.plan())
}

fn sized(scale: Scale) -> Plan {
    let (width, hidden, dim, vocabulary) = match scale {
        Scale::Full => (768, 3072, 256, 30522),
        Scale::Tiny => (32, 64, 16, 30522),
    };
    let heads = width / if scale == Scale::Full { 64 } else { 16 };
    let eps = EPS;
    let (depth, fused_from, too_few_rows) = (12, 12, TooFewRows::Zeros);
    let video =
        VideoTower { width, depth, heads, hidden, patch: 16, side: 14, rows: 16, too_few_rows, eps, fused_from };
    let text = DistilBert { vocabulary, positions: 512, width, depth: 6, heads, hidden };
    EgoVlp { video, text, projection: Projection::Linear { dim } }.plan()
}

impl EgoVlp {
    fn plan(self) -> Plan {
        let mut layout = Layout::default();
        self.video.layout(&mut layout);
        self.text.layout(&mut layout);
        self.projection.layout(&mut layout, self.video.width);
        let costs = self.costs();
        let graph = |name, about, build: fn(&Self, &mut Graph)| {
            let (model, vocabulary, frames) = (self.clone(), self.text.vocabulary, 4);
            let tokens = self.video.tokens(frames);
            let build = Box::new(move |g: &mut Graph| build(&model, g));
            GraphPlan { name, about, build, frames: frames as u32, tokens, vocabulary, pad: 0 }
        };
        let graphs = vec![
            graph("video", "clips to class tokens and embeddings", Self::video),
            graph("text", "sentences to embeddings, pooled and per token", Self::text),
        ];
        Plan { layout, graphs, costs, frame_side: pixels::frame_side(self.video.image()) }
    }

    fn video(&self, g: &mut Graph) {
        let pixels = pixels::input(g, self.video.image());
        let class = self.video.dual(g, &pixels);
        let embedding = self.projection.video(g, &class);
        g.output("class", &class, &dims(&["B"], &[self.video.width]));
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
        g.output("hidden", &hidden, &dims(&["B", "L"], &[self.text.width]));
    }

    fn costs(&self) -> Vec<Cost> {
        let (video, width) = (&self.video, self.video.width);
        let of = |frames| {
            let macs = video.embed_macs(frames) + video.macs(0..video.depth, frames, 0) + self.projection.macs(width);
            Cost { what: format!("video, {frames} frames"), macs }
        };
        let text = Cost { what: "text, 16 tokens".into(), macs: self.text.macs(16) + 16 * self.projection.macs(width) };
        vec![of(4), of(16), text]
    }
}
