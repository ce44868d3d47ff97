//! Where clips lie in their videos, by a manifest or by what a store was promised.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::ConvertError;
use crate::features::Source;
use crate::ids::{ClipUid, VideoUid};
use crate::manifest::{Clip, Manifest, SPLIT, Video};
use crate::store::{LedgerEntry, RowKind};
use crate::time::TimeSpan;

/// Where clips lie in their videos.
#[derive(Debug, Default)]
pub struct Clips {
    clips: BTreeMap<ClipUid, (VideoUid, Option<TimeSpan>)>,
    /// Splits that a manifest tells.
    splits: BTreeMap<ClipUid, String>,
    /// Lengths of videos that a manifest tells, in seconds.
    durations: HashMap<VideoUid, f64>,
    looked: Vec<String>,
}

impl Clips {
    /// What a manifest says and, of clips that it does not name, what a store was promised.
    pub fn new(manifest: Option<(&Manifest, PathBuf)>, source: Option<&Source>) -> Self {
        let mut found = Self::default();
        if let Some(source) = source {
            // Only of these a unit is a clip; what is no clip of theirs has a name that no query is about.
            let entries = source.entries().filter(|_| source.rows() == RowKind::Window);
            let clip = |entry: &LedgerEntry| {
                Some((ClipUid::parse(entry.unit_uid.as_str()).ok()?, (entry.video_uid.clone(), entry.span)))
            };
            found.clips.extend(entries.filter_map(clip));
            found.looked.push(source.path().display().to_string());
        }
        if let Some((manifest, path)) = manifest {
            let clips = manifest.videos.iter().flat_map(|video| video.clips.iter().map(move |clip| (video, clip)));
            found.clips.extend(clips.map(|(video, clip)| (clip.uid.clone(), (video.uid.clone(), clip.span))));
            found.looked.insert(0, path.display().to_string());
            let clips = manifest.videos.iter().flat_map(|video| &video.clips);
            let split = |clip: &Clip| Some((clip.uid.clone(), clip.extra.get(SPLIT)?.clone()));
            found.splits = clips.filter_map(split).collect();
            let duration = |video: &Video| Some((video.uid.clone(), video.duration_sec?));
            found.durations = manifest.videos.iter().filter_map(duration).collect();
        }
        found
    }

    /// The clips of a split, as far as a manifest tells.
    pub fn of_split(&self, split: &str) -> impl Iterator<Item = &ClipUid> {
        self.splits.iter().filter(move |(_, found)| *found == split).map(|(clip_uid, _)| clip_uid)
    }

    /// The length of a video in seconds, if a manifest tells.
    pub fn duration_sec(&self, video_uid: &VideoUid) -> Option<f64> {
        self.durations.get(video_uid).copied()
    }

    /// Video and place of a clip.
    ///
    /// # Errors
    /// [`ConvertError::NoSpan`].
    pub fn span(&self, clip_uid: &ClipUid) -> Result<(&VideoUid, TimeSpan), ConvertError> {
        let known = self.clips.get(clip_uid).and_then(|(video, span)| Some((video, (*span)?)));
        let looked =
            if self.looked.is_empty() { vec!["no manifest (-m FILE)".to_owned()] } else { self.looked.clone() };
        known.ok_or_else(|| ConvertError::NoSpan { clip_uid: clip_uid.clone(), looked })
    }

    /// Clips with a place of their own, by their videos.
    pub fn by_video(&self) -> BTreeMap<&VideoUid, Vec<(&ClipUid, TimeSpan)>> {
        let mut by_video: BTreeMap<&VideoUid, Vec<_>> = BTreeMap::new();
        for (clip, (video, span)) in &self.clips {
            if let Some(span) = span {
                by_video.entry(video).or_default().push((clip, *span));
            }
        }
        by_video
    }
}
