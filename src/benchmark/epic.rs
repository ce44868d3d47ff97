//! EPIC-KITCHENS-100: `EPIC_100_retrieval_train.csv`, `EPIC_100_retrieval_test.csv` of multi-instance retrieval, and
//! `EPIC_100_train.csv`, `EPIC_100_validation.csv`, `EPIC_100_test_timestamps.csv` of action recognition.
//!
//! A unit is a narrated clip, a query its narration with the classes that relevancies are computed from. The list of the test has
//! clips alone. Not for the tables of unique sentences: those only name narrations of these. Times are `hh:mm:ss.xx` in the video.

use super::builder::{Builder, Extent, NO_CLIP, Unit, split_of};
use super::table::{Row, Table, numbers};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "epic",
    about: "narrated clips of EPIC-KITCHENS-100, for retrieval and action recognition",
    needs: Needs {
        annotations: Need::Required(
            "EPIC_100_retrieval_train.csv or _test.csv, EPIC_100_train.csv, EPIC_100_validation.csv or \
             EPIC_100_test_timestamps.csv (--annotations FILE)",
        ),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 5] = ["start_frame", "stop_frame", "verb_class", "noun_class", "noun_classes"];

struct Columns {
    id: usize,
    video: usize,
    start: usize,
    stop: usize,
    /// The list of the test has none.
    text: Option<usize>,
    first: Option<usize>,
    last: Option<usize>,
    verb: Option<usize>,
    noun: Option<usize>,
    nouns: Option<usize>,
}

impl Columns {
    fn of(table: &Table) -> Result<Self, BenchmarkError> {
        Ok(Self {
            id: table.column("narration_id")?,
            video: table.column("video_id")?,
            start: table.column("start_timestamp")?,
            stop: table.column("stop_timestamp")?,
            text: narrations(table)?,
            first: table.optional("start_frame"),
            last: table.optional("stop_frame"),
            verb: table.optional("verb_class"),
            noun: table.optional("noun_class"),
            nouns: table.optional("all_noun_classes"),
        })
    }
}

/// The column of narrations, which only a list of a test may lack.
fn narrations(table: &Table) -> Result<Option<usize>, BenchmarkError> {
    match ["verb_class", "noun_class", "verb", "narration"].iter().any(|column| table.optional(column).is_some()) {
        true => table.column("narration").map(Some),
        false => Ok(None),
    }
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let mut table = Table::open(path, b',')?;
        let columns = Columns::of(&table)?;
        while let Some(row) = table.next(&mut builder.tally)? {
            add_row(&mut builder, &columns, &row, split_of(path, None));
        }
    }
    builder.finish(sources)
}

fn add_row(builder: &mut Builder, columns: &Columns, row: &Row<'_>, split: &str) {
    let name = row.cell(columns.id);
    let extent = Extent::Seconds(seconds(row.cell(columns.start)), seconds(row.cell(columns.stop)));
    let unit = Unit { video_uid: row.cell(columns.video), clip_uid: name, extent, split };
    let Some(clip_uid) = builder.unit(row, &unit) else { return builder.tally.drop(NO_CLIP, row) };
    let frame_of = |column: Option<usize>| column.and_then(|column| row.number(column));
    if let (Some(number), Some(second)) = (frame_of(columns.last), seconds(row.cell(columns.stop))) {
        builder.images.note(row.cell(columns.video), number, second);
    }
    let Some(text) = columns.text.map(|text| row.cell(text)) else { return };
    if text.trim().is_empty() {
        return builder.tally.drop("narrations without a text", row);
    }
    let literal = row.maybe(columns.nouns);
    let nouns = numbers(literal).unwrap_or_else(|| {
        builder.tally.keep("narrations whose noun classes are no list", format_args!("{row}: {literal:?}"));
        String::new()
    });
    let own = [columns.first, columns.last, columns.verb, columns.noun].map(|column| row.maybe(column));
    let query = Query { id: name, clip_uid: &clip_uid, text, start_sec: None, end_sec: None };
    builder.query(row, query, &[split, own[0], own[1], own[2], own[3], &nouns]);
}

/// `00:01:02.34` as 62.34 seconds.
fn seconds(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.trim().split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return None };
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds: f64 = seconds.parse().ok().filter(|seconds| (0.0..60.0).contains(seconds))?;
    Some(f64::from(hours) * 3600.0 + f64::from(minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn every_anomaly_is_kept_or_counted() {
        let built = built(&BENCHMARK, &["epic_test.csv"]).unwrap();
        assert_eq!(
            lines(&built),
            ["P01_01 P01_01_0 0.14 3.37 test", "P01_01 P01_01_1 62.34 3601.5 test", "P02_11 P02_11_7 5 6.25 test"]
        );
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text)).collect();
        assert_eq!(rows, [("P01_01_0", "open door, then \"wait\""), ("P01_01_1", "put pan/lid down")]);
        assert_eq!(queries.column("noun_classes").unwrap().collect::<Vec<_>>(), ["3 12", ""]);
        assert_eq!(
            dropped(&built),
            [
                ("clips that hold nothing", 1),
                (NO_CLIP, 3),
                ("clips without start and end", 1),
                ("rows with another number of columns", 1),
                ("narrations without a text", 1),
                ("clips whose uid could not be a file's name", 1),
            ]
        );
        assert_eq!(kept(&built), [("narrations whose noun classes are no list", 1)]);
    }

    #[test]
    fn action_recognition_lists_clips_and_its_test_has_no_narrations() {
        let folder = tempfile::tempdir().unwrap();
        let [train, test] = ["EPIC_100_train.csv", "EPIC_100_test_timestamps.csv"].map(|name| folder.path().join(name));
        let ids = "narration_id,participant_id,video_id";
        let times = "start_timestamp,stop_timestamp,start_frame,stop_frame";
        let head = format!(
            "{ids},narration_timestamp,{times},narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes\n"
        );
        let row =
            "P01_01_0,P01,P01_01,00:00:01.089,00:00:00.14,00:00:03.37,8,202,open door,open,3,door,3,['door'],[3]\n";
        std::fs::write(&train, head + row).unwrap();
        std::fs::write(&test, format!("{ids},{times}\nP01_11_0,P01,P01_11,00:00:00.00,00:00:01.89,1,113\n")).unwrap();
        let sources = Sources { annotations: vec![train.clone(), test], ..Sources::default() };
        let built = build(&sources).unwrap();
        assert_eq!(lines(&built), ["P01_01 P01_01_0 0.14 3.37 train", "P01_11 P01_11_0 0 1.89 test"]);
        let queries: Vec<_> = built.queries.as_ref().unwrap().iter().map(|query| query.text.to_owned()).collect();
        assert_eq!((queries, built.tally.num_dropped()), (vec!["open door".to_owned()], 0));
        std::fs::write(&train, format!("{ids},{times},verb_class\n")).unwrap();
        let error = build(&sources).unwrap_err().to_string();
        assert!(error.contains("EPIC_100_train.csv: no column narration, found narration_id"), "{error}");
    }

    #[test]
    fn timestamps_are_hours_minutes_and_seconds() {
        assert_eq!(seconds(" 01:02:03.5 "), Some(3723.5));
        for text in ["", "12.5", "00:00:60", "00:-1:00", "a:b:c", "00:00:nan"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
