//! Clips that were decoded once, read back: files of raw frames, from which training draws as it does from videos.
//!
//! A file is safetensors; a tensor is a clip, `[T, H, W, 3]` of bytes, red first, named by its video and seconds. More frames are
//! kept than a network sees, so that there is something to draw. [`clip_cache`](crate::clip_cache) writes the files.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egofx::compat::Compat;
use egofx::decode::Reader;
use egofx::grid::segments::{edges, middles};
use egofx_pixels::Picture;
use rayon::prelude::*;
use safetensors::tensor::Metadata;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::choice::Choice;
use super::error::ClipError;
use super::listed::ClipRef;
use crate::error::TrainError;
use crate::rng::{Generator, within};

/// How the names of the files begin and end.
pub(crate) const NAME: (&str, &str) = ("clips-", ".safetensors");
/// Under which a file's own metadata say what it was made of.
pub(crate) const MADE_OF: &str = "egofx-clips";

/// What a file was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MadeOf {
    /// The rule that frames were chosen by.
    pub(crate) choice: String,
    /// Whether faults of the originals are reproduced in it.
    #[serde(alias = "behaviour", deserialize_with = "compat_of_any_version")]
    pub(crate) compat: Compat,
    /// Frames of a clip.
    pub(crate) frames: u32,
    /// What larger frames were scaled to.
    pub(crate) short_side: usize,
    /// Whose frames they are. Files of version 0.1 do not say it.
    #[serde(default)]
    pub(crate) reader: Reader,
    /// A hash of the names of the clips that were asked for.
    pub(crate) clips: String,
}

/// The switch; files of version 0.1 call reproduced faults `compat`.
fn compat_of_any_version<'de, D: Deserializer<'de>>(from: D) -> Result<Compat, D::Error> {
    let name = String::deserialize(from)?;
    let today = if name == "compat" { Compat::AsReleased.name() } else { &name };
    Compat::named(today).ok_or_else(|| {
        let expected = Compat::ALL.map(Compat::name).join(" or ");
        D::Error::custom(format!("compat is {name:?}, expected {expected}"))
    })
}

/// What is in the files of some folders.
#[derive(Debug, Default)]
pub struct CachedClips {
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

/// A clip's name.
pub(crate) fn name_of(wanted: &ClipRef) -> String {
    let video = wanted.path.file_stem().unwrap_or_default().to_string_lossy();
    match wanted.clip.span {
        None => format!("{video} whole"),
        Some([start, end]) => format!("{video} {start} {end}"),
    }
}

/// What stands before the bytes of a file.
pub(crate) struct Header {
    pub(crate) made_of: MadeOf,
    /// Names, shapes and the bytes at which clips begin.
    clips: Vec<(String, Vec<usize>, u64)>,
}

impl Header {
    pub(crate) fn read(path: &Path) -> Result<Self, TrainError> {
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

impl CachedClips {
    /// What is stored in these folders, which must have been made by this rule, as this reader reads.
    ///
    /// # Errors
    /// Folders that cannot be read or hold no clips; files that are damaged, or of other rules.
    pub fn open(folders: &[PathBuf], choice: Choice, compat: Compat, reader: Reader) -> Result<Self, TrainError> {
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
        let rules = |choice: &str, compat: Compat, reader: Reader| {
            format!("clips by the rule \"{choice}\", {}, read as {}", compat.name(), reader.name())
        };
        let expected = rules(&choice.name(), compat, reader);
        let mut clips = HashMap::new();
        for (file, Header { made_of, clips: found }) in headers.into_iter().enumerate() {
            let rules = rules(&made_of.choice, made_of.compat, made_of.reader);
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

    /// Whether a clip is stored.
    pub fn has(&self, wanted: &ClipRef) -> bool {
        !self.is_empty() && self.clips.contains_key(&name_of(wanted))
    }

    /// `frames` pictures of a clip, if it is stored: those in the middle of as many equal segments of what is stored, or one
    /// drawn from each.
    ///
    /// # Errors
    /// [`ClipError::Video`]: a file that cannot be read any more.
    pub fn pictures(
        &self,
        wanted: &ClipRef,
        frames: u32,
        draw: Option<&mut Generator>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_version_0_1_say_what_they_were_made_of_in_their_own_words() {
        let of = |switch: &str| {
            let rest = r#""choice": "narrated", "frames": 4, "short_side": 8, "clips": "x""#;
            serde_json::from_str::<MadeOf>(&format!("{{{rest}, {switch}}}")).map(|made_of| made_of.compat)
        };
        assert_eq!(of(r#""behaviour": "compat""#).unwrap(), Compat::AsReleased);
        assert_eq!(of(r#""behaviour": "fixed""#).unwrap(), Compat::Fixed);
        assert_eq!(of(r#""compat": "as-released""#).unwrap(), Compat::AsReleased);
        let error = of(r#""compat": "both""#).unwrap_err().to_string();
        assert!(error.starts_with("compat is \"both\", expected as-released or fixed"), "{error}");
    }
}
