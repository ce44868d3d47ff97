//! Runs that share one plan: what one does not do another one does, whoever is killed, stopped, slow or has another clock.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::shards::{BOTH, has_all, is_whole, shop};
use crate::support::{Outcome, Workshop, checkout, finish, json, signal, tool, wait_for};

/// Parts of the plan.
const PARTS: u32 = 4;
/// Waits at each decoding until the file `go` is there.
const WAITING: &str = "#!/bin/sh\ncase \"$*\" in *rawvideo*) touch waits; while [ -e waits ] && [ ! -e go ]; do sleep 0.2; done ;; esac\nexec FFMPEG \"$@\"\n";

/// The program that does part `part`.
fn part(shop: &Workshop, part: u32, flags: &str) -> Command {
    let mut program =
        shop.program(&format!("{BOTH} -o out --steal always --decoders 1 --shard {part}/{PARTS} {flags}"));
    program.stdout(Stdio::piped()).stderr(Stdio::piped());
    program
}

fn start(shop: &Workshop, number: u32, flags: &str) -> Child {
    part(shop, number, flags).spawn().unwrap()
}

fn all_end(runs: impl IntoIterator<Item = Child>) -> Vec<Outcome> {
    let ended: Vec<Outcome> = runs.into_iter().map(finish).collect();
    let said = || ended.iter().map(ToString::to_string).collect::<String>();
    assert!(ended.iter().all(|run| run.code == Some(0)), "{}", said());
    ended.into_iter().map(|run| run.ends_with(0)).collect()
}

/// A field of the report of part `part`.
fn told(shop: &Workshop, part: u32, field: &str) -> u64 {
    let report = fs::read_to_string(shop.path(&format!("out/report-{part}-of-{PARTS}.json"))).unwrap();
    json(&report)[field].as_u64().unwrap_or_else(|| panic!("no {field} in {report}"))
}

fn claims(shop: &Workshop) -> Vec<PathBuf> {
    let folders = ["rows", "coarse"].map(|set| shop.path("out").join(set).join("claims"));
    folders.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()).map(|e| e.path()).collect()
}

pub fn waiting_decoder(shop: &Workshop) {
    shop.script("waits.sh", &WAITING.replace("FFMPEG", &tool("ffmpeg").display().to_string()));
}

/// Part 1, in the midst of its first video: a decoder waits, and the files of both units are begun.
fn at_work(shop: &Workshop, flags: &str) -> Child {
    waiting_decoder(shop);
    let run = start(shop, 1, &format!("--ffmpeg ./waits.sh {flags}"));
    let begun = |set| shop.path(&format!("out/{set}/tmp/1-of-{PARTS}")).read_dir().is_ok_and(|files| files.count() > 0);
    wait_for("a decoder waits", 60, || shop.path("waits").exists() && begun("rows") && begun("coarse"));
    run
}

#[test]
fn parts_that_nobody_began_are_done_by_the_others() {
    let shop = shop();
    let ended = all_end([1, 3].map(|part| start(&shop, part, "")));
    is_whole(&shop, "out");
    assert!(ended.iter().all(|run| run.stderr.contains("of other parts")));
    let units = |field| [1, 3].map(|part| told(&shop, part, field)).iter().sum::<u64>();
    assert!(units("taken_units") >= 4 && units("committed") == 18 && units("computed_twice") == 0);
    assert!(claims(&shop).is_empty(), "claims are given back");
    // They find that nothing is left.
    start_and_find_nothing(&shop);
}

fn start_and_find_nothing(shop: &Workshop) {
    all_end([start(shop, 2, "")]);
    assert_eq!((told(shop, 2, "committed"), told(shop, 2, "unreached")), (0, 0));
}

#[test]
fn a_slow_run_is_left_what_it_is_at_and_nothing_else() {
    let shop = shop();
    let slow = at_work(&shop, "");
    all_end([2, 3, 4].map(|part| start(&shop, part, "")));
    let others: u64 = [2, 3, 4].map(|part| told(&shop, part, "committed")).iter().sum();
    // One video, for two feature sets, one of whose units is a clip.
    assert!(18 - others <= 4, "only {others} units were done while the slow run was at its first video");
    shop.write("go", "");
    finish(slow).ends_with(0);
    assert!(told(&shop, 1, "made_elsewhere") > 0 && told(&shop, 1, "computed_twice") == 0);
    assert_eq!([2, 3, 4].map(|part| told(&shop, part, "taken_over")), [0; 3]);
    is_whole(&shop, "out");
}

#[test]
fn what_a_run_was_at_that_died_on_this_machine_is_taken_over_at_once() {
    // Killed; asked twice, and gone at once.
    for signals in [&["KILL"][..], &["TERM", "USR1"]] {
        let shop = shop();
        let dead = at_work(&shop, "");
        for name in signals {
            signal(&dead, name);
        }
        let code = finish(dead).code;
        assert!(code == if signals.len() == 1 { None } else { Some(75) }, "{code:?}");
        assert_eq!(claims(&shop).iter().filter(|path| path.extension().is_some_and(|e| e == "claim")).count(), 2);
        let begun = Instant::now();
        all_end([2, 3, 4].map(|part| start(&shop, part, "")));
        assert!(begun.elapsed() < Duration::from_secs(100), "nobody waits for the two minutes of --claim-limit");
        assert!([2, 3, 4].map(|part| told(&shop, part, "taken_over")).iter().sum::<u64>() >= 1);
        has_all(&shop, "out").says(&["belongs to a run that is live or was killed"]);
        all_end([start(&shop, 1, "")]);
        is_whole(&shop, "out");
    }
}

#[test]
fn a_run_that_is_stopped_past_the_limit_and_goes_on_does_no_harm() {
    let shop = shop();
    let stopped = at_work(&shop, "--claim-limit 3");
    signal(&stopped, "STOP");
    all_end([2, 3, 4].map(|part| start(&shop, part, "--claim-limit 3")));
    has_all(&shop, "out").says(&["belongs to a run that is live or was killed"]);
    shop.write("go", "");
    signal(&stopped, "CONT");
    finish(stopped).ends_with(0).says(&["computed twice"]);
    assert!(told(&shop, 1, "computed_twice") >= 1 && told(&shop, 1, "committed") == 0);
    is_whole(&shop, "out");
    assert!(claims(&shop).is_empty());
}

#[test]
fn a_run_that_a_scheduler_stops_gives_back_what_it_was_at() {
    let shop = shop();
    let stopped = at_work(&shop, "--grace 0");
    assert!(!claims(&shop).is_empty());
    signal(&stopped, "TERM");
    shop.write("go", "");
    finish(stopped).ends_with(75);
    assert!(claims(&shop).is_empty());
    // Nobody waits for a heartbeat of the usual two minutes.
    all_end([2, 3, 4].map(|part| start(&shop, part, "")));
    is_whole(&shop, "out");
}

#[test]
fn neither_clocks_nor_locks_are_needed() {
    let shop = shop();
    let library = shop.path("clocks.so");
    let source = checkout().join("tests/it/support/clocks_and_locks.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success());
    for flock in ["nothing", "refused"] {
        let runs = [(1, "0"), (2, "600"), (3, "-600")].map(|(number, ahead)| {
            let mut program = part(&shop, number, "--claim-limit 20");
            program.env("LD_PRELOAD", &library).env("CLOCK_AHEAD", ahead).env("FLOCK", flock).spawn().unwrap()
        });
        all_end(runs);
        assert_eq!([1, 2, 3].map(|part| told(&shop, part, "taken_over")), [0; 3], "clocks apart are no death");
        assert_eq!([1, 2, 3].map(|part| told(&shop, part, "committed")).iter().sum::<u64>(), 18);
        is_whole(&shop, "out");
        fs::remove_dir_all(shop.path("out")).unwrap();
    }
}

#[test]
fn what_fails_is_tried_by_one_run_and_again_by_the_next_call() {
    let shop = shop();
    fs::write(shop.path("v3.mp4"), "no video").unwrap();
    let mut failed = 0;
    for run in [1, 2, 3, 4].map(|part| start(&shop, part, "")).map(finish) {
        failed += u32::from(run.code == Some(1));
        assert!(matches!(run.code, Some(0 | 1)), "{run}");
    }
    assert!(failed >= 1);
    let names: Vec<_> = claims(&shop).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["v3.claim", "v3.claim"], "in each feature set");
    shop.clip("v3.mp4", 30 + 11 * 3);
    all_end([1, 2, 3, 4].map(|part| start(&shop, part, "")));
    is_whole(&shop, "out");
}

/// What `egofx status --json` tells of the feature set `set`, and the exit code.
fn status(shop: &Workshop, set: &str) -> (Value, i32) {
    let asked = shop.egofx("status out --json");
    let code = asked.code.unwrap();
    assert!(matches!(code, 0 | 1 | 3), "{asked}");
    let stores = json(&asked.stdout);
    let found = stores.as_array().unwrap().iter().find(|store| store["feature_set"] == set);
    (found.unwrap_or_else(|| panic!("no {set} in {asked}")).clone(), code)
}

#[test]
fn status_tells_of_all_parts_while_they_are_at_work_and_after() {
    let shop = shop();
    let slow = at_work(&shop, "");
    let (rows, code) = status(&shop, "rows");
    assert_eq!((code, &rows["done"], &rows["failed"]), (3, &0.into(), &serde_json::json!([])));
    let first = &rows["in_flight"][0];
    assert_eq!((&first["pid"], &first["is_stale"]), (&slow.id().into(), &false.into()), "{rows}");
    assert_eq!((&rows["workers"][0]["shard"], &rows["workers"][0]["is_alive"]), (&"1/4".into(), &true.into()));
    let mut others = [2, 3, 4].map(|part| start(&shop, part, ""));
    let mut asked = 0;
    while others.iter_mut().any(|run| run.try_wait().unwrap().is_none()) {
        assert_eq!(status(&shop, "rows").1, 3, "part 1 has not done its first video");
        asked += 1;
        // Not more often than a person would ask.
        thread::sleep(Duration::from_millis(200));
    }
    assert!(asked > 0);
    all_end(others);
    shop.write("go", "");
    finish(slow).ends_with(0);
    for set in ["rows", "coarse"] {
        let (store, code) = status(&shop, set);
        assert_eq!((code, &store["done"], &store["in_flight"]), (0, &store["planned"], &serde_json::json!([])));
        let workers = store["workers"].as_array().unwrap();
        assert_eq!(workers.len(), 4);
        let units: u64 = workers.iter().map(|worker| worker["units"].as_u64().unwrap()).sum();
        assert_eq!(units, store["planned"].as_u64().unwrap());
        assert!(workers.iter().all(|worker| worker["is_alive"] == false), "{store}");
    }
    shop.egofx("status out").ends_with(0).says(&[]);
    is_whole(&shop, "out");
}

/// What `egofx status --json` tells of part `part` of the feature set `set`.
fn worker(shop: &Workshop, set: &str, part: &str) -> Value {
    let workers = status(shop, set).0["workers"].take();
    let found = workers.as_array().unwrap().iter().find(|worker| worker["shard"] == part);
    found.unwrap_or_else(|| panic!("no {part} in {workers}")).clone()
}

fn busy(worker: &Value, stage: &str) -> Option<f64> {
    let stages = worker["activity"]["stages"].as_array()?;
    stages.iter().find(|share| share["stage"] == stage)?["busy_share"].as_f64()
}

fn pulses(shop: &Workshop) -> usize {
    claims(shop).iter().filter(|path| path.extension().is_some_and(|extension| extension == "run")).count()
}

#[test]
fn status_tells_how_busy_a_run_is_while_a_decoder_holds_it_and_what_came_of_it_after() {
    // In parts, and alone.
    for (shard, of_run) in [("--shard 1/4", "1/4"), ("", "1/1")] {
        let shop = shop();
        waiting_decoder(&shop);
        let extract = format!("{BOTH} -o out --decoders 1 --claim-limit 2 --ffmpeg ./waits.sh {shard}");
        let held = shop.start(&extract);
        wait_for("a decoder waits, and that counts", 60, || {
            let begun = shop.path("waits").exists() && shop.path("out/coarse/claims").exists();
            begun
                && ["rows", "coarse"].iter().all(|set| {
                    let worker = worker(&shop, set, of_run);
                    worker["is_alive"] == true && busy(&worker, "decode").is_some_and(|share| share > 0.5)
                })
        });
        let during = worker(&shop, "rows", of_run);
        assert_eq!(busy(&during, "infer"), Some(0.0), "{during}");
        let table = shop.egofx("status out").ends_with(3).stdout;
        assert!(table.contains(" decode ") && table.contains("at work") && table.contains(" % "), "{table}");
        // Killed, it tells nothing any more; and another run of the part takes its place.
        signal(&held, "KILL");
        finish(held);
        let dead = worker(&shop, "rows", of_run);
        assert_eq!(
            (&dead["is_alive"], &dead["has_died"], &dead["activity"]),
            (&false.into(), &true.into(), &Value::Null)
        );
        assert!(shop.egofx("status out").stdout.contains(" died "));
        shop.write("go", "");
        shop.egofx(&extract).ends_with(0);
        let after = worker(&shop, "rows", of_run);
        assert_eq!((&after["is_alive"], &after["has_died"]), (&false.into(), &false.into()), "{after}");
        assert!(busy(&after, "infer").is_some_and(|share| share > 0.0), "by the report: {after}");
        assert_eq!(after["activity"]["computed_twice"], 0);
        assert_eq!(pulses(&shop), 0, "what runs told of themselves is gone with them");
    }
}

#[test]
fn status_tells_what_was_taken_from_others_and_taken_over_from_the_dead() {
    let shop = shop();
    let dead = at_work(&shop, "");
    signal(&dead, "KILL");
    finish(dead);
    all_end([2, 3, 4].map(|part| start(&shop, part, "")));
    let others: Vec<Value> = ["2/4", "3/4", "4/4"].iter().map(|part| worker(&shop, "rows", part)).collect();
    let sum = |field: &str| others.iter().map(|worker| worker["activity"][field].as_u64().unwrap()).sum::<u64>();
    assert!(sum("taken_units") >= 4 && sum("taken_over") >= 1, "{others:?}");
    assert_eq!(sum("committed"), 18);
    assert_eq!(worker(&shop, "rows", "1/4")["has_died"], false, "the others have swept what it told");
    let whole = shop.report("out");
    assert_eq!((&whole["missing_parts"], &whole["committed"]), (&serde_json::json!(["1/4"]), &18.into()));
    assert_eq!((&whole["unreached"], &whole["exit_code"]), (&0.into(), &0.into()));
}

#[test]
fn status_tells_what_failed_and_ends_with_1_when_nobody_is_at_work() {
    let shop = shop();
    fs::write(shop.path("v3.mp4"), "no video").unwrap();
    for run in [1, 2, 3, 4].map(|part| start(&shop, part, "")).map(finish) {
        assert!(matches!(run.code, Some(0 | 1)), "{run}");
    }
    let (rows, code) = status(&shop, "rows");
    assert_eq!((code, &rows["failed"][0]["unit_uid"]), (1, &"v3".into()), "{rows}");
    shop.clip("v3.mp4", 30 + 11 * 3);
    all_end([1, 2, 3, 4].map(|part| start(&shop, part, "")));
    assert_eq!(status(&shop, "rows").1, 0);
    shop.egofx("status nowhere").ends_with(2).says(&["nowhere"]);
}

/// Four runs on one store, killed at random and started again, until `kills` were killed; a store that is whole is begun anew.
fn killed_at_random(kills: u32) {
    let shop = shop();
    let begin = || (1..=PARTS).map(|part| start(&shop, part, "--claim-limit 2")).collect::<Vec<Child>>();
    let whole_in_the_end = || {
        all_end(begin());
        is_whole(&shop, "out");
        wait_for("claims of killed runs are swept", 60, || {
            all_end([start(&shop, 1, "--claim-limit 2")]);
            claims(&shop).is_empty()
        });
        fs::remove_dir_all(shop.path("out")).unwrap();
    };
    let (mut state, mut killed, mut runs) = (7_u64, 0, begin());
    while killed < kills {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis(100 + (state >> 33) % 600));
        let victim = (state >> 60) as usize % runs.len();
        signal(&runs[victim], "KILL");
        killed += u32::from(runs[victim].wait().unwrap().code().is_none());
        runs[victim] = start(&shop, victim as u32 + 1, "--claim-limit 2");
        let made = |set: &str| fs::read_dir(shop.path("out").join(set).join("units")).map_or(0, Iterator::count);
        if made("rows") + made("coarse") == 18 {
            runs.iter().for_each(|run| signal(run, "KILL"));
            runs.into_iter().for_each(|run| drop(finish(run)));
            whole_in_the_end();
            runs = begin();
        }
    }
    runs.iter().for_each(|run| signal(run, "KILL"));
    runs.into_iter().for_each(|run| drop(finish(run)));
    whole_in_the_end();
}

#[test]
fn runs_that_are_killed_at_random_make_the_whole() {
    killed_at_random(12);
}

#[test]
#[ignore = "long: 200 kills"]
fn runs_that_are_killed_two_hundred_times_make_the_whole() {
    killed_at_random(200);
}
