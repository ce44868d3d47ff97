//! The programs of `examples/`, which Cargo builds with the tests, on files of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Shell, blocks, project};

/// Where Cargo puts the examples: beside the folder of this test program.
fn example(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

fn said(name: &str, arguments: &[&Path]) -> String {
    let output = Command::new(example(name)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_store_is_read() {
    let shell = Shell::new(project());
    shell.program("egofx", &format!("exec '{}' \"$@\"", super::EGOFX));
    let extract = "```sh\negofx extract -m manifests/demo.csv -p demo -o features\npwd\n```\n";
    let folder = shell.succeeds(&blocks::blocks(extract, "examples")[0]);
    let said = said("read_store", &[&Path::new(folder.lines().last().unwrap()).join("features/demo")]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "demo: tiny, 32 features a row");
    assert!(lines[1].starts_with("nasa_13013: ") && lines[2].starts_with("nasa_launch: "), "{said}");
    assert!(lines[2].contains(" rows from 2.0") && lines[2].contains(" 0 missing, mean norm "), "{said}");
}

#[test]
fn predictions_are_scored() {
    let nlq = project().join("tests/data/metrics/nlq");
    let said = said("score_predictions", &[&nlq.join("pred.json"), &nlq.join("gt.json")]);
    assert!(said.contains("R@1 at IoU 0.3 is 42.86 %"), "{said}");
}

#[test]
fn a_checkpoint_becomes_safetensors_with_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) =
        (project().join("tests/data/checkpoints/egovlp_tiny.pth"), folder.path().join("out.safetensors"));
    let said = said("convert_checkpoint", &[&input, &output]);
    let [before, after] = [&input, &output].map(|path| egofx::checkpoint::Checkpoint::open(path).unwrap());
    assert_eq!(before.tensors(), after.tensors());
    assert_eq!(said, format!("{} tensors\n", before.tensors().len()));
    for name in before.tensors().keys() {
        assert_eq!(before.read(name).unwrap(), after.read(name).unwrap(), "{name}");
    }
}
