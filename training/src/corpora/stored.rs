//! Clips that were decoded once, for those who have the disk: files of raw frames, from which training draws as it does from
//! videos.
//!
//! A file is safetensors; a tensor is a clip, `[T, H, W, 3]` of bytes, red first, named by its video and seconds. More frames are
//! stored than a network sees, so that there is something to draw. Not for whole videos. A file appears under its name when
//! it is complete, and one that is there already and holds what it should is not made again.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egofx::durable::{Existing, Partial};
use egofx::grid::segments::{edges, middles};
use egofx::recipe::Reader;
use egofx::store::Shard;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::choice::Choice;
use super::frames::{ClipError, Clips, Wanted};
use super::pixels::Picture;
use super::replaced::Replaced;
use crate::behaviour::Behaviour;
use crate::draws::within;
use crate::error::TrainError;
use crate::learner::Draw;

/// How the names of the files begin and end.
const NAME: (&str, &str) = ("clips-", ".safetensors");
/// Under which a file's own metadata say what it was made of.
const MADE_OF: &str = "egofx-clips";

/// What a file was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MadeOf {
    /// The rule that frames were chosen by.
    choice: String,
    behaviour: Behaviour,
    /// Frames of a clip.
    frames: u32,
    /// What larger frames were scaled to.
    short_side: usize,
    /// Whose frames they are. Files of version 0.1 do not say it.
    #[serde(default)]
    reader: Reader,
    /// A hash of the names of the clips that were asked for.
    clips: String,
}

/// What is in the files of some folders.
#[derive(Debug, Default)]
pub struct Stored {
    files: Vec<PathBuf>,
    clips: HashMap<String, Place>,
}

/// Where a clip's bytes are.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    offset: u64,
    frames: u64,
    width: u32,
    height: u32,
}

/// What is to be stored.
pub struct Plan<'p> {
    /// Where.
    pub folder: &'p Path,
    /// Frames of a clip.
    pub frames: u32,
    /// Clips in a file.
    pub per_file: usize,
    /// The part of the files that is made here.
    pub shard: Shard,
}

/// What [`write`] did.
#[derive(Debug, Default)]
pub struct Written {
    /// Files that were made.
    pub made: usize,
    /// Files that were there already.
    pub there: usize,
    /// Clips that could not be had, of the files that were made, and why.
    pub left_out: Replaced,
}

/// A clip's name.
fn name_of(wanted: &Wanted) -> String {
    let video = wanted.path.file_stem().unwrap_or_default().to_string_lossy();
    match wanted.clip.span {
        None => format!("{video} whole"),
        Some([start, end]) => format!("{video} {start} {end}"),
    }
}

/// Stores the clips of `list`, each once, as `clips` reads them: the frames in the middle of equal stretches. `done` is told how
/// many files are done, and of how many.
///
/// # Errors
/// A folder that cannot be written. A clip that cannot be had is left out and counted.
pub fn write(
    plan: &Plan,
    clips: &Clips,
    choice: Choice,
    list: &[Wanted],
    mut done: impl FnMut(usize, usize),
) -> Result<Written, TrainError> {
    fs::create_dir_all(plan.folder).map_err(TrainError::io("make the folder", plan.folder))?;
    let mut seen = HashSet::new();
    let list: Vec<(String, Wanted)> = list.iter().map(|wanted| (name_of(wanted), *wanted)).collect();
    let list: Vec<&(String, Wanted)> = list.iter().filter(|(name, _)| seen.insert(name)).collect();
    let files: Vec<(usize, &[&(String, Wanted)])> = list.chunks(plan.per_file.max(1)).enumerate().collect();
    let (index, count) = (plan.shard.index() as usize, plan.shard.count() as usize);
    let own: Vec<_> = files.iter().filter(|(number, _)| number % count + 1 == index).collect();
    let mut written = Written::default();
    for (so_far, (number, list)) in own.iter().enumerate() {
        let path = plan.folder.join(format!("{}{number:06}{}", NAME.0, NAME.1));
        let mut digest = Sha256::new();
        list.iter().for_each(|(name, _)| digest.update(format!("{name}\n")));
        let made_of = MadeOf {
            choice: choice.name(),
            behaviour: clips.behaviour(),
            frames: plan.frames,
            short_side: clips.short_side(),
            reader: clips.reader(),
            clips: format!("{:x}", digest.finalize()),
        };
        if path.is_file() && Header::read(&path).is_ok_and(|header| header.made_of == made_of) {
            written.there += 1;
        } else {
            write_file(&path, clips, choice, list, &made_of, &written.left_out)?;
            written.made += 1;
        }
        done(so_far + 1, own.len());
    }
    Ok(written)
}

/// A clip's bytes, `[T, H, W, 3]`.
type Bytes = (Vec<u8>, [usize; 4]);

fn bytes(clips: &Clips, choice: Choice, wanted: Wanted, frames: u32) -> Result<Bytes, ClipError> {
    let pictures = clips.pictures_of(wanted, choice, frames)?;
    // All pictures of a video have one size.
    let (height, width) = pictures.first().map_or((0, 0), |first| (first.height as usize, first.width as usize));
    let all = pictures.iter().flat_map(|picture| picture.bytes.iter().copied()).collect();
    Ok((all, [pictures.len(), height, width, 3]))
}

fn write_file(
    path: &Path,
    clips: &Clips,
    choice: Choice,
    list: &[&(String, Wanted)],
    made_of: &MadeOf,
    left_out: &Replaced,
) -> Result<(), TrainError> {
    let read = list.par_iter().filter_map(|(name, wanted)| match bytes(clips, choice, *wanted, made_of.frames) {
        Ok(bytes) => Some(Ok((name.clone(), bytes))),
        Err(error) => left_out.note(error).err().map(Err),
    });
    let read: Vec<(String, Bytes)> = read.collect::<Result<_, TrainError>>()?;
    let refused = |why: safetensors::SafeTensorError| TrainError::io("write", path)(std::io::Error::other(why));
    let views = read.iter().map(|(name, (bytes, shape))| {
        TensorView::new(Dtype::U8, shape.to_vec(), bytes).map(|view| (name.as_str(), view))
    });
    let views: Vec<(&str, TensorView)> = views.collect::<Result<_, _>>().map_err(refused)?;
    let info = serde_json::to_string(made_of).map_err(|error| TrainError::io("write", path)(error.into()))?;
    let info = HashMap::from([(MADE_OF.to_owned(), info)]);
    let partial = Partial::begin(path).map_err(TrainError::io("write", path))?;
    safetensors::serialize_to_file(views, Some(info), &partial.path()).map_err(refused)?;
    partial.commit(Existing::Replace).map_err(TrainError::io("write", path))
}

/// What stands before the bytes of a file.
struct Header {
    made_of: MadeOf,
    /// Names, shapes and the bytes at which clips begin.
    clips: Vec<(String, Vec<usize>, u64)>,
}

impl Header {
    fn read(path: &Path) -> Result<Self, TrainError> {
        let broken = |why: &dyn Display| TrainError::unexpected(path, "stored clips", why.to_string());
        let mut file = File::open(path).map_err(TrainError::io("read", path))?;
        let size = file.metadata().map_err(TrainError::io("read", path))?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|error| broken(&error))?;
        let (length, mut json) = (u64::from_le_bytes(length), Vec::new());
        file.take(length).read_to_end(&mut json).map_err(TrainError::io("read", path))?;
        let metadata: Metadata = serde_json::from_slice(&json).map_err(|error| broken(&error))?;
        let (start, bytes) = (length.saturating_add(8), metadata.data_len() as u64);
        if start.checked_add(bytes) != Some(size) {
            return Err(broken(&format!("{size} bytes where the header tells of {}", start.saturating_add(bytes))));
        }
        let made_of = metadata.metadata().as_ref().and_then(|info| info.get(MADE_OF));
        let made_of = made_of.ok_or_else(|| broken(&"another safetensors file"))?;
        let made_of = serde_json::from_str(made_of).map_err(|error| broken(&error))?;
        let clips = metadata.tensors().into_iter().map(|(name, info)| {
            let offset = start + info.data_offsets.0 as u64;
            (name, info.shape.clone(), offset)
        });
        Ok(Self { made_of, clips: clips.collect() })
    }
}

impl Stored {
    /// What is stored in these folders, which must have been made by the rules of `clips`.
    ///
    /// # Errors
    /// Folders that cannot be read or hold no clips; files that are damaged, or of other rules.
    pub fn open(folders: &[PathBuf], choice: Choice, clips: &Clips) -> Result<Self, TrainError> {
        let mut files = Vec::new();
        for folder in folders {
            let entries = fs::read_dir(folder).map_err(TrainError::io("read the folder", folder))?;
            let is_file = |name: &str| name.starts_with(NAME.0) && name.ends_with(NAME.1);
            let named = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_file));
            let before = files.len();
            files.extend(named.map(|entry| entry.path()));
            if files.len() == before {
                return Err(TrainError::unexpected(folder, "stored clips (clips-*.safetensors)", "none"));
            }
        }
        files.sort();
        let headers: Vec<Header> = files.par_iter().map(|path| Header::read(path)).collect::<Result<_, _>>()?;
        let rules = |choice: &str, behaviour: Behaviour, reader: Reader| {
            format!("clips by the rule \"{choice}\", {}, read as {}", behaviour.name(), reader.name())
        };
        let expected = rules(&choice.name(), clips.behaviour(), clips.reader());
        let mut clips = HashMap::new();
        for (file, Header { made_of, clips: found }) in headers.into_iter().enumerate() {
            let rules = rules(&made_of.choice, made_of.behaviour, made_of.reader);
            if rules != expected {
                return Err(TrainError::unexpected(&files[file], expected, rules));
            }
            for (name, shape, offset) in found {
                let (&[frames, height, width, 3], false) = (&shape[..], shape.contains(&0)) else {
                    let found = format!("{name}: {shape:?}");
                    return Err(TrainError::unexpected(&files[file], "clips [T, H, W, 3]", found));
                };
                let (width, height) = (width as u32, height as u32);
                clips.insert(name, Place { file, offset, frames: frames as u64, width, height });
            }
        }
        Ok(Self { files, clips })
    }

    /// How many clips there are.
    pub fn len(&self) -> usize {
        self.clips.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.clips.is_empty()
    }

    /// `frames` pictures of a clip, if it is stored: those in the middle of as many equal stretches of what is stored, or one
    /// drawn from each.
    ///
    /// # Errors
    /// [`ClipError::Video`]: a file that cannot be read any more.
    pub fn pictures(
        &self,
        wanted: &Wanted,
        frames: u32,
        draw: Option<&mut Draw>,
    ) -> Option<Result<Vec<Picture>, ClipError>> {
        let place = *self.clips.get(&name_of(wanted))?;
        let edges = edges(u64::from(frames), 0.0, place.frames as f64);
        let chosen: Vec<i64> = match draw {
            None => middles(&edges),
            Some(draw) => edges.windows(2).map(|g| within(draw, g[0]..g[1].max(g[0] + 1))).collect(),
        };
        Some(self.read(place, &chosen))
    }

    fn read(&self, place: Place, chosen: &[i64]) -> Result<Vec<Picture>, ClipError> {
        let path = &self.files[place.file];
        let refused = |error: std::io::Error| ClipError::Video { path: path.clone(), why: error.to_string() };
        let file = File::open(path).map_err(refused)?;
        let length = 3 * place.width as usize * place.height as usize;
        let picture = |&number: &i64| {
            let number = number.clamp(0, place.frames as i64 - 1) as u64;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, place.offset + number * length as u64).map_err(refused)?;
            Ok(Picture { width: place.width, height: place.height, bytes: Arc::new(bytes) })
        };
        chosen.iter().map(picture).collect()
    }
}
