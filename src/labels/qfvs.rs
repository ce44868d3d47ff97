//! QFVS: pairs of concepts with their prompts and true summaries, and videos cut into segments by their shots.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use ndarray::Array2;

use super::error::LabelError;
use super::table::cells;
use crate::features::Source;
use crate::ids::{ClipUid, UnitUid};
use crate::qfvs::{Limits, bounds, segment};
use crate::queries::Queries;
use crate::store::{LedgerEntry, RowKind};

/// A pair of concepts of one video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'q> {
    /// The video.
    pub video: &'q ClipUid,
    /// The concepts, under their own names.
    pub concepts: [&'q str; 2],
    /// Ids of the three prompts: of each concept alone, and of both.
    pub prompts: [&'q str; 3],
    /// The shots of the true summary, from 1.
    pub oracle: Vec<usize>,
}

/// A video's shots.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// Its name.
    pub uid: ClipUid,
    /// First shots of all segments but the first one.
    pub change_points: Vec<usize>,
    /// How many there are.
    pub shots: usize,
    /// The concepts of each shot; empty if nobody gave them.
    pub tags: Vec<HashSet<String>>,
}

/// The pairs of the table, in its order.
///
/// # Errors
/// [`LabelError::Cell`] for a concept without a prompt of its own, and for a table that is not of QFVS.
pub fn pairs(queries: &Queries) -> Result<Vec<Pair<'_>>, LabelError> {
    let column = |name| cells("qfvs", queries, name);
    let (firsts, seconds, oracles) = (column("concept_1")?, column("concept_2")?, column("oracle_shots")?);
    let rows: Vec<_> = queries.iter().zip(firsts.zip(seconds)).zip(oracles).collect();
    let alone: BTreeMap<(&ClipUid, &str), &str> = rows
        .iter()
        .filter(|((_, (_, second)), _)| second.is_empty())
        .map(|((query, (first, _)), _)| ((query.clip_uid, *first), query.id))
        .collect();
    let pair = |&((query, (first, second)), oracle): &((_, _), &str)| -> Result<Pair<'_>, LabelError> {
        let query: crate::queries::Query = query;
        let prompt = |concept: &str| {
            let absent = || LabelError::Cell {
                query_id: query.id.to_owned(),
                column: "concept_1",
                expected: "a concept that has a prompt of its own in the table",
                found: concept.to_owned(),
            };
            alone.get(&(query.clip_uid, concept)).copied().ok_or_else(absent)
        };
        let prompts = [prompt(first)?, prompt(second)?, query.id];
        let oracle = oracle.split_whitespace().map(|shot| {
            let expected = "numbers of shots, separated by blanks";
            let column = "oracle_shots";
            let wrong =
                |_| LabelError::Cell { query_id: query.id.to_owned(), column, expected, found: shot.to_owned() };
            shot.parse().map_err(wrong)
        });
        let oracle = oracle.collect::<Result<_, _>>()?;
        Ok(Pair { video: query.clip_uid, concepts: [first, second], prompts, oracle })
    };
    rows.iter().filter(|((_, (_, second)), _)| !second.is_empty()).map(pair).collect()
}

impl Video {
    /// Cuts a video by its rows in the store `shots`; the folder of the `tags` of all videos has the concepts.
    ///
    /// # Errors
    /// [`LabelError::Shots`] for a video that is not in the store or has other tags, or what reading says.
    pub fn read(shots: &Source, tags: Option<&Path>, video: &ClipUid) -> Result<Self, LabelError> {
        let failed = |why: String| LabelError::Shots { video: video.clone(), why };
        let absent = || failed(format!("no shots of it in {}", shots.path().display()));
        let features = shots.read(shots.find(&UnitUid::from(video)).ok_or_else(absent)?)?;
        let cut =
            segment(features.values.mapv(f64::from).view(), Limits::QFVS).map_err(|error| failed(error.to_string()))?;
        let (shots, change_points) = (features.meta.len(), cut.change_points);
        let tags = tags.map(|folder| read_tags(folder, video, shots)).transpose()?.unwrap_or_default();
        Ok(Self { uid: video.clone(), change_points, shots, tags })
    }

    /// The shots of each segment.
    pub fn segments(&self) -> Vec<Range<usize>> {
        bounds(&self.change_points, self.shots).expect("points of a segmentation of these shots")
    }

    /// Whether that shot, from 0, shows a concept.
    pub fn shows(&self, shot: usize, concept: &str) -> bool {
        self.tags.get(shot).is_some_and(|tags| tags.contains(concept))
    }

    /// Rows `[shots, dim]` of the unit at `entry`, the video's shots after they have met `prompt`.
    ///
    /// # Errors
    /// [`LabelError::Shots`] for another number of shots, or what reading says.
    pub fn rows(&self, source: &Source, entry: &LedgerEntry, prompt: &str) -> Result<Array2<f32>, LabelError> {
        let features = source.read(entry)?;
        let (found, expected) = (features.meta.len(), self.shots);
        if found == expected {
            return Ok(features.values);
        }
        let why = format!("{found} shots were seen with {prompt:?}, expected {expected}");
        Err(LabelError::Shots { video: self.uid.clone(), why })
    }
}

/// The unit of a video's shots after they have met a prompt. Shots that meet none, as released, are the same for all
/// prompts.
///
/// # Errors
/// [`LabelError::Features`].
pub fn prompted<'s>(source: &'s Source, video: &ClipUid, prompt: &str) -> Result<Option<&'s LedgerEntry>, LabelError> {
    match source.rows() {
        RowKind::Window => Ok(source.find(&UnitUid::from(video))),
        _ => Ok(source.find_query(prompt)?),
    }
}

/// `Dense_per_shot_tags/P01/P01.txt`: a line for each shot, its concepts with commas between them.
fn read_tags(folder: &Path, video: &ClipUid, shots: usize) -> Result<Vec<HashSet<String>>, LabelError> {
    let path = folder.join(video.as_str()).join(format!("{video}.txt"));
    let text = fs::read_to_string(&path).map_err(|source| LabelError::Read { path: path.clone(), source })?;
    let tags: Vec<HashSet<String>> =
        text.lines().map(|line| line.trim().split(',').map(str::to_owned).collect()).collect();
    if tags.len() != shots {
        let why = format!("{} lists {} shots, expected {shots}", path.display(), tags.len());
        return Err(LabelError::Shots { video: video.clone(), why });
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::Query;

    #[test]
    fn an_oracle_that_is_no_list_of_shots_is_refused_by_its_query() {
        let video = ClipUid::parse("P01").unwrap();
        let table = |oracle: &str| {
            let mut queries = Queries::new(&["concept_1", "concept_2", "oracle_shots"]);
            for (id, cells) in [("car", ["car", "", ""]), ("sky", ["sky", "", ""]), ("both", ["car", "sky", oracle])] {
                queries.push(Query { id, clip_uid: &video, text: id, start_sec: None, end_sec: None }, &cells);
            }
            queries
        };
        let good = table("3 14");
        assert_eq!(pairs(&good).unwrap()[0].oracle, [3, 14]);
        assert_eq!(
            pairs(&table("3 x")).unwrap_err().to_string(),
            "query \"both\": oracle_shots: expected numbers of shots, separated by blanks, found \"x\""
        );
    }
}
