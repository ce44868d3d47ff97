//! Writes the files that [`corpora::cached`](crate::corpora::cached) reads.
//!
//! Not for whole videos. A file appears under its name when it is complete, and one that is there already and holds what it
//! should is not made again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use egofx::durable::{Existing, Partial};
use egofx::shard::Shard;
use egofx::stop::Stop;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::corpora::ahead::Ahead;
use crate::corpora::cached::{Header, MADE_OF, MadeOf, NAME, name_of};
use crate::corpora::choice::Choice;
use crate::corpora::error::ClipError;
use crate::corpora::frames::Clips;
use crate::corpora::listed::ClipRef;
use crate::corpora::replaced::Replaced;
use crate::error::TrainError;

/// Clips that a thread decodes at a time.
const AT_ONCE: usize = 8;

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
    /// By which it is stopped.
    pub stop: &'p Stop,
}

/// What [`write()`] did.
#[derive(Debug, Default)]
pub struct Written {
    /// Files that were made.
    pub made: usize,
    /// Files that were there already.
    pub there: usize,
    /// Clips that could not be had, of the files that were made, and why.
    pub left_out: Replaced,
}

/// Stores the clips of `list`, each once, as `clips` reads them: the frames in the middle of equal segments. `done` is told how
/// many files are done, and of how many.
///
/// # Errors
/// A folder that cannot be written; [`TrainError::Stopped`], when files that were made stay. A clip that cannot be had is left out
/// and counted.
pub fn write(
    plan: &Plan,
    clips: &Clips,
    choice: Choice,
    list: &[ClipRef],
    mut done: impl FnMut(usize, usize),
) -> Result<Written, TrainError> {
    fs::create_dir_all(plan.folder).map_err(TrainError::io("make the folder", plan.folder))?;
    let mut seen = HashSet::new();
    let list: Vec<(String, ClipRef)> = list.iter().map(|wanted| (name_of(wanted), *wanted)).collect();
    let list: Vec<&(String, ClipRef)> = list.iter().filter(|(name, _)| seen.insert(name)).collect();
    let files: Vec<(usize, &[&(String, ClipRef)])> = list.chunks(plan.per_file.max(1)).enumerate().collect();
    let (index, count) = (plan.shard.index() as usize, plan.shard.count() as usize);
    let own: Vec<_> = files.iter().filter(|(number, _)| number % count + 1 == index).collect();
    let mut written = Written::default();
    for (so_far, (number, list)) in own.iter().enumerate() {
        let path = plan.folder.join(format!("{}{number:06}{}", NAME.0, NAME.1));
        let names: String = list.iter().map(|(name, _)| format!("{name}\n")).collect();
        let made_of = MadeOf {
            choice: choice.name(),
            compat: clips.compat(),
            frames: plan.frames,
            short_side: clips.short_side(),
            reader: clips.reader(),
            clips: egofx::digest::text(&names),
        };
        if path.is_file() && Header::read(&path).is_ok_and(|header| header.made_of == made_of) {
            written.there += 1;
        } else {
            let stopped = || Some(TrainError::Stopped { cause: plan.stop.cause()?, done: so_far, count: own.len() });
            write_file(&path, clips, choice, list, &made_of, &written.left_out, &stopped)?;
            written.made += 1;
        }
        done(so_far + 1, own.len());
    }
    Ok(written)
}

/// A clip's bytes, `[T, H, W, 3]`.
type Bytes = (Vec<u8>, [usize; 4]);

fn bytes(clips: &Clips, ahead: &mut Ahead, choice: Choice, wanted: ClipRef, frames: u32) -> Result<Bytes, ClipError> {
    let pictures = clips.pictures_of(ahead, wanted, choice, frames)?;
    // All frames of a video have one size.
    let (height, width) = pictures.first().map_or((0, 0), |first| (first.height as usize, first.width as usize));
    let all = pictures.iter().flat_map(|picture| picture.bytes.iter().copied()).collect();
    Ok((all, [pictures.len(), height, width, 3]))
}

fn write_file(
    path: &Path,
    clips: &Clips,
    choice: Choice,
    list: &[&(String, ClipRef)],
    made_of: &MadeOf,
    left_out: &Replaced,
    stopped: &(dyn Fn() -> Option<TrainError> + Sync),
) -> Result<(), TrainError> {
    let frames = made_of.frames;
    let read = list.par_chunks(AT_ONCE).flat_map_iter(|list| {
        let plan = |(_, wanted): &&(String, ClipRef)| clips.plan_frames(*wanted, choice, frames, None);
        let mut ahead: Option<Ahead> = None;
        list.iter().filter_map(move |entry| {
            if let Some(stopped) = stopped() {
                return Some(Err(stopped));
            }
            let ahead = ahead.get_or_insert_with(|| list.iter().filter_map(plan).collect());
            match bytes(clips, ahead, choice, entry.1, frames) {
                Ok(bytes) => Some(Ok((entry.0.clone(), bytes))),
                Err(error) => left_out.note(error).err().map(Err),
            }
        })
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
