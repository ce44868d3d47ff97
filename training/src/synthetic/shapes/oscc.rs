//! OSCC and PNR: clips of eight seconds in which a thing becomes another one, or does not.
//!
//! Not for choosing frames. Invariant: what a thing is before and after a change says nothing about whether there is
//! one.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::film::{FPS, Film, Script, Shot, seconds, uuid};
use super::settings::{NAMES, Part, ShapesDataset, stream};
use crate::synthetic::draw::Draws;
use crate::synthetic::error::SyntheticError;
use crate::synthetic::files::{SPLITS, write_json};

const CLIP_FRAMES: u64 = 8 * FPS;
const CLIPS_PER_VIDEO: usize = 3;
/// Names of clips follow those of films.
const CLIP_NAMES: usize = NAMES + 4;

/// Writes both files and adds their films.
pub(super) fn write_files(
    dataset: &ShapesDataset,
    out: &Path,
    films: &mut Vec<Film>,
) -> Result<[PathBuf; 2], SyntheticError> {
    let paths = SPLITS.map(|split| out.join(format!("fho_oscc-pnr_{split}.json")));
    let script = Script { shots: CLIPS_PER_VIDEO, frames: CLIP_FRAMES..CLIP_FRAMES + 1, changes: true };
    for (split, path) in paths.iter().enumerate() {
        let videos = dataset.changes[split].div_ceil(CLIPS_PER_VIDEO);
        let own = dataset.films(Part::Oscc, split, videos, &script, |_, draws| uuid(draws));
        let mut draws = Draws::new(dataset.seed, stream(Part::Oscc, CLIP_NAMES + split, 0));
        let shots = own.iter().flat_map(|film| film.shots.iter().map(move |shot| (film, shot)));
        let clips = shots.take(dataset.changes[split]).enumerate();
        let clips: Vec<Value> = clips.map(|(number, (film, shot))| clip(number, film, shot, &mut draws)).collect();
        write_json(path, &json!({"split": SPLITS[split], "clips": clips}))?;
        films.extend(own);
    }
    Ok(paths)
}

fn clip(number: usize, film: &Film, shot: &Shot, draws: &mut Draws) -> Value {
    let (start, end) = (shot.frames.start, shot.frames.end);
    let mut clip = json!({
        "unique_id": uuid(draws), "video_uid": film.name, "clip_id": number,
        "state_change": shot.told.change.is_some(),
        "parent_start_sec": seconds(start), "parent_end_sec": seconds(end),
        "parent_start_frame": start, "parent_end_frame": end,
    });
    if let Some(change) = shot.told.change {
        clip["parent_pnr_frame"] = json!(start + change.after);
        clip["clip_pnr_frame"] = json!(change.after);
        clip["clip_start_sec"] = json!(0.0);
        clip["clip_end_sec"] = json!(seconds(end - start));
        clip["clip_start_frame"] = json!(0);
        clip["clip_end_frame"] = json!(end - start);
    }
    clip
}
