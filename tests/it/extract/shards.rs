//! Shards: parts of a plan that several runs do, one after the other or at once, are together the whole.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;

use serde_json::Value;

use crate::support;
use crate::support::{DENSE, EGOVLP, Mount, Outcome, Workshop, finish};

pub const BOTH: &str = "extract -m all.csv -p rows.toml -p coarse.toml";
const UNITS: usize = 18;

/// Eight videos, one of them with a clip, for two recipes, and the store that one run makes of them, `whole`.
pub fn shop() -> Workshop {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| made().kept("shards"));
    Workshop::like(&MADE)
}

fn made() -> Workshop {
    let shop = Workshop::new();
    shop.recipe("rows", DENSE, "hdf5", "f32");
    shop.recipe("coarse", EGOVLP, "parquet", "f32");
    let mut lines = String::new();
    for i in 0..8 {
        shop.clip(&format!("v{i}.mp4"), 30 + 11 * i);
        lines += &format!("v{i},v{i}.mp4,v{i},,\n");
    }
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\n{lines}v7,v7.mp4,clip,1,3\n"));
    shop.egofx(&format!("{BOTH} -o whole")).ends_with(0);
    shop
}

pub fn is_whole(shop: &Workshop, out: &str) {
    let run = has_all(shop, out);
    assert_eq!(run.stderr, "");
}

/// The same where a run was killed, or lives: what `egofx verify` says of its files.
pub fn has_all(shop: &Workshop, out: &str) -> Outcome {
    assert_eq!(shop.unit_files(out).len(), UNITS);
    assert!(shop.unit_files(out) == shop.unit_files("whole"), "units differ from those of one run");
    for set in ["rows", "coarse"] {
        let index = shop.path(out).join(set).join("index.parquet");
        assert_eq!(egofx::store::count_index_rows(&index).unwrap(), UNITS as u64 / 2);
    }
    let file = |out: &str, name: &str| std::fs::read(shop.path(out).join(name)).unwrap();
    for name in ["rows/features.h5", "rows/index.parquet", "coarse/index.parquet"] {
        assert!(file(out, name) == file("whole", name), "{name}");
    }
    shop.egofx(&format!("verify {out}")).ends_with(0)
}

#[test]
fn shards_one_after_the_other_make_the_whole() {
    let shop = shop();
    let mut units = 0;
    for i in 1..=3 {
        shop.egofx(&format!("{BOTH} -o out --shard {i}/3")).ends_with(0);
        let text = std::fs::read_to_string(shop.path(&format!("out/report-{i}-of-3.json"))).unwrap();
        let made = support::json(&text)["committed"].as_u64().unwrap();
        assert!(made >= 4, "shard {i} made {made} of {UNITS} units");
        units += made;
        let merged = shop.report("out");
        assert_eq!((&merged["committed"], merged["missing_parts"].as_array().unwrap().len()), (&units.into(), 3 - i));
        let last = i == 3;
        shop.egofx("verify out").ends_with(if last { 0 } else { 1 });
    }
    assert_eq!(units, UNITS as u64);
    is_whole(&shop, "out");
    shop.egofx(&format!("{BOTH} -o out")).ends_with(0);
    assert_eq!(shop.report("out")["done_before"], UNITS, "a whole run finds the shards' work");
}

#[test]
fn shards_at_once_make_the_whole() {
    let shop = shop();
    let runs: Vec<_> = (1..=3).map(|i| shop.start(&format!("{BOTH} -o out --shard {i}/3"))).collect();
    runs.into_iter().for_each(|run| drop(finish(run).ends_with(0)));
    is_whole(&shop, "out");
    let (merged, whole) = (shop.report("out"), shop.report("whole"));
    assert_eq!((&merged["missing_parts"], merged["parts"].as_array().unwrap().len()), (&serde_json::json!([]), 3));
    for field in ["units", "committed", "rows", "frames_piped", "failures", "feature_sets", "unreached", "exit_code"] {
        assert_eq!(merged[field], whole[field], "{field}");
    }
    let names = |report: &Value| report.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
    let missing: Vec<String> = names(&whole).into_iter().filter(|name| merged.get(name).is_none()).collect();
    assert_eq!(missing, ["part"], "what reads a report reads the merged one too");
}

#[test]
fn elements_of_an_array_find_their_parts_by_themselves() {
    let shop = shop();
    let element = |i: u32| {
        let mut program = shop.program(&format!("{BOTH} -o out --shard auto"));
        let array = [("ID", i), ("MIN", 0), ("MAX", 2), ("COUNT", 3)];
        program.envs(array.map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value.to_string())));
        program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let runs: Vec<_> = (0..3).map(element).collect();
    for (i, run) in runs.into_iter().enumerate() {
        finish(run).ends_with(0).says(&[&format!("part {}/3 by Slurm, an array (SLURM_ARRAY_TASK_ID)", i + 1)]);
    }
    is_whole(&shop, "out");
    shop.egofx(&format!("{BOTH} -o out --shard auto"))
        .ends_with(2)
        .says(&["--shard", "looked for SLURM_ARRAY_TASK_ID"]);
}

#[test]
fn two_ways_of_cutting_a_plan_are_not_mixed() {
    let shop = Workshop::with_recipe();
    shop.clip("long.mp4", 6000);
    shop.clip("other.mp4", 50);
    shop.manifest(&["long.mp4", "other.mp4"]);
    let first = shop.start("extract -m all.csv -p rows.toml -o out --shard 1/2");
    support::wait_for("the run has begun", 30, || shop.path("out/rows/tmp/1-of-2/long.h5").exists());
    shop.extract("out", "--shard 1/3").ends_with(2).says(&[
        "another run writes to this store",
        "1-of-2.lock",
        "give --shard I/2 as it does",
    ]);
    shop.extract("out", "--shard 1/2").ends_with(2).says(&["1-of-2.lock"]);
    shop.extract("out", "--shard 2/2").ends_with(0);
    support::signal(&first, "KILL");
    finish(first);
    shop.extract("out", "--shard 3/2").ends_with(2).says(&["3/2", "expected I/N with 1 <= I <= N"]);
}

#[test]
fn parts_of_another_count_one_after_the_other_find_what_was_done_and_say_what_is_missing() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} -o out --shard 1/4")).ends_with(0);
    let first = shop.unit_files("out");
    shop.egofx(&format!("{BOTH} -o out --shard 2/3")).ends_with(0);
    let report = shop.report("out");
    assert_eq!((&report["missing_parts"], &report["exit_code"]), (&serde_json::json!(["1/3", "3/3"]), &3.into()));
    let open = (UNITS - shop.unit_files("out").len()) as u64;
    assert!(open > 0 && report["unreached"] == open, "of the whole plan, by whatever count it was cut: {report}");
    for part in ["1/3", "3/3"] {
        shop.egofx(&format!("{BOTH} -o out --shard {part}")).ends_with(0);
    }
    is_whole(&shop, "out");
    let report = shop.report("out");
    let [done, committed] = ["done_before", "committed"].map(|field| report[field].as_u64().unwrap());
    assert_eq!((done, committed), (first.len() as u64, UNITS as u64 - done), "nothing was computed again");
}

#[test]
fn a_part_whose_disk_is_full_or_read_only_says_so_once_and_harms_no_other_part() {
    let shop = shop();
    let Some(disk) = Mount::tmpfs(shop.path("disk"), "size=4m") else { return };
    let part = |part: u32| shop.egofx(&format!("{BOTH} -o disk/out --steal always --shard {part}/2 --decoders 1"));
    let alone = format!("{BOTH} -o disk/out --steal never --shard 1/2");
    shop.egofx(&alone).ends_with(0);
    let first = shop.unit_files("disk/out");
    disk.remount("ro");
    part(2).ends_with(2).says(&["disk/out", "not writable", "have it made writable, or write to another folder"]);
    disk.remount("rw");
    // As much as fits.
    let ballast = std::fs::File::create(shop.path("disk/ballast")).unwrap();
    let _ = std::io::copy(&mut std::io::repeat(1), &mut &ballast);
    ballast.set_len(ballast.metadata().unwrap().len() - (100 << 10)).unwrap();
    let full = part(2).ends_with(1).says(&["no space is left for", "free some and run the same command again"]);
    assert_eq!(full.stderr.matches("no space is left").count(), 1, "said once is enough: {full}");
    assert!(first.iter().all(|(name, bytes)| shop.unit_files("disk/out").get(name) == Some(bytes)));
    drop(ballast);
    std::fs::remove_file(shop.path("disk/ballast")).unwrap();
    part(2).ends_with(0);
    is_whole(&shop, "disk/out");
    assert_eq!(shop.report("disk/out")["exit_code"], 0);
}
