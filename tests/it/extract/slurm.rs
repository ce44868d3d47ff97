//! An array on a real Slurm: whatever becomes of its tasks, the store is whole in the end, with no command given in between.

use std::fs;

use super::shards::{BOTH, has_all, shop};
use crate::support::cluster::Cluster;
use crate::support::{Workshop, tool, wait_for};

/// Says at each decoding whose it is, and waits until the file `go` is there.
const WAITING: &str = "#!/bin/sh\ncase \"$*\" in *rawvideo*) echo $PPID > at-$SLURM_ARRAY_TASK_ID; while [ ! -e go ]; do sleep 0.2; done ;; esac\nexec FFMPEG \"$@\"\n";

/// The process that is at the part of the array's task `task`.
fn process_of(shop: &Workshop, task: u32) -> Option<u32> {
    fs::read_to_string(shop.path(&format!("at-{task}"))).ok()?.trim().parse().ok()
}

fn all_at_work(shop: &Workshop) -> [u32; 4] {
    wait_for("all tasks decode", 120, || (1..=4).all(|task| process_of(shop, task).is_some()));
    [1, 2, 3, 4].map(|task| process_of(shop, task).unwrap())
}

/// One task is killed, one is told that its time is over, one is requeued, one has to make room for another job.
fn comes_to_its_end_by_itself(preempt_mode: &str) {
    let Some(cluster) = Cluster::start(preempt_mode, &[("EGOFX_TEST_KILL_WAIT", "5")]) else { return };
    let shop = shop();
    shop.script("waits.sh", &WAITING.replace("FFMPEG", &tool("ffmpeg").display().to_string()));
    let run = format!("{BOTH} -o out --decoders 1 --ffmpeg ./waits.sh --grace 3 --claim-limit 10");
    let submit = format!("submit slurm --shards 4 --cpus 1 --now -- {run}");
    let submitted = cluster.says(&shop, env!("CARGO_BIN_EXE_egofx"), &submit);
    let job: u32 = submitted.split_whitespace().last().unwrap().parse().unwrap_or_else(|_| panic!("{submitted}"));
    let before = all_at_work(&shop);

    assert!(shop.command("kill", &format!("-KILL {}", before[0])).status().unwrap().success());
    cluster.says(&shop, "scancel", &format!("--signal USR1 {job}_2"));
    cluster.says(&shop, "scontrol", &format!("requeue {job}_3"));
    // Last: whatever else runs on that node has to make room too, and what is pending cannot be requeued.
    let node = cluster.says(&shop, "squeue", &format!("--noheader --format %N --jobs {job}_4"));
    cluster.says(&shop, "sbatch", &format!("--partition high --exclusive --nodelist {node} --wrap true"));

    wait_for("all tasks were begun again", 120, || {
        (1..=4).zip(before).all(|(task, before)| process_of(&shop, task).is_some_and(|now| now != before))
    });
    shop.write("go", "");
    cluster.drained(&shop);
    has_all(&shop, "out");
}

#[test]
fn an_array_whose_tasks_are_killed_stopped_requeued_and_preempted_makes_the_whole() {
    comes_to_its_end_by_itself("REQUEUE");
}

#[test]
fn an_array_whose_preempted_tasks_are_cancelled_makes_the_whole() {
    comes_to_its_end_by_itself("CANCEL");
}

#[test]
fn more_parts_than_an_array_may_have_become_several_arrays() {
    let Some(cluster) = Cluster::start("REQUEUE", &[("EGOFX_TEST_ARRAY", "3")]) else { return };
    let shop = shop();
    let submit = format!("submit slurm --shards 5 --cpus 1 --now -- {BOTH} -o out");
    let submitted = cluster.says(&shop, env!("CARGO_BIN_EXE_egofx"), &submit);
    assert_eq!(submitted.matches("Submitted batch job").count(), 3, "tasks 1 and 2 of each: {submitted}");
    cluster.drained(&shop);
    has_all(&shop, "out");
    let missing = format!("submit slurm --missing --now -- {BOTH} -o out");
    let left = cluster.command(&shop, env!("CARGO_BIN_EXE_egofx"), &missing).output().unwrap();
    assert!(left.status.success() && left.stdout.is_empty(), "nothing is left to submit");
}
