//! EPIC-KITCHENS-100 multi-instance retrieval: in training a clip meets any sentence that is relevant to it.
//!
//! Relevancies are those of the evaluator. In training a sentence has the words of its own table, in the test those of its clip,
//! as in the original; the published tables differ in a few. Not for scores. The matrix of the training set would take 8.6 GB, so that a clip's
//! row is computed when it is asked for.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use egofx::compat::Compat;
use egofx::metric::Coverage;
use egofx::metric::mir::{self, Caption, Captions, relevancy};
use egofx::ndarray::{Array2, Axis};

use super::benchmark::{Benchmark, On, Source};
use crate::backbones::{EgoVlp, EgoVlpV2};
use crate::corpora::listed::Listed;
use crate::error::TrainError;
use crate::rng::Generator;
use crate::rng::below;
use crate::sources::Sources;

/// The relevancy above which a sentence may stand for a clip. Source: `EpicKitchens_MIR_dataset.py` of EgoVLP.
const LEAST_RELEVANCY: f64 = 0.1;

/// The benchmark.
pub struct Epic {
    train: Option<Table>,
    test: Table,
    /// Of all clips of the test and all sentences, once it has been asked for.
    relevancy: OnceLock<Array2<f64>>,
}

impl On<Epic> for EgoVlp {
    const NAME: &'static str = "egovlp-mir";
    const ABOUT: &'static str = "EgoVLP: clips beat the others of a batch by a margin";
}

impl On<Epic> for EgoVlpV2 {
    const NAME: &'static str = "egovlpv2-mir";
    const ABOUT: &'static str = "EgoVLPv2: by a margin that grows with how relevant a sentence is";
}

/// The two tables of a split.
struct Table {
    captions: Captions,
    /// The sentences in the words of the clips that they are named by.
    sentences: Vec<String>,
    /// Rows of clips by their names.
    rows: HashMap<String, usize>,
    /// Numbers of the sentences with a verb class.
    by_verb: HashMap<i64, Vec<usize>>,
    /// Numbers of the sentences with a noun class.
    by_noun: HashMap<u32, Vec<usize>>,
}

/// The table of unique sentences that lies beside one of clips.
fn beside(clips: &Path) -> PathBuf {
    let stem = clips.file_stem().unwrap_or_default().to_string_lossy();
    clips.with_file_name(format!("{stem}_sentence.csv"))
}

impl Table {
    fn read(path: &Path) -> Result<Self, TrainError> {
        let sentences = beside(path);
        if !sentences.is_file() {
            let expected = format!("{} beside it, the table of unique sentences", sentences.display());
            return Err(TrainError::unexpected(path, expected, "none"));
        }
        let captions = Captions::read(path, &sentences)?;
        let mut rows = HashMap::new();
        for (row, caption) in captions.clips.iter().enumerate() {
            rows.entry(caption.narration_id.clone()).or_insert(row);
        }
        // Whatever videos are there: sentences need none.
        let all = Listed::read(Epic::LISTED_AS, &[path], &[])?;
        let texts: HashMap<&str, &str> = all.queries.iter().map(|query| (query.id, query.text)).collect();
        let text = |caption: &Caption| {
            let id = caption.narration_id.as_str();
            let missing = || TrainError::unexpected(&sentences, "ids of clips with a narration", format!("{id:?}"));
            texts.get(id).map(|&text| text.to_owned()).ok_or_else(missing)
        };
        let texts = captions.sentences.iter().map(text).collect::<Result<_, _>>()?;
        let (mut by_verb, mut by_noun) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (number, caption) in captions.sentences.iter().enumerate() {
            by_verb.entry(caption.verb_class).or_default().push(number);
            caption.noun_classes.iter().for_each(|&noun| by_noun.entry(noun).or_default().push(number));
        }
        Ok(Self { captions, sentences: texts, rows, by_verb, by_noun })
    }

    /// The sentences that are more relevant than 0.1 to a clip, with their relevancies, in the order of the table.
    fn relevant(&self, clip: &str) -> Vec<(usize, f64)> {
        let Some(&row) = self.rows.get(clip) else { return vec![] };
        let caption = &self.captions.clips[row];
        let of_nouns = caption.noun_classes.iter().filter_map(|noun| self.by_noun.get(noun));
        let of_verb = self.by_verb.get(&caption.verb_class);
        let numbers: BTreeSet<usize> = of_verb.into_iter().chain(of_nouns).flatten().copied().collect();
        let sentences: Vec<Caption> = numbers.iter().map(|&number| self.captions.sentences[number].clone()).collect();
        let relevancies = relevancy(std::slice::from_ref(caption), &sentences);
        numbers.into_iter().zip(relevancies).filter(|(_, relevancy)| *relevancy > LEAST_RELEVANCY).collect()
    }

    /// A sentence for a clip, drawn evenly among the relevant ones, and its relevancy; its own narration, wholly relevant, if
    /// none is. Source: `_get_caption` of `EpicKitchens_MIR_dataset.py`.
    fn sentence<'t>(&'t self, clip: &str, own: &'t str, draw: &mut Generator) -> (&'t str, f64) {
        let relevant = self.relevant(clip);
        if relevant.is_empty() {
            return (own, 1.0);
        }
        let (number, weight) = relevant[below(draw, relevant.len())];
        (&self.captions.texts.as_ref().unwrap_or(&self.sentences)[number], weight)
    }
}

impl Benchmark for Epic {
    const TASK: &'static str = "mir";
    const TASK_ABOUT: &'static str =
        "Train for multi-instance retrieval (MIR) on EPIC-KITCHENS-100: clips by sentences, and sentences by clips";
    const LISTED_AS: &'static str = "epic";
    const NAMES: &'static str = "clip-ids";
    const ABOUT: &'static str = "narrated clips: EPIC_100_retrieval_train.csv or _test.csv, each with its table of sentences \
                                 (..._sentence.csv) beside it, as published";
    const RULES: [&'static str; 2] = ["epic-train", "epic"];

    fn open(train: Option<&Source>, test: &Source, _sources: &Sources) -> Result<Self, TrainError> {
        let train = train.map(|source| Table::read(&source.path)).transpose()?;
        Ok(Self { train, test: Table::read(&test.path)?, relevancy: OnceLock::new() })
    }

    fn sentence<'b>(&'b self, train: &'b Listed, row: usize, draw: &mut Generator) -> (&'b str, f64) {
        let query = train.query(row);
        match &self.train {
            Some(table) => table.sentence(query.id, query.text, draw),
            None => (query.text, 1.0),
        }
    }

    fn sentences(&self) -> &[String] {
        &self.test.sentences
    }

    fn truths(annotations: &Path) -> Vec<(&'static str, PathBuf)> {
        vec![("annotations", annotations.to_owned()), ("sentences", beside(annotations))]
    }

    fn score(&self, clips: &[&str], cosines: Array2<f64>, compat: Compat) -> Result<Vec<(String, f64)>, TrainError> {
        let Captions { clips: all, sentences, .. } = &self.test.captions;
        let relevancy = self.relevancy.get_or_init(|| relevancy(all, sentences));
        let rows: Vec<usize> = clips.iter().filter_map(|clip| self.test.rows.get(*clip).copied()).collect();
        let relevancy = relevancy.select(Axis(0), &rows);
        let score = mir::score(cosines.view(), relevancy.view(), compat)?;
        Ok(mir::report(&score, Coverage::new("clips"), compat).scores().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, generator};

    fn write(folder: &Path) -> PathBuf {
        let header =
            "narration_id,video_id,start_timestamp,stop_timestamp,narration,verb_class,noun_class,all_noun_classes";
        let row = |id: usize, text: &str, verb: usize, nouns: &str| {
            format!("P01_01_{id},P01_01,00:00:0{id}.50,00:00:0{}.25,{text},{verb},0,\"{nouns}\"\n", id + 1)
        };
        let rows = row(0, "take cup", 0, "[1]")
            + &row(1, "take the cup", 0, "[1]")
            + &row(2, "wash cup and pan", 2, "[1, 3]")
            + &row(3, "take knife", 0, "[9]")
            + &row(4, "open tap", 3, "[7]");
        let clips = folder.join("EPIC_100_retrieval_train.csv");
        std::fs::write(&clips, format!("{header}\n{rows}")).unwrap();
        let sentences = "narration_id,narration\nP01_01_2,wash cup and pan\nP01_01_0,take a cup\nP01_01_3,take knife\n";
        std::fs::write(beside(&clips), sentences).unwrap();
        clips
    }

    #[test]
    fn a_clip_meets_any_sentence_that_is_relevant_by_more_than_a_tenth_as_much_as_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let table = Table::read(&write(folder.path())).unwrap();
        assert_eq!(table.sentences, ["wash cup and pan", "take cup", "take knife"], "of the clips: for the test");
        assert_eq!(
            table.relevant("P01_01_1"),
            [(0, 0.25), (1, 1.0), (2, 0.5)],
            "half the overlap, both, the verb alone"
        );
        assert_eq!(table.relevant("P01_01_3"), [(1, 0.5), (2, 1.0)]);
        let mut draw = generator(2, Purpose::Weights);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            let (text, weight) = table.sentence("P01_01_1", "take the cup", &mut draw);
            let at = ["wash cup and pan", "take a cup", "take knife"].iter().position(|own| *own == text).unwrap();
            assert_eq!(weight, [0.25, 1.0, 0.5][at]);
            counts[at] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        assert_eq!(table.sentence("P01_01_4", "open tap", &mut draw), ("open tap", 1.0), "nothing else is relevant");
    }

    #[test]
    fn the_table_of_sentences_must_lie_beside_and_name_clips() {
        let folder = tempfile::tempdir().unwrap();
        let clips = write(folder.path());
        std::fs::write(beside(&clips), "narration_id\nP09_01_2\n").unwrap();
        let error = Table::read(&clips).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("EPIC_100_retrieval_train_sentence.csv") && error.contains("P09_01_2"), "{error}");
        std::fs::remove_file(beside(&clips)).unwrap();
        let error = Table::read(&clips).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("EPIC_100_retrieval_train_sentence.csv beside it"), "{error}");
    }
}
