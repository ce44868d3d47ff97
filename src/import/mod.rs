//! Other people's features, taken over into a store of ours.
//!
//! From then on they are checked, shown, converted and compared like our own; the contract says that they were imported,
//! and each unit names the file that it came from. Not for computing: times are what the given grid says. Invariant: the
//! store is there whole or not at all.

mod error;
mod files;
mod hdf5;
mod lmdb;
mod readers;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array2;

pub use error::{EXTENSIONS, ImportError};
pub use files::{FeatureFiles, Query};

use crate::digest;
use crate::durable::{self, Existing, Partial};
use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::measure::Measure;
use crate::shard::Shard;
use crate::store::{
    Contract, Dtype, PlannedUnit, RowBlock, RowKind, RowMeta, SCHEMA_VERSION, Store, StoreReader, UnitHeader,
};
use crate::time::TimeSpan;

/// What stands in a contract for everything that nobody knows any more.
pub const IMPORTED: &str = "imported";

/// When the rows are: row `i` begins `i * stride_frames` frames after its clip and lasts `span_frames`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Frames per second of the videos.
    pub fps: f64,
    /// Frames from the beginning of a row to that of the next; not always whole (EgoVLP: 30 / 1.87).
    pub stride_frames: f64,
    /// Frames that a row stands for.
    pub span_frames: f64,
    /// Frames that the model saw of them.
    pub window_frames: u32,
}

/// Answers a request about a file of others' features, for a program that serves them
/// ([`foreign::serve`](crate::foreign::serve)).
///
/// # Errors
/// What is wrong with the file, or a request that nobody here makes.
pub fn answer(what: &str, path: &Path, name: &str) -> Result<Vec<u8>, String> {
    hdf5::answer(what, path, name)
}

/// How to take features over.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the feature set, and of its folder.
    pub feature_set: String,
    /// Name of the model that made them.
    pub backbone: String,
    /// When the rows are.
    pub grid: Grid,
    /// How to keep them.
    pub dtype: Dtype,
    /// Output format.
    pub format: String,
    /// Replace a store that was imported.
    pub force: bool,
}

/// Video and place of a clip, where a manifest tells; `None` for a whole video.
pub type Places = HashMap<ClipUid, (VideoUid, Option<TimeSpan>)>;

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// The store.
    pub path: PathBuf,
    /// Clips.
    pub clips: usize,
    /// Rows of all of them.
    pub rows: u64,
    /// Features per row.
    pub dim: usize,
    /// Rows that held NaN and are flagged missing.
    pub missing: u64,
    /// Rows of nothing but zeros.
    pub zero_rows: u64,
}

/// Takes `files` over into `<out>/<feature-set>`; `places` is what a manifest says, if there is one.
///
/// # Errors
/// Any [`ImportError`]; nothing is left then, and what was there before still is.
pub fn import(
    files: &FeatureFiles,
    out: &Path,
    options: &Options,
    places: Option<&Places>,
) -> Result<Imported, ImportError> {
    let target = out.join(&options.feature_set);
    durable::clean(&target).map_err(ImportError::io("write to", out))?;
    check_free(&target, options.force)?;
    let partial = Partial::begin(&target).map_err(ImportError::io("write to", out))?;
    let imported = Importer { files, options, places, hashes: HashMap::new() }.run(&partial.folder())?;
    partial.commit(Existing::as_found(&target)).map_err(ImportError::io("write", &target))?;
    Ok(Imported { path: target, ..imported })
}

fn check_free(target: &Path, force: bool) -> Result<(), ImportError> {
    let path = target.to_owned();
    match target.exists() {
        false => Ok(()),
        true if !force => Err(ImportError::Exists { path }),
        true if StoreReader::open(target)?.contract().onnx_sha256 == IMPORTED => Ok(()),
        true => Err(ImportError::NotImported { path }),
    }
}

struct Importer<'i> {
    files: &'i FeatureFiles,
    options: &'i Options,
    places: Option<&'i Places>,
    /// Of files that hold several clips, so that each is hashed once.
    hashes: HashMap<PathBuf, String>,
}

/// The array of a clip or query, and where it came from.
struct Found<'i> {
    name: &'i ClipUid,
    clip_uid: &'i ClipUid,
    path: &'i Path,
    values: Array2<f32>,
}

impl<'i> Importer<'i> {
    fn run(mut self, folder: &Path) -> Result<Imported, ImportError> {
        let mut state: Option<(Store, &Path, usize)> = None;
        let mut imported = Imported { path: PathBuf::new(), clips: 0, rows: 0, dim: 0, missing: 0, zero_rows: 0 };
        for name in self.files.clips() {
            let Some((path, values)) = self.files.path(name).zip(self.files.read(name)?) else { continue };
            let found = Found { name, clip_uid: self.clip_of(name), path, values };
            let dim = found.values.ncols();
            let (store, first, expected) = match &mut state {
                Some(state) => state,
                None => state.insert((self.create(folder, dim)?, path, dim)),
            };
            if dim != *expected {
                let (path, first, expected) = (path.to_owned(), first.to_path_buf(), *expected);
                return Err(ImportError::Dim { path, first, expected, found: dim });
            }
            self.add(store, found, &mut imported)?;
            imported.dim = dim;
        }
        if let Some((store, ..)) = &state {
            store.finish()?;
        }
        Ok(imported)
    }

    fn create(&self, folder: &Path, dim: usize) -> Result<Store, ImportError> {
        let kind = if self.files.are_of_queries() { RowKind::FusedWindow } else { RowKind::Window };
        let store = Store::open(folder, &contract(self.options, dim, kind)?, Shard::WHOLE)?;
        let units = self.files.clips().map(|name| {
            let (video_uid, span) = self.place(name)?;
            Ok(PlannedUnit { unit_uid: UnitUid::from(name), video_uid, span, content_sha256: None })
        });
        store.promise(&units.collect::<Result<Vec<_>, ImportError>>()?)?;
        Ok(store)
    }

    /// The clip of an array, which bears its name or that of a query about it.
    fn clip_of<'n>(&self, name: &'n ClipUid) -> &'n ClipUid
    where
        'i: 'n,
    {
        self.files.query(name).map_or(name, |query| &query.clip_uid)
    }

    fn place(&self, name: &ClipUid) -> Result<(VideoUid, Option<TimeSpan>), ImportError> {
        let clip_uid = self.clip_of(name);
        let path = || self.files.path(name).unwrap_or(Path::new("")).to_owned();
        let Some(places) = self.places else {
            let video = VideoUid::parse(clip_uid.as_str());
            return video.map(|video| (video, None)).map_err(|cause| ImportError::Name { path: path(), cause });
        };
        let not_listed = || ImportError::NotListed { path: path(), clip_uid: clip_uid.clone() };
        places.get(clip_uid).cloned().ok_or_else(not_listed)
    }

    fn add(&mut self, store: &mut Store, found: Found, imported: &mut Imported) -> Result<(), ImportError> {
        let (video_uid, span) = self.place(found.name)?;
        let mut meta = self.options.grid.rows(&found, span)?;
        let is_nan = |row: ndarray::ArrayView1<f32>| row.iter().any(|value| value.is_nan());
        meta.iter_mut().zip(found.values.outer_iter()).for_each(|(meta, row)| meta.missing = is_nan(row));
        imported.clips += 1;
        imported.rows += meta.len() as u64;
        let missing = meta.iter().filter(|row| row.missing).count();
        imported.missing += missing as u64;
        let zeros = found.values.outer_iter().filter(|row| row.iter().all(|&value| value == 0.0));
        imported.zero_rows += zeros.count() as u64;
        let header = self.header(&found, video_uid, span, missing)?;
        let refused = |source| ImportError::Refused { path: found.path.to_owned(), source };
        let mut unit = store.begin(header).map_err(refused)?;
        unit.append(&RowBlock { first_row: 0, meta, features: found.values }).map_err(refused)?;
        store.commit(unit).map_err(refused)?;
        Ok(())
    }

    fn header(
        &mut self,
        found: &Found,
        video_uid: VideoUid,
        span: Option<TimeSpan>,
        missing: usize,
    ) -> Result<UnitHeader, ImportError> {
        let name = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut notes = vec![format!("imported from {name}, sha256 {}", self.hash(found.path)?)];
        if missing > 0 {
            notes.push(format!("rows with NaN, which are flagged missing: {missing}"));
        }
        let source_bytes = fs::metadata(found.path).map_err(ImportError::io("read", found.path))?.len();
        let query = self.files.query(found.name);
        Ok(UnitHeader {
            unit_uid: UnitUid::from(found.name),
            video_uid,
            clip_uid: Some(found.clip_uid.clone()),
            query_id: query.map(|query| query.id.clone()),
            query_text: query.map(|query| query.text.clone()),
            split: None,
            rows: found.values.nrows() as u64,
            span,
            source_name: name,
            source_bytes,
            source_sha256: digest::ends(found.path).map_err(ImportError::io("read", found.path))?,
            source_fps: self.options.grid.fps,
            source_frames: 0,
            provider: IMPORTED.to_owned(),
            egofx_version: env!("CARGO_PKG_VERSION").to_owned(),
            ffmpeg_version: IMPORTED.to_owned(),
            onnxruntime_version: IMPORTED.to_owned(),
            notes,
        })
    }

    fn hash(&mut self, path: &Path) -> Result<String, ImportError> {
        if let Some(known) = self.hashes.get(path) {
            return Ok(known.clone());
        }
        let (_, sha256) = digest::file(path).map_err(ImportError::io("read", path))?;
        self.hashes.insert(path.to_owned(), sha256.clone());
        Ok(sha256)
    }
}

/// A contract that says what is known, and of the rest that it was imported.
fn contract(options: &Options, dim: usize, row_kind: RowKind) -> Result<Contract, ImportError> {
    let Grid { fps, stride_frames, span_frames, window_frames } = options.grid;
    let recipe = format!(
        "# features of others, imported by egofx {}\nbackbone = {:?}\nvideo_fps = {fps}\nwindow_frames = {window_frames}\nspan_frames = {span_frames}\n\
         stride_frames = {stride_frames}\n",
        env!("CARGO_PKG_VERSION"),
        options.backbone,
    );
    let imported = || IMPORTED.to_owned();
    let mut contract = Contract {
        schema_version: SCHEMA_VERSION,
        feature_set: options.feature_set.clone(),
        row_kind,
        backbone: options.backbone.clone(),
        onnx_sha256: imported(),
        precision: imported(),
        dim,
        dtype: options.dtype,
        format: options.format.clone(),
        grid: imported(),
        rows_per_sec: fps / stride_frames,
        window_frames,
        compat: imported(),
        measure: Measure::default(),
        checkpoint: imported(),
        checkpoint_sha256: imported(),
        recipe,
        fingerprint: String::new(),
    };
    contract.fingerprint = digest::text(&contract.described());
    Ok(contract)
}

impl Grid {
    /// Times and frames of a clip's rows; a row that runs past the clip ends with it.
    fn rows(&self, found: &Found, span: Option<TimeSpan>) -> Result<Vec<RowMeta>, ImportError> {
        let rows = found.values.nrows();
        let (start_sec, end_sec) = span.map_or((0.0, f64::INFINITY), |span| (span.start_sec.max(0.0), span.end_sec));
        // Half a frame, so that neither rounding nor a last row that begins on the end counts.
        let most = ((end_sec - start_sec + 0.5 / self.fps) * self.fps / self.stride_frames) as usize;
        let most = most.saturating_add(1);
        if rows > most {
            let (path, clip_uid) = (found.path.to_owned(), found.clip_uid.clone());
            return Err(ImportError::TooLong { path, clip_uid, rows, most, duration_sec: end_sec - start_sec });
        }
        let row = |row: usize| {
            let from = start_sec + row as f64 * self.stride_frames / self.fps;
            let to = (from + self.span_frames / self.fps).min(end_sec).max(from);
            let first_frame = (from * self.fps + 1e-6) as u64;
            let last_frame = ((to * self.fps - 1e-6).ceil() as u64).saturating_sub(1).max(first_frame);
            RowMeta { first_frame, last_frame, start_sec: from, end_sec: to, ..RowMeta::default() }
        };
        Ok((0..rows).map(row).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EGOVLP: Grid = Grid { fps: 30.0, stride_frames: 30.0 / 1.87, span_frames: 30.0 / 1.87, window_frames: 4 };

    fn rows(grid: Grid, rows: usize, span: Option<TimeSpan>) -> Result<Vec<RowMeta>, ImportError> {
        let clip_uid = ClipUid::parse("c").unwrap();
        let (name, path, values) = (&clip_uid, Path::new("c.pt"), Array2::zeros((rows, 1)));
        grid.rows(&Found { name, clip_uid: name, path, values }, span)
    }

    #[test]
    fn rows_lie_side_by_side_or_overlap_as_the_grid_says() {
        let found = rows(EGOVLP, 897, TimeSpan::new(10.0, 490.0)).unwrap();
        assert_eq!((found[0].start_sec, found[0].first_frame), (10.0, 300));
        assert!((found[896].start_sec - (10.0 + 896.0 / 1.87)).abs() < 1e-9);
        assert!(found.windows(2).all(|pair| (pair[0].end_sec - pair[1].start_sec).abs() < 1e-9));
        assert!(found[896].end_sec <= 490.0);
        let ego4d = Grid { fps: 30.0, stride_frames: 16.0, span_frames: 32.0, window_frames: 32 };
        let found = rows(ego4d, 3, None).unwrap();
        assert_eq!((found[1].first_frame, found[1].last_frame), (16, 47));
    }

    #[test]
    fn rows_that_begin_after_their_clip_are_refused() {
        let span = TimeSpan::new(0.0, 480.0);
        let ego4d = Grid { fps: 30.0, stride_frames: 16.0, span_frames: 32.0, window_frames: 32 };
        assert!(rows(ego4d, 901, span).is_ok(), "Ego4D's own cut has one row more than its length says");
        let error = rows(ego4d, 902, span).unwrap_err().to_string();
        assert_eq!(error, "c.pt: 902 rows, expected at most 901: clip c lasts 480 s");
    }
}
