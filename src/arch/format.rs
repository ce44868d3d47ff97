//! The files that a backbone's weights come in: whole checkpoints, and the ViT, DistilBERT or RoBERTa that pretraining
//! starts from, with the names that these have for the same tensors.
//!
//! A format says how names are mapped and which tensors are left out on either side;
//! [`matched`](CheckpointFormat::matched) applies it.

use std::collections::BTreeMap;

use super::architecture::Architecture;
use super::egovlp::EgoVlpConfig;
use super::egovlpv2::EgoVlpV2Config;
use super::video::TemporalRule;
use crate::checkpoint::TensorInfo;

/// The names in a kind of file.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointFormat {
    /// What it holds, for messages.
    pub about: &'static str,
    /// What becomes of a temporal table of another length; `None` if it must have the network's.
    pub temporal: Option<TemporalRule>,
    /// How some name of such a file begins, and of no other.
    signature_prefix: &'static str,
    /// Prefixes that the checkpoints of `egofx-train` have before weights, the preferred one first.
    run_prefixes: &'static [&'static str],
    /// Prefixes that the names in a file may all have: those of models around this one. They are cut off.
    wrappers: &'static [&'static str],
    /// What stands before a name of the file in the network.
    inside: &'static str,
    /// Names in a file that are left out; one that ends with a dot stands for all that begin so, one that begins with a dot
    /// for all that end so.
    left_out: &'static [&'static str],
    /// Parts of names in the network that such a file never has.
    never: &'static [&'static str],
}

/// Weights of `egofx-train`: running means if there are any.
const RUN_PREFIXES: &[&str] = &["ema.", "model."];

/// A checkpoint of EgoVLP.
pub const EGOVLP: CheckpointFormat = CheckpointFormat {
    about: "EgoVLP",
    temporal: Some(EgoVlpConfig::TEMPORAL),
    signature_prefix: "video_model.",
    run_prefixes: RUN_PREFIXES,
    left_out: EgoVlpConfig::BUFFERS,
    ..CheckpointFormat::state_dict(&[])
};

/// A checkpoint of EgoVLP, for its video tower alone.
pub const EGOVLP_VIDEO: CheckpointFormat = CheckpointFormat { left_out: &["text_model.", "txt_proj."], ..EGOVLP };

/// A checkpoint of EgoVLPv2, for all that is built on it.
pub const EGOVLPV2: CheckpointFormat = CheckpointFormat {
    about: "EgoVLPv2",
    temporal: Some(EgoVlpV2Config::TEMPORAL),
    left_out: EgoVlpV2Config::BUFFERS,
    ..EGOVLP
};

/// A ViT as timm names it; its classifier is left out. Time attention, its norm, the temporal table and cross-attention
/// keep what they have.
pub const VIT: CheckpointFormat = CheckpointFormat {
    about: "a ViT",
    signature_prefix: "patch_embed.",
    run_prefixes: RUN_PREFIXES,
    inside: "video_model.",
    left_out: &["head.", "head_dist.", "pre_logits."],
    never: &["temporal_embed", ".timeattn.", ".norm3.", "_i2t"],
    ..CheckpointFormat::state_dict(&[])
};

/// A DistilBERT as transformers name it, alone or in a masked language model, whose head is left out.
pub const DISTILBERT: CheckpointFormat = CheckpointFormat {
    about: "a DistilBERT",
    signature_prefix: "transformer.layer.",
    run_prefixes: RUN_PREFIXES,
    wrappers: &["distilbert.", "bert."],
    inside: "text_model.",
    left_out: &["embeddings.position_ids", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
    ..CheckpointFormat::state_dict(&[])
};

/// A RoBERTa, likewise; cross-attention keeps what it has.
pub const ROBERTA: CheckpointFormat = CheckpointFormat {
    about: "a RoBERTa",
    signature_prefix: "encoder.layer.",
    run_prefixes: RUN_PREFIXES,
    wrappers: &["roberta.", "bert."],
    inside: "text_model.",
    left_out: &["embeddings.position_ids", "pooler.", "lm_head."],
    never: &["_t2i"],
    ..CheckpointFormat::state_dict(&[])
};

impl CheckpointFormat {
    /// The names of a network's own state dict, `buffers` aside.
    pub const fn state_dict(buffers: &'static [&'static str]) -> Self {
        Self {
            about: "a state dict",
            temporal: None,
            signature_prefix: "",
            run_prefixes: &[],
            wrappers: &[],
            inside: "",
            left_out: buffers,
            never: &[],
        }
    }

    /// The same, where a checkpoint of `egofx-train` is read for the weights as they are, not for their running means.
    pub const fn run() -> Self {
        Self { run_prefixes: &["model."], ..Self::state_dict(&[]) }
    }

    /// Whether these tensors are of this format, by their names.
    pub fn detect(&self, stored: &BTreeMap<String, TensorInfo>) -> bool {
        self.names(stored).keys().any(|name| name.starts_with(self.signature_prefix))
    }

    /// The tensors of a file by their names without what trainers and other models put before them.
    pub(super) fn names(&self, stored: &BTreeMap<String, TensorInfo>) -> BTreeMap<String, String> {
        let has = |prefix: &&&str| stored.keys().any(|name| name.starts_with(**prefix));
        let run = self.run_prefixes.iter().find(has).copied().unwrap_or_default();
        let bare = |name: &str| {
            let cut = self.wrappers.iter().find_map(|wrapper| name.strip_prefix(wrapper));
            cut.unwrap_or(name).to_owned()
        };
        stored.keys().filter_map(|name| Some((bare(name.strip_prefix(run)?), name.clone()))).collect()
    }

    /// The network's name for the tensor that a file of this format calls `name`.
    pub(super) fn name_in_network(&self, name: &str) -> String {
        format!("{}{name}", self.inside)
    }

    /// Whether a file's `name` is left out.
    pub(super) fn leaves_out(&self, name: &str) -> bool {
        let stands_for = |entry: &&str| match entry {
            _ if entry.ends_with('.') => name.starts_with(*entry),
            _ if entry.starts_with('.') => name.ends_with(*entry),
            _ => name == *entry,
        };
        self.left_out.iter().any(stands_for)
    }

    /// Whether a file has a tensor for the network's `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        name.starts_with(self.inside) && !self.never.iter().any(|part| name.contains(part))
    }
}
