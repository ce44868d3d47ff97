//! QFVS, query-focused summaries of the four UT-Ego videos: the folder `Oracle_Summaries`.
//!
//! A unit is a whole video; a query is a pair of concepts with the shots that a summary should have, or one of the concepts
//! alone, for each pair has three prompts. Not for the tags of shots, which only the metric reads. Shots last five seconds and count from 1; a line that is no number costs only
//! itself.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::builder::{Builder, Extent, NO_CLIP, Unit};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;
use crate::time::Fps;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "qfvs",
    about: "the UT-Ego videos, with pairs of concepts and their summaries",
    needs: Needs {
        annotations: Need::Required("the folder Oracle_Summaries (--annotations DIR)"),
        videos: super::PRESENT_ONLY,
    },
    build,
};

/// How a summary's file is named, behind its two concepts.
const ENDING: &str = "_oracle.txt";

/// A shot of five seconds has five images.
const PICTURES_PER_SEC: Option<Fps> = Fps::new(1, 1);

/// Concepts that the original code renames for the text tower; everything else knows them by their first names.
const RENAMED: [(&str, &str); 3] =
    [("Cupglass", "Glass"), ("Musicalinstrument", "Instrument"), ("Petsanimal", "Animal")];

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &["concept_1", "concept_2", "oracle_shots"]);
    builder.images.fps = PICTURES_PER_SEC;
    for root in BENCHMARK.annotations(sources)? {
        for path in summaries(root)? {
            add_summary(&mut builder, root, &path)?;
        }
    }
    builder.finish(sources)
}

/// All summaries below `root`, in order of their paths.
fn summaries(root: &Path) -> Result<Vec<PathBuf>, BenchmarkError> {
    let mut found = Vec::new();
    for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            BenchmarkError::Read { path, cause: error.into() }
        })?;
        if entry.file_type().is_file() && entry.file_name().to_string_lossy().ends_with(ENDING) {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

fn add_summary(builder: &mut Builder, root: &Path, path: &Path) -> Result<(), BenchmarkError> {
    let at = path.strip_prefix(root).unwrap_or(path).display();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(ENDING).unwrap_or_default();
    let Some((first, second)) = stem.split_once('_').filter(|(first, second)| {
        let is_one = |concept: &str| !concept.is_empty() && !concept.contains('_');
        is_one(first) && is_one(second)
    }) else {
        builder.tally.drop("summaries whose file does not name two concepts", at);
        return Ok(());
    };
    let video = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let Some(clip_uid) = (match builder.known(&video) {
        None => builder.unit(&at, &Unit { video_uid: &video, clip_uid: &video, extent: Extent::Whole, split: "" }),
        known => known,
    }) else {
        builder.tally.drop(NO_CLIP, at);
        return Ok(());
    };
    for concept in [first, second] {
        add_concept(builder, &at, &clip_uid, concept);
    }
    let shots = shots(builder, path, &at)?;
    let id = format!("{video}_{first}_{second}");
    let text = format!("There is a {} and a {}", prompted(first), prompted(second));
    let query = Query { id: &id, clip_uid: &clip_uid, text: &text, start_sec: None, end_sec: None };
    builder.query(at, query, &["", first, second, &shots]);
    Ok(())
}

/// The prompt of one concept alone, once for each video.
fn add_concept(builder: &mut Builder, at: impl std::fmt::Display, clip_uid: &ClipUid, concept: &str) {
    let id = format!("{clip_uid}_{concept}");
    if builder.queries.find(&id).is_some() {
        return;
    }
    let text = format!("There is a {}", prompted(concept));
    let query = Query { id: &id, clip_uid, text: &text, start_sec: None, end_sec: None };
    builder.query(at, query, &["", concept, "", ""]);
}

fn prompted(concept: &str) -> &str {
    RENAMED.iter().find(|(name, _)| *name == concept).map_or(concept, |(_, prompted)| prompted)
}

/// Numbers of shots, separated by blanks.
fn shots(builder: &mut Builder, path: &Path, at: impl std::fmt::Display) -> Result<String, BenchmarkError> {
    let bytes = fs::read(path).map_err(|cause| BenchmarkError::Read { path: path.to_owned(), cause })?;
    let text = String::from_utf8_lossy(&bytes);
    let mut shots = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        match line.trim().parse::<u32>().ok().filter(|shot| *shot > 0) {
            Some(shot) => shots.push(shot.to_string()),
            None => {
                let example = format_args!("{at}: line {number}: {line:?}");
                builder.tally.drop("shots that are no number from 1", example);
            }
        }
    }
    if shots.is_empty() {
        builder.tally.keep("summaries without a shot", &at);
    }
    Ok(shots.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &["qfvs"]).unwrap();
        assert_eq!(lines(&built), ["P01 P01 whole -", "P02 P02 whole -"]);
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text)).collect();
        assert_eq!(
            rows,
            [
                ("P01_Cupglass", "There is a Glass"),
                ("P01_Desk", "There is a Desk"),
                ("P01_Cupglass_Desk", "There is a Glass and a Desk"),
                ("P01_Food", "There is a Food"),
                ("P01_Petsanimal", "There is a Animal"),
                ("P01_Food_Petsanimal", "There is a Food and a Animal"),
                ("P02_Book", "There is a Book"),
                ("P02_Sky", "There is a Sky"),
                ("P02_Book_Sky", "There is a Book and a Sky"),
            ]
        );
        let oracles: Vec<_> = queries.column("oracle_shots").unwrap().collect();
        assert_eq!(oracles, ["", "", "1 39 99", "", "", "7", "", "", ""]);
        let pairs: Vec<_> = queries.column("concept_1").unwrap().zip(queries.column("concept_2").unwrap()).collect();
        assert_eq!(pairs[..3], [("Cupglass", ""), ("Desk", ""), ("Cupglass", "Desk")]);
        assert_eq!(
            dropped(&built),
            [("summaries whose file does not name two concepts", 2), ("shots that are no number from 1", 3)]
        );
        assert_eq!(kept(&built), [("summaries without a shot", 1)]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = built(&BENCHMARK, &["nowhere"]).unwrap_err().to_string();
        assert!(error.contains("annotations/nowhere: cannot read the annotations: "), "{error}");
    }
}
