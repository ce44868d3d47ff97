//! Checkpoints: what other people's trainers left, as named tensors, and the way back.
//!
//! Not for what the names mean: which model they make is the exporter's business. Invariant: nothing in a pickle is ever
//! executed, and a tensor's bytes are read when they are asked for, not before.

mod archive;
mod dtype;
mod error;
mod numpy;
mod pickle;
mod safetensors;
mod saved;
mod seeded;
mod single;
mod sniff;
mod storages;
mod tensor;
mod torch;
mod tree;
mod unpickle;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use dtype::Dtype;
pub use error::CheckpointError;
pub use numpy::write_numpy_dict;
pub use saved::Saved;
pub use seeded::{Init, ParamSpec, is_running_statistic};
pub use single::read_one_tensor;
pub use sniff::Container;
pub use tensor::{Tensor, TensorInfo, Value, first_non_finite};
pub use write::{ReadTensor, none_announced, write_safetensors, write_torch, write_torch_value};

use crate::digest;
use crate::foreign;

/// Where `egofx-train` writes the experiment into the header of its files.
const EXPERIMENT: &str = "egofx.experiment";

/// What `DistributedDataParallel` puts before every name.
pub const WRAPPER_PREFIX: &str = "module.";

/// Named tensors, in a file or made from a seed.
pub struct Checkpoint {
    name: String,
    about: About,
    tensors: BTreeMap<String, TensorInfo>,
    source: Source,
}

/// What stands around the tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// How the file is packed.
    pub container: Container,
    /// The key at the top that held the weights; `None` if they stood at the top themselves.
    pub key: Option<&'static str>,
    /// Whether every name began with [`WRAPPER_PREFIX`], which was removed.
    pub prefix_removed: bool,
    /// Tensors elsewhere in the file, such as the optimizer's moments: never read.
    pub tensors_aside: usize,
    /// Entries among the weights that are no tensors, sorted.
    pub not_tensors: Vec<String>,
    /// Epoch that the trainer noted.
    pub epoch: Option<i64>,
    /// Class that the trainer noted.
    pub arch: Option<String>,
}

enum Source {
    Torch { path: PathBuf, file: torch::Torch },
    SafeTensors { path: PathBuf, file: safetensors::SafeTensors },
    Seeded { seed: u64, parameters: BTreeMap<String, ParamSpec> },
}

impl Checkpoint {
    /// Opens a file for what its first bytes say that it is. Reads names and shapes only.
    ///
    /// # Errors
    /// Any reading variant of [`CheckpointError`]: the file is no checkpoint, is damaged or cut short, promises more
    /// than it can hold, has no weights, or has weights of unknown types.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        foreign::parse(|| Self::parsed(path)).unwrap_or_else(CheckpointError::panicked(path))
    }

    fn parsed(path: &Path) -> Result<Self, CheckpointError> {
        let container = sniff::container(path)?;
        let mut about = About::new(container);
        let (named, source) = if container == Container::Safetensors {
            let file = safetensors::SafeTensors::open(path)?;
            (file.infos(), Source::SafeTensors { path: path.to_owned(), file })
        } else {
            let file = torch::Torch::open(path, container)?;
            about.describe(&file);
            (file.infos(path)?, Source::Torch { path: path.to_owned(), file })
        };
        if named.is_empty() {
            return Err(CheckpointError::NoTensors { path: path.to_owned(), found: vec![] });
        }
        if let Some((name, info)) = named.iter().find(|(_, info)| !info.is_possible()) {
            let why = format!("its tensor {name} has shape {:?}, which no memory can hold", info.shape);
            return Err(CheckpointError::Damaged { path: path.to_owned(), why });
        }
        about.prefix_removed = wrapped(path, &named)?;
        let tensors = if about.prefix_removed { unwrapped(named) } else { named };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, about, tensors, source })
    }

    /// Random f32 weights that depend on `seed` and on each parameter's name and distribution, and on nothing else:
    /// the same on every machine. Made when they are read.
    pub fn seeded(label: &str, seed: u64, parameters: Vec<ParamSpec>) -> Self {
        let info = |p: &ParamSpec| TensorInfo { dtype: Dtype::F32, shape: p.shape.clone() };
        let parameters: BTreeMap<String, ParamSpec> = parameters.into_iter().map(|p| (p.name.clone(), p)).collect();
        Self {
            name: label.to_owned(),
            about: About::new(Container::Seeded),
            tensors: parameters.iter().map(|(name, p)| (name.clone(), info(p))).collect(),
            source: Source::Seeded { seed, parameters },
        }
    }

    /// File name, or the label of random weights.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands around the tensors.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The tensors, by name without [`WRAPPER_PREFIX`], sorted.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// What the header of a safetensors file says beside the tensors; nothing of other files.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        if let Source::SafeTensors { file, .. } = &self.source { file.metadata() } else { &NONE }
    }

    /// The tensor `name`, which is one of [`Checkpoint::tensors`].
    ///
    /// # Errors
    /// [`CheckpointError::NoTensor`], or [`CheckpointError::Damaged`] or [`CheckpointError::Io`] if its bytes cannot
    /// be read.
    pub fn read(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let missing = || CheckpointError::NoTensor { checkpoint: self.name.clone(), tensor: name.to_owned() };
        let info = self.tensors.get(name).ok_or_else(missing)?;
        let in_file = if self.about.prefix_removed { format!("{WRAPPER_PREFIX}{name}") } else { name.to_owned() };
        match &self.source {
            Source::Torch { path, file } => {
                foreign::parse(|| file.read(path, &in_file, info)).unwrap_or_else(CheckpointError::panicked(path))
            }
            Source::SafeTensors { path, file } => file.read(path, &in_file),
            Source::Seeded { seed, parameters } => {
                parameters.get(name).map(|parameter| seeded::tensor(parameter, *seed)).ok_or_else(missing)
            }
        }
    }

    /// Dims of an attention head, which no tensor's shape tells: `embed_dim / num_heads` of the video tower in the experiment
    /// that `egofx-train` writes into its files; `None` for other files.
    pub fn head_size(&self) -> Option<usize> {
        let experiment: toml::Table = self.metadata().get(EXPERIMENT)?.parse().ok()?;
        let tower = experiment.get("backbone")?.get("video")?;
        let number = |key: &str| usize::try_from(tower.get(key)?.as_integer()?).ok();
        number("embed_dim")?.checked_div(number("num_heads")?)
    }

    /// SHA-256 of the file; of label, seed and parameters for random weights. Reads the whole file.
    ///
    /// # Errors
    /// [`CheckpointError::Io`] if the file cannot be read any more.
    pub fn sha256(&self) -> Result<String, CheckpointError> {
        match &self.source {
            Source::Torch { path, .. } | Source::SafeTensors { path, .. } => {
                digest::file(path).map(|(_, sum)| sum).map_err(CheckpointError::io("read", path))
            }
            Source::Seeded { seed, parameters } => Ok(seeded::identity(&self.name, *seed, parameters.values())),
        }
    }
}

impl About {
    fn new(container: Container) -> Self {
        let (key, epoch, arch) = (None, None, None);
        Self { container, key, prefix_removed: false, tensors_aside: 0, not_tensors: vec![], epoch, arch }
    }

    fn describe(&mut self, file: &torch::Torch) {
        self.key = file.key;
        self.tensors_aside = file.tensors_aside;
        self.not_tensors.clone_from(&file.not_tensors);
        self.epoch = file.epoch;
        self.arch.clone_from(&file.arch);
    }
}

/// Whether every name has the wrapper's prefix. The originals look at the first name and then cut seven characters off
/// all of them; names of which only some have it would come out mutilated.
fn wrapped(path: &Path, tensors: &BTreeMap<String, TensorInfo>) -> Result<bool, CheckpointError> {
    let find = |prefixed: bool| tensors.keys().find(|name| name.starts_with(WRAPPER_PREFIX) == prefixed).cloned();
    match (find(true), find(false)) {
        (Some(with), Some(without)) => Err(CheckpointError::MixedPrefix { path: path.to_owned(), with, without }),
        (with, _) => Ok(with.is_some()),
    }
}

fn unwrapped(tensors: BTreeMap<String, TensorInfo>) -> BTreeMap<String, TensorInfo> {
    let cut = |name: String| name.strip_prefix(WRAPPER_PREFIX).map_or(name.clone(), str::to_owned);
    tensors.into_iter().map(|(name, info)| (cut(name), info)).collect()
}
