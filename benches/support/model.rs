//! The models that are measured: EgoVLP, LaViLa's base and SlowFast as published, random weights, made once and kept in `target/bench-data/`.
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

/// A model, and what is made of it.
struct Kind {
    name: &'static str,
    further: &'static [GraphPrecision],
    /// How the names of the tensors begin that the reference reads.
    kept: &'static [&'static str],
}

const EGOVLP: Kind = Kind {
    name: "egovlp",
    further: &[GraphPrecision::Fp16, GraphPrecision::Int8],
    kept: &["video_model.", "vid_proj."],
};
const LAVILA: Kind =
    Kind { name: "lavila-base", further: &[GraphPrecision::Int8], kept: &["visual.", "image_projection"] };
const SLOWFAST: Kind = Kind { name: "slowfast8x8_r101", further: &[GraphPrecision::Int8], kept: &["blocks."] };

/// The graph that is measured, and its counterparts in lower precisions.
pub const VIDEO: &str = "egovlp_video";
pub const VIDEO_INT8: &str = "egovlp_video_int8";
pub const VIDEO_FP16: &str = "egovlp_video_fp16";
/// The same of LaViLa.
pub const LAVILA_VIDEO: &str = "lavila_base_video";
pub const LAVILA_VIDEO_INT8: &str = "lavila_base_video_int8";
/// The same of SlowFast.
pub const SLOWFAST_VIDEO: &str = "slowfast8x8_r101_video";
pub const SLOWFAST_VIDEO_INT8: &str = "slowfast8x8_r101_video_int8";

/// Where graphs and weights lie.
pub struct Model {
    /// Graphs and cards.
    pub folder: PathBuf,
    /// The video tower's tensors, for PyTorch.
    pub weights: PathBuf,
}

/// EgoVLP.
pub fn egovlp() -> Fallible<Model> {
    of(&EGOVLP)
}

/// LaViLa's base.
pub fn lavila() -> Fallible<Model> {
    of(&LAVILA)
}

/// SlowFast 8x8 R101.
pub fn slowfast() -> Fallible<Model> {
    of(&SLOWFAST)
}

/// The model, made anew when the program that makes it is another one.
fn of(kind: &Kind) -> Fallible<Model> {
    let folder = inputs::folder().join("export").join(kind.name);
    let (stamp, made_by) = (folder.join("made-by"), digest::file(Path::new(env!("CARGO_BIN_EXE_egofx")))?.1);
    let model = Model { weights: folder.join("video.safetensors"), folder };
    if fs::read_to_string(&stamp).is_ok_and(|found| found == made_by) {
        return Ok(model);
    }
    eprintln!("making {} with random weights", kind.name);
    if model.folder.exists() {
        fs::remove_dir_all(&model.folder)?;
    }
    make(kind, &model)?;
    fs::write(stamp, made_by)?;
    Ok(model)
}

fn make(kind: &Kind, model: &Model) -> Fallible {
    let mut published = MODELS.iter().flat_map(|known| known.published(Scale::Full));
    let (_, plan) = published.find(|(name, _)| name == kind.name).ok_or("the model is gone")?;
    let checkpoint = Checkpoint::seeded("random weights", 0, plan.parameters);
    let runtime = super::runtime()?;
    let validator =
        Validator { runtime: &runtime, threads: super::cores().len(), windows: Vec::new(), meter: Default::default() };
    let options = Options {
        head_size: 64,
        further: kind.further.to_vec(),
        debug: false,
        tokens: None,
        licence: "none, random".into(),
        force: false,
    };
    export::export(&checkpoint, &options, &validator, &model.folder)?;
    write_video(kind, &checkpoint, &model.weights)
}

/// What the reference reads: of towers beside others the video tower and its projection.
fn write_video(kind: &Kind, checkpoint: &Checkpoint, path: &Path) -> Fallible {
    let mut tensors = checkpoint.tensors().clone();
    tensors.retain(|name, _| kind.kept.iter().any(|prefix| name.starts_with(prefix)));
    Ok(write_safetensors(path, &tensors, &mut |name| checkpoint.read(name), &BTreeMap::new())?)
}
