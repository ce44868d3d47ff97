//! Runs of `egofx resize` and `egofx chunk` that share one list of videos: what one does not make another one makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{H264, Outcome, Workshop, finish, json, signal, tool, wait_for};

const RESIZE: &str = "resize --videos videos --short-side 64 --preset ultrafast --threads 1 --jobs 1 --json";
const CHUNK: &str = "chunk --videos videos --length 1 --preset ultrafast --threads 1 --jobs 1 --json";
/// Waits at each encoding until the file `go` is there.
const WAITING: &str = "#!/bin/sh\ncase \"$*\" in *libx264*) touch waits; while [ ! -e go ]; do sleep 0.2; done ;; esac\nexec FFMPEG \"$@\"\n";

/// Five videos.
fn shop() -> Workshop {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    for i in 0..5 {
        shop.encode(&format!("videos/v{i}.mp4"), "96x64", 30 + 10 * i, H264);
    }
    shop
}

/// What is in `out`, but for what is known of it.
fn outputs(shop: &Workshop, out: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(shop.path(out)).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let relative = |path: &Path| path.strip_prefix(shop.path(out)).unwrap().to_owned();
    let files = all.map(|entry| (relative(entry.path()), fs::read(entry.path()).unwrap()));
    files.filter(|(path, _)| !path.starts_with(".egofx")).collect()
}

/// Asserts that `out` holds what one run makes, that each record fits, and that nothing else is left.
fn is_whole(shop: &Workshop, command: &str) {
    shop.egofx(&format!("{command} -o whole")).ends_with(0);
    assert!(outputs(shop, "out") == outputs(shop, "whole"));
    let run = shop.egofx(&format!("{command} -o out")).ends_with(0);
    assert_eq!(json(&run.stdout)["done_before"], 5, "{run}");
    let left =
        |folder: &str| fs::read_dir(shop.path("out/.egofx").join(folder)).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(left("tmp").count(), 0);
    assert_eq!(left("claims").filter(|name| name.to_string_lossy().ends_with(".claim")).count(), 0);
}

fn start(shop: &Workshop, command: &str, part: u32, flags: &str) -> Child {
    shop.start(&format!("{command} -o out --steal always --shard {part}/2 {flags}"))
}

fn told(run: &Outcome, field: &str) -> u64 {
    json(&run.stdout)[field].as_u64().unwrap_or_else(|| panic!("no {field} in {run}"))
}

/// Part 1, in the midst of its first video.
fn at_work(shop: &Workshop, flags: &str) -> Child {
    shop.script("waits.sh", &WAITING.replace("FFMPEG", &tool("ffmpeg").display().to_string()));
    let run = start(shop, RESIZE, 1, &format!("--ffmpeg ./waits.sh {flags}"));
    wait_for("an encoder waits", 60, || shop.path("waits").exists());
    run
}

#[test]
fn a_part_that_nobody_began_is_made_by_the_other() {
    for command in [RESIZE, CHUNK] {
        let shop = shop();
        let run = finish(start(&shop, command, 2, "")).ends_with(0);
        assert_eq!((told(&run, "taken_videos"), told(&run, "unreached"), told(&run, "taken_over")), (3, 0, 0), "{run}");
        let late = finish(start(&shop, command, 1, "")).ends_with(0);
        assert_eq!((told(&late, "done_before"), told(&late, "taken_videos")), (3, 0), "{late}");
        is_whole(&shop, command);
    }
}

#[test]
fn a_part_is_left_alone_where_it_is_not_to_be_taken() {
    let shop = shop();
    let run = shop.egofx(&format!("{RESIZE} -o out --shard 2/2")).ends_with(0);
    assert_eq!((json(&run.stdout)["made"].as_array().unwrap().len(), told(&run, "taken_videos")), (2, 0), "{run}");
    assert_eq!(outputs(&shop, "out").len(), 2);
}

#[test]
fn what_a_killed_run_was_at_is_taken_over_at_once() {
    let shop = shop();
    let killed = at_work(&shop, "");
    signal(&killed, "KILL");
    assert_eq!(finish(killed).code, None);
    let begun = Instant::now();
    let run = finish(start(&shop, RESIZE, 2, "")).ends_with(0);
    assert!(begun.elapsed() < Duration::from_secs(100), "nobody waits for the two minutes of --claim-limit");
    assert_eq!((told(&run, "taken_videos"), told(&run, "taken_over")), (3, 1), "{run}");
    is_whole(&shop, RESIZE);
}

#[test]
fn a_slow_run_is_left_what_it_is_at_and_nothing_else() {
    let shop = shop();
    let slow = at_work(&shop, "--claim-limit 10");
    let run = finish(start(&shop, RESIZE, 2, "")).ends_with(0);
    assert_eq!((told(&run, "taken_videos"), told(&run, "taken_over")), (2, 0), "{run}");
    shop.write("go", "");
    let slow = finish(slow).ends_with(0);
    assert_eq!((told(&slow, "made_elsewhere"), told(&slow, "computed_twice")), (2, 0), "{slow}");
    is_whole(&shop, RESIZE);
}

#[test]
fn a_run_that_is_stopped_past_the_limit_and_goes_on_does_no_harm() {
    let shop = shop();
    let stopped = at_work(&shop, "--claim-limit 2");
    signal(&stopped, "STOP");
    let run = finish(start(&shop, RESIZE, 2, "--claim-limit 2")).ends_with(0);
    assert_eq!(told(&run, "taken_over"), 1, "{run}");
    shop.write("go", "");
    signal(&stopped, "CONT");
    let stopped = finish(stopped).ends_with(0);
    assert_eq!((told(&stopped, "computed_twice"), told(&stopped, "made_elsewhere")), (1, 3), "{stopped}");
    is_whole(&shop, RESIZE);
}

#[test]
fn what_fails_is_tried_once_and_again_by_the_next_call_of_its_part() {
    let shop = shop();
    let whole = fs::read(shop.path("videos/v0.mp4")).unwrap();
    shop.write("videos/v0.mp4", "no video");
    let run = finish(start(&shop, RESIZE, 2, "")).ends_with(1).says(&["v0: "]);
    assert_eq!((told(&run, "failed_of_others"), told(&run, "unreached")), (1, 0), "{run}");
    assert_eq!(told(&finish(start(&shop, RESIZE, 2, "")).ends_with(0), "failed_of_others"), 0);
    shop.write("videos/v0.mp4", whole);
    let run = finish(start(&shop, RESIZE, 1, "")).ends_with(0);
    assert_eq!(json(&run.stdout)["made"].as_array().unwrap().len(), 1, "{run}");
    is_whole(&shop, RESIZE);
}
