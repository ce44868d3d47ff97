//! `egofx eval`: the official numbers of a benchmark.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use egofx::compat::Compat;
use egofx::metric::{Choice, EVALUATORS, Evaluator, Grid, Input, Inputs, Need, Report, Unit};

use super::table::Column::{Left, Right};
use super::table::{Column, Table};
use super::{say, say_json, tell};

/// Compute a benchmark's official metrics from predictions and annotations.
///
/// Each benchmark reads the files that its authors publish, and the submission that its server or trainer takes;
/// `egofx eval BENCHMARK --help` lists them. Predictions that leave something out are an error that counts it. A note beside
/// the predictions (FILE.scoring.json), as `egofx-train predict` writes it, says how they are to be scored.
#[derive(Args)]
pub struct Eval {
    #[command(flatten)]
    request: Request,
}

/// What was asked for. The registry of evaluators makes the arguments, so that each has its own and no others.
struct Request {
    evaluator: &'static Evaluator,
    inputs: Inputs,
    /// What `--compat` said, if it was given.
    compat: Option<Compat>,
    json: bool,
}

impl Eval {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Request { evaluator, inputs, compat, json } = self.request;
        let inputs = inputs.completed(evaluator, compat)?;
        show(&(evaluator.evaluate)(&inputs)?, json)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints numbers, and on stderr what a reader of them should know.
pub(super) fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        say_json(&report.json())?;
    } else {
        say(&table(report))?;
        report.notes.iter().for_each(|note| tell(format_args!("note: {note}")));
    }
    if !report.coverage.is_complete() {
        tell(format_args!("egofx: incomplete: {}", report.coverage));
    }
    Ok(())
}

impl Args for Request {
    fn augment_args(command: Command) -> Command {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand_value_name("BENCHMARK")
            .subcommand_help_heading("Benchmarks")
            .subcommands(EVALUATORS.iter().map(subcommand))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Request {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let evaluator = EVALUATORS.iter().find(|evaluator| evaluator.name == name).ok_or_else(missing)?;
        let json = matches.get_flag("json");
        Ok(Self { evaluator, inputs: inputs(evaluator, matches), compat: compat(evaluator, matches), json })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn subcommand(evaluator: &Evaluator) -> Command {
    let compat = evaluator.fixes.map(|fixes| {
        let help = format!(
            "as-released computes what the original evaluator does, for comparison with published numbers; fixed \
             differs in this: {fixes}. Without this, as the note beside the predictions says (FILE.scoring.json), else \
             as-released."
        );
        let values = PossibleValuesParser::new([Compat::AsReleased.name(), Compat::Fixed.name()]);
        Arg::new("compat").long("compat").value_name("KIND").value_parser(values).help(help)
    });
    let allow = "Score incomplete predictions. What is missing, unknown or repeated is counted and printed.";
    Command::new(evaluator.name)
        .about(evaluator.about)
        .args(evaluator.inputs.iter().map(input))
        .args(evaluator.choices.iter().map(choice))
        .args(compat)
        .arg(Arg::new("allow-missing").long("allow-missing").action(ArgAction::SetTrue).help(allow))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print everything as JSON on stdout."))
}

fn input(input: &Input) -> Arg {
    let arg =
        Arg::new(input.name).long(input.name).value_name("FILE").help(input.about).value_parser(value_parser!(PathBuf));
    // The short form of former versions; -p is a recipe everywhere.
    let arg = if input.name == "predictions" { arg.short_alias('p') } else { arg };
    let arg = if input.name == "annotations" { arg.short('a') } else { arg };
    match input.need {
        Need::One => arg.required(true),
        Need::Optional => arg,
    }
}

fn choice(choice: &Choice) -> Arg {
    let arg = Arg::new(choice.name).long(choice.name).help(choice.about);
    match choice.values.first() {
        Some(first) => {
            arg.value_parser(PossibleValuesParser::new(choice.values)).default_value(*first).value_name("KIND")
        }
        None => arg.value_name("NAME"),
    }
}

fn inputs(evaluator: &Evaluator, matches: &ArgMatches) -> Inputs {
    let mut inputs = Inputs::default();
    for Input { name, .. } in evaluator.inputs {
        let paths = matches.get_many::<PathBuf>(name).into_iter().flatten();
        inputs = paths.fold(inputs, |inputs, path| inputs.file(name, path));
    }
    for Choice { name, .. } in evaluator.choices {
        if let Some(value) = matches.get_one::<String>(name) {
            inputs = inputs.choose(name, value);
        }
    }
    inputs.allow_missing = matches.get_flag("allow-missing");
    inputs
}

/// What `--compat` says, where the evaluator has it.
fn compat(evaluator: &Evaluator, matches: &ArgMatches) -> Option<Compat> {
    evaluator.fixes?;
    let given = matches.get_one::<String>("compat")?;
    Compat::named(given)
}

/// For people: a line on what was scored, then the numbers, percentages with two digits.
fn table(report: &Report) -> String {
    let compat = report.compat.map(|compat| format!(", {}", compat.name())).unwrap_or_default();
    let coverage = &report.coverage;
    let head =
        format!("{}{compat}: {} of {} {}\n", report.benchmark, coverage.answered, coverage.expected, coverage.of);
    head + &report.grids.iter().map(lines).collect::<String>()
}

/// A grid, two spaces in.
fn lines(grid: &Grid) -> String {
    let cell = |value: &f64| match (value.is_nan(), grid.unit) {
        (true, _) => "NaN".to_owned(),
        (false, Unit::Fraction) => format!("{:.2}", 100.0 * value),
        (false, Unit::Seconds) => format!("{value:.3} s"),
    };
    let columns: Vec<Column> = std::iter::once(Left("")).chain(grid.columns.iter().map(|name| Right(name))).collect();
    let mut table = Table::new(&columns);
    for (name, values) in &grid.rows {
        table.row(std::iter::once(name.clone()).chain(values.iter().map(cell)));
    }
    table.to_string().lines().map(|line| format!("  {line}\n")).collect()
}
