//! A store as converters see it: units one after the other, with the rows that are wanted.
//!
//! The only place of this module that knows how a store is laid out. Not for what a format does with rows. Invariant: one
//! unit is in memory at a time, and its features have the width that the contract says.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ndarray::Array2;

use super::ConvertError;
use super::rows::{self, RowRule};
use crate::ids::{ClipUid, UnitUid, VideoUid};
use crate::manifest::{Clip, Manifest, Video};
use crate::meter::Meter;
use crate::store::{Committed, Contract, LedgerEntry, RowKind, RowMeta, StoreReader, feature_sets};
use crate::time::TimeSpan;

/// A unit's rows after what the options ask for was done to them.
#[derive(Debug, Clone)]
pub struct Features {
    /// Name of the unit.
    pub unit: UnitUid,
    /// The clip that all rows belong to.
    pub clip_uid: Option<ClipUid>,
    /// The query that all rows have met.
    pub query_id: Option<String>,
    /// Its video.
    pub video_uid: VideoUid,
    /// The part of the video that it covers; `None` for all of it.
    pub span: Option<TimeSpan>,
    /// Frame rate of the video; 0 if not known.
    pub source_fps: f64,
    /// One per row.
    pub meta: Vec<RowMeta>,
    /// Shape `[meta.len(), dim]`.
    pub values: Array2<f32>,
}

/// An open store, its ledgers read once.
pub struct Source {
    reader: StoreReader,
    committed: Committed,
    rule: RowRule,
    meter: Meter,
    /// Units by their queries, where the names of units do not tell.
    queries: OnceLock<HashMap<String, UnitUid>>,
}

impl Source {
    /// Opens the store at `path`, or the only one in the folder `path`; rows are treated by `rule`.
    ///
    /// # Errors
    /// [`ConvertError::NotOneStore`], [`ConvertError::NoUnits`], [`ConvertError::NoGrid`], [`ConvertError::Store`].
    pub fn open(path: &Path, rule: RowRule) -> Result<Self, ConvertError> {
        let sets = feature_sets(path)?;
        let [set] = sets.as_slice() else {
            let names = sets.iter().map(|set| set.file_name().unwrap_or_default().to_string_lossy().into_owned());
            let found = names.collect::<Vec<_>>().join(", ");
            return Err(ConvertError::NotOneStore { path: path.to_owned(), found });
        };
        let reader = StoreReader::open(set)?;
        let committed = reader.committed()?;
        if committed.is_empty() {
            return Err(ConvertError::NoUnits { path: set.clone() });
        }
        let meter = Meter::default();
        meter.expect(committed.len());
        let source = Self { reader, committed, rule, meter, queries: OnceLock::new() };
        if source.rule.resample.is_some() && !matches!(source.rows(), RowKind::Window | RowKind::FusedWindow) {
            return Err(ConvertError::NoGrid { path: set.clone(), found: source.rows() });
        }
        Ok(source)
    }

    /// The folder of the store.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// What all rows share.
    pub fn contract(&self) -> &Contract {
        self.reader.contract()
    }

    /// What a row stands for.
    pub fn rows(&self) -> RowKind {
        self.contract().row_kind
    }

    /// Rows per second as they are handed out.
    pub fn rows_per_sec(&self) -> f64 {
        self.rule.rows_per_sec(self.contract().rows_per_sec)
    }

    /// Counts the units that are read, and their rows.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The committed units, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.committed.iter()
    }

    /// How many units there are.
    pub fn len(&self) -> usize {
        self.committed.len()
    }

    /// Never: a store without units is not opened.
    pub fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    /// The unit of that name.
    pub fn find(&self, unit: &UnitUid) -> Option<&LedgerEntry> {
        self.committed.get(unit)
    }

    /// The unit whose rows have met that query. Units are commonly named by their queries; where they are not, the
    /// headers of all units are read, once.
    ///
    /// # Errors
    /// [`ConvertError::Store`].
    pub fn find_query(&self, query_id: &str) -> Result<Option<&LedgerEntry>, ConvertError> {
        if let Some(entry) = UnitUid::parse(query_id).ok().and_then(|uid| self.committed.get(&uid)) {
            return Ok(Some(entry));
        }
        if self.queries.get().is_none() {
            let _ = self.queries.set(self.read_queries()?);
        }
        Ok(self.queries.get().and_then(|queries| queries.get(query_id)).and_then(|unit| self.committed.get(unit)))
    }

    fn read_queries(&self) -> Result<HashMap<String, UnitUid>, ConvertError> {
        let mut queries = HashMap::new();
        for entry in self.entries() {
            let header = self.reader.read_header(entry)?;
            queries.extend(header.query_id.map(|query_id| (query_id, entry.unit_uid.clone())));
        }
        Ok(queries)
    }

    /// Reads a unit for a reader who is told no times, and takes row `i` to be at `i / rows_per_sec`.
    ///
    /// # Errors
    /// [`ConvertError::Drift`] if rows of windows are not there, and as for [`read_timed`](Self::read_timed).
    pub fn read(&self, entry: &LedgerEntry) -> Result<Features, ConvertError> {
        let features = self.features(entry)?;
        if matches!(self.rows(), RowKind::Window | RowKind::FusedWindow) {
            rows::check_places(&self.rule, self.contract().rows_per_sec, &features)?;
        }
        rows::apply(&self.rule, self.contract().rows_per_sec, features)
    }

    /// Reads a unit for a reader who is told the times of its rows.
    ///
    /// # Errors
    /// [`ConvertError::Store`], and [`ConvertError::Missing`] or [`ConvertError::NothingLeft`] by the rule for rows.
    pub fn read_timed(&self, entry: &LedgerEntry) -> Result<Features, ConvertError> {
        rows::apply(&self.rule, self.contract().rows_per_sec, self.features(entry)?)
    }

    fn features(&self, entry: &LedgerEntry) -> Result<Features, ConvertError> {
        let unit = self.reader.read_entry(entry)?;
        log::info!("{}: {} rows", entry.unit_uid, entry.rows);
        self.meter.done(entry.rows);
        Ok(Features {
            unit: entry.unit_uid.clone(),
            clip_uid: unit.header.clip_uid,
            query_id: unit.header.query_id,
            video_uid: unit.header.video_uid,
            span: unit.header.span,
            source_fps: unit.header.source_fps,
            meta: unit.meta,
            values: unit.features,
        })
    }
}

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
    ///
    /// # Errors
    /// [`ConvertError::Store`].
    pub fn new(manifest: Option<(&Manifest, PathBuf)>, source: Option<&Source>) -> Result<Self, ConvertError> {
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
            let split = |clip: &Clip| Some((clip.uid.clone(), clip.extra.get("split")?.clone()));
            found.splits = clips.filter_map(split).collect();
            let duration = |video: &Video| Some((video.uid.clone(), video.duration_sec?));
            found.durations = manifest.videos.iter().filter_map(duration).collect();
        }
        Ok(found)
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
