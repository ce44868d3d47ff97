//! `--missing`: only what is left.

use super::{EXTRACT, small};
use crate::support::{Workshop, finish, wait_for};

fn missing(shop: &Workshop, flags: &str, command: &str) -> crate::support::Outcome {
    shop.egofx(&format!("submit slurm --missing {flags} -- {command}"))
}

#[test]
fn parts_that_have_work_left_are_submitted_again_and_no_others() {
    let shop = small();
    missing(&shop, "", EXTRACT).ends_with(2).says(&["out: no run has been here", "--shards N"]);
    for part in [1, 3] {
        shop.egofx(&format!("{EXTRACT} --shard {part}/4")).ends_with(0);
    }
    let run = missing(&shop, "", EXTRACT).ends_with(0).says(&["left: part 2,4 of 4"]);
    assert!(run.stdout.contains("#SBATCH --array=2,4\n") && run.stdout.contains("\nof=4 "), "{}", run.stdout);
    // A unit whose file is gone is left, whatever the ledger says.
    shop.egofx(&format!("{EXTRACT} --shard 2/4")).ends_with(0);
    shop.egofx(&format!("{EXTRACT} --shard 4/4")).ends_with(0);
    shop.egofx("verify out").ends_with(0);
    let nothing = missing(&shop, "", EXTRACT).ends_with(0).says(&["out: nothing is left to submit"]);
    assert_eq!(nothing.stdout, "");
    std::fs::remove_file(shop.path("out/rows/units/v3.h5")).unwrap();
    let run = missing(&shop, "", EXTRACT).ends_with(0).says(&["left: part 1 of 4"]);
    assert!(run.stdout.contains("#SBATCH --array=1\n"), "the longest video is of the first part: {}", run.stdout);
    let run = missing(&shop, "--shards 2", EXTRACT).ends_with(0).says(&[" of 2"]);
    assert!(run.stdout.contains("\nof=2 "), "{}", run.stdout);
    // With the parts that are left, the store is whole.
    shop.egofx(&format!("submit local --missing --now -- {EXTRACT}")).ends_with(0);
    shop.egofx("verify out").ends_with(0);
}

#[test]
fn parts_that_are_at_work_are_left_out() {
    let shop = small();
    shop.counting_ffmpeg();
    shop.egofx(&format!("{EXTRACT} --shard 1/3")).ends_with(0);
    shop.hold();
    let working = shop.start(&format!("{EXTRACT} --ffmpeg ./ffmpeg.sh --steal never --shard 2/3"));
    wait_for("it is at a video", 60, || {
        std::fs::read_dir(shop.path("out/rows/claims")).is_ok_and(|files| {
            files.flatten().any(|file| file.path().extension().is_some_and(|extension| extension == "claim"))
        })
    });
    let run = missing(&shop, "", EXTRACT).ends_with(0);
    shop.release();
    let run = run.says(&["at work, and left out: part 2 of 3", "left: part 3 of 3"]);
    assert!(run.stdout.contains("#SBATCH --array=3\n"), "{}", run.stdout);
    finish(working).ends_with(0);
}

#[test]
fn copies_of_videos_are_counted_by_their_records() {
    let shop = Workshop::new();
    for name in ["a.mp4", "b.mp4", "c.mp4"] {
        shop.clip(name, 20);
    }
    shop.manifest(&["a.mp4", "b.mp4", "c.mp4"]);
    let resize = "resize -m all.csv -o small --short-side 32";
    missing(&shop, "", resize).ends_with(2).says(&["small: no run has been here"]);
    shop.egofx(&format!("{resize} --shard 2/3")).ends_with(0);
    let run = missing(&shop, "", resize).ends_with(0).says(&["left: part 1,3 of 3"]);
    assert!(run.stdout.contains("#SBATCH --job-name=egofx-resize\n"), "{}", run.stdout);
    shop.egofx(&format!("submit local --missing --now -- {resize}")).ends_with(0);
    missing(&shop, "", resize).ends_with(0).says(&["nothing is left to submit"]);
}
