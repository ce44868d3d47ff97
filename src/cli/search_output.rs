//! The forms in which `egofx search` answers: a table for people, JSON, CSV.
//!
//! Not for searching. Invariant: texts of others stay texts in every form.

use serde_json::{Value, json};

use egofx::heads::spans::Span;
use egofx::search::{Hit, Moment};

use super::table::Column::{Left, Right};
use super::table::Table;

/// What was asked, and what was found.
pub struct Answer {
    /// The query's name, in a batch.
    pub query_id: Option<String>,
    /// The sentence.
    pub text: Option<String>,
    /// The moment that was asked for in its place.
    pub like: Option<String>,
    /// Moments, best first.
    pub hits: Vec<Hit>,
    /// What a head says, where one was asked.
    pub spans: Option<Spans>,
}

/// What a head was asked and says.
pub struct Spans {
    /// The question.
    pub question: String,
    /// Spans, best first.
    pub spans: Vec<Span>,
}

impl Answer {
    /// All spans; none if no head was asked.
    pub fn all_spans(&self) -> &[Span] {
        self.spans.as_ref().map_or(&[], |found| &found.spans)
    }

    /// Videos and seconds at which moments, and then spans, are shown.
    pub fn places(&self) -> Vec<(&str, f64)> {
        let hits = self.hits.iter().map(|hit| (hit.moment.video_uid.as_str(), hit.moment.best_sec));
        let spans =
            self.all_spans().iter().map(|span| (span.video_uid.as_str(), (span.start_sec + span.end_sec) / 2.0));
        hits.chain(spans).collect()
    }
}

/// A list with an object for each query; `stores` are the paths by number.
pub fn json(answers: &[Answer], stores: &[String]) -> Value {
    let moment = |(rank, hit): (usize, &Hit)| {
        let Moment { video_uid, clip_uid, start_sec, end_sec, score, best_sec, windows, .. } = &hit.moment;
        json!({
            "rank": rank + 1, "score": score, "video_uid": video_uid, "clip_uid": clip_uid, "start_sec": start_sec,
            "end_sec": end_sec, "best_sec": best_sec, "windows": windows, "store": stores[hit.store],
        })
    };
    let span = |(rank, Span { video_uid, clip_uid, start_sec, end_sec }): (usize, &Span)| {
        json!({
            "rank": rank + 1, "video_uid": video_uid, "clip_uid": clip_uid, "start_sec": start_sec, "end_sec": end_sec,
        })
    };
    let answer = |answer: &Answer| {
        let moments: Vec<Value> = answer.hits.iter().enumerate().map(moment).collect();
        let mut told =
            json!({"query_id": answer.query_id, "text": answer.text, "like": answer.like, "moments": moments});
        if let Some(found) = &answer.spans {
            told["question"] = found.question.as_str().into();
            told["spans"] = found.spans.iter().enumerate().map(span).collect();
        }
        told
    };
    answers.iter().map(answer).collect()
}

/// A line for each moment.
pub fn csv(answers: &[Answer], stores: &[String]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "query_id",
        "text",
        "like",
        "rank",
        "score",
        "video_uid",
        "clip_uid",
        "start_sec",
        "end_sec",
        "best_sec",
        "windows",
        "store",
    ])?;
    for answer in answers {
        let asked = [&answer.query_id, &answer.text, &answer.like].map(|text| text.clone().unwrap_or_default());
        for (rank, Hit { store, moment }) in answer.hits.iter().enumerate() {
            let numbers = [moment.start_sec, moment.end_sec, moment.best_sec].map(|sec| sec.to_string());
            let names = [moment.video_uid.clone(), moment.clip_uid.clone().unwrap_or_default()];
            let last = [moment.windows.to_string(), stores[*store].clone()];
            let ranked = [(rank + 1).to_string(), moment.score.to_string()];
            writer.write_record(asked.iter().chain(&ranked).chain(&names).chain(&numbers).chain(&last))?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A table; queries and stores are shown where there are several. Spans are a second one, below a blank line.
pub fn table(answers: &[Answer], stores: &[String]) -> String {
    let (many_queries, many_stores) = (answers.len() > 1, stores.len() > 1);
    let mut columns = vec![Right("score"), Left("video"), Left("clip"), Right("start"), Right("end"), Right("windows")];
    columns.splice(0..0, many_queries.then_some(Left("query")));
    columns.extend(many_stores.then_some(Left("store")));
    let mut table = Table::new(&columns);
    for answer in answers {
        for Hit { store, moment } in &answer.hits {
            let query = many_queries.then(|| answer.query_id.clone().unwrap_or_default());
            let [start, end] = [moment.start_sec, moment.end_sec].map(|sec| format!("{sec:.2}"));
            let clip = moment.clip_uid.clone().unwrap_or_default();
            let cells = [
                format!("{:.4}", moment.score),
                moment.video_uid.clone(),
                clip,
                start,
                end,
                moment.windows.to_string(),
            ];
            table.row(query.into_iter().chain(cells).chain(many_stores.then(|| stores[*store].clone())));
        }
    }
    let spans: String = answers.iter().filter(|answer| answer.spans.is_some()).map(spans_table).collect();
    if spans.is_empty() { table.to_string() } else { format!("{table}\n{spans}") }
}

fn spans_table(answer: &Answer) -> String {
    let mut table = Table::new(&[Right("span"), Left("video"), Left("clip"), Right("start"), Right("end")]);
    for (rank, span) in answer.all_spans().iter().enumerate() {
        let [start, end] = [span.start_sec, span.end_sec].map(|sec| format!("{sec:.2}"));
        table.row([(rank + 1).to_string(), span.video_uid.clone(), span.clip_uid.clone(), start, end]);
    }
    table.to_string()
}
