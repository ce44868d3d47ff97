//! `egofx import`: other people's features into a store.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use egofx::import::{FeatureFiles, Grid, Options, Places, import};
use egofx::manifest::Manifest;
use egofx::store::{Dtype, FORMATS};

use super::convert::positive;
use super::{plural, say_json, tell};

/// Import features of others into a store (.pt, .npy, .npz, LMDB, HDF5).
///
/// A .pt or .pth is a tensor, or a dict with one. One array [rows, dim] per clip; a file's name without its extension is the clip's, in HDF5 that of the dataset or group,
/// in an LMDB the key. Of EgoVLPv2's NLQ features (feat_0.pt, ...) each query becomes a unit; give the folders of one or more
/// splits. Nothing in a pickle is run. verify, inspect, convert and compare then work on it as on any other feature set. When the
/// rows are, no file says: give the grid that they were made with, for instance
///
///   EgoVLP, EgoVLPv2       --rows-per-sec 1.87 --window-frames 4
///   Ego4D (SlowFast, ...)  --stride 16 --window-frames 32
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Import {
    /// Files of features, or folders with such.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Name of the feature set, and of its folder in OUT.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// The folder of feature sets.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// The model that made them, for the record.
    #[arg(long, value_name = "NAME")]
    backbone: String,
    /// Frames per second of the videos.
    #[arg(long, value_name = "F", default_value = "30", value_parser = positive)]
    fps: f64,
    /// Frames that the model saw per row.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    window_frames: u32,
    /// Frames from one row to the next: rows are --window-frames long and may overlap.
    #[arg(long, value_name = "N", value_parser = positive, required_unless_present = "rows_per_sec")]
    stride: Option<f64>,
    /// Rows per second, side by side: for frames that were picked out of a longer stretch.
    #[arg(long, value_name = "F", value_parser = positive, conflicts_with = "stride")]
    rows_per_sec: Option<f64>,
    /// The manifest: video, start and end of every clip [default: each clip is a whole video of its name].
    #[arg(short, long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Keep them in half precision.
    #[arg(long)]
    f16: bool,
    /// Output format.
    #[arg(long, value_name = "FORMAT", default_value = FORMATS[0].name, value_parser = FORMATS.iter().map(|f| f.name).collect::<Vec<_>>())]
    format: String,
    /// Replace a feature set that was imported before.
    #[arg(long)]
    force: bool,
    /// Print what was taken over as JSON on stdout.
    #[arg(long)]
    json: bool,
}

impl Import {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = FeatureFiles::open(&self.files)?;
        tell_aside(&files);
        let places = self.manifest.as_deref().map(Manifest::read).transpose()?.map(places);
        let imported = import(&files, &self.out, &self.options(), places.as_ref())?;
        if imported.missing > 0 {
            tell(format_args!("note: rows with NaN, which are flagged missing: {}", imported.missing));
        }
        if imported.zero_rows > 0 {
            tell(format_args!("note: rows of nothing but zeros: {}", imported.zero_rows));
        }
        let (clips, rows) = (plural(imported.clips, "clip"), plural(imported.rows as usize, "row"));
        tell(format_args!("{}: {clips}, {rows} of {} features", imported.path.display(), imported.dim));
        if self.json {
            say_json(&imported)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self) -> Options {
        let window = f64::from(self.window_frames);
        let (stride_frames, span_frames) = match (self.stride, self.rows_per_sec) {
            (_, Some(rate)) => (self.fps / rate, self.fps / rate),
            (stride, None) => (stride.unwrap_or(window), window),
        };
        Options {
            feature_set: self.name.clone(),
            backbone: self.backbone.clone(),
            grid: Grid { fps: self.fps, stride_frames, span_frames, window_frames: self.window_frames },
            dtype: if self.f16 { Dtype::F16 } else { Dtype::F32 },
            format: self.format.clone(),
            force: self.force,
        }
    }
}

/// Says which files of a folder hold no features.
pub(super) fn tell_aside(files: &FeatureFiles) {
    if let Some(first) = files.aside().first() {
        let files = plural(files.aside().len(), "file");
        tell(format_args!(
            "note: passed over, without an array [rows, dim]: {files}, {} for instance",
            first.display()
        ));
    }
}

fn places(manifest: Manifest) -> Places {
    let clips = manifest.videos.into_iter().flat_map(|video| {
        let uid = video.uid;
        video.clips.into_iter().map(move |clip| (clip.uid, (uid.clone(), clip.span)))
    });
    clips.collect()
}
