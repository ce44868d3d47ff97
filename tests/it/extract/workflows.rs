//! Workflow managers that run the parts of a plan into one store: the example that the book quotes, and HyperQueue's tasks.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::shards::{is_whole, shop};
use super::sharing::waiting_decoder;
use crate::support::{Outcome, Workshop, checkout};

/// What `make setup-test` installs for these tests.
fn packages() -> PathBuf {
    let packages = checkout().join(".runtime/snakemake");
    assert!(packages.join("hyperqueue").is_dir(), "nothing in {}: run `make setup-test`", packages.display());
    packages
}

/// Python with these packages, in the workshop.
fn python(shop: &Workshop, arguments: &str) -> Command {
    fs::create_dir_all(shop.path("bin")).unwrap();
    fs::create_dir_all(shop.path("temporary")).unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = shop.command(python, arguments);
    let path = format!("{}:{}", shop.path("bin").display(), std::env::var("PATH").unwrap());
    command.env("PYTHONPATH", packages()).env("PATH", path).env("TMPDIR", shop.path("temporary"));
    // Where managers and what they stand on keep things of their own.
    command.env("HOME", shop.path("temporary")).env("XDG_CACHE_HOME", shop.path("temporary"));
    command
}

/// Runs the Snakefile with 4 parts into `out`, of the plan of [`shop`].
fn snakemake(shop: &Workshop) -> Outcome {
    let file = checkout().join("examples/snakemake/Snakefile");
    let arguments =
        format!("-m snakemake --snakefile {} --cores 4 --scheduler greedy --nocolor --config", file.display());
    let mut command = python(shop, &arguments);
    command.args(["manifest=all.csv", "recipe=rows.toml", "out=out", "parts=4", "threads=1"]);
    command.arg("flags=-p coarse.toml --decoders 1 --grace 0");
    shop.finished("snakemake", &mut command)
}

/// Snakemake has no version for some Pythons, see `requirements/snakemake.txt`.
fn has_snakemake() -> bool {
    let found = packages().join("snakemake").is_dir();
    if !found {
        eprintln!("skipped: Snakemake comes for Python 3.11 to 3.13");
    }
    found
}

#[test]
fn snakemake_runs_the_parts_and_tries_again_one_that_was_stopped() {
    if !has_snakemake() {
        return;
    }
    let shop = shop();
    waiting_decoder(&shop);
    // The first call of part 2 is stopped by SIGTERM in the midst of a video, before the others begin.
    let egofx = env!("CARGO_BIN_EXE_egofx");
    let stopped = format!(
        "{egofx} \"$@\" --ffmpeg ./waits.sh &\nwhile [ ! -e waits ] && kill -0 $!; do sleep 0.2; done\n\
         kill -TERM $!; touch go; wait $!; code=$?; echo $code > code; exit $code"
    );
    let others = "*extract*) while [ ! -e code ]; do sleep 0.2; done";
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*'--shard 2/4'*) if mkdir once 2> /dev/null; then\n{stopped}\nfi ;;\n{others} ;;\nesac\n\
         exec {egofx} \"$@\"\n"
    );
    fs::create_dir_all(shop.path("bin")).unwrap();
    shop.script("bin/egofx", &script);
    snakemake(&shop).ends_with(0);
    assert_eq!(fs::read_to_string(shop.path("code")).unwrap().trim(), "75");
    is_whole(&shop, "out");
    let report = shop.report("out");
    assert_eq!((&report["missing_parts"], &report["exit_code"]), (&serde_json::json!([]), &0.into()));
    assert!(shop.path("out/.parts/verified").exists());
}

const HYPERQUEUE: &str = r#"
import os
import sys
from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig

with LocalCluster(os.path.abspath("hq"), worker_config=WorkerConfig(cores=4)) as cluster:
    job = Job(default_env={"EGOFX_SHARD_COUNT": "4", "EGOFX_SHARD_FIRST": "0"})
    for part in range(4):
        job.program(sys.argv[1:], cwd=".", stdout=f"{part}.stdout", stderr=f"{part}.stderr")
    client = cluster.client()
    client.wait_for_jobs([client.submit(job)])
"#;

#[test]
fn tasks_of_hyperqueue_find_their_parts() {
    let shop = shop();
    let mut command = python(&shop, "-c");
    command.args([HYPERQUEUE, env!("CARGO_BIN_EXE_egofx")]);
    command.args("extract -m all.csv -p rows.toml -p coarse.toml -o out --shard auto --decoders 1".split(' '));
    let run = shop.finished("tasks", &mut command);
    let said = |part: u32| fs::read_to_string(shop.path(&format!("{part}.stderr"))).unwrap_or_default();
    assert!(run.code == Some(0), "{run}{}", (0..4).map(said).collect::<String>());
    for part in 0..4 {
        let by = format!("part {}/4 by HyperQueue, --array 1-N (HQ_TASK_ID)", part + 1);
        assert!(said(part).contains(&by), "{}", said(part));
    }
    is_whole(&shop, "out");
}
