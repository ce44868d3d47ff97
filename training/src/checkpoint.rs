//! The state of a run as one safetensors file: weights, optimiser, what a head keeps beside them, how far it is.
//!
//! Not for a head's meaning. Names are `model.*` (with the official names behind it), `ema.*`, `optimizer.*` and
//! `buffer.*`; the header holds the experiment and the progress. A file is complete or not there: it is written beside its
//! place, synced and exchanged with what is there, so that a full disk costs the new checkpoint and never the old one.

use std::collections::BTreeMap;
use std::path::Path;

use egofx::arch::{CheckpointFormat, Differences, Matched};
use egofx::checkpoint as files;
use egofx::checkpoint::{CheckpointError, TensorInfo};
use egofx::digest::Hasher;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor, no_grad};

use crate::error::TrainError;
use crate::experiment::Experiment;
use crate::loss_sums::LossSums;
use crate::precision::Scaler;
use crate::provenance::{self, VERSION as VERSION_NOW};

/// How far a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are done.
    pub epoch: u64,
    /// Steps that are done.
    pub step: u64,
    /// Steps of the epoch at hand that are done; 0 at the end of an epoch.
    #[serde(default)]
    pub step_in_epoch: u64,
    /// Losses of the epoch at hand.
    #[serde(default)]
    pub sum: LossSums,
    /// How gradients of half precision are scaled.
    #[serde(default)]
    pub scaler: Scaler,
    /// The best validation so far.
    pub best: Option<Best>,
    /// The best validations whose checkpoints are kept, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Kept>,
    /// The files of ends of epochs that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub epoch_ends: Vec<String>,
    /// What the samples are a part of: the fold of a benchmark that has several.
    pub fold: String,
}

/// The best validation of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The score that decided, as `train.monitor` names it.
    pub score: f64,
    /// When it was reached, in epochs.
    pub epoch: f64,
    /// After how many steps.
    pub step: u64,
    /// All scores of that validation.
    #[serde(with = "nan_as_null")]
    pub scores: Vec<(String, f64)>,
}

/// A checkpoint that is kept beside the best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The score that decided.
    pub score: f64,
    /// Its file.
    pub file: String,
}

/// JSON has no NaN, which is what a score is that is undefined.
mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(scores: &[(String, f64)], to: S) -> Result<S::Ok, S::Error> {
        scores.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(String, f64)>, D::Error> {
        let scores = Vec::<(String, Option<f64>)>::deserialize(from)?;
        Ok(scores.into_iter().map(|(name, score)| (name, score.unwrap_or(f64::NAN))).collect())
    }
}

const EXPERIMENT: &str = "egofx.experiment";
const PROGRESS: &str = "egofx.progress";
const VERSION: &str = "egofx.version";
const COMMIT: &str = "egofx.commit";
/// The digest of everything else that the file says.
const SHA256: &str = "egofx.sha256";

/// Named tensors, in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// Puts `prefix` and a dot before each name.
pub fn prefixed(prefix: &str, tensors: impl IntoIterator<Item = (String, Tensor)>) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor)).collect()
}

/// Writes a checkpoint.
///
/// # Errors
/// The disk is full, or any other reason of the operating system; what was at `path` is still there.
pub fn save(path: &Path, tensors: &Tensors, experiment: &Experiment, progress: &Progress) -> Result<(), TrainError> {
    let progress = serde_json::to_string(progress).unwrap_or_default();
    let mut metadata = about(experiment);
    metadata.insert(PROGRESS.to_owned(), progress);
    write(path, tensors, &metadata)
}

/// What a header says of weights: which experiment they are of, and which program wrote them.
pub fn about(experiment: &Experiment) -> BTreeMap<String, String> {
    let said =
        [(EXPERIMENT, experiment.to_toml()), (VERSION, VERSION_NOW.into()), (COMMIT, provenance::commit().into())];
    said.map(|(key, value)| (key.to_owned(), value)).into()
}

/// Writes tensors and what a reader should know of them.
///
/// # Errors
/// As for [`save`].
pub fn write(path: &Path, tensors: &Tensors, metadata: &BTreeMap<String, String>) -> Result<(), TrainError> {
    let mut infos = BTreeMap::new();
    for (name, tensor) in tensors {
        infos.insert(name.clone(), info(tensor)?);
    }
    let mut read = |name: &str| Ok(bytes(&tensors[name], &infos[name]));
    let mut metadata = metadata.clone();
    metadata.insert(SHA256.to_owned(), digest(&metadata, &infos, &mut read)?);
    Ok(files::write_safetensors(path, &infos, &mut read, &metadata)?)
}

/// SHA-256 over the metadata, and over names, types, shapes and bytes of all tensors in the order of their names.
fn digest(
    metadata: &BTreeMap<String, String>,
    infos: &BTreeMap<String, TensorInfo>,
    read: &mut dyn FnMut(&str) -> Result<files::Tensor, CheckpointError>,
) -> Result<String, TrainError> {
    let mut hasher = Hasher::default();
    for (key, value) in metadata.iter().filter(|(key, _)| *key != SHA256) {
        hasher.update(format!("{key:?} {value:?}\n").as_bytes());
    }
    for (name, info) in infos {
        hasher.update(format!("{name:?} {:?} {:?}\n", info.dtype, info.shape).as_bytes());
        hasher.update(&read(name)?.bytes);
    }
    Ok(hasher.finish())
}

/// Refuses a file that is not what was written. One without a digest is of a release before there was one.
fn check_digest(path: &Path, file: &files::Checkpoint, header: &BTreeMap<String, String>) -> Result<(), TrainError> {
    let refused = |why: String| TrainError::Resume { path: path.to_owned(), why };
    let Some(written) = header.get(SHA256) else {
        // A damaged key is no key.
        let other = header.keys().find(|key| ![EXPERIMENT, PROGRESS].contains(&key.as_str()));
        return other.map_or(Ok(()), |key| Err(refused(format!("its header has {key:?}, and no {SHA256}"))));
    };
    let infos = file.tensors().iter().map(|(name, info)| (name.clone(), info.clone())).collect();
    let found = digest(header, &infos, &mut |name| file.read(name))?;
    let why =
        || format!("its content is not what was written: SHA-256 {found}, expected {written}; take another checkpoint");
    if found == *written { Ok(()) } else { Err(refused(why())) }
}

fn info(tensor: &Tensor) -> Result<TensorInfo, TrainError> {
    let dtype = match tensor.kind() {
        Kind::Float => files::Dtype::F32,
        Kind::Double => files::Dtype::F64,
        Kind::Int64 => files::Dtype::I64,
        other => {
            let text = format!("a tensor of type {other:?} cannot be saved");
            return Err(tch::TchError::Kind(text).into());
        }
    };
    Ok(TensorInfo { dtype, shape: tensor.size().iter().map(|&size| size as usize).collect() })
}

fn bytes(tensor: &Tensor, info: &TensorInfo) -> files::Tensor {
    let on_cpu = tensor.detach().to_device(tch::Device::Cpu).contiguous();
    let mut bytes = vec![0; info.bytes()];
    on_cpu.copy_data_u8(&mut bytes, tensor.numel());
    files::Tensor { dtype: info.dtype, shape: info.shape.clone(), bytes }
}

/// A checkpoint whose names and header are read; tensors are read when they are asked for.
pub struct Saved {
    file: files::Checkpoint,
    /// The experiment that it is of.
    pub experiment: Experiment,
    /// How far it is.
    pub progress: Progress,
}

/// Opens a checkpoint.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Checkpoint`] for a damaged file, [`TrainError::Resume`] if it is none of ours, or not
/// as it was written.
pub fn open(path: &Path) -> Result<Saved, TrainError> {
    let file = files::Checkpoint::open(path)?;
    let header = file.metadata();
    check_digest(path, &file, header)?;
    let other = |why: String| TrainError::Resume { path: path.to_owned(), why };
    let part = |key: &str| header.get(key).ok_or_else(|| other(format!("its header has no {key}: it is no run's")));
    let experiment = Experiment::parse(part(EXPERIMENT)?).map_err(other)?;
    let progress = serde_json::from_str(part(PROGRESS)?).map_err(|error| other(error.to_string()))?;
    Ok(Saved { file, experiment, progress })
}

impl Saved {
    /// The weights under their official names: running means where those were kept.
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`].
    pub fn weights(&self) -> Result<Tensors, TrainError> {
        let prefix = if self.experiment.train.ema.is_some() { "ema." } else { "model." };
        let named = self.file.tensors().keys().filter_map(|name| Some((name, name.strip_prefix(prefix)?)));
        named.map(|(stored, name)| Ok((name.to_owned(), tensor(&self.file.read(stored)?)?))).collect()
    }

    /// Overwrites each tensor of `into` with what the file has under its name.
    ///
    /// # Errors
    /// [`TrainError::Resume`] for a tensor that is missing or of another shape or type; nothing was overwritten then.
    pub fn restore(&self, path: &Path, into: &Tensors) -> Result<(), TrainError> {
        let other = |why: String| TrainError::Resume { path: path.to_owned(), why };
        for (name, tensor) in into {
            let expected = info(tensor)?;
            let found =
                self.file.tensors().get(&self.stored(name)).ok_or_else(|| other(format!("it has no {name}")))?;
            if (found.dtype, &found.shape) != (expected.dtype, &expected.shape) {
                return Err(other(format!("{name} is {found:?}, expected {expected:?}")));
            }
        }
        into.iter().try_for_each(|(name, tensor)| overwrite(tensor, &self.file.read(&self.stored(name))?))
    }

    /// The name that a tensor has in the file: version 0.1 called the optimiser's `exp_avg` and `exp_avg_sq` mean and square.
    fn stored(&self, name: &str) -> String {
        let old = [("optimizer.exp_avg.", "optimizer.mean."), ("optimizer.exp_avg_sq.", "optimizer.square.")];
        let renamed = old.into_iter().find_map(|(new, old)| Some(format!("{old}{}", name.strip_prefix(new)?)));
        let is_old =
            |renamed: &String| !self.file.tensors().contains_key(name) && self.file.tensors().contains_key(renamed);
        renamed.filter(is_old).unwrap_or_else(|| name.to_owned())
    }
}

/// Opens weights of whomever; those that have a digest are compared with it.
///
/// # Errors
/// [`TrainError::Checkpoint`]; [`TrainError::Resume`] for weights of ours that are not what was written.
pub(crate) fn open_weights(path: &Path) -> Result<files::Checkpoint, TrainError> {
    let file = files::Checkpoint::open(path)?;
    // A key that was harmed is seen by the others.
    if file.metadata().keys().any(|key| key.starts_with("egofx.")) {
        check_digest(path, &file, file.metadata())?;
    }
    Ok(file)
}

/// Loads the weights that somebody else trained, by their official names: all of them, and no others.
///
/// # Errors
/// [`TrainError::Weights`] with the names that are missing, unknown or of other shapes; [`TrainError::Checkpoint`] if the
/// file cannot be read.
pub fn load_weights(path: &Path, head: &str, into: &Tensors) -> Result<(), TrainError> {
    load_renamed(path, head, into, |name, shape| Some((name.to_owned(), shape.to_vec())))
}

/// The same for files whose tensors have other names: `in_network` gives the network's name and shape, of as many numbers,
/// for those in the file; `None` leaves a tensor out.
///
/// # Errors
/// As for [`load_weights`].
pub fn load_renamed(
    path: &Path,
    head: &str,
    into: &Tensors,
    in_network: impl Fn(&str, &[usize]) -> Option<(String, Vec<usize>)>,
) -> Result<(), TrainError> {
    let file = open_weights(path)?;
    let (mut stored, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (name, info) in file.tensors() {
        if let Some((inside, shape)) = in_network(name, &info.shape) {
            stored.insert(inside.clone(), TensorInfo { shape, ..info.clone() });
            names.insert(inside, name);
        }
    }
    let matched = matched(path, &stored, (&CheckpointFormat::run(), head), &[], into);
    let matched = matched.map_err(|error| of_whom(error, &file))?;
    matched.sources.iter().try_for_each(|(name, inside)| overwrite(&into[name], &file.read(names[inside])?))
}

/// The error, and whose weights the file says that they are.
fn of_whom(error: TrainError, file: &files::Checkpoint) -> TrainError {
    let experiment = file.metadata().get(EXPERIMENT).and_then(|text| Experiment::parse(text).ok());
    match (error, experiment) {
        (TrainError::Weights { path, head, why }, Some(found)) if found.learner != head => {
            let why = format!("they are those of {}: {why}", found.learner);
            TrainError::Weights { path, head, why }
        }
        (error, _) => error,
    }
}

/// Which of the `stored` tensors of a file of some format those of the network `into` are taken from; `about` says what it should
/// be.
///
/// # Errors
/// [`TrainError::Weights`] with the names that are missing, of other shapes or unknown.
pub(crate) fn matched(
    path: &Path,
    stored: &BTreeMap<String, TensorInfo>,
    (format, about): (&CheckpointFormat, &str),
    fresh: &[&str],
    into: &Tensors,
) -> Result<Matched, TrainError> {
    let shape = |tensor: &Tensor| tensor.size().iter().map(|&size| size as usize).collect::<Vec<usize>>();
    let shapes: BTreeMap<&str, Vec<usize>> = into.iter().map(|(name, tensor)| (name.as_str(), shape(tensor))).collect();
    let expected: Vec<(&str, &[usize])> = shapes.iter().map(|(name, shape)| (*name, shape.as_slice())).collect();
    let matched = format.matched(stored, &expected, fresh);
    let Differences { missing, unknown, shapes: misfits } = &matched.differences;
    let missing = missing.iter().map(|name| format!("{name} {:?} is missing", shapes[name.as_str()]));
    let unknown = unknown.iter().map(|name| format!("{name} is unknown"));
    refuse(path, about, &unknown.chain(missing).chain(misfits.iter().cloned()).collect::<Vec<_>>())?;
    Ok(matched)
}

/// [`TrainError::Weights`] with the first of what is `wrong` with a file as the weights of `head`; nothing if nothing is.
fn refuse(path: &Path, head: &str, wrong: &[String]) -> Result<(), TrainError> {
    if wrong.is_empty() {
        return Ok(());
    }
    let (shown, more) = (wrong.iter().take(6).cloned().collect::<Vec<_>>().join(", "), wrong.len().saturating_sub(6));
    let why = if more > 0 { format!("{shown} and {more} more") } else { shown };
    Err(TrainError::Weights { path: path.to_owned(), head: head.to_owned(), why })
}

fn overwrite(into: &Tensor, value: &files::Tensor) -> Result<(), TrainError> {
    let value = tensor(value)?.f_reshape(into.size())?;
    no_grad(|| into.shallow_clone().f_copy_(&value))?;
    Ok(())
}

/// Half precision becomes single.
pub(crate) fn tensor(value: &files::Tensor) -> Result<Tensor, TrainError> {
    let shape: Vec<i64> = value.shape.iter().map(|&size| size as i64).collect();
    match value.dtype {
        files::Dtype::F64 | files::Dtype::I64 => {
            let kind = if value.dtype == files::Dtype::F64 { Kind::Double } else { Kind::Int64 };
            Ok(Tensor::f_from_data_size(&value.bytes, &shape, kind)?)
        }
        _ => Ok(Tensor::f_from_slice(&value.to_f32()?)?.f_reshape(&shape)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let best = Best { score: 0.5, epoch: 1.5, step: 3, scores: vec![("mIoU".into(), f64::NAN)] };
        Progress { epoch: 2, step: 4, best: Some(best), ..Progress::default() }
    }

    fn tensors() -> Tensors {
        let w = Tensor::from_slice(&[1.0f32, -2.5]).reshape([1, 2]);
        [
            ("model.w".to_owned(), w),
            ("buffer.n".to_owned(), Tensor::from(3.0f64)),
            ("optimizer.k".to_owned(), Tensor::from(7i64)),
        ]
        .into()
    }

    fn saved(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("last.safetensors");
        let experiment = Experiment::parse(crate::experiment::tests::TEXT).unwrap();
        save(&path, &tensors(), &experiment, &progress()).unwrap();
        path
    }

    #[test]
    fn a_checkpoint_gives_back_what_it_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let saved = open(&path).unwrap();
        assert_eq!((saved.progress.step, saved.experiment.learner.as_str()), (4, "vslnet"));
        let into: Tensors = tensors().into_iter().map(|(name, tensor)| (name, tensor.zeros_like())).collect();
        saved.restore(&path, &into).unwrap();
        assert!(tensors().iter().all(|(name, tensor)| tensor.equal(&into[name])));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for at in 8..bytes.len() {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1;
            std::fs::write(&path, &harmed).unwrap();
            // A blank that became another one in the header's filling says nothing.
            let is_filling = bytes[at] == b' ';
            assert!(is_filling || open(&path).is_err(), "byte {at} of {}", bytes.len());
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(open(&path).is_ok());
    }

    #[test]
    fn other_shapes_and_cut_files_are_refused_before_anything_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let mut into = tensors();
        let kept = Tensor::from_slice(&[9.0f32, 9.0]).reshape([1, 2]);
        into.insert("model.w".into(), kept.shallow_clone());
        into.insert("model.z".into(), Tensor::zeros([3], (Kind::Float, tch::Device::Cpu)));
        let error = open(&path).unwrap().restore(&path, &into).unwrap_err().to_string();
        assert!(error.ends_with("it has no model.z"), "{error}");
        assert_eq!(kept.double_value(&[0, 0]), 9.0);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(matches!(open(&path), Err(TrainError::Checkpoint(_))));
        std::fs::write(&path, &bytes[..4]).unwrap();
        assert!(open(&path).is_err());
    }

    #[test]
    fn weights_of_another_head_are_refused_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = saved(folder.path());
        let wanted = Tensors::from([("w".into(), Tensor::zeros([1, 3], (Kind::Float, tch::Device::Cpu)))]);
        let error = load_weights(&path, "vslnet", &wanted).unwrap_err().to_string();
        assert!(error.ends_with("not the weights of vslnet: w is [1, 2], expected [1, 3]"), "{error}");
        let error = load_weights(&path, "snag", &wanted).unwrap_err().to_string();
        assert!(
            error.ends_with("not the weights of snag: they are those of vslnet: w is [1, 2], expected [1, 3]"),
            "{error}"
        );
        let wanted = Tensors::from([("w".into(), Tensor::zeros([1, 2], (Kind::Float, tch::Device::Cpu)))]);
        load_weights(&path, "vslnet", &wanted).unwrap();
        assert_eq!(wanted["w"].double_value(&[0, 1]), -2.5);
        let plain = folder.path().join("plain.safetensors");
        let other = Tensors::from([("v".into(), wanted["w"].shallow_clone())]);
        write(&plain, &other, &BTreeMap::new()).unwrap();
        let error = load_weights(&plain, "vslnet", &wanted).unwrap_err().to_string();
        assert!(error.ends_with("v is unknown, w [1, 2] is missing"), "{error}");
    }

    #[test]
    fn what_a_killed_run_left_is_removed_by_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".egofx-last.safetensors.0123456789abcdef");
        std::fs::create_dir_all(left.join("new")).unwrap();
        for name in ["lock", "new/last.safetensors"] {
            std::fs::write(left.join(name), "half").unwrap();
        }
        let path = saved(folder.path());
        assert!(open(&path).is_ok() && !left.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
