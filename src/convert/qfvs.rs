//! What EgoVLPv2's QFVS extraction leaves, one file: by the number of the video a list with a dict for each pair of concepts.
//!
//! Not for the features: shots seen with each prompt are a store, and rows by which a video is cut into segments are
//! another. Tensors are read while they are written, since the file has several GB. Where shots are more or fewer than
//! those that were seen with a prompt, nothing is written.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use ndarray::ArrayView3;

use super::{Consumer, ConvertError, Job, Need, Output, Takes, Written};
use crate::checkpoint::{Dtype, Tensor, TensorInfo, Value, write_torch_value};
use crate::features::{FeatureError, Source};
use crate::ids::ClipUid;
use crate::labels::LabelError;
use crate::labels::qfvs::{Pair, Video, pairs, prompted};
use crate::qfvs::{LayoutError, SEGMENTS, SHOTS, pack};
use crate::store::RowKind;

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

/// The number in a video's name.
fn number(video: &ClipUid) -> Result<u64, ConvertError> {
    let digits: String =
        video.as_str().chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| ConvertError::NoNumber { video: video.clone() })
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
    let absent = || FeatureError::NoQuery { path: source.path().to_owned(), query_id: prompt.to_owned() };
    let entry = prompted(source, &video.uid, prompt)?.ok_or_else(absent)?;
    let rows = video.rows(source, entry, prompt)?;
    let failed = |error: LayoutError| LabelError::Shots { video: video.uid.clone(), why: error.to_string() };
    let packed = pack(rows.view(), &video.change_points).map_err(failed)?;
    let view: ArrayView3<f32> = packed.features.view();
    Ok(Tensor::from_f32(view.shape().to_vec(), view.as_slice().expect("packed in standard layout")))
}
