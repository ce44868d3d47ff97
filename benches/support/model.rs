//! The model that is measured: EgoVLP as published, random weights, made once and kept in `target/bench-data/`.
//!
//! Not for running it. Invariant: what lies there was made by the exporter of the `egofx` that was built with this program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use egofx::backbone::GraphPrecision;
use egofx::checkpoint::{Checkpoint, write_safetensors};
use egofx::digest;
use egofx::export::{self, MODELS, Options, Scale, Validator};

use super::{Fallible, inputs};

/// The model's name.
const NAME: &str = "egovlp";
/// The graph that is measured, and its counterparts in lower precisions.
pub const VIDEO: &str = "egovlp_video";
pub const VIDEO_INT8: &str = "egovlp_video_int8";
pub const VIDEO_FP16: &str = "egovlp_video_fp16";

/// Where graphs and weights lie.
pub struct Model {
    /// Graphs and cards.
    pub folder: PathBuf,
    /// The video tower's tensors, for PyTorch.
    pub weights: PathBuf,
}

/// The model, made anew when the program that makes it is another one.
pub fn egovlp() -> Fallible<Model> {
    let folder = inputs::folder().join("export").join(NAME);
    let (stamp, made_by) = (folder.join("made-by"), digest::file(Path::new(env!("CARGO_BIN_EXE_egofx")))?.1);
    let model = Model { weights: folder.join("video.safetensors"), folder };
    if fs::read_to_string(&stamp).is_ok_and(|found| found == made_by) {
        return Ok(model);
    }
    eprintln!("making {NAME} with random weights");
    if model.folder.exists() {
        fs::remove_dir_all(&model.folder)?;
    }
    make(&model)?;
    fs::write(stamp, made_by)?;
    Ok(model)
}

fn make(model: &Model) -> Fallible {
    let known = MODELS.iter().find(|known| known.name == NAME).ok_or("the model is gone")?;
    let checkpoint = Checkpoint::seeded("random weights", 0, known.sized(Scale::Full).parameters);
    let runtime = super::runtime()?;
    let validator =
        Validator { runtime: &runtime, threads: super::cores().len(), windows: Vec::new(), meter: Default::default() };
    let options = Options {
        head_size: 64,
        further: vec![GraphPrecision::Fp16, GraphPrecision::Int8],
        debug: false,
        licence: "none, random".into(),
        force: false,
    };
    export::export(&checkpoint, &options, &validator, &model.folder)?;
    write_video(&checkpoint, &model.weights)
}

/// What the reference reads: the video tower and its projection.
fn write_video(checkpoint: &Checkpoint, path: &Path) -> Fallible {
    let mut tensors = checkpoint.tensors().clone();
    tensors.retain(|name, _| name.starts_with("video_model.") || name.starts_with("vid_proj."));
    Ok(write_safetensors(path, &tensors, &mut |name| checkpoint.read(name), &BTreeMap::new())?)
}
