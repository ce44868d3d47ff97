//! EgoMCQ, one sentence and five clips to choose from: `egomcq.json`.
//!
//! A unit is a clip that some question offers, once however many do; a query is a question, about the clip that is its
//! answer. Not for the names of the two kinds of questions, which published logs swap: `types` is 1 where the clips come
//! from several videos and 2 where they come from one. A question is listed with all of its five clips or not at all.

use serde::Deserialize;

use super::builder::{Builder, Extent, Unit, name_of};
use super::json::{self, Cell, Pairs};
use super::record::{Record, RecordError, Row};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::{self, Query};

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "egomcq",
    about: "five clips for each question of EgoMCQ",
    needs: Needs { annotations: Need::Required("egomcq.json (--annotations FILE)"), videos: super::PRESENT_ONLY },
    build,
};

/// How many clips a question offers.
pub const CHOICES: usize = 5;

const BAD_QUESTION: &str = "questions without a text, an answer and five choices";
const BAD_CHOICE: &str = "questions with a clip that cannot be used";

/// Where the clips of a question come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionKind {
    /// From several videos: `types` is 1.
    InterVideo = 1,
    /// From one video: `types` is 2.
    IntraVideo = 2,
}

/// A question with its five clips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The right one of `choices`, from 0.
    pub answer: u8,
    /// Where the clips come from; `None` if the file does not say.
    pub kind: Option<QuestionKind>,
    /// The clips to choose from.
    pub choices: [ClipUid; CHOICES],
}

/// The columns of [`Question::cells`].
const COLUMNS: [&str; 3] = ["types", "answer", queries::CHOICES];

impl QuestionKind {
    fn of(types: &str) -> Option<Self> {
        [Self::InterVideo, Self::IntraVideo].into_iter().find(|kind| (*kind as u8).to_string() == types)
    }
}

impl Question {
    /// The question's type as annotations and the evaluator number it, which takes 1 and 2 and refuses 0: no type is known.
    pub fn type_id(&self) -> u8 {
        self.kind.map_or(0, |kind| kind as u8)
    }

    fn cells(&self) -> [String; 3] {
        let kind = self.kind.map(|kind| (kind as u8).to_string()).unwrap_or_default();
        [kind, self.answer.to_string(), self.choices.each_ref().map(ClipUid::as_str).join(" ")]
    }
}

impl Record for Question {
    fn read(row: Row<'_>) -> Result<Self, RecordError> {
        let [types, answer, choices] = COLUMNS;
        let text = row.text(choices)?;
        let five = || row.error(choices, "five names of clips", format!("{text:?}"));
        let uids: Option<Vec<ClipUid>> = text.split_whitespace().map(|uid| ClipUid::parse(uid).ok()).collect();
        let choices = uids.ok_or_else(five)?.try_into().map_err(|_| five())?;
        let (expected, kind) = ("1 (several videos) or 2 (one video)", row.text(types)?);
        let unknown = || row.error(types, expected, format!("{kind:?}"));
        let kind = (!kind.is_empty()).then(|| QuestionKind::of(kind).ok_or_else(unknown)).transpose()?;
        let expected = "the number of a choice, 0 to 4";
        let right: u8 = row.value(answer, expected)?;
        if usize::from(right) >= CHOICES {
            return Err(row.error(answer, expected, right.to_string()));
        }
        Ok(Self { answer: right, kind, choices })
    }
}

/// A question as the file has it.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Entry {
    answer: Option<usize>,
    query: Option<Sentence>,
    choices: Option<Pairs<Offered>>,
    types: Cell,
}

#[derive(Deserialize)]
struct Sentence {
    clip_text: Option<String>,
}

#[derive(Deserialize)]
struct Offered {
    video_uid: String,
    clip_start: Option<f64>,
    clip_end: Option<f64>,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let questions: Pairs<Entry> = json::read(path)?;
        let file = name_of(path);
        for (key, question) in &questions.0 {
            add_question(&mut builder, &format!("{file}: question {key:?}"), key, question);
        }
    }
    builder.finish(sources)
}

fn add_question(builder: &mut Builder, at: &str, key: &str, question: &Entry) {
    let text = question.query.as_ref().and_then(|query| query.clip_text.as_deref());
    let (Some(text), Some(answer), Some(choices)) = (text, question.answer, in_order(question)) else {
        return builder.tally.drop(BAD_QUESTION, at);
    };
    if text.trim().is_empty() || answer >= CHOICES {
        return builder.tally.drop(BAD_QUESTION, at);
    }
    if !choices.iter().all(|choice| is_usable(choice)) {
        return builder.tally.drop(BAD_CHOICE, at);
    }
    let clips: Option<Vec<ClipUid>> = choices.map(|choice| add_clip(builder, at, choice)).into_iter().collect();
    let Some(choices) = clips.and_then(|clips| clips.try_into().ok()) else {
        return builder.tally.drop(BAD_CHOICE, at);
    };
    let record = Question { answer: answer as u8, kind: QuestionKind::of(question.types.as_str()), choices };
    let clip_uid = &record.choices[answer];
    let query = Query { id: key, clip_uid, text, start_sec: None, end_sec: None };
    let [types, answer, choices] = record.cells();
    builder.query(at, query, &["", &types, &answer, &choices]);
}

/// The choices by their keys, which are "0" to "4" in any order.
fn in_order(question: &Entry) -> Option<[&Offered; CHOICES]> {
    let choices = &question.choices.as_ref()?.0;
    let mut found = [None; CHOICES];
    for (key, choice) in choices {
        *found.get_mut(key.parse::<usize>().ok()?)? = Some(choice);
    }
    let complete: Vec<&Offered> = found.into_iter().flatten().collect();
    complete.try_into().ok()
}

fn is_usable(choice: &Offered) -> bool {
    matches!((choice.clip_start, choice.clip_end), (Some(start), Some(end)) if end > start.max(0.0))
}

fn add_clip(builder: &mut Builder, at: &str, choice: &Offered) -> Option<ClipUid> {
    let (start, end) = (choice.clip_start?.max(0.0), choice.clip_end?);
    let clip_uid = format!("{}_{start}_{end}", choice.video_uid);
    if let Some(known) = builder.known(&clip_uid) {
        return Some(known);
    }
    if choice.clip_start < Some(0.0) {
        builder.tally.keep("clips that begin before their video, cut to its start", format_args!("{at}: {clip_uid}"));
    }
    let extent = Extent::Seconds(Some(start), Some(end));
    builder.unit(at, &Unit { video_uid: &choice.video_uid, clip_uid: &clip_uid, extent, split: "" })
}

#[cfg(test)]
mod tests {
    use super::super::record::records;
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;
    use crate::queries::Queries;

    #[test]
    fn questions_are_listed_with_their_clips_or_not_at_all() {
        let built = built(&BENCHMARK, &["egomcq.json"]).unwrap();
        let listed = lines(&built);
        assert_eq!(listed.len(), 9, "five clips, and four more of the second question: {listed:?}");
        assert_eq!(listed[0], "video-0 video-0_0_1.5 0 1.5 -");
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.clip_uid.as_str(), query.text)).collect();
        assert_eq!(
            rows,
            [("10", "video-2_2.25_3.5", "#C C puts the \"d\u{e9}cor\" down"), ("9", "video-0_0_1.5", "#C C waits")]
        );
        let choices: Vec<_> = queries.column("choices").unwrap().collect();
        assert_eq!(choices[0].split(' ').nth(2), Some("video-2_2.25_3.5"));
        let questions: Vec<Question> = records(queries).unwrap();
        let kinds: Vec<_> = questions.iter().map(|question| question.kind).collect();
        assert_eq!(kinds, [Some(QuestionKind::InterVideo), Some(QuestionKind::IntraVideo)]);
        let right = |question: &Question| question.choices[usize::from(question.answer)].clone();
        assert!(queries.iter().zip(&questions).all(|(query, question)| *query.clip_uid == right(question)));
        assert_eq!(
            dropped(&built),
            [(BAD_QUESTION, 4), (BAD_CHOICE, 2), ("clips whose uid could not be a file's name", 1)]
        );
        assert_eq!(kept(&built), [("clips that begin before their video, cut to its start", 1)]);
    }

    #[test]
    fn cells_that_mean_nothing_are_errors_that_name_the_question() {
        let refused = |types: &str, answer: &str, choices: &str| {
            let mut queries = Queries::new(&COLUMNS);
            let clip_uid = ClipUid::parse("a").unwrap();
            let query = Query { id: "7", clip_uid: &clip_uid, text: "", start_sec: None, end_sec: None };
            queries.push(query, &[types, answer, choices]);
            records::<Question>(&queries).map_err(|error| error.to_string())
        };
        assert!(refused("2", "4", "a b c d e").is_ok() && refused("", "0", "a b c d e").unwrap()[0].kind.is_none());
        for (types, answer, choices, expected) in [
            ("1", "", "a b c d e", "query \"7\": answer: expected the number of a choice, 0 to 4, found nothing"),
            ("1", "5", "a b c d e", "query \"7\": answer: expected the number of a choice, 0 to 4, found 5"),
            ("3", "0", "a b c d e", "query \"7\": types: expected 1 (several videos) or 2 (one video), found \"3\""),
            ("1", "0", "a b c d", "query \"7\": choices: expected five names of clips, found \"a b c d\""),
        ] {
            assert_eq!(refused(types, answer, choices).unwrap_err(), expected);
        }
        let none = records::<Question>(&{
            let mut queries = Queries::new(&[]);
            let clip_uid = ClipUid::parse("a").unwrap();
            queries.push(Query { id: "7", clip_uid: &clip_uid, text: "", start_sec: None, end_sec: None }, &[]);
            queries
        });
        assert_eq!(none.unwrap_err().to_string(), "query \"7\": choices: expected a column of that name, found none");
    }
}
