//! What stands above the towers: projectors into the shared space, the heads of video-text matching and masked language
//! modelling, and EgoTaskQA's answers.
//!
//! Not for towers. Heads compute in single precision in an int8 graph, for they are small and their results are what is
//! compared.

use crate::arch::{AnswerHeadConfig, FusionHeadsConfig, MLM_LAYER_NORM_EPS, Projector};
use crate::export::graph::{Graph, Value};
use crate::export::layers::{first, layer_norm, linear, linear_no_bias};
use crate::export::onnx::Attribute;
use crate::export::weights::Weight;

/// From a tower's class token to the space that both modalities share.
#[derive(Debug, Clone, Copy)]
pub struct Projection {
    /// What it is made of.
    pub projector: Projector,
    /// Dims of a class token.
    pub embed_dim: usize,
}

impl Projection {
    /// Dims of an embedding.
    pub fn dim(self) -> usize {
        self.projector.dim(self.embed_dim)
    }

    /// The embedding `[B, dim]` of a video's class token `[B, D]`.
    pub fn video(self, g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| match self.projector {
            Projector::Small { .. } => linear(g, "vid_proj.0", class),
            Projector::Full { .. } => mlp(g, "vid_proj", class),
            Projector::None => class.clone(),
        })
    }

    /// The embedding `[.., dim]` of a text's token, or of each, `[.., D]`.
    pub fn text(self, g: &mut Graph, token: &Value) -> Value {
        g.precisely(|g| match self.projector {
            Projector::Small { .. } => {
                let token = g.op("Relu", &[token], &[]);
                linear(g, "txt_proj.1", &token)
            }
            Projector::Full { .. } => mlp(g, "txt_proj", token),
            Projector::None => token.clone(),
        })
    }

    /// Multiply-accumulates of one embedding.
    pub fn macs(self) -> u64 {
        (match self.projector {
            Projector::Small { dim } => self.embed_dim * dim,
            Projector::Full { dim, hidden_dim } => {
                let hidden = hidden_dim.unwrap_or(dim);
                self.embed_dim * hidden + hidden * hidden + hidden * dim
            }
            Projector::None => 0,
        }) as u64
    }
}

fn mlp(g: &mut Graph, name: &str, x: &Value) -> Value {
    let x = linear_no_bias(g, &format!("{name}.0"), x);
    let x = g.op("Relu", &[&x], &[]);
    let x = linear(g, &format!("{name}.2"), &x);
    let x = g.op("Relu", &[&x], &[]);
    linear(g, &format!("{name}.4"), &x)
}

/// EgoTaskQA's head on the fused class token: two linear maps with ReLU between, one logit per answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead(pub AnswerHeadConfig);

impl AnswerHead {
    /// Logits `[B, num_answers]` of a fused class token `[B, D]`.
    pub fn forward(g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| {
            let x = linear(g, "projector_1", class);
            let x = g.op("Relu", &[&x], &[]);
            linear(g, "projector_2", &x)
        })
    }
}

/// EgoVLPv2's heads on the fused towers: video-text matching and masked language modelling.
#[derive(Debug, Clone, Copy)]
pub struct FusionHeads(pub FusionHeadsConfig);

/// What [`FusionHeads::vtm`] gives.
pub struct Vtm {
    /// `[B, D]`: the video's class token after `cross_modal_video_transform`, the QFVS feature.
    pub video: Value,
    /// `[B, 2]`: not matched, matched.
    pub logits: Value,
}

impl FusionHeads {
    /// Video-text matching of a video's `class` token `[B, D]` and a `text` `[B, L, D]`: `itm_score` takes the text
    /// first.
    pub fn vtm(&self, g: &mut Graph, class: &Value, text: &Value) -> Vtm {
        g.precisely(|g| {
            let text = first(g, text);
            let text = linear(g, "cross_modal_text_transform", &text);
            let video = Self::video_transform(g, class);
            g.probe("text_transform_cls", &text, 2);
            g.probe("video_transform", &video, 2);
            let [text, pooled] = [("text", &text), ("video", &video)].map(|(name, x)| {
                let x = linear(g, &format!("cross_modal_{name}_pooler.dense"), x);
                let x = g.op("Tanh", &[&x], &[]);
                g.probe(&format!("{name}_pooler"), &x, 2);
                x
            });
            let both = g.op("Concat", &[&text, &pooled], &[("axis", Attribute::Int(-1))]);
            Vtm { video, logits: linear(g, "itm_score.fc", &both) }
        })
    }

    /// `[B, D]`: a video's class token as video-text matching takes it.
    pub fn video_transform(g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| linear(g, "cross_modal_video_transform", class))
    }

    /// Masked language modelling: logits `[B, L, vocab_size]` of the token at each position of `text` `[B, L, D]`.
    pub fn mlm(&self, g: &mut Graph, text: &Value) -> Value {
        let x = linear(g, "cross_modal_text_transform", text);
        let x = linear(g, "mlm_score.transform.dense", &x);
        let x = g.op("Gelu", &[&x], &[]);
        let x = layer_norm(g, "mlm_score.transform.LayerNorm", MLM_LAYER_NORM_EPS, &x);
        let logits = linear_no_bias(g, "mlm_score.decoder", &x);
        let bias = g.weight(Weight::plain("mlm_score.bias"));
        g.op("Add", &[&logits, &bias], &[])
    }

    /// Multiply-accumulates of video-text matching, and of masked language modelling of `length` tokens.
    pub fn macs(&self, length: usize) -> (u64, u64) {
        let FusionHeadsConfig { embed_dim: dim, vocab_size } = self.0;
        ((4 * dim * dim + 4 * dim) as u64, (length * (2 * dim * dim + dim * vocab_size)) as u64)
    }
}
