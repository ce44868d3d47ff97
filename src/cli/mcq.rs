//! `egofx mcq`: EgoMCQ from feature sets.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use ndarray::Array2;
use serde::Serialize;
use serde_json::{Map, Value, json};

use egofx::benchmark::egomcq::Question;
use egofx::benchmark::records;
use egofx::metric::egomcq::{self, Accuracy, McqScore};
use egofx::queries::Queries;
use egofx::retrieval::Choices;
use egofx::store::StoreReader;

use super::outputs::{Output, write_all};
use super::table::Column::{Left, Right};
use super::table::Table;
use super::{say, say_json};

/// Answer EgoMCQ's queries and count the right answers, inter- and intra-video.
///
/// dual: the cosine of question and clip (--video and --text), of LaViLa's rows their product; fusion: the probability that they match (--match);
/// ensemble, which EgoVLPv2 reports: the sum of both. Kinds of questions are told by their number: 1 is inter, 2 is intra;
/// EgoVLP's own log swaps the two names. Of equal scores the first wins.
#[derive(Args)]
pub struct Mcq {
    /// The questions: the table that `egofx manifest egomcq` writes.
    #[arg(long, short_alias = 'q', value_name = "FILE")]
    queries: PathBuf,
    /// A feature set with a row for each clip: features/egovlpv2_mcq.
    #[arg(long, value_name = "STORE", requires = "text")]
    video: Option<PathBuf>,
    /// A feature set with a row for each question: features/egovlpv2_mcq_text.
    #[arg(long, value_name = "STORE", requires = "video")]
    text: Option<PathBuf>,
    /// A feature set with a row for each question and choice: features/egovlpv2_mcq_match.
    #[arg(long = "match", value_name = "STORE")]
    pairs: Option<PathBuf>,
    /// Write the scores of all choices, {mode: {question: [five scores]}}, for `egofx eval egomcq` one mode at a time.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite a file that holds something else.
    #[arg(long)]
    force: bool,
    /// Print the accuracies as JSON.
    #[arg(long)]
    json: bool,
}

/// What one way of scoring comes to, in percent.
#[derive(Serialize)]
struct Row {
    mode: &'static str,
    inter: f64,
    intra: f64,
    inter_questions: usize,
    intra_questions: usize,
}

impl Mcq {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let queries = Queries::read(&self.queries)?;
        let key = Key::read(&self.queries, &queries)?;
        let modes = self.scores(&queries)?;
        let rows = modes.iter().map(|(mode, scores)| key.row(mode, scores)).collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(out) = &self.out {
            let predictions = predictions(&queries, &modes);
            let write = |file: &mut dyn Write| Ok(serde_json::to_writer(file, &predictions)?);
            write_all(&[Output { path: out, write: &write }], self.force)?;
        }
        if self.json {
            say_json(&rows)?;
        } else {
            say(&table(&rows))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Scores `[questions, 5]` by mode.
    fn scores(&self, queries: &Queries) -> anyhow::Result<Vec<(&'static str, Array2<f64>)>> {
        let choices = Choices::new(queries);
        let open = |path: &PathBuf| StoreReader::open(path);
        let mut modes = Vec::new();
        if let (Some(video), Some(text)) = (&self.video, &self.text) {
            let (video, text) = (open(video)?, open(text)?);
            modes.push(("dual", matrix(choices.dual(&video, &text)?)?));
        }
        if let Some(pairs) = &self.pairs {
            modes.push(("fusion", matrix(choices.matches(&open(pairs)?)?)?));
        }
        match &modes[..] {
            [] => bail!("nothing to score by: give --video and --text, --match, or all of them"),
            [(_, dual), (_, fusion)] => modes.push(("ensemble", dual + fusion)),
            _ => {}
        }
        Ok(modes)
    }
}

fn matrix(scores: Vec<Vec<f64>>) -> anyhow::Result<Array2<f64>> {
    let shape = (scores.len(), egomcq::CHOICES);
    Array2::from_shape_vec(shape, scores.into_iter().flatten().collect())
        .with_context(|| format!("expected {} choices in each question", egomcq::CHOICES))
}

/// The right answers and the kinds of questions.
struct Key {
    answers: Vec<usize>,
    types: Vec<u8>,
}

impl Key {
    fn read(path: &Path, queries: &Queries) -> anyhow::Result<Self> {
        let questions: Vec<Question> = records(queries).with_context(|| path.display().to_string())?;
        Ok(Self {
            answers: questions.iter().map(|question| usize::from(question.answer)).collect(),
            types: questions.iter().map(Question::type_id).collect(),
        })
    }

    fn row(&self, mode: &'static str, scores: &Array2<f64>) -> anyhow::Result<Row> {
        let McqScore { inter, intra } = egomcq::score(scores.view(), &self.answers, &self.types)?;
        let percent = |accuracy: Accuracy| 100.0 * accuracy.fraction();
        Ok(Row {
            mode,
            inter: percent(inter),
            intra: percent(intra),
            inter_questions: inter.total,
            intra_questions: intra.total,
        })
    }
}

fn predictions(queries: &Queries, modes: &[(&'static str, Array2<f64>)]) -> Value {
    let of = |scores: &Array2<f64>| -> Map<String, Value> {
        let rows = queries.iter().zip(scores.outer_iter());
        rows.map(|(query, scores)| (query.id.to_owned(), json!(scores.to_vec()))).collect()
    };
    Value::Object(modes.iter().map(|(mode, scores)| ((*mode).to_owned(), Value::Object(of(scores)))).collect())
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&[Left("mode"), Right("inter-video"), Right("intra-video")]);
    for Row { mode, inter, intra, .. } in rows {
        table.row([(*mode).to_owned(), format!("{inter:.2} %"), format!("{intra:.2} %")]);
    }
    if let Some(Row { inter_questions, intra_questions, .. }) = rows.first() {
        table.row(["questions".to_owned(), inter_questions.to_string(), intra_questions.to_string()]);
    }
    table.to_string()
}
