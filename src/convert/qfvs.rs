//! QFVS's form: for each video a file with what the summary head of EgoVLPv2 is trained on, packed into 20 segments of 200
//! shots.
//!
//! Not for the segmentation itself, which is `qfvs`'s. Invariant: labels count shots in their order, packed features by
//! segment, as in the original; both leave the rest at zero. Source: the keys that `runner_summary_transformer.py` of
//! EgoVLPv2's QFVS reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ndarray::Array2;

use super::source::{Features, Source};
use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::checkpoint::{Dtype, Tensor, Value};
use crate::ids::UnitUid;
use crate::qfvs::{Limits, SEGMENTS, SHOTS, pack, segment};
use crate::queries::{Queries, Query};
use crate::store::RowKind;

pub(super) const CONSUMER: Consumer = Consumer {
    name: "qfvs-pt",
    about: "{video}.pt, a list of one dict per query in [20, 200]: EgoVLPv2's QFVS head; with --shots, and --tags for training",
    takes: Takes {
        rows: &[RowKind::FusedWindow, RowKind::Window],
        queries: Need::Required,
        tokens: Need::Unused,
        clips: Need::Unused,
    },
    write,
};

/// Places of all shots, packed or in a row.
const PLACES: usize = SEGMENTS * SHOTS;

fn write(job: &Job, output: &Output) -> Result<Written, ConvertError> {
    let needs = |what| ConvertError::Needs { format: CONSUMER.name, what };
    let (source, queries) = (job.source()?, job.queries()?);
    let shots =
        job.shots.as_ref().ok_or(needs("the class tokens of the shots (--shots DIR), which cut the segments"))?;
    let mut written = Written::default();
    for (video, asked) in pairs(queries)? {
        let video = Video::read(job, source, shots, &video)?;
        let dicts = asked.iter().map(|pair| video.dict(pair)).collect::<Result<Vec<_>, _>>()?;
        output.torch(&format!("{}.pt", video.name), &Value::List(dicts))?;
        written.units += asked.len();
        written.rows += 3 * (asked.len() * video.num_shots()) as u64;
    }
    if job.tags.is_none() {
        written
            .notes
            .push("without --tags all concept1_GT and concept2_GT are zero: enough to predict, not to train".into());
    }
    Ok(written)
}

/// A query of two concepts.
struct Pair<'q> {
    query: Query<'q>,
    concepts: [&'q str; 2],
    oracle: Vec<usize>,
}

/// The queries of two concepts, by video.
fn pairs(queries: &Queries) -> Result<BTreeMap<String, Vec<Pair<'_>>>, ConvertError> {
    let column = |name: &'static str| {
        let found = || queries.columns().collect::<Vec<_>>().join(", ");
        queries.column(name).ok_or_else(|| ConvertError::NoColumn {
            format: CONSUMER.name,
            column: name,
            found: found(),
        })
    };
    let cells = column("concept_1")?.zip(column("concept_2")?).zip(column("oracle_shots")?);
    let mut videos: BTreeMap<String, Vec<Pair>> = BTreeMap::new();
    for (query, ((first, second), shots)) in
        queries.iter().zip(cells).filter(|(_, ((_, second), _))| !second.is_empty())
    {
        let shot = |text: &str| match text.parse::<usize>() {
            Ok(shot) if (1..=PLACES).contains(&shot) => Ok(shot - 1),
            _ => Err(ConvertError::Cell {
                query_id: query.id.to_owned(),
                column: "oracle_shots",
                expected: "numbers of shots, 1 to 4000",
                found: text.to_owned(),
            }),
        };
        let oracle = shots.split_whitespace().map(shot).collect::<Result<_, _>>()?;
        videos.entry(query.clip_uid.to_string()).or_default().push(Pair { query, concepts: [first, second], oracle });
    }
    Ok(videos)
}

/// What all queries of a video share.
struct Video<'j> {
    name: String,
    source: &'j Source,
    change_points: Vec<usize>,
    num_shots: usize,
    /// Concepts of each shot; empty without `--tags`.
    tags: Vec<Vec<String>>,
}

impl<'j> Video<'j> {
    fn read(job: &'j Job, source: &'j Source, shots: &Source, name: &str) -> Result<Self, ConvertError> {
        let classes = unit(shots, name)?.values.mapv(f64::from);
        let cut = segment(classes.view(), Limits::QFVS);
        let change_points = cut.map_err(|why| unpackable(name, why.to_string()))?.change_points;
        let tags = job.tags.as_ref().map(|folder| read_tags(folder, name)).transpose()?.unwrap_or_default();
        Ok(Self { name: name.to_owned(), source, change_points, num_shots: classes.nrows(), tags })
    }

    fn num_shots(&self) -> usize {
        self.num_shots
    }

    /// One query, in the original's order of keys.
    fn dict(&self, pair: &Pair) -> Result<Value, ConvertError> {
        let [first, second] = pair.concepts.map(|concept| format!("{}_{concept}", self.name));
        let (first, seg_len) = self.packed(&first)?;
        let (second, _) = self.packed(&second)?;
        let (both, _) = self.packed(pair.query.id)?;
        let [first_gt, second_gt] = pair.concepts.map(|concept| self.labels(concept));
        let oracle = flags(pair.oracle.iter().copied());
        let entries = [
            ("seg_len", seg_len),
            ("fusedfeat_concept1_batched_list", first),
            ("fusedfeat_concept2_batched_list", second),
            ("fusedfeat_oracle_batched_list", both),
            ("concept1_GT", first_gt),
            ("concept2_GT", second_gt),
            ("mask_GT", self.mask()),
            ("oracle_summary", oracle),
            ("query_id", Value::Text(pair.query.id.to_owned())),
        ];
        Ok(Value::Dict(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
    }

    /// The video's shots after they have met a prompt, `[20, 200, dim]`, and the lengths of the segments. Features that meet
    /// no prompt, as released, are the same for all.
    fn packed(&self, query_id: &str) -> Result<(Value, Value), ConvertError> {
        let features = match self.source.rows() {
            RowKind::Window => unit(self.source, &self.name)?,
            _ => {
                let (path, query_id) = (self.source.path().to_owned(), query_id.to_owned());
                let entry = self.source.find_query(&query_id)?;
                self.source.read(entry.ok_or(ConvertError::NoQuery { path, query_id })?)?
            }
        };
        if features.values.nrows() != self.num_shots {
            let (found, expected) = (features.values.nrows(), self.num_shots);
            return Err(unpackable(&self.name, format!("{query_id} has {found} shots, --shots has {expected}")));
        }
        pack_values(&features.values, &self.change_points).map_err(|why| unpackable(&self.name, why))
    }

    fn labels(&self, concept: &str) -> Value {
        let has = |shot: &usize| self.tags[*shot].iter().any(|tag| tag == concept);
        flags((0..self.tags.len().min(PLACES)).filter(has))
    }

    /// Which places have a shot, as booleans.
    fn mask(&self) -> Value {
        let bytes = (0..PLACES).map(|place| u8::from(place < self.num_shots)).collect();
        Value::Tensor(Tensor { dtype: Dtype::Bool, shape: vec![PLACES], bytes })
    }
}

fn pack_values(values: &Array2<f32>, change_points: &[usize]) -> Result<(Value, Value), String> {
    let packed = pack(values.view(), change_points).map_err(|why| why.to_string())?;
    let shape = packed.features.shape().to_vec();
    let features = Tensor::from_f32(shape, packed.features.as_slice().unwrap_or_default());
    let bytes = packed.seg_len.iter().flat_map(|length| length.to_le_bytes()).collect();
    let seg_len = Tensor { dtype: Dtype::I32, shape: vec![SEGMENTS], bytes };
    Ok((Value::Tensor(features), Value::Tensor(seg_len)))
}

/// 1 at these places of 4000, 0 elsewhere.
fn flags(places: impl Iterator<Item = usize>) -> Value {
    let mut values = vec![0.0; PLACES];
    places.for_each(|place| values[place] = 1.0);
    Value::Tensor(Tensor::from_f32(vec![PLACES], &values))
}

fn unit(source: &Source, name: &str) -> Result<Features, ConvertError> {
    let absent = || ConvertError::NoQuery { path: source.path().to_owned(), query_id: name.to_owned() };
    let uid = UnitUid::parse(name).map_err(|_| absent())?;
    source.read(source.find(&uid).ok_or_else(absent)?)
}

fn unpackable(video: &str, why: String) -> ConvertError {
    ConvertError::Video { video: video.to_owned(), why }
}

/// `Dense_per_shot_tags/P01/P01.txt`: a line for each shot, its concepts with commas between them.
fn read_tags(folder: &Path, video: &str) -> Result<Vec<Vec<String>>, ConvertError> {
    let path = folder.join(video).join(format!("{video}.txt"));
    let text = fs::read_to_string(&path).map_err(ConvertError::io("read", &path))?;
    Ok(text.lines().map(|line| line.trim().split(',').map(str::to_owned).collect()).collect())
}
