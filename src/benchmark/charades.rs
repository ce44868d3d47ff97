//! Charades-Ego: `metadata_train.csv`, tab separated, `CharadesEgo_v1_test_only1st.csv` and `Charades_v1_classes.txt`.
//!
//! In training a unit is the extent of one action, in the test a whole video; a query is an action in it. A test row
//! has the class as its text; the sentences of the classes are a file of their own. Videos without any
//! action stay, and are counted.

use std::path::Path;

use super::builder::{Builder, Extent, NO_CLIP, Unit, split_of};
use super::table::{Row, Table};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;
use crate::time::Fps;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "charades",
    about: "actions and videos of Charades-Ego",
    needs: Needs {
        annotations: Need::Required(
            "metadata_train.csv, CharadesEgo_v1_test_only1st.csv or Charades_v1_classes.txt (--annotations FILE)",
        ),
        videos: super::PRESENT_ONLY,
    },
    build,
};

/// Charades' own images (`Charades_v1_rgb`) are cut at this rate.
const PICTURES_PER_SEC: Option<Fps> = Fps::new(24, 1);

/// The file of the classes' sentences, as its authors name it.
const CLASSES: &str = "Charades_v1_classes.txt";

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &["class"]);
    builder.images.fps = PICTURES_PER_SEC;
    for path in BENCHMARK.annotations(sources)? {
        if path.file_name().is_some_and(|name| name == CLASSES) {
            read_classes(&mut builder, path)?;
            continue;
        }
        let table = Table::open(path, b',')?;
        match table.optional("actions") {
            Some(actions) => read_test(&mut builder, path, table, actions)?,
            None => read_train(&mut builder, path)?,
        }
    }
    builder.finish(sources)
}

/// The sentences of the classes, `c000 Holding some clothes` a line: queries about no video, under the file's own name.
///
/// A sentence is what the original's `csv.reader` and `[5:]` leave of a line: from the sixth character to the first comma,
/// blanks and all. Source: `run/test_charades.py` of EgoVLP, `trainer_charades.py` of EgoVLPv2.
fn read_classes(builder: &mut Builder, path: &Path) -> Result<(), BenchmarkError> {
    let error = |cause| BenchmarkError::Table { path: path.to_owned(), cause };
    let reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(path);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let unit = Unit { video_uid: &name, clip_uid: &name, extent: Extent::Whole, split: "" };
    let Some(clip_uid) = builder.unit(path.display(), &unit) else { return Ok(()) };
    for record in reader.map_err(error)?.records() {
        let record = record.map_err(error)?;
        let line = record.get(0).unwrap_or_default();
        let at = format!("{}: line {}", path.display(), record.position().map_or(0, csv::Position::line));
        match (line.split_whitespace().next(), line.char_indices().nth(5).map(|(start, _)| &line[start..])) {
            (Some(class), Some(text)) if !text.trim().is_empty() => {
                let query = Query { id: class, clip_uid: &clip_uid, text, start_sec: None, end_sec: None };
                builder.query(at, query, &["", class]);
            }
            (Some(_), _) => builder.tally.drop("classes without a sentence", at),
            (None, _) => {}
        }
    }
    Ok(())
}

fn read_test(builder: &mut Builder, path: &Path, mut table: Table, actions: usize) -> Result<(), BenchmarkError> {
    let (id, length) = (table.column("id")?, table.optional("length"));
    let split = split_of(path, None);
    while let Some(row) = table.next(&mut builder.tally)? {
        let (name, length_sec) = (row.cell(id), length.and_then(|at| row.number(at)));
        let unit = Unit { video_uid: name, clip_uid: name, extent: Extent::Whole, split };
        let listed: Vec<&str> = row.cell(actions).split(';').map(str::trim).filter(|text| !text.is_empty()).collect();
        let Some(clip_uid) = builder.unit(&row, &unit) else {
            listed.iter().for_each(|_| builder.tally.drop(NO_CLIP, &row));
            continue;
        };
        if let Some(length_sec) = length_sec {
            builder.duration(name, length_sec);
        }
        add_actions(builder, &row, &clip_uid, &listed, (split, length_sec));
    }
    Ok(())
}

fn add_actions(
    builder: &mut Builder,
    row: &Row<'_>,
    clip_uid: &ClipUid,
    listed: &[&str],
    (split, length_sec): (&str, Option<f64>),
) {
    if listed.is_empty() {
        builder.tally.keep("videos without an action", format_args!("{row}: {clip_uid}"));
    }
    for (number, text) in listed.iter().enumerate() {
        let Some((class, start, end)) = action(text) else {
            builder.tally.drop("actions that are no class with two times", format_args!("{row}: {text:?}"));
            continue;
        };
        builder.note_window(row, Some(start), Some(end), length_sec);
        let id = format!("{clip_uid}_{number}");
        let query = Query { id: &id, clip_uid, text: class, start_sec: Some(start), end_sec: Some(end) };
        builder.query(row, query, &[split, class]);
    }
}

/// `c092 11.90 21.20`.
fn action(text: &str) -> Option<(&str, f64, f64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [class, start, end] = words[..] else { return None };
    let second = |text: &str| text.parse().ok().filter(|second: &f64| second.is_finite());
    Some((class, second(start)?, second(end)?))
}

fn read_train(builder: &mut Builder, path: &Path) -> Result<(), BenchmarkError> {
    let mut table = Table::open(path, b'\t')?;
    let columns = [table.column("id")?, table.column("cls")?, table.column("t_start")?, table.column("t_end")?];
    let narration = table.column("narration")?;
    let split = split_of(path, None);
    while let Some(row) = table.next(&mut builder.tally)? {
        add_train(builder, columns, narration, &row, split);
    }
    Ok(())
}

fn add_train(builder: &mut Builder, columns: [usize; 4], narration: usize, row: &Row<'_>, split: &str) {
    let [name, class] = [columns[0], columns[1]].map(|at| row.cell(at));
    let (start, end) = (row.number(columns[2]), row.number(columns[3]));
    let number = |sec: Option<f64>| sec.map(|sec| sec.to_string()).unwrap_or_default();
    // The same class may be annotated twice in one extent; such rows are one clip and one query.
    let clip_uid = format!("{name}_{class}_{}_{}", number(start), number(end));
    let unit = Unit { video_uid: name, clip_uid: &clip_uid, extent: Extent::Seconds(start, end), split };
    let Some(clip_uid) = builder.unit(row, &unit) else { return builder.tally.drop(NO_CLIP, row) };
    let text = row.cell(narration);
    if text.trim().is_empty() {
        return builder.tally.drop("narrations without a text", row);
    }
    let query = Query { id: clip_uid.as_str(), clip_uid: &clip_uid, text, start_sec: None, end_sec: None };
    builder.query(row, query, &[split, class]);
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn the_sentences_of_the_classes_are_queries_about_no_video() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CLASSES);
        std::fs::write(
            &path,
            "c000 Holding some clothes\r\n\nc001\nc002 Opening \"a\" door \nc003  Sitting, slowly\n   \n",
        )
        .unwrap();
        let built =
            (BENCHMARK.build)(&Sources { annotations: vec![path], videos: vec![], ..Sources::default() }).unwrap();
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text, query.clip_uid.as_str())).collect();
        let name = "Charades_v1_classes";
        // As Python's `line[0][5:]` of a `csv.reader`: blanks stay, and a comma ends the sentence.
        let expected = [("c000", "Holding some clothes"), ("c002", "Opening \"a\" door "), ("c003", " Sitting")];
        assert_eq!(rows, expected.map(|(class, text)| (class, text, name)));
        assert_eq!(dropped(&built), [("classes without a sentence", 1)]);
    }

    #[test]
    fn training_lists_actions_and_the_test_videos() {
        let built = built(&BENCHMARK, &["charades_metadata_train.csv", "charades_test_only1st.csv"]).unwrap();
        assert_eq!(
            lines(&built),
            [
                "AAAA1EGO AAAA1EGO_c092_11.9_21.2 11.9 21.2 train",
                "AAAA1EGO AAAA1EGO_c147_0_3 0 3 train",
                "BBBB1EGO BBBB1EGO whole test",
                "CCCC1EGO CCCC1EGO whole test",
                "DDDD1EGO DDDD1EGO whole test",
            ]
        );
        assert_eq!(built.manifest.videos[1].duration_sec, Some(30.5));
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text, query.end_sec)).collect();
        assert_eq!(
            rows,
            [
                ("AAAA1EGO_c092_11.9_21.2", "Watching/\"seeing\" something", None),
                ("AAAA1EGO_c147_0_3", "Sitting down, slowly", None),
                ("BBBB1EGO_0", "c001", Some(4.0)),
                ("BBBB1EGO_1", "c002", Some(31.0)),
                ("DDDD1EGO_0", "c003", Some(1.0)),
            ]
        );
        assert_eq!(
            dropped(&built),
            [
                ("queries whose id occurred before", 1),
                ("clips that hold nothing", 1),
                (NO_CLIP, 1),
                ("actions that are no class with two times", 1),
            ]
        );
        assert_eq!(
            kept(&built),
            [
                ("clips that are listed again, their annotations joined", 1),
                ("windows that end behind their clip", 1),
                ("videos without an action", 1),
                ("windows that hold nothing", 1),
            ]
        );
    }
}
