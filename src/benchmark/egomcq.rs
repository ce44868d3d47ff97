//! EgoMCQ, one sentence and five clips to choose from: `egomcq.json`.
//!
//! A unit is a clip that some question offers, once however many do; a query is a question, about the clip that is its
//! answer. Not for the names of the two kinds of questions, which published logs swap: `types` is 1 where the clips come
//! from several videos and 2 where they come from one. A question is listed with all of its five clips or not at all.

use serde::Deserialize;

use super::builder::{Builder, Extent, Unit, name_of};
use super::json::{self, Cell, Pairs};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "egomcq",
    about: "five clips for each question of EgoMCQ",
    needs: Needs { annotations: Need::Required("egomcq.json (--annotations FILE)"), videos: super::PRESENT_ONLY },
    build,
};

/// How many clips a question offers.
const CHOICES: usize = 5;

const BAD_QUESTION: &str = "questions without a text, an answer and five choices";
const BAD_CHOICE: &str = "questions with a clip that cannot be used";

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Question {
    answer: Option<usize>,
    query: Option<Sentence>,
    choices: Option<Pairs<Choice>>,
    types: Cell,
}

#[derive(Deserialize)]
struct Sentence {
    clip_text: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    video_uid: String,
    clip_start: Option<f64>,
    clip_end: Option<f64>,
}

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &["types", "answer", "choices"]);
    for path in BENCHMARK.annotations(sources)? {
        let questions: Pairs<Question> = json::read(path)?;
        let file = name_of(path);
        for (key, question) in &questions.0 {
            add_question(&mut builder, &format!("{file}: question {key:?}"), key, question);
        }
    }
    builder.finish(sources)
}

fn add_question(builder: &mut Builder, at: &str, key: &str, question: &Question) {
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
    let Some(clips) = choices.map(|choice| add_clip(builder, at, choice)).into_iter().collect::<Option<Vec<_>>>()
    else {
        return builder.tally.drop(BAD_CHOICE, at);
    };
    let names = clips.iter().map(ClipUid::as_str).collect::<Vec<_>>().join(" ");
    let query = Query { id: key, clip_uid: &clips[answer], text, start_sec: None, end_sec: None };
    builder.query(at, query, &["", question.types.as_str(), &answer.to_string(), &names]);
}

/// The choices by their keys, which are "0" to "4" in any order.
fn in_order(question: &Question) -> Option<[&Choice; CHOICES]> {
    let choices = &question.choices.as_ref()?.0;
    let mut found = [None; CHOICES];
    for (key, choice) in choices {
        *found.get_mut(key.parse::<usize>().ok()?)? = Some(choice);
    }
    let complete: Vec<&Choice> = found.into_iter().flatten().collect();
    complete.try_into().ok()
}

fn is_usable(choice: &Choice) -> bool {
    matches!((choice.clip_start, choice.clip_end), (Some(start), Some(end)) if end > start.max(0.0))
}

fn add_clip(builder: &mut Builder, at: &str, choice: &Choice) -> Option<ClipUid> {
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
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

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
        assert_eq!(queries.column("types").unwrap().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(
            dropped(&built),
            [(BAD_QUESTION, 4), (BAD_CHOICE, 2), ("clips whose uid could not be a file's name", 1)]
        );
        assert_eq!(kept(&built), [("clips that begin before their video, cut to its start", 1)]);
    }
}
