//! EgoClip, the narrations that EgoVLP is pretrained on: `egoclip.csv`, tab separated, 3.85 million rows.
//!
//! A unit is a whole video, for millions of files of one second each would serve nobody; a query is a narration with its
//! window in the video. Not for chunks of videos. Rows are read one by one and kept in columns, so that memory stays
//! about the size of the file.

use std::collections::HashMap;

use super::builder::{Builder, Extent, NO_CLIP, Unit};
use super::record::{self, Record, RecordError};
use super::table::{Row, Table, numbers};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "egoclip",
    about: "the videos of EgoClip, with its narrations",
    needs: Needs { annotations: Need::Required("egoclip.csv (--annotations FILE)"), videos: super::PRESENT_ONLY },
    build,
};

/// What a narration says beside its sentence and its window.
#[derive(Debug, Clone, PartialEq)]
pub struct Narration {
    /// Second of the video at which it was spoken; `None` if the file does not say.
    pub time_sec: Option<f64>,
    /// Classes of its verbs, below 118.
    pub verbs: Vec<u16>,
    /// Classes of its nouns, below 582.
    pub nouns: Vec<u16>,
}

impl Record for Narration {
    fn read(row: record::Row<'_>) -> Result<Self, RecordError> {
        let [_, time, verbs, nouns] = COLUMNS;
        let classes = |column| row.list(column, "numbers of classes, separated by blanks");
        Ok(Self { time_sec: row.optional(time, "seconds or nothing")?, verbs: classes(verbs)?, nouns: classes(nouns)? })
    }
}

const COLUMNS: [&str; 4] = ["narration_source", "narration_time", "verbs", "nouns"];

/// Where the columns stand.
struct Columns {
    video_uid: usize,
    start: usize,
    end: usize,
    text: usize,
    clip_idx: Option<usize>,
    video_dur: Option<usize>,
    source: Option<usize>,
    time: Option<usize>,
    verb: Option<usize>,
    noun: Option<usize>,
}

impl Columns {
    fn of(table: &Table) -> Result<Self, BenchmarkError> {
        Ok(Self {
            video_uid: table.column("video_uid")?,
            start: table.column("clip_start")?,
            end: table.column("clip_end")?,
            text: table.column("clip_text")?,
            clip_idx: table.optional("clip_idx"),
            video_dur: table.optional("video_dur"),
            source: table.optional("narration_source"),
            time: table.optional("narration_time"),
            verb: table.optional("tag_verb"),
            noun: table.optional("tag_noun"),
        })
    }
}

/// Videos by name; `None` where one cannot be used.
type Videos = HashMap<String, Option<ClipUid>>;

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    let mut videos = Videos::new();
    for path in BENCHMARK.annotations(sources)? {
        let mut table = Table::open(path, b'\t')?;
        let columns = Columns::of(&table)?;
        while let Some(row) = table.next(&mut builder.tally)? {
            add_row(&mut builder, &mut videos, &columns, &row);
        }
    }
    builder.finish(sources)
}

fn add_row(builder: &mut Builder, videos: &mut Videos, columns: &Columns, row: &Row<'_>) {
    let Some(clip_uid) = video(builder, videos, columns, row) else { return builder.tally.drop(NO_CLIP, row) };
    let (Some(start), Some(end)) = (row.number(columns.start), row.number(columns.end)) else {
        let found = (row.cell(columns.start), row.cell(columns.end));
        return builder.tally.drop("narrations without start and end", format_args!("{row}: {found:?}"));
    };
    let text = row.cell(columns.text);
    if text.trim().is_empty() {
        return builder.tally.drop("narrations without a text", row);
    }
    let length_sec = columns.video_dur.and_then(|at| row.number(at));
    builder.note_window(row, Some(start), Some(end), length_sec);
    let number = row.number.to_string();
    let id = Some(row.maybe(columns.clip_idx)).filter(|id| !id.is_empty()).unwrap_or(&number);
    let time = time(builder, row, columns.time);
    let verbs = tags(builder, row, columns.verb);
    let nouns = tags(builder, row, columns.noun);
    let query = Query { id, clip_uid: &clip_uid, text, start_sec: Some(start), end_sec: Some(end) };
    builder.query(row, query, &["", row.maybe(columns.source), time, &verbs, &nouns]);
}

fn video(builder: &mut Builder, videos: &mut Videos, columns: &Columns, row: &Row<'_>) -> Option<ClipUid> {
    let name = row.cell(columns.video_uid);
    if let Some(known) = videos.get(name) {
        return known.clone();
    }
    let clip_uid = builder.unit(row, &Unit { video_uid: name, clip_uid: name, extent: Extent::Whole, split: "" });
    if let Some(duration_sec) = columns.video_dur.and_then(|at| row.number(at)).filter(|_| clip_uid.is_some()) {
        builder.duration(name, duration_sec);
    }
    videos.insert(name.to_owned(), clip_uid.clone());
    clip_uid
}

/// When the narrator spoke, as the file has it.
fn time<'t>(builder: &mut Builder, row: &Row<'t>, column: Option<usize>) -> &'t str {
    let time = row.maybe(column);
    if !time.is_empty() && time.parse::<f64>().is_err() {
        builder.tally.keep("narrations whose time is no number", format_args!("{row}: {time:?}"));
        return "";
    }
    time
}

fn tags(builder: &mut Builder, row: &Row<'_>, column: Option<usize>) -> String {
    let literal = row.maybe(column);
    numbers(literal).unwrap_or_else(|| {
        if !literal.is_empty() {
            builder.tally.keep("narrations whose tags are no list", format_args!("{row}: {literal:?}"));
        }
        String::new()
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn damaged_rows_are_counted_and_the_others_listed() {
        let built = built(&BENCHMARK, &["egoclip.csv"]).unwrap();
        assert_eq!(lines(&built), ["video-1 video-1 whole -", "video-2 video-2 whole -"]);
        assert_eq!(built.manifest.videos[0].duration_sec, Some(512.25));
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text, query.start_sec, query.end_sec)).collect();
        let expected = [
            ("0", "#C C picks a bag of clothes from the floor", -0.125, 1.5),
            ("1", "#C C says \"d\u{e9}cor\", then leaves", 3.0, 4.25),
            ("2", "#O A man X waits", 5.0, 5.0),
            ("9", "#C C sits", 511.0, 513.0),
            ("10", "#unsure walks", 1.0, 2.0),
        ];
        assert_eq!(rows, expected.map(|(id, text, start, end)| (id, text, Some(start), Some(end))));
        let narrations: Vec<Narration> = records(queries).unwrap();
        let nouns: Vec<_> = narrations.iter().map(|narration| &narration.nouns[..]).collect();
        assert_eq!(nouns, [&[192, 115, 12][..], &[], &[], &[7], &[3]]);
        assert_eq!((narrations[0].time_sec, &narrations[0].verbs[..]), (Some(0.7), &[93][..]));
        assert_eq!(
            dropped(&built),
            [
                ("rows with another number of columns", 2),
                ("narrations without start and end", 2),
                ("narrations without a text", 1),
                ("clips whose uid could not be a file's name", 1),
                (NO_CLIP, 1),
                ("queries whose id occurred before", 1),
                ("rows whose quotes run over several lines", 1),
            ]
        );
        assert_eq!(
            kept(&built),
            [
                ("windows that begin before their clip", 1),
                ("windows that hold nothing", 1),
                ("narrations whose tags are no list", 1),
                ("windows that end behind their clip", 1),
            ]
        );
    }

    #[test]
    fn a_table_with_commas_lacks_its_columns() {
        let error = built(&BENCHMARK, &["epic_test.csv"]).unwrap_err().to_string();
        assert!(error.contains("epic_test.csv: no column video_uid, found narration_id,participant_id"), "{error}");
    }
}
