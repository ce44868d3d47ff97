//! `egofx recipes`: the recipes that the program has.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use egofx::recipe::{Recipe, RecipeError, SHIPPED, Shipped};

use super::table::Column::{Left, Right};
use super::table::Table;
use super::{say, say_json};

/// List the recipes that are part of the program, or print one.
///
///   egofx recipes                                        all of them: name, task, graph, features a row
///   egofx recipes egovlp_nlq                             one, as it is written
///   egofx recipes egovlp_nlq > my_set.toml               a copy to change; its name is the feature set's
///   egofx extract -m all.csv -p egovlp_nlq -o features/  one by its name
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Recipes {
    /// Print this one.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print as JSON on stdout.
    #[arg(long)]
    json: bool,
}

/// One recipe of the list.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    task: &'static str,
    backbone: String,
    feature: String,
    dim: Option<usize>,
    about: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'static str>,
}

impl Row {
    fn of(shipped: &'static Shipped) -> Result<Self, RecipeError> {
        let Shipped { name, task, .. } = *shipped;
        let body = Recipe::find(Path::new(name))?.body;
        let (backbone, feature, dim) = (body.backbone, body.feature, body.output.dim);
        Ok(Self { name, task, backbone, feature, dim, about: shipped.about(), text: None })
    }
}

impl Recipes {
    /// Runs it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Some(name) = &self.name else {
            let rows = SHIPPED.iter().map(Row::of).collect::<Result<Vec<_>, _>>()?;
            if self.json {
                say_json(&rows)?
            } else {
                say(&table(&rows))?
            };
            return Ok(ExitCode::SUCCESS);
        };
        let unknown = || RecipeError::Unknown { near: Shipped::near(name), name: name.clone() };
        let shipped = Shipped::find(name).ok_or_else(unknown)?;
        if self.json {
            say_json(&Row { text: Some(shipped.text), ..Row::of(shipped)? })?;
        } else {
            say(shipped.text)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A row for each recipe, with what it is for below.
fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&[Left("recipe"), Left("task"), Left("backbone"), Left("feature"), Right("dim")]);
    for Row { name, task, backbone, feature, dim, .. } in rows {
        let dim = dim.map_or("-".to_owned(), |dim| dim.to_string());
        table.row([name, *task, backbone, feature, &dim]);
    }
    let table = table.to_string();
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default().to_owned() + "\n";
    head + &lines.zip(rows).map(|(line, row)| format!("{line}\n    {}\n", row.about)).collect::<String>()
}
