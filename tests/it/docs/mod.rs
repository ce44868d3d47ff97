//! README and book: what they tell people to type runs or is parsed, and what they point at is there.

mod blocks;
mod examples;

use std::fs;
use std::path::Path;
use std::process::Command;

use blocks::{Block, Mark, Shell, pages};

const EGOFX: &str = env!("CARGO_BIN_EXE_egofx");
/// The README is a page; the rest is in the book.
const MOST_LINES: usize = 150;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_readme_stays_a_page() {
    let lines = fs::read_to_string(project().join("README.md")).unwrap().lines().count();
    assert!(lines <= MOST_LINES, "README.md has {lines} lines, at most {MOST_LINES}: the book has room");
}

/// Commands of `egofx-train` are parsed by the tests of its own package.
#[test]
fn commands_that_need_data_are_understood() {
    let shell = Shell::new(project());
    shell.parses("egofx", EGOFX);
    shell.program("egofx-train", "exit 0");
    shell.parses_tools();
    let blocks: Vec<Block> = pages(project()).into_iter().flat_map(|page| page.blocks).collect();
    let commands: Vec<&Block> =
        blocks.iter().filter(|block| block.language == "sh" && block.mark != Mark::Run).collect();
    assert!(commands.len() > 30, "the blocks were found");
    for block in commands {
        shell.succeeds(block);
    }
    for block in blocks.iter().filter(|block| block.language == "python" && block.mark != Mark::Run) {
        let text = format!("import ast\nast.parse({:?})", block.text);
        shell.succeeds(&Block { text, ..block.clone() });
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_found() {
    let shell = Shell::new(project());
    shell.parses("egofx", EGOFX);
    shell.parses_tools();
    let fails = |text: &str| {
        let block = &blocks::blocks(&format!("```sh needs-data\n{text}\n```\n"), "page")[0];
        !shell.run(block).status.success()
    };
    assert!(!fails("egofx extract -m all.csv -p egovlp_nlq -o features/ --shard $SLURM_ARRAY_TASK_ID/2"));
    assert!(fails("egofx extract -m all.csv -p egovlp_nlq -o features/ --no-such-flag"));
    assert!(fails("egofx extract -m all.csv -p no_such_recipe -o features/"));
    assert!(fails("egofx no-such-command") && fails("make no-such-target") && fails("cargo bench --bench no-such"));
    assert!(!fails("make demo ROOTLESS=1") && !fails("srun --ntasks 2 egofx verify features/"));
    assert!(fails("srun --ntasks 2 egofx verify"));
}

#[test]
fn blocks_without_a_mark_run_as_they_are_printed() {
    let mut count = 0;
    for page in pages(project()) {
        let shell = Shell::new(project());
        shell.program("egofx", &format!("exec '{EGOFX}' \"$@\""));
        for block in page.blocks.iter().filter(|block| block.mark == Mark::Run) {
            shell.succeeds(block);
            count += 1;
        }
    }
    assert!(count >= 8, "only {count} blocks were run");
}

#[test]
fn the_reference_is_what_the_program_says() {
    let page = fs::read_to_string(project().join("docs/book/src/reference/egofx.md")).unwrap();
    let output = Command::new(EGOFX).args(["man", "--markdown"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let differs = page.lines().zip(said.lines()).find(|(page, said)| page != said);
    assert!(page == said, "run `make reference`; the first difference: {differs:?}");
}

/// File and symbol of each row of the table: [`FILE`](...)`::SYMBOL`.
fn places(page: &str) -> Vec<(&str, &str)> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("](../../../"));
    rows.map(|row| {
        let (_, place) = row.rsplit_once("[`").unwrap_or_else(|| panic!("{row}: no file"));
        let (file, rest) = place.split_once("`](").unwrap();
        (file, rest.split_once(")`::").unwrap_or_else(|| panic!("{row}: no symbol")).1.trim_end_matches("` |"))
    })
    .collect()
}

/// Whether `text` defines `symbol`: a name, or `Type::method` of a type that it mentions in an `impl` or as a definition.
fn defines(text: &str, symbol: &str) -> bool {
    let is_word = |text: &str, at: usize, word: &str| {
        let after = text[at + word.len()..].chars().next();
        !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
    };
    let has = |kind: &str, word: &str| {
        let wanted = format!("{kind} {word}");
        text.match_indices(&wanted).any(|(at, found)| is_word(text, at, found))
    };
    let item =
        |word: &str| ["fn", "struct", "enum", "trait", "const", "static", "type"].iter().any(|kind| has(kind, word));
    match symbol.split_once("::") {
        Some((owner, method)) => {
            (item(owner) || text.contains(&format!("impl {owner}")) || has("for", owner)) && has("fn", method)
        }
        None => item(symbol),
    }
}

#[test]
fn from_paper_to_code_points_at_what_is_there() {
    let page = fs::read_to_string(project().join("docs/book/src/paper-to-code.md")).unwrap();
    let places = places(&page);
    assert!(places.len() >= 40, "{} rows", places.len());
    for (file, symbol) in places {
        let text = fs::read_to_string(project().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(defines(&text, symbol), "{file} does not define {symbol}");
    }
    assert!(defines("impl Window {\n    pub fn iou(&self)", "Window::iou") && !defines("fn ious()", "iou"));
}

#[test]
fn examples_of_workflows_are_quoted_as_they_are() {
    let page = fs::read_to_string(project().join("docs/book/src/extraction/workflows.md")).unwrap();
    for file in ["examples/snakemake/Snakefile", "examples/nextflow/main.nf"] {
        let text = fs::read_to_string(project().join(file)).unwrap();
        assert!(page.contains(&format!("\n{text}```\n")), "workflows.md does not quote {file} as it is");
    }
}

/// Nextflow is not among what the tests install; its example's commands are parsed at least.
#[test]
fn commands_of_the_nextflow_example_are_understood() {
    let shell = Shell::new(project());
    shell.parses("egofx", EGOFX);
    let text = fs::read_to_string(project().join("examples/nextflow/main.nf")).unwrap();
    let values = [
        ("${launchDir}", "."),
        ("${manifest}", "all.csv"),
        ("${store}", "features"),
        ("${params.recipe}", "demo"),
        ("${params.parts}", "4"),
        ("${index}", "2"),
        ("${task.cpus}", "4"),
    ];
    let text = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
    let scripts: Vec<&str> = text.split("\"\"\"").skip(1).step_by(2).collect();
    assert_eq!(scripts.len(), 2);
    for script in scripts {
        assert!(script.contains("egofx ") && !script.contains('$'), "{script}");
        let block = format!("```sh needs-data\n{script}```\n");
        shell.succeeds(&blocks::blocks(&block.replace("    ```", "```"), "main.nf")[0]);
    }
}
