//! Weights that somebody else trained, put into a backbone: whole checkpoints, or what a backbone starts from.
//!
//! Not for going on with a run. Invariant: every tensor of the network that a file of its kind has is taken from it,
//! and every tensor of the file is taken or named in the kind's list of what is left out; anything else is an error,
//! and nothing was overwritten then.

use std::collections::BTreeMap;
use std::path::Path;

use egofx::checkpoint::{Checkpoint, TensorInfo};
use tch::{Tensor, no_grad};

use crate::checkpoint::{Tensors, refuse, tensor};
use crate::error::TrainError;

/// What becomes of a temporal table with fewer rows than the network's; one with more is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Zeros follow (EgoVLP).
    Zeros,
    /// It is stretched linearly, its ends at the ends (EgoVLPv2).
    Linear,
}

/// A kind of file.
#[derive(Debug)]
pub struct Origin {
    /// What it holds, for messages.
    pub about: &'static str,
    /// How some name of such a file begins, and of no other.
    mark: &'static str,
    /// Prefixes that the names in a file may all have, cut off: those of wrappers of whole models.
    wrappers: &'static [&'static str],
    /// What stands before a name in the network.
    inside: &'static str,
    /// Beginnings of names in a file that are left out.
    left_out: &'static [&'static str],
    /// Parts of names in the network that such a file never has.
    never: &'static [&'static str],
    times: Times,
}

const POSITION_IDS: &str = "text_model.embeddings.position_ids";

/// A checkpoint of EgoVLP, for [`EgoVlp`](super::EgoVlp).
pub const EGOVLP: Origin = Origin {
    about: "EgoVLP",
    mark: "video_model.",
    wrappers: &[],
    inside: "",
    left_out: &[POSITION_IDS],
    never: &[],
    times: Times::Zeros,
};

/// A checkpoint of EgoVLP, for [`EgoVlpClasses`](super::EgoVlpClasses), which has no text tower.
pub const EGOVLP_VIDEO: Origin = Origin { left_out: &["text_model.", "txt_proj."], ..EGOVLP };

/// A checkpoint of EgoVLPv2, for all that is built on it.
pub const EGOVLPV2: Origin = Origin { about: "EgoVLPv2", times: Times::Linear, ..EGOVLP };

/// A ViT as timm names it; its classifier is left out. Time attention, its norm, times and cross-attention stay as they
/// are.
pub const VIT: Origin = Origin {
    about: "a ViT",
    mark: "patch_embed.",
    wrappers: &[],
    inside: "video_model.",
    left_out: &["head.", "head_dist.", "pre_logits."],
    never: &["temporal_embed", ".timeattn.", ".norm3.", "_i2t"],
    times: Times::Zeros,
};

/// A DistilBERT as transformers name it, alone or in a model of masked words, whose head is left out.
pub const DISTILBERT: Origin = Origin {
    about: "a DistilBERT",
    mark: "transformer.layer.",
    wrappers: &["distilbert.", "bert."],
    inside: "text_model.",
    left_out: &["embeddings.position_ids", "vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
    never: &[],
    times: Times::Zeros,
};

/// A RoBERTa, likewise; cross-attention stays as it is.
pub const ROBERTA: Origin = Origin {
    about: "a RoBERTa",
    mark: "encoder.layer.",
    wrappers: &["roberta.", "bert."],
    inside: "text_model.",
    left_out: &["embeddings.position_ids", "pooler.", "lm_head."],
    never: &["_t2i"],
    times: Times::Zeros,
};

/// What [`load`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Tensors of the network that were taken from the file.
    pub taken: usize,
    /// Tensors of the network that kept what they had.
    pub kept: Vec<String>,
    /// Tensors of the file that were left out.
    pub left_out: Vec<String>,
    /// Rows of the temporal table in the file and in the network, where they differ.
    pub times: Option<[i64; 2]>,
}

/// Overwrites the tensors of the network `into` by those of the file at `path`, a checkpoint of some trainer or of
/// ours. Tensors whose names begin with one of `fresh` keep what they have, whatever the file has under such names.
///
/// # Errors
/// [`TrainError::Weights`] with the names that are missing, unknown or of other shapes; [`TrainError::Checkpoint`] if
/// the file cannot be read.
pub fn load(path: &Path, origin: &Origin, fresh: &[&str], into: &Tensors) -> Result<Loaded, TrainError> {
    let file = Checkpoint::open(path)?;
    let names = names(&file, origin);
    let mut loaded = Loaded::default();
    let is_fresh = |name: &str| begins(name, fresh);
    let (mut wrong, mut sources) = (Vec::new(), BTreeMap::new());
    for (name, stored) in &names {
        let inside = format!("{}{name}", origin.inside);
        if begins(name, origin.left_out) || is_fresh(&inside) {
            loaded.left_out.push(stored.clone());
        } else if into.contains_key(&inside) {
            sources.insert(inside, stored.as_str());
        } else {
            wrong.push(format!("{stored} is unknown"));
        }
    }
    for (name, tensor) in into.iter().filter(|(name, _)| !sources.contains_key(*name)) {
        let spared = !name.starts_with(origin.inside) || origin.never.iter().any(|part| name.contains(part));
        if spared || is_fresh(name) {
            loaded.kept.push(name.clone());
        } else {
            wrong.push(format!("{name} {:?} is missing", tensor.size()));
        }
    }
    wrong.extend(sources.iter().filter_map(|(name, stored)| misfit(name, &file.tensors()[*stored], &into[name])));
    refuse(path, origin.about, &wrong)?;
    for (name, stored) in &sources {
        let value = tensor(&file.read(stored)?)?;
        take(name, &value, &into[name], origin.times, &mut loaded)?;
    }
    Ok(loaded)
}

/// [`load`] of the first of `origins` whose names the file has.
///
/// # Errors
/// As for [`load`]; a file of no origin is said to be no file of any.
pub fn load_any(path: &Path, origins: &[&Origin], fresh: &[&str], into: &Tensors) -> Result<Loaded, TrainError> {
    let file = Checkpoint::open(path)?;
    let has = |origin: &&&Origin| names(&file, origin).keys().any(|name| name.starts_with(origin.mark));
    let Some(origin) = origins.iter().find(has) else {
        let abouts: Vec<&str> = origins.iter().map(|origin| origin.about).collect();
        return Err(TrainError::unexpected(path, format!("weights of {}", abouts.join(", or of ")), "none of these"));
    };
    load(path, origin, fresh, into)
}

/// The tensors of a file by what their names are without what trainers put before them, ours included: running means if
/// there are any, else weights.
fn names(file: &Checkpoint, origin: &Origin) -> BTreeMap<String, String> {
    let all = file.tensors().keys();
    let ours = ["ema.", "model."].into_iter().find(|prefix| all.clone().any(|name| name.starts_with(prefix)));
    let stored: Vec<&String> = all.filter(|name| ours.is_none_or(|prefix| name.starts_with(prefix))).collect();
    let bare = |name: &str| {
        let name = ours.and_then(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let cut = origin.wrappers.iter().find_map(|wrapper| name.strip_prefix(wrapper));
        cut.unwrap_or(name).to_owned()
    };
    stored.into_iter().map(|name| (bare(name), name.clone())).collect()
}

fn begins(name: &str, with: &[&str]) -> bool {
    with.iter().any(|prefix| name.starts_with(prefix))
}

fn is_temporal(name: &str) -> bool {
    name.ends_with("temporal_embed")
}

/// What is wrong with a stored tensor as the network's `name`.
fn misfit(name: &str, stored: &TensorInfo, own: &Tensor) -> Option<String> {
    let (found, expected): (Vec<i64>, _) = (stored.shape.iter().map(|&size| size as i64).collect(), own.size());
    let fits = if is_temporal(name) {
        found.len() == 3 && found[0] == 1 && found[1] > 0 && found[2] == expected[2]
    } else {
        found == expected
    };
    (!fits).then(|| format!("{name} is {found:?}, expected {expected:?}"))
}

fn take(name: &str, value: &Tensor, own: &Tensor, times: Times, loaded: &mut Loaded) -> Result<(), TrainError> {
    let rows = own.size().get(1).copied().unwrap_or(0);
    let value = if is_temporal(name) && value.size()[1] != rows {
        loaded.times = Some([value.size()[1], rows]);
        &adapted(value, rows, times)
    } else {
        value
    };
    no_grad(|| own.shallow_clone().f_copy_(value))?;
    loaded.taken += 1;
    Ok(())
}

/// A temporal table `[1, t, W]` with another number of rows.
fn adapted(table: &Tensor, rows: i64, times: Times) -> Tensor {
    let found = table.size()[1];
    if found >= rows {
        return table.narrow(1, 0, rows);
    }
    match times {
        Times::Zeros => table.constant_pad_nd([0, 0, 0, rows - found]),
        Times::Linear => table.transpose(1, 2).upsample_linear1d(rows, true, None).transpose(1, 2),
    }
}
