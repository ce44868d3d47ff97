//! What is computed in one go, and the units of the store that it fills.
//!
//! Not for when it is computed. Invariant: which rows a window makes depends on the task alone, so that every stage can
//! ask for it and all get the same answer.

use std::sync::Arc;

use crate::digest;
use crate::ids::{ClipUid, SetId, UnitUid, VideoUid};
use crate::store::{PlannedUnit, RowMeta};
use crate::time::TimeSpan;

/// Windows of some clips of one video, or sentences about it, for one feature set.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Which feature set.
    pub set: SetId,
    /// The video.
    pub video_uid: VideoUid,
    /// What is seen: one clip; or, where a row is a clip, all of them in order of time; none for sentences alone.
    pub clips: Vec<ClipInterval>,
    /// The units that it fills, and how.
    pub fills: Fills,
    /// Whether the recipe sees one eye of its frames, which show two.
    pub is_halved: bool,
    /// Rows that it will make, as far as the manifest tells.
    pub estimated_rows: u64,
}

/// What a unit of half frames is promised to hold beside its rows.
const HALVES: &str = "left halves of stereo frames";

/// A clip, as a part of its video.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipInterval {
    /// The clip.
    pub clip_uid: ClipUid,
    /// Its part of the video; `None` for all of it.
    pub span: Option<TimeSpan>,
    /// Training, validation or test, if the manifest says so.
    pub split: Option<String>,
}

/// A query, by its row in the table.
pub type QueryRow = usize;

/// The units that a task fills, and how.
#[derive(Debug, Clone, PartialEq)]
pub enum Fills {
    /// One unit; its rows are the windows, in order.
    Windows(UnitUid),
    /// A unit for each query; each window meets all queries, and its row in each unit is its own number.
    Fused(Vec<(UnitUid, QueryRow)>),
    /// One unit; window `i` meets the queries `query_rows[i]`, and each of these pairs is a row.
    Pairs {
        /// The unit.
        unit_uid: UnitUid,
        /// For each clip the queries that are asked of it.
        query_rows: Vec<Vec<QueryRow>>,
    },
    /// One unit of sentences alone.
    Sentences {
        /// The unit.
        unit_uid: UnitUid,
        /// The queries, each with the clip that it is about.
        query_rows: Vec<(QueryRow, ClipUid)>,
    },
}

/// A row that a window makes: in which of the task's units, which row, and after meeting which query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Position in [`Task::units`].
    pub unit: usize,
    /// The row.
    pub row: u64,
    /// The query, if one is asked.
    pub query: Option<QueryRow>,
}

impl Task {
    /// The units, in the order in which [`Target::unit`] counts them.
    pub fn units(&self) -> Vec<&UnitUid> {
        match &self.fills {
            Fills::Windows(unit_uid) | Fills::Pairs { unit_uid, .. } | Fills::Sentences { unit_uid, .. } => {
                vec![unit_uid]
            }
            Fills::Fused(units) => units.iter().map(|(unit_uid, _)| unit_uid).collect(),
        }
    }

    /// Keeps the units that `keep` accepts; how many are left. A task with none left has nothing to do.
    pub(super) fn keep_units(&mut self, keep: impl Fn(&UnitUid) -> bool) -> usize {
        match &mut self.fills {
            Fills::Windows(unit_uid) | Fills::Pairs { unit_uid, .. } | Fills::Sentences { unit_uid, .. } => {
                usize::from(keep(unit_uid))
            }
            Fills::Fused(units) => {
                let each = self.estimated_rows / units.len().max(1) as u64;
                units.retain(|(unit_uid, _)| keep(unit_uid));
                self.estimated_rows = each.saturating_mul(units.len() as u64);
                units.len()
            }
        }
    }

    /// The rows that window `window` makes.
    pub fn targets(&self, window: u64) -> Vec<Target> {
        match &self.fills {
            Fills::Windows(_) => vec![Target { unit: 0, row: window, query: None }],
            Fills::Fused(units) => {
                let of = |(unit, (_, query)): (usize, &(UnitUid, QueryRow))| Target {
                    unit,
                    row: window,
                    query: Some(*query),
                };
                units.iter().enumerate().map(of).collect()
            }
            Fills::Pairs { query_rows, .. } => {
                let (before, from) = query_rows.split_at(window as usize);
                let first = before.iter().map(Vec::len).sum::<usize>() as u64;
                let queries = from.first().into_iter().flatten();
                (first..).zip(queries).map(|(row, query)| Target { unit: 0, row, query: Some(*query) }).collect()
            }
            Fills::Sentences { .. } => Vec::new(),
        }
    }

    /// The rows of each unit, from those of the windows; `id_of` names queries.
    pub fn rows(&self, windows: Vec<RowMeta>, id_of: impl Fn(QueryRow) -> Arc<str>) -> Vec<RowMeta> {
        let Fills::Pairs { query_rows, .. } = &self.fills else { return windows };
        let paired = |(window, queries): (RowMeta, &Vec<QueryRow>)| -> Vec<RowMeta> {
            queries.iter().map(|&query| RowMeta { query_id: Some(id_of(query)), ..window.clone() }).collect()
        };
        windows.into_iter().zip(query_rows).flat_map(paired).collect()
    }

    /// The part of the video that all of its units cover; `None` where that is all of it, or each row says its own.
    pub fn span(&self) -> Option<TimeSpan> {
        let is_own = match &self.fills {
            Fills::Windows(unit_uid) => self.is_one_clip(unit_uid),
            Fills::Fused(_) => true,
            Fills::Pairs { .. } | Fills::Sentences { .. } => false,
        };
        self.clips.first().filter(|_| is_own).and_then(|clip| clip.span)
    }

    /// The split that all of these are of: `None` if one is of another, or says none.
    pub fn common_split<'s>(mut splits: impl Iterator<Item = Option<&'s str>>) -> Option<String> {
        let first = splits.next()?.filter(|split| !split.is_empty())?;
        splits.all(|split| split == Some(first)).then(|| first.to_owned())
    }

    /// The split that all of its clips are of.
    pub fn split(&self) -> Option<String> {
        Self::common_split(self.clips.iter().map(|clip| clip.split.as_deref()))
    }

    /// What the store is promised; `query_of` gives id and text of a query.
    pub fn promises<'q>(&self, query_of: impl Fn(QueryRow) -> (&'q str, &'q str)) -> Vec<PlannedUnit> {
        let promise = |unit_uid: &UnitUid, mut content: Vec<String>| {
            content.extend(self.is_halved.then(|| HALVES.to_owned()));
            PlannedUnit {
                unit_uid: unit_uid.clone(),
                video_uid: self.video_uid.clone(),
                span: self.span(),
                content_sha256: (!content.is_empty()).then(|| digest::text(&content.join("\n"))),
            }
        };
        let sentence = |query: QueryRow| {
            let (id, text) = query_of(query);
            format!("{id:?} {text:?}")
        };
        match &self.fills {
            Fills::Windows(unit_uid) if self.is_one_clip(unit_uid) => vec![promise(unit_uid, Vec::new())],
            Fills::Windows(unit_uid) => {
                vec![promise(unit_uid, self.clips.iter().map(ClipInterval::described).collect())]
            }
            Fills::Fused(units) => {
                units.iter().map(|(unit_uid, query)| promise(unit_uid, vec![sentence(*query)])).collect()
            }
            Fills::Pairs { unit_uid, query_rows } => {
                let pair = |(clip, queries): (&ClipInterval, &Vec<QueryRow>)| {
                    let described = clip.described();
                    queries.iter().map(|&query| format!("{described} {}", sentence(query))).collect::<Vec<_>>()
                };
                vec![promise(unit_uid, self.clips.iter().zip(query_rows).flat_map(pair).collect())]
            }
            Fills::Sentences { unit_uid, query_rows } => {
                vec![promise(unit_uid, query_rows.iter().map(|(query, _)| sentence(*query)).collect())]
            }
        }
    }

    /// Whether the unit is a clip's own, whose span says all that is in it.
    fn is_one_clip(&self, unit_uid: &UnitUid) -> bool {
        matches!(&self.clips[..], [clip] if UnitUid::from(&clip.clip_uid) == *unit_uid)
    }
}

impl ClipInterval {
    fn described(&self) -> String {
        let span = self.span.map_or_else(|| "whole".to_owned(), |span| format!("{}..{}", span.start_sec, span.end_sec));
        format!("{} {span}", self.clip_uid)
    }
}
