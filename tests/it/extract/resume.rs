//! Runs that are killed, interrupted, crowded out or out of space: what was committed stays, the same command goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::{DENSE, EGOVLP, Mount, Workshop, finish, signal, tool, wait_for};

/// Kills of [`a_killed_run_goes_on_where_it_was`].
const KILLS: usize = 8;
const BOTH: &str = "extract -m all.csv -p rows.toml -p coarse.toml --ffmpeg ./ffmpeg.sh -o";

/// Four videos, one with clips, for two recipes of both formats; decoders are counted.
fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.recipe("rows", DENSE, "hdf5", "f32");
    shop.recipe("coarse", EGOVLP, "parquet", "f16");
    shop.counting_ffmpeg();
    let mut lines = String::new();
    for (name, frames) in [("a", 80), ("b", 110), ("c", 60), ("d", 40)] {
        shop.clip(&format!("{name}.mp4"), frames);
        lines += &format!("{name},{name}.mp4,{name},,\n");
    }
    lines += "b,b.mp4,b_early,0,2\nb,b.mp4,b_late,2.5,4\n";
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\n{lines}"));
    shop
}

/// Numbers in 0..1, the same ones each time.
fn seeded(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

fn no_process_stays(shop: &Workshop) {
    wait_for("all decoders have ended", 10, || shop.live_processes().is_empty());
}

/// Runs the command again: the rest is done, what was there is not decoded again, and the store is like `wanted`.
fn resume(shop: &Workshop, out: &str, wanted: &BTreeMap<String, Vec<u8>>) -> u64 {
    let finished = finished_videos(shop, out);
    shop.decoders_started();
    shop.egofx(&format!("{BOTH} {out}")).ends_with(0);
    let report = shop.report(out);
    let (done, made) = (report["done_before"].as_u64().unwrap(), report["committed"].as_u64().unwrap());
    assert_eq!(done + made, wanted.len() as u64);
    for started in shop.decoders_started() {
        let again = finished.iter().find(|video| started.contains(&format!("/{video}.mp4")));
        assert_eq!(again, None, "a finished video is decoded again");
    }
    assert!(done < wanted.len() as u64 || report["frames_decoded"] == 0, "decoded again: {report}");
    assert!(shop.unit_files(out) == *wanted, "units differ from those of an undisturbed run");
    assert_eq!(shop.leftovers(out), [""; 0].map(PathBuf::from));
    shop.egofx(&format!("verify {out}")).ends_with(0);
    done
}

/// Videos of which `out` holds all units of both recipes.
fn finished_videos(shop: &Workshop, out: &str) -> Vec<&'static str> {
    let units = |video| if video == "b" { vec!["b", "b_early", "b_late"] } else { vec![video] };
    let stores = ["rows", "coarse"].map(|set| format!("{out}/{set}"));
    let stores = stores.iter().filter(|store| shop.path(store).join("store.json").exists());
    let held: Vec<Vec<String>> = stores.map(|store| shop.committed(store)).collect();
    let holds = |unit: &str| held.len() == 2 && held.iter().all(|held| held.iter().any(|uid| uid == unit));
    ["a", "b", "c", "d"].into_iter().filter(|video| units(video).into_iter().all(holds)).collect()
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let shop = shop();
    let started = Instant::now();
    shop.egofx(&format!("{BOTH} whole")).ends_with(0);
    let (mut took, wanted) = (started.elapsed().as_secs_f64(), shop.unit_files("whole"));
    assert_eq!(wanted.len(), 12);
    let mut found_done = Vec::new();
    for (i, random) in (0..KILLS).zip(seeded(7)) {
        let out = format!("killed-{i}");
        let run = shop.start(&format!("{BOTH} {out}"));
        if i == 0 {
            wait_for_commit(&shop, &out);
        } else {
            std::thread::sleep(Duration::from_secs_f64(took * random));
        }
        signal(&run, "KILL");
        if finish(run).code == Some(0) {
            // It had ended: the machine is less busy than it was when the time was taken.
            took *= 0.8;
        }
        no_process_stays(&shop);
        found_done.push(resume(&shop, &out, &wanted));
        fs::remove_dir_all(shop.path(&out)).unwrap();
    }
    eprintln!("kills within {took:.2} s; units found done after kills: {found_done:?}");
    assert!(found_done.iter().any(|&done| 0 < done && done < 12), "{found_done:?}");
}

#[test]
fn one_store_killed_again_and_again_is_finished_in_the_end() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} whole")).ends_with(0);
    for random in seeded(11).take(6) {
        let run = shop.start(&format!("{BOTH} out"));
        std::thread::sleep(Duration::from_secs_f64(0.3 + random));
        signal(&run, "KILL");
        finish(run);
    }
    no_process_stays(&shop);
    resume(&shop, "out", &shop.unit_files("whole"));
}

/// Waits until a run has committed a unit.
fn wait_for_commit(shop: &Workshop, out: &str) {
    let units = shop.path(out).join("rows/units");
    wait_for("a unit is committed", 30, || fs::read_dir(&units).is_ok_and(|mut entries| entries.next().is_some()));
}

#[test]
fn the_first_interrupt_finishes_what_is_in_flight() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} whole")).ends_with(0);
    let polite = "stopping: what is in flight is finished";
    let limited = "stopping: what is in flight may take 20 s more";
    for (name, code, words) in [("INT", 130, polite), ("TERM", 75, limited), ("USR1", 75, limited)] {
        let out = format!("out-{name}");
        // However fast the decoders are, there is more to do when the signal comes.
        shop.hold();
        let run = shop.start(&format!("{BOTH} {out} --decoders 1"));
        wait_for_commit(&shop, &out);
        signal(&run, name);
        shop.release();
        finish(run).ends_with(code).says(&[words, "not reached"]);
        let report = shop.report(&out);
        assert_eq!((&report["interrupted"], &report["failures"]), (&true.into(), &serde_json::json!([])));
        assert_eq!(report["exit_code"], code);
        assert!(report["committed"].as_u64().unwrap() >= 1 && report["unreached"].as_u64().unwrap() >= 1, "{report}");
        assert_eq!(shop.leftovers(&out), [""; 0].map(PathBuf::from));
        no_process_stays(&shop);
        assert_eq!(resume(&shop, &out, &shop.unit_files("whole")), report["committed"].as_u64().unwrap());
    }
}

#[test]
fn an_interrupt_is_told_from_a_failure_under_every_policy() {
    let shop = shop();
    shop.hold();
    let run = shop.start(&format!("{BOTH} out --decoders 1 --on-error fail"));
    wait_for_commit(&shop, "out");
    signal(&run, "INT");
    shop.release();
    finish(run).ends_with(130);
}

#[test]
fn the_second_interrupt_leaves_at_once() {
    let shop = Workshop::with_recipe();
    shop.clip("long.mp4", 3000);
    shop.manifest(&["long.mp4"]);
    let run = shop.start("extract -m all.csv -p rows.toml -o out");
    let temporary = shop.path("out/rows/tmp/1-of-1/long.h5");
    wait_for("the unit is begun", 30, || temporary.exists());
    signal(&run, "INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&run, "INT");
    finish(run).ends_with(130);
    no_process_stays(&shop);
    assert!(shop.committed("out/rows").is_empty());
}

/// Starts a run whose only unit takes long, and waits until that is in flight.
fn in_flight(shop: &Workshop, flags: &str) -> Child {
    let temporary = shop.path("out/rows/tmp/1-of-1/long.h5");
    // One that left at once leaves it.
    let _ = fs::remove_file(&temporary);
    let run = shop.start(&format!("extract -m all.csv -p rows.toml -o out {flags}"));
    wait_for("the unit is begun", 30, || temporary.exists());
    run
}

#[test]
fn what_is_in_flight_when_a_scheduler_s_time_is_over_is_abandoned() {
    let shop = Workshop::with_recipe();
    shop.clip("long.mp4", 3000);
    shop.manifest(&["long.mp4"]);
    shop.extract("whole", "").ends_with(0);
    for name in ["TERM", "USR1"] {
        let run = in_flight(&shop, "--grace 0");
        signal(&run, name);
        finish(run).ends_with(75).says(&["0 s are over: what is not finished is abandoned", "1 not reached"]);
        let report = shop.report("out");
        assert_eq!(
            (&report["exit_code"], &report["unreached"], &report["committed"]),
            (&75.into(), &1.into(), &0.into())
        );
        no_process_stays(&shop);
        assert!(shop.committed("out/rows").is_empty() && shop.leftovers("out").is_empty());
    }
    // A second signal does not wait for the time to be over, nor a person for a scheduler.
    for (first, second, code) in [("TERM", "USR1", 75), ("USR1", "INT", 130), ("INT", "TERM", 75)] {
        let mut run = in_flight(&shop, "--grace 3600");
        signal(&run, first);
        heard(&mut run);
        signal(&run, second);
        assert_eq!(run.wait().unwrap().code(), Some(code), "{first}, then {second}");
        no_process_stays(&shop);
    }
    shop.extract("out", "").ends_with(0);
    assert!(shop.unit_files("out") == shop.unit_files("whole"));
}

/// Waits until the run says that it has heard a signal.
fn heard(run: &mut Child) {
    let said = BufReader::new(run.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.into_iter().any(|line| line.contains("egofx: stopping: ")), "the run ended without a word");
}

/// Nothing that a decoder does not do keeps a machine that a scheduler wants.
#[test]
fn a_run_that_hangs_is_gone_when_its_time_is_over() {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 30);
    shop.manifest(&["a.mp4"]);
    let hangs = "#!/bin/sh\ncase \"$*\" in *rawvideo*) touch hangs; exec sleep 60 ;; esac\nexec FFMPEG \"$@\"\n";
    shop.script("ffmpeg.sh", &hangs.replace("FFMPEG", &tool("ffmpeg").display().to_string()));
    let run = shop.start("extract -m all.csv -p rows.toml -o out --grace 0 --ffmpeg ./ffmpeg.sh");
    wait_for("the decoder hangs", 30, || shop.path("hangs").exists());
    signal(&run, "TERM");
    finish(run).ends_with(75);
    assert!(shop.committed("out/rows").is_empty());
    shop.extract("out", "").ends_with(0);
}

/// A manifest out of a pipe that nobody writes: nothing is in flight yet, and there is nothing to wait for.
#[test]
fn a_signal_before_anything_is_begun_ends_a_run_at_once() {
    let shop = Workshop::with_recipe();
    assert!(shop.command("mkfifo", "all.csv").status().unwrap().success());
    for (name, code) in [("TERM", 75), ("USR1", 75), ("INT", 130)] {
        let run = shop.start("extract -m all.csv -p rows.toml -o out");
        let status = format!("/proc/{}/status", run.id());
        let caught =
            |line: &str| line.strip_prefix("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        // SIGUSR1 is number 10.
        let listens = |status: String| status.lines().find_map(caught).is_some_and(|mask| mask & 1 << 9 != 0);
        wait_for("the run listens", 30, || fs::read_to_string(&status).is_ok_and(listens));
        signal(&run, name);
        finish(run).ends_with(code);
    }
    assert!(!shop.path("out").exists());
}

#[test]
fn a_second_run_on_a_store_is_refused_and_harms_nothing() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} whole")).ends_with(0);
    let first = shop.start(&format!("{BOTH} out"));
    wait_for_commit(&shop, "out");
    // However fast it is, it is at work when the others come.
    signal(&first, "STOP");
    let words = ["another run writes to this store", "1-of-1.lock", "process", "host"];
    shop.egofx(&format!("{BOTH} out")).ends_with(2).says(&words);
    shop.egofx(&format!("{BOTH} out --shard 1/2")).ends_with(2).says(&words);
    signal(&first, "CONT");
    finish(first).ends_with(0);
    assert!(shop.unit_files("out") == shop.unit_files("whole"));
}

#[test]
fn a_changed_byte_is_found_and_its_unit_made_anew() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} out")).ends_with(0);
    let wanted = shop.unit_files("out");
    let path = shop.path("out/rows/units/a.h5");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    shop.egofx("verify out").ends_with(1).says(&["rows a: ", "has sha256", "expected"]);
    shop.egofx(&format!("{BOTH} out")).ends_with(0).says(&["a: made anew", "has sha256"]);
    let report = shop.report("out");
    assert_eq!((&report["done_before"], &report["committed"]), (&11.into(), &1.into()));
    assert!(shop.unit_files("out") == wanted);
    fs::remove_file(&path).unwrap();
    shop.egofx(&format!("{BOTH} out")).ends_with(0).says(&["a: made anew", "a.h5 is absent"]);
    assert_eq!(resume(&shop, "out", &wanted), 12);
}

#[test]
fn rows_of_another_kind_are_not_mixed_in() {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 40);
    let manifest =
        |span: &str| shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\na,a.mp4,a,{span}\n"));
    manifest("0,1.5");
    shop.extract("out", "").ends_with(0);
    let before = shop.unit_files("out");
    for (grid, dtype, words) in [
        ("kind = \"ego4d\"\nframes = 4\nstride = 8", "f32", ["grid = ego4d 8/8", "grid = ego4d 4/8"]),
        (DENSE, "f16", ["dtype = f32", "dtype = f16"]),
    ] {
        shop.recipe("rows", grid, "hdf5", dtype);
        shop.extract("out", "").ends_with(2).says(&words).says(&["out/rows", "use another output folder"]);
    }
    shop.recipe("rows", DENSE, "hdf5", "f32");
    manifest("0,1.2");
    shop.extract("out", "").ends_with(2).says(&["unit a was planned as", "from 0 to 1.5 s", "from 0 to 1.2 s"]);
    if support::checkout().join(".runtime/openvino").exists() {
        let run = shop.extract("out", "--device openvino --precision bf16").ends_with(2);
        run.says(&["precision = fp32", "precision = bf16"]);
    }
    manifest("0,1.5");
    shop.extract("out", "").ends_with(0);
    assert!(shop.unit_files("out") == before);
    assert_eq!(shop.report("out")["done_before"], 1);
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_what_is_committed() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} whole")).ends_with(0);
    let Some(disk) = Mount::tmpfs(shop.path("disk"), "size=4m") else { return };
    let free = |ballast: usize| fs::write(disk.0.join("ballast"), vec![1; ballast]).unwrap();
    let mut seen_partly_done = false;
    // From no room at all to room for some units.
    for left in [0, 60, 100, 140, 180] {
        let out = disk.0.join("out");
        let _ = fs::remove_dir_all(&out);
        free((4096 - left) << 10);
        let run = shop.egofx(&format!("{BOTH} disk/out")).says(&["no space is left for", "disk/out", "free some"]);
        assert_eq!(run.stderr.matches("no space is left").count(), 1, "said once is enough: {run}");
        run.ends_with(1);
        let begun = out.join("coarse/store.json").exists();
        let committed =
            if begun { shop.committed("disk/out/rows").len() + shop.committed("disk/out/coarse").len() } else { 0 };
        assert_eq!(shop.leftovers("disk/out"), [""; 0].map(PathBuf::from), "{left} KiB");
        no_process_stays(&shop);
        seen_partly_done |= 0 < committed && committed < 12;
        free(0);
        assert_eq!(resume(&shop, "disk/out", &shop.unit_files("whole")), committed as u64, "{left} KiB");
    }
    assert!(seen_partly_done);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_anything_is_decoded() {
    let shop = shop();
    shop.write("file", "in the way");
    shop.egofx(&format!("{BOTH} file")).ends_with(2).says(&["cannot create the folder", "file/rows"]);
    let Some(disk) = Mount::tmpfs(shop.path("disk"), "size=4m") else { return };
    disk.remount("ro");
    shop.egofx(&format!("{BOTH} disk/out")).ends_with(2).says(&["disk/out", "not writable"]);
    disk.remount("rw");
    shop.egofx(&format!("{BOTH} disk/out")).ends_with(0);
    disk.remount("ro");
    shop.egofx(&format!("{BOTH} disk/out")).ends_with(2).says(&["disk/out", "not writable"]);
    shop.egofx("verify disk/out").ends_with(0);
    assert!(Path::new(&disk.0).join("out/report.json").exists());
}
