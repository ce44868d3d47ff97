//! Weights that somebody else trained, put into a backbone: whole checkpoints, or what a backbone starts from.
//!
//! Not for going on with a run. Which tensor of a file is which of the network, and what may be left out, is the file's
//! [`CheckpointFormat`]; anything else is an error, and nothing was overwritten then.

use std::path::Path;

use egofx::arch::{Architecture, LavilaConfig, TemporalRule, is_temporal_embedding};
pub use egofx::arch::{CheckpointFormat, DISTILBERT, EGOVLP, EGOVLP_VIDEO, EGOVLPV2, ROBERTA, VIT};
use egofx::checkpoint::Checkpoint;
use tch::{Tensor, no_grad};

use crate::checkpoint::{Tensors, matched, open_weights, tensor};
use crate::error::TrainError;

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
    pub temporal_rows: Option<[i64; 2]>,
}

/// Overwrites the tensors of the network `into` by those of the file at `path`, a checkpoint of some trainer or of
/// ours. Tensors whose names begin with one of `fresh` keep what they have, whatever the file has under such names.
///
/// # Errors
/// [`TrainError::Weights`] with the names that are missing, unknown or of other shapes; [`TrainError::Checkpoint`] if
/// the file cannot be read.
pub fn load(path: &Path, format: &CheckpointFormat, fresh: &[&str], into: &Tensors) -> Result<Loaded, TrainError> {
    let file = open_weights(path)?;
    let matched = matched(path, file.tensors(), (format, format.about), fresh, into)?;
    let mut loaded = Loaded { kept: matched.kept, left_out: matched.left_out, ..Loaded::default() };
    for (name, stored) in &matched.sources {
        let value = tensor(&file.read(stored)?)?;
        take(name, &value, &into[name], format.temporal, &mut loaded)?;
    }
    Ok(loaded)
}

/// [`load`] of the first of `formats` whose names the file has.
///
/// # Errors
/// As for [`load`]; [`TrainError::Weights`] names the formats if the file is of none.
pub fn load_any(
    path: &Path,
    formats: &[&CheckpointFormat],
    fresh: &[&str],
    into: &Tensors,
) -> Result<Loaded, TrainError> {
    let file = Checkpoint::open(path)?;
    let Some(format) = formats.iter().find(|format| format.detect(file.tensors())) else {
        let abouts: Vec<&str> = formats.iter().map(|format| format.about).collect();
        let is_lavila = LavilaConfig::detect(file.tensors());
        let found =
            if is_lavila { "weights of LaViLa, which egofx exports and nothing here trains" } else { "none of these" };
        return Err(TrainError::unexpected(path, format!("weights of {}", abouts.join(", or of ")), found));
    };
    load(path, format, fresh, into)
}

fn take(
    name: &str,
    value: &Tensor,
    own: &Tensor,
    temporal: Option<TemporalRule>,
    loaded: &mut Loaded,
) -> Result<(), TrainError> {
    let rows = own.size().get(1).copied().unwrap_or(0);
    let resized = match temporal {
        Some(rule) if is_temporal_embedding(name) && value.size()[1] != rows => {
            loaded.temporal_rows = Some([value.size()[1], rows]);
            resized(value, rows, rule)
        }
        _ => value.shallow_clone(),
    };
    no_grad(|| own.shallow_clone().f_copy_(&resized))?;
    loaded.taken += 1;
    Ok(())
}

/// A temporal table `[1, rows, D]` with another number of `rows`.
fn resized(table: &Tensor, rows: i64, rule: TemporalRule) -> Tensor {
    let found = table.size()[1];
    if found >= rows {
        return table.narrow(1, 0, rows);
    }
    match rule {
        TemporalRule::ZeroPad => table.constant_pad_nd([0, 0, 0, rows - found]),
        TemporalRule::Interpolate => table.transpose(1, 2).upsample_linear1d(rows, true, None).transpose(1, 2),
        TemporalRule::InterpolateHalfPixel => {
            table.transpose(1, 2).upsample_linear1d(rows, false, None).transpose(1, 2)
        }
    }
}
