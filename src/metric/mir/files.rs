//! The two tables of EPIC-KITCHENS-100 retrieval: clips with their narrations, and unique sentences.
//!
//! Not for embeddings. A sentence is named by the narration id of a clip that has it, so that its classes are that
//! clip's.

use std::collections::HashMap;
use std::path::Path;

use ndarray::Array2;

use super::MetricError;
use crate::benchmark::Tally;
use crate::benchmark::table::{Table, numbers};
use crate::metric::arrays::read_matrix;

/// What is done to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// The clip's narration id.
    pub narration_id: String,
    /// The class of the verb.
    pub verb_class: i64,
    /// The classes of all nouns.
    pub noun_classes: Vec<u32>,
}

/// Clips and captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captions {
    /// One for each clip, in the order of the table.
    pub clips: Vec<Caption>,
    /// One for each unique sentence, in the order of the table.
    pub sentences: Vec<Caption>,
    /// The first clip whose narration id is the sentence's.
    pub first_clip: Vec<usize>,
    /// Each sentence in the words of its own table, which are not its clip's for a few of the published ones; `None` where the
    /// table has no column `narration`.
    pub texts: Option<Vec<String>>,
}

impl Captions {
    /// Reads both tables.
    ///
    /// # Errors
    ///
    /// Rows that cannot be read: leaving one out would shift all others. A sentence of no clip.
    pub fn read(clips: &Path, sentences: &Path) -> Result<Self, MetricError> {
        let captions = read_clips(clips)?;
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (place, caption) in captions.iter().enumerate() {
            places.entry(&caption.narration_id).or_insert(place);
        }
        let place = |id: String| {
            let missing = || format!("{id:?}, which is not in {}", clips.display());
            let place = places.get(id.as_str()).copied();
            place.ok_or_else(|| MetricError::unexpected(sentences, "narration ids of clips", missing()))
        };
        let (ids, texts) = read_sentences(sentences)?;
        let first_clip: Vec<usize> = ids.into_iter().map(place).collect::<Result<_, _>>()?;
        let sentences = first_clip.iter().map(|clip| captions[*clip].clone()).collect();
        Ok(Self { clips: captions, sentences, first_clip, texts })
    }
}

fn read_clips(path: &Path) -> Result<Vec<Caption>, MetricError> {
    let mut table = Table::open(path, b',')?;
    let (id, verb) = (table.column("narration_id")?, table.column("verb_class")?);
    let nouns = table.column("all_noun_classes")?;
    let mut captions = Vec::new();
    let mut tally = Tally::default();
    while let Some(row) = table.next(&mut tally)? {
        let classes = numbers(row.cell(nouns)).map(|list| list.split(' ').flat_map(str::parse).collect());
        let parts = row.cell(verb).trim().parse().ok().zip(classes);
        let (verb_class, noun_classes) = parts.ok_or_else(|| {
            let found = format!("{:?} and {:?} in row {}", row.cell(verb), row.cell(nouns), row.number);
            MetricError::unexpected(path, "a verb class and a list of noun classes", found)
        })?;
        captions.push(Caption { narration_id: row.cell(id).to_owned(), verb_class, noun_classes });
    }
    complete(path, &tally)?;
    Ok(captions)
}

/// The ids, which are the first column whatever its name, and the narrations if there are any.
fn read_sentences(path: &Path) -> Result<(Vec<String>, Option<Vec<String>>), MetricError> {
    let mut table = Table::open(path, b',')?;
    let (id, text) = (table.optional("narration_id").unwrap_or_default(), table.optional("narration"));
    let mut tally = Tally::default();
    let (mut ids, mut texts) = (Vec::new(), Vec::new());
    while let Some(row) = table.next(&mut tally)? {
        ids.push(row.cell(id).to_owned());
        texts.push(row.maybe(text).to_owned());
    }
    complete(path, &tally)?;
    Ok((ids, text.map(|_| texts)))
}

fn complete(path: &Path, tally: &Tally) -> Result<(), MetricError> {
    match tally.dropped.first() {
        None => Ok(()),
        Some(finding) => Err(MetricError::unexpected(path, "rows like the header", finding.to_string())),
    }
}

/// A matrix of relevancies in the order of the tables.
pub(super) fn read_relevancy(path: &Path, captions: &Captions) -> Result<Array2<f64>, MetricError> {
    let matrix = read_matrix(path)?;
    let expected = (captions.clips.len(), captions.sentences.len());
    if matrix.dim() != expected {
        return Err(MetricError::unexpected(path, format!("shape {expected:?}"), format!("{:?}", matrix.dim())));
    }
    Ok(matrix)
}
