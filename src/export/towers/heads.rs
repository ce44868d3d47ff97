//! What stands above the towers: projections into the shared space, matching and masked-word heads.
//!
//! Not for towers. Invariant: heads compute in single precision in an int8 graph, for they are small and their results are
//! what is compared.

use crate::export::graph::{Graph, Value};
use crate::export::layers::{first, layer_norm, linear, linear_unbiased};
use crate::export::sizes::{Layout, Sizes};
use crate::export::weights::Weight;
use crate::export::{ExportError, onnx};

use onnx::Attribute;

/// Epsilon of the masked-word head's LayerNorm: transformers' default, not RoBERTa's.
const MLM_EPS: f32 = 1e-12;

/// From a tower's width to the space that both modalities share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// One map; the text's has a ReLU before it (EgoVLP, and EgoVLPv2's small projectors).
    Linear {
        /// Length of an embedding.
        dim: usize,
    },
    /// Three maps with ReLU between, the first without bias (EgoVLPv2).
    Mlp {
        /// Length of the inner states.
        inner: usize,
        /// Length of an embedding.
        dim: usize,
    },
}

impl Projection {
    /// Reads the sizes off `vid_proj.*`.
    pub fn read(sizes: &Sizes) -> Result<Self, ExportError> {
        if sizes.tensors.contains_key("vid_proj.4.weight") {
            let [dim, inner] = sizes.shape("vid_proj.4.weight")?;
            return Ok(Self::Mlp { inner, dim });
        }
        let [dim, _] = sizes.shape("vid_proj.0.weight")?;
        Ok(Self::Linear { dim })
    }

    /// Length of an embedding.
    pub fn dim(self) -> usize {
        match self {
            Self::Linear { dim } | Self::Mlp { dim, .. } => dim,
        }
    }

    /// Every tensor of both projections, for towers of `width`.
    pub fn layout(self, layout: &mut Layout, width: usize) {
        match self {
            Self::Linear { dim } => {
                layout.linear("txt_proj.1", dim, width);
                layout.linear("vid_proj.0", dim, width);
            }
            Self::Mlp { inner, dim } => {
                for name in ["txt_proj", "vid_proj"] {
                    layout.matrix(&format!("{name}.0"), inner, width);
                    layout.linear(&format!("{name}.2"), inner, inner);
                    layout.linear(&format!("{name}.4"), dim, inner);
                }
            }
        }
    }

    /// The embedding of a video's class token.
    pub fn video(self, g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| match self {
            Self::Linear { .. } => linear(g, "vid_proj.0", class),
            Self::Mlp { .. } => mlp(g, "vid_proj", class),
        })
    }

    /// The embedding of a text's token, or of each.
    pub fn text(self, g: &mut Graph, token: &Value) -> Value {
        g.precisely(|g| match self {
            Self::Linear { .. } => {
                let token = g.op("Relu", &[token], &[]);
                linear(g, "txt_proj.1", &token)
            }
            Self::Mlp { .. } => mlp(g, "txt_proj", token),
        })
    }

    /// Multiply-accumulates of one embedding.
    pub fn macs(self, width: usize) -> u64 {
        (match self {
            Self::Linear { dim } => width * dim,
            Self::Mlp { inner, dim } => width * inner + inner * inner + inner * dim,
        }) as u64
    }
}

fn mlp(g: &mut Graph, name: &str, x: &Value) -> Value {
    let x = linear_unbiased(g, &format!("{name}.0"), x);
    let x = g.op("Relu", &[&x], &[]);
    let x = linear(g, &format!("{name}.2"), &x);
    let x = g.op("Relu", &[&x], &[]);
    linear(g, &format!("{name}.4"), &x)
}

/// EgoTaskQA's head on the fused class token: two maps with ReLU between, one number per answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead {
    /// Answers to choose from.
    pub answers: usize,
}

impl AnswerHead {
    /// Reads the size off `projector_1.*`, if the checkpoint has it.
    pub fn read(sizes: &Sizes) -> Result<Option<Self>, ExportError> {
        if !sizes.tensors.contains_key("projector_1.weight") {
            return Ok(None);
        }
        let [answers, _] = sizes.shape("projector_1.weight")?;
        Ok(Some(Self { answers }))
    }

    /// Every tensor of the head, for towers of `width`.
    pub fn layout(self, layout: &mut Layout, width: usize) {
        layout.linear("projector_1", self.answers, width);
        layout.linear("projector_2", self.answers, self.answers);
    }

    /// Logits `[B, answers]` of a fused class token.
    pub fn answers(g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| {
            let x = linear(g, "projector_1", class);
            let x = g.op("Relu", &[&x], &[]);
            linear(g, "projector_2", &x)
        })
    }
}

/// EgoVLPv2's heads on the fused towers: does the text belong to the video, and which words are behind the masks.
#[derive(Debug, Clone, Copy)]
pub struct FusionHeads {
    /// Length of a token.
    pub width: usize,
    /// Words of the vocabulary.
    pub vocabulary: usize,
}

/// What [`FusionHeads::matching`] gives.
pub struct Matching {
    /// `[B, width]`: the video's class token after `cross_modal_video_transform`, the QFVS feature.
    pub video: Value,
    /// `[B, 2]`: not matched, matched.
    pub logits: Value,
}

impl FusionHeads {
    /// Every tensor of the heads.
    pub fn layout(&self, layout: &mut Layout) {
        let width = self.width;
        for name in ["text_transform", "video_transform", "text_pooler.dense", "video_pooler.dense"] {
            layout.linear(&format!("cross_modal_{name}"), width, width);
        }
        layout.linear("mlm_score.transform.dense", width, width);
        layout.norm("mlm_score.transform.LayerNorm", width);
        layout.matrix("mlm_score.decoder", self.vocabulary, width);
        layout.bias("mlm_score", self.vocabulary);
        layout.linear("itm_score.fc", 2, 2 * width);
    }

    /// The match of video `class` (`[B, width]`) and `text` (`[B, L, width]`): text first in the last map.
    pub fn matching(&self, g: &mut Graph, class: &Value, text: &Value) -> Matching {
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
            Matching { video, logits: linear(g, "itm_score.fc", &both) }
        })
    }

    /// `[B, width]`: a video's class token as the match sees it.
    pub fn video_transform(g: &mut Graph, class: &Value) -> Value {
        g.precisely(|g| linear(g, "cross_modal_video_transform", class))
    }

    /// Logits `[B, L, vocabulary]` of the word behind each token of `text`.
    pub fn words(&self, g: &mut Graph, text: &Value) -> Value {
        let x = linear(g, "cross_modal_text_transform", text);
        let x = linear(g, "mlm_score.transform.dense", &x);
        let x = g.op("Gelu", &[&x], &[]);
        let x = layer_norm(g, "mlm_score.transform.LayerNorm", MLM_EPS, &x);
        let logits = linear_unbiased(g, "mlm_score.decoder", &x);
        let bias = g.weight(Weight::plain("mlm_score.bias"));
        g.op("Add", &[&logits, &bias], &[])
    }

    /// Multiply-accumulates of a match, and of the words behind `length` tokens.
    pub fn macs(&self, length: usize) -> (u64, u64) {
        let (width, vocabulary) = (self.width, self.vocabulary);
        ((4 * width * width + 4 * width) as u64, (length * (2 * width * width + width * vocabulary)) as u64)
    }
}
