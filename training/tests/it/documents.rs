//! README and book: commands of this program run or are parsed, and the page of the reference is what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "../../../tests/it/docs/blocks.rs"]
mod blocks;

use blocks::{Block, Mark, Shell, pages};

const PROGRAM: &str = env!("CARGO_BIN_EXE_egofx-train");

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Commands of `egofx` are parsed by the tests of its own package.
#[test]
fn commands_that_need_data_are_understood() {
    let shell = Shell::new(project());
    shell.parses("egofx-train", PROGRAM);
    shell.program("egofx", "exit 0");
    shell.parses_tools();
    let blocks: Vec<Block> = pages(project()).into_iter().flat_map(|page| page.blocks).collect();
    let is_ours =
        |block: &&Block| block.language == "sh" && block.text.contains("egofx-train") && block.mark != Mark::Run;
    let ours: Vec<&Block> = blocks.iter().filter(is_ours).collect();
    assert!(ours.len() > 10, "the blocks were found");
    for block in ours {
        shell.succeeds(block);
    }
    let wrong = blocks::blocks("```sh needs-data\negofx-train nlq --no-such-flag\n```\n", "page");
    assert!(!shell.run(&wrong[0]).status.success());
}

#[test]
fn the_reference_is_what_the_program_says() {
    let page = fs::read_to_string(project().join("docs/book/src/reference/egofx-train.md")).unwrap();
    let output = Command::new(PROGRAM).args(["man", "--markdown"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let differs = page.lines().zip(said.lines()).find(|(page, said)| page != said);
    assert!(page == said, "run `make reference`; the first difference: {differs:?}");
}

/// Every tutorial that needs no data, from its first line to its last; `egofx` is built if it has to be.
#[test]
#[ignore = "long: trainings of several minutes"]
fn tutorials_run_to_their_ends() {
    let mut count = 0;
    for page in pages(project()) {
        let shell = Shell::new(project());
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let manifest = project().join("Cargo.toml");
        let egofx = format!(
            "exec '{cargo}' run --quiet --locked --manifest-path '{}' --bin egofx -- \"$@\"",
            manifest.display()
        );
        shell.program("egofx", &egofx);
        // Nothing runs beside it.
        shell.program("egofx-train", &format!("exec env -u OMP_NUM_THREADS '{PROGRAM}' \"$@\""));
        for block in page.blocks.iter().filter(|block| block.mark == Mark::Long) {
            shell.succeeds(block);
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} tutorials were run");
}
