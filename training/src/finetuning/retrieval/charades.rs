//! Charades-Ego: an action meets the sentence of its class; in the test whole videos are compared with all 157 classes.
//!
//! Not for scores. Invariant: classes are numbered by their line in `Charades_v1_classes.txt`, which must be their number.

use std::collections::HashMap;
use std::path::PathBuf;

use egofx::compat::Compat;
use egofx::metric::Coverage;
use egofx::metric::charades::{self, NUM_CLASSES};
use egofx::ndarray::Array2;

use super::benchmark::{Benchmark, On, Source};
use crate::backbones::{EgoVlp, EgoVlpV2};
use crate::corpora::listed::Listed;
use crate::error::TrainError;
use crate::rng::Generator;
use crate::sources::Sources;

/// The name of the file of classes, by which it is told from the others.
const CLASSES: &str = "Charades_v1_classes.txt";

/// The benchmark.
pub struct Charades {
    sentences: Vec<String>,
    /// What happens in the videos of the test.
    happening: HashMap<String, Vec<usize>>,
}

impl On<Charades> for EgoVlp {
    const NAME: &'static str = "egovlp-charades";
    const ABOUT: &'static str = "EgoVLP: InfoNCE between actions and the names of their classes";
}

impl On<Charades> for EgoVlpV2 {
    const NAME: &'static str = "egovlpv2-charades";
    const ABOUT: &'static str = "EgoVLPv2: InfoNCE between actions and the names of their classes";
}

/// The file of classes: what `--classes` names, else what lies beside the annotations.
fn classes(test: &Source, sources: &Sources) -> Result<PathBuf, TrainError> {
    let path = sources.classes.clone().unwrap_or_else(|| test.path.with_file_name(CLASSES));
    if path.is_file() && path.file_name().is_some_and(|name| name == CLASSES) {
        return Ok(path);
    }
    Err(TrainError::unexpected(
        &test.path,
        format!("{CLASSES} beside it, or --classes with a file of that name"),
        "none",
    ))
}

impl Benchmark for Charades {
    const TASK: &'static str = "charades";
    const TASK_ABOUT: &'static str = "Train for action recognition on Charades-Ego: which of 157 actions a video shows";
    const READS: &'static [&'static str] = &["videos", "clip-cache", "tokenizer", "train", "val", "classes", "memory"];
    const LISTED_AS: &'static str = "charades";
    const NAMES: &'static str = "video-ids";
    const ABOUT: &'static str = "actions: metadata_train.csv, or videos: CharadesEgo_v1_test_only1st.csv, as published";
    const RULES: [&'static str; 2] = ["charades-train", "charades"];

    fn open(_train: Option<&Source>, test: &Source, sources: &Sources) -> Result<Self, TrainError> {
        let path = classes(test, sources)?;
        let listed = Listed::read(Self::LISTED_AS, &[&path], &[])?;
        let codes: Vec<&str> = listed.queries.iter().map(|query| query.id).collect();
        let is_numbered = codes.iter().enumerate().all(|(number, code)| *code == format!("c{number:03}"));
        if codes.len() != NUM_CLASSES || !is_numbered {
            let (first, last) = (codes.first().unwrap_or(&""), codes.last().unwrap_or(&""));
            let found = format!("{} from {first} to {last}", codes.len());
            return Err(TrainError::unexpected(&path, "157 classes from c000 to c156 in order", found));
        }
        let numbers: HashMap<&str, usize> = codes.iter().copied().zip(0..).collect();
        let mut happening: HashMap<String, Vec<usize>> = HashMap::new();
        for (query, code) in test.listed.queries.iter().zip(test.listed.column("class")) {
            // As in the evaluator: what is no class does not happen.
            let class = numbers.get(code).copied();
            happening.entry(query.clip_uid.as_str().to_owned()).or_default().extend(class);
        }
        Ok(Self { sentences: listed.queries.iter().map(|query| query.text.to_owned()).collect(), happening })
    }

    fn sentence<'b>(&'b self, train: &'b Listed, row: usize, _draw: &mut Generator) -> (&'b str, f64) {
        (train.query(row).text, 1.0)
    }

    fn sentences(&self) -> &[String] {
        &self.sentences
    }

    fn score(&self, clips: &[&str], cosines: Array2<f64>, _compat: Compat) -> Result<Vec<(String, f64)>, TrainError> {
        let mut labels = Array2::from_elem(cosines.dim(), false);
        for (row, clip) in clips.iter().enumerate() {
            self.happening.get(*clip).into_iter().flatten().for_each(|&class| labels[(row, class)] = true);
        }
        let score = charades::score(cosines.view(), labels.view())?;
        Ok(charades::report(&score, Coverage::new("videos")).scores().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn source(path: &Path) -> Source {
        let listed = Listed::read("charades", &[path], &[]).unwrap();
        Source { path: path.to_owned(), listed }
    }

    fn error(test: &Source, sources: &Sources) -> String {
        Charades::open(None, test, sources).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn videos_happen_in_classes_and_all_classes_have_sentences() {
        let folder = tempfile::tempdir().unwrap();
        let annotations =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/annotations/charades_test_only1st.csv");
        let path = folder.path().join("CharadesEgo_v1_test_only1st.csv");
        std::fs::copy(annotations, &path).unwrap();
        let (test, sources) = (source(&path), Sources::default());
        assert!(error(&test, &sources).contains("expected Charades_v1_classes.txt beside it"));
        let lines: String = (0..157).map(|class| format!("c{class:03} Doing {class}\n")).collect();
        let classes = path.with_file_name(CLASSES);
        std::fs::write(&classes, &lines).unwrap();
        let charades = Charades::open(None, &test, &sources).unwrap();
        assert_eq!((charades.sentences.len(), charades.sentences[92].as_str()), (157, "Doing 92"));
        assert_eq!(test.listed.uids, ["BBBB1EGO", "CCCC1EGO", "DDDD1EGO"]);
        assert_eq!(charades.happening["BBBB1EGO"], [1, 2]);
        assert!(!charades.happening.contains_key("CCCC1EGO"), "nothing happens in it");
        let mut cosines = Array2::from_elem((3, 157), 0.1);
        (cosines[(0, 1)], cosines[(0, 2)], cosines[(2, 3)]) = (0.9, 0.9, 0.9);
        let scores = charades.score(&["BBBB1EGO", "CCCC1EGO", "DDDD1EGO"], cosines, Compat::AsReleased).unwrap();
        assert_eq!(scores[0], ("mAP (classes that occur, EgoVLPv2)".to_owned(), 1.0));
        std::fs::write(&classes, "c001 Opening\nc000 Holding\n").unwrap();
        let text = error(&test, &sources);
        assert!(text.contains("157 classes from c000 to c156 in order, found 2 from c001 to c000"), "{text}");
        // Another file that is named for it.
        let sources = Sources { classes: Some(path.clone()), ..Sources::default() };
        assert!(error(&test, &sources).contains("--classes"), "{}", error(&test, &sources));
    }
}
