//! Videos to our CSV.
//!
//! Not for feature sets or reports. What is written reads back as the same videos, so anything that would not is an
//! error here.

use std::collections::BTreeSet;
use std::io;

use super::columns::{OURS, is_reserved};
use super::{Clip, ManifestError, Video};

/// Writes the header and one row for each clip to `out`.
pub(super) fn write(videos: &[Video], out: impl io::Write) -> Result<(), ManifestError> {
    let extra = extra_columns(videos)?;
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(OURS.iter().chain(&extra)).map_err(refused)?;
    for video in videos {
        let path = path_of(video)?;
        for clip in &video.clips {
            let further = extra.iter().map(|name| clip.extra.get(*name).map_or("", String::as_str));
            writer.write_record(row(video, path, clip).iter().map(String::as_str).chain(further)).map_err(refused)?;
        }
    }
    writer.flush().map_err(|error| refused(error.into()))
}

fn refused(cause: csv::Error) -> ManifestError {
    ManifestError::Write { cause }
}

fn extra_columns(videos: &[Video]) -> Result<Vec<&str>, ManifestError> {
    let mut names = BTreeSet::new();
    for clip in videos.iter().flat_map(|video| &video.clips) {
        for name in clip.extra.keys() {
            if name.is_empty() || name.trim() != name || is_reserved(name) {
                return Err(ManifestError::ReservedColumn { clip_uid: clip.uid.clone(), column: name.clone() });
            }
            names.insert(name.as_str());
        }
    }
    Ok(names.into_iter().collect())
}

fn path_of(video: &Video) -> Result<&str, ManifestError> {
    let Some(path) = &video.path else { return Ok("") };
    let error = || ManifestError::PathNotUtf8 { video_uid: video.uid.clone(), path: path.clone() };
    path.to_str().ok_or_else(error)
}

fn row(video: &Video, path: &str, clip: &Clip) -> [String; OURS.len()] {
    [
        video.uid.to_string(),
        path.to_owned(),
        clip.uid.to_string(),
        cell(clip.span.map(|span| span.start_sec)),
        cell(clip.span.map(|span| span.end_sec)),
        cell(video.duration_sec),
        cell(video.num_frames),
        cell(video.fps),
    ]
}

fn cell(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
