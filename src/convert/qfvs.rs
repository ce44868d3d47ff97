//! What EgoVLPv2's QFVS extraction leaves, one file: by the number of the video a list with a dict for each pair of concepts.
//!
//! Not for the features: shots seen with each prompt are a store, and rows by which a video is cut into segments are
//! another. Tensors are read while they are written, since the file has several GB. Where shots are more or fewer than
//! those that were seen with a prompt, nothing is written. [`pairs`], [`Video`] and [`prompted`] are also what our own
//! training packs its samples by.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use ndarray::{Array2, ArrayView3};

use super::source::Source;
use super::vslnet::cells;
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::checkpoint::{Dtype, Tensor, TensorInfo, Value, write_torch_value};
use crate::ids::{ClipUid, UnitUid};
use crate::qfvs::{LayoutError, Limits, SEGMENTS, SHOTS, bounds, pack, segment};
use crate::queries::Queries;
use crate::store::{LedgerEntry, RowKind};

pub(super) const CONSUMER: Consumer = Consumer {
    name: "qfvs-pt",
    about: "EgoVLPv2_features.pt: EgoVLPv2's QFVS; shots that met their prompts, with --shots, and --tags for training",
    takes: Takes {
        rows: &[RowKind::FusedWindow, RowKind::Window],
        queries: Need::Required,
        tokens: Need::Unused,
        clips: Need::Unused,
    },
    write,
};

/// The name that the original looks for in `multimodal_features/`, after the checkpoint that its configuration names; where
/// it finds none it extracts anew, without a word.
const FILE: &str = "EgoVLPv2_features.pt";
/// Places for shots in a video.
const PLACES: usize = SEGMENTS * SHOTS;
/// Videos that the original's dict has whether or not they have queries.
const VIDEOS: std::ops::RangeInclusive<u64> = 1..=4;

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

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let source = job.source()?;
    let needs = |what| ConvertError::Needs { format: CONSUMER.name, what };
    let shots = job.shots.as_ref().ok_or_else(|| needs("a feature set of shots (--shots DIR)"))?;
    super::expect_rows(CONSUMER.name, shots, &[RowKind::Window])?;
    let pairs = pairs(job.queries()?)?;
    let mut videos: BTreeMap<&ClipUid, Video> = BTreeMap::new();
    let mut lists: BTreeMap<u64, Vec<&Pair>> = VIDEOS.map(|number| (number, vec![])).collect();
    for pair in &pairs {
        if !videos.contains_key(pair.video) {
            videos.insert(pair.video, Video::read(shots, job.tags.as_deref(), pair.video)?);
        }
        lists.entry(number(pair.video)?).or_default().push(pair);
    }
    let mut written = Written::default();
    if job.tags.is_none() {
        let note = "without --tags, concept1_GT and concept2_GT are zeros: enough to predict, not to train";
        written.notes.push(note.to_owned());
    }
    let dim = source.contract().dim;
    let dicts =
        |pairs: &Vec<&Pair>| Value::List(pairs.iter().map(|pair| dict(pair, &videos[pair.video], dim)).collect());
    let value = Value::Dict(lists.iter().map(|(number, pairs)| (number.to_string(), dicts(pairs))).collect());
    let mut turns = lists.values().flatten().flat_map(|pair| pair.prompts.map(|prompt| (pair.video, prompt)));
    let mut fetch = || -> Result<Option<Tensor>, ConvertError> {
        let Some((video, prompt)) = turns.next() else { return Ok(None) };
        let tensor = packed(source, &videos[video], prompt)?;
        written.rows += videos[video].shots as u64;
        Ok(Some(tensor))
    };
    let path = output.path(FILE)?;
    let file = fs::File::create(&path).map_err(ConvertError::io("create", &path))?;
    write_torch_value(std::io::BufWriter::new(file), &value, || fetch().map_err(Failed::Convert))
        .map_err(|failed| failed.into_error(&path))?;
    written.units = pairs.len();
    Ok(written)
}

/// What may stop the writing.
enum Failed {
    Convert(ConvertError),
    Io(std::io::Error),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failed {
    fn into_error(self, path: &Path) -> ConvertError {
        match self {
            Self::Convert(error) => error,
            Self::Io(error) => ConvertError::io("write", path)(error),
        }
    }
}

/// The pairs of the table, in its order.
///
/// # Errors
/// [`ConvertError::Cell`] for a concept without a prompt of its own, and for a table that is not of QFVS.
pub fn pairs(queries: &Queries) -> Result<Vec<Pair<'_>>, ConvertError> {
    let column = |name| cells(CONSUMER.name, queries, name);
    let (firsts, seconds, oracles) = (column("concept_1")?, column("concept_2")?, column("oracle_shots")?);
    let rows: Vec<_> = queries.iter().zip(firsts.zip(seconds)).zip(oracles).collect();
    let alone: BTreeMap<(&ClipUid, &str), &str> = rows
        .iter()
        .filter(|((_, (_, second)), _)| second.is_empty())
        .map(|((query, (first, _)), _)| ((query.clip_uid, *first), query.id))
        .collect();
    let pair = |&((query, (first, second)), oracle): &((_, _), &str)| -> Result<Pair<'_>, ConvertError> {
        let query: crate::queries::Query = query;
        let prompt = |concept: &str| {
            let absent = || ConvertError::Cell {
                query_id: query.id.to_owned(),
                column: "concept_1",
                expected: "a concept that has a prompt of its own in the table",
                found: concept.to_owned(),
            };
            alone.get(&(query.clip_uid, concept)).copied().ok_or_else(absent)
        };
        let prompts = [prompt(first)?, prompt(second)?, query.id];
        let oracle = oracle.split_whitespace().filter_map(|shot| shot.parse().ok()).collect();
        Ok(Pair { video: query.clip_uid, concepts: [first, second], prompts, oracle })
    };
    rows.iter().filter(|((_, (_, second)), _)| !second.is_empty()).map(pair).collect()
}

/// The number in a video's name.
fn number(video: &ClipUid) -> Result<u64, ConvertError> {
    let digits: String =
        video.as_str().chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| ConvertError::NoNumber { video: video.clone() })
}

impl Video {
    /// Cuts a video by its rows in the store `shots`; the folder of the `tags` of all videos has the concepts.
    ///
    /// # Errors
    /// [`ConvertError::Shots`] for a video that is not in the store or has other tags, or what reading says.
    pub fn read(shots: &Source, tags: Option<&Path>, video: &ClipUid) -> Result<Self, ConvertError> {
        let failed = |why: String| ConvertError::Shots { video: video.clone(), why };
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
        // Points of a segmentation are points of these shots.
        bounds(&self.change_points, self.shots).unwrap_or_default()
    }

    /// Whether that shot, from 0, shows a concept.
    pub fn shows(&self, shot: usize, concept: &str) -> bool {
        self.tags.get(shot).is_some_and(|tags| tags.contains(concept))
    }

    /// Rows `[shots, dim]` of the unit at `entry`, the video's shots after they have met `prompt`.
    ///
    /// # Errors
    /// [`ConvertError::Shots`] for another number of shots, or what reading says.
    pub fn rows(&self, source: &Source, entry: &LedgerEntry, prompt: &str) -> Result<Array2<f32>, ConvertError> {
        let features = source.read(entry)?;
        let (found, expected) = (features.meta.len(), self.shots);
        if found == expected {
            return Ok(features.values);
        }
        let why = format!("{found} shots were seen with {prompt:?}, expected {expected}");
        Err(ConvertError::Shots { video: self.uid.clone(), why })
    }
}

/// The unit of a video's shots after they have met a prompt. Shots that meet none, as released, are the same for all
/// prompts.
///
/// # Errors
/// [`ConvertError::Store`].
pub fn prompted<'s>(
    source: &'s Source,
    video: &ClipUid,
    prompt: &str,
) -> Result<Option<&'s LedgerEntry>, ConvertError> {
    match source.rows() {
        RowKind::Window => Ok(source.find(&UnitUid::from(video))),
        _ => source.find_query(prompt),
    }
}

/// `Dense_per_shot_tags/P01/P01.txt`: a line for each shot, its concepts with commas between them.
fn read_tags(folder: &Path, video: &ClipUid, shots: usize) -> Result<Vec<HashSet<String>>, ConvertError> {
    let path = folder.join(video.as_str()).join(format!("{video}.txt"));
    let text = fs::read_to_string(&path).map_err(ConvertError::io("read", &path))?;
    let tags: Vec<HashSet<String>> =
        text.lines().map(|line| line.trim().split(',').map(str::to_owned).collect()).collect();
    if tags.len() != shots {
        let why = format!("{} lists {} shots, expected {shots}", path.display(), tags.len());
        return Err(ConvertError::Shots { video: video.clone(), why });
    }
    Ok(tags)
}

/// The keys and types of the original, in its order.
fn dict(pair: &Pair, video: &Video, dim: usize) -> Value {
    let mut lengths = [0; SEGMENTS];
    lengths.iter_mut().zip(video.segments()).for_each(|(length, shots)| *length = shots.len() as i32);
    let later = || Value::Announced(TensorInfo { dtype: Dtype::F32, shape: vec![SEGMENTS, SHOTS, dim] });
    let marks = |is_marked: &dyn Fn(usize) -> bool| {
        let marks: Vec<f32> = (0..PLACES).map(|shot| f32::from(u8::from(is_marked(shot)))).collect();
        Value::Tensor(Tensor::from_f32(vec![PLACES], &marks))
    };
    let tagged = |concept: &str| marks(&|shot| video.shows(shot, concept));
    let oracle: HashSet<usize> = pair.oracle.iter().copied().collect();
    let there: Vec<bool> = (0..PLACES).map(|shot| shot < video.shots).collect();
    let entries = [
        ("seg_len", Value::Tensor(Tensor::from_i32(vec![SEGMENTS], &lengths))),
        ("fusedfeat_concept1_batched_list", later()),
        ("fusedfeat_concept2_batched_list", later()),
        ("fusedfeat_oracle_batched_list", later()),
        ("concept1_GT", tagged(pair.concepts[0])),
        ("concept2_GT", tagged(pair.concepts[1])),
        ("mask_GT", Value::Tensor(Tensor::from_bools(&there))),
        ("oracle_summary", marks(&|shot| oracle.contains(&(shot + 1)))),
    ];
    Value::Dict(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The shots of a video after they have met a prompt, `[20, 200, dim]`.
fn packed(source: &Source, video: &Video, prompt: &str) -> Result<Tensor, ConvertError> {
    let absent = || ConvertError::NoQuery { path: source.path().to_owned(), query_id: prompt.to_owned() };
    let entry = prompted(source, &video.uid, prompt)?.ok_or_else(absent)?;
    let rows = video.rows(source, entry, prompt)?;
    let failed = |error: LayoutError| ConvertError::Shots { video: video.uid.clone(), why: error.to_string() };
    let packed = pack(rows.view(), &video.change_points).map_err(failed)?;
    let view: ArrayView3<f32> = packed.features.view();
    Ok(Tensor::from_f32(view.shape().to_vec(), view.as_slice().unwrap_or_default()))
}
