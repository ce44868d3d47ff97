//! `egofx resize` on real clips: every frame is in the copy at its time, and what cannot be copied whole is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{
    H264, Mount, Outcome, Workshop, ffprobe, finish, json, media, packet_times, signal, tool, wait_for,
};

/// Fast, and the same bytes each time.
const FAST: &str = "--preset ultrafast --threads 1";

fn resize(shop: &Workshop, flags: &str) -> Outcome {
    shop.egofx(&format!("resize --videos videos -o out {FAST} {flags}"))
}

/// A workshop with an empty folder `videos`.
fn shop() -> Workshop {
    let shop = Workshop::new();
    fs::create_dir(shop.path("videos")).unwrap();
    shop
}

/// `WIDTHxHEIGHT` of a file's image, as stored, and whether players turn it.
fn image(path: &Path) -> (String, bool) {
    let size = ffprobe(path, "v:0", "stream=width,height").remove(0).replace(',', "x");
    let turned = ffprobe(path, "v:0", "stream_side_data=rotation").iter().any(|line| !line.is_empty());
    (size, turned)
}

/// The outputs in `out` by name.
fn outputs(shop: &Workshop, out: &str) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(shop.path(out)).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect()
}

/// Files that a run leaves only while it works.
fn leftovers(shop: &Workshop, out: &str) -> Vec<PathBuf> {
    fs::read_dir(shop.path(out).join(".egofx/tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Asserts that `out/<name>.mp4` is `size`, upright, with the frames of its source at their times.
fn is_copy(shop: &Workshop, source: &Path, stream: &str, name: &str, size: &str) {
    let made = shop.path("out").join(format!("{name}.mp4"));
    assert_eq!(image(&made), (size.to_owned(), false), "{name}");
    let (wanted, found) = (packet_times(source, stream), packet_times(&made, "v:0"));
    assert_eq!(found.len(), wanted.len(), "{name}");
    let far = wanted.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-3, "{name}: a frame is {far} s from its time");
}

/// Chapters of a GoPro are made smaller one by one; the copies are chapters of the same recording.
#[test]
fn chapters_of_a_recording_stay_chapters() {
    let shop = shop();
    for (name, frames) in [("GX010123.MP4", 30), ("GX020123.MP4", 20)] {
        shop.encode(&format!("videos/{name}"), "64x48", frames, H264);
    }
    resize(&shop, "--short-side 24").ends_with(0).says(&["2 videos made"]);
    assert_eq!(outputs(&shop, "out").into_keys().collect::<Vec<_>>(), ["GX010123.mp4", "GX020123.mp4"]);
    is_copy(&shop, &shop.path("videos/GX020123.MP4"), "v:0", "GX020123", "32x24");
    shop.write("all.csv", "video_uid\nGX0123\n");
    shop.egofx(&format!("resize -m all.csv --videos videos -o out {FAST} --short-side 24"))
        .ends_with(0)
        .says(&["2 done before"]);
    shop.egofx("manifest folder --videos out -o copies.csv").ends_with(0);
    assert!(fs::read_to_string(shop.path("copies.csv")).unwrap().contains("GX%02d0123.mp4"));
}

#[test]
fn every_frame_is_in_the_copy_at_its_time() {
    let shop = shop();
    shop.ffmpeg(
        "-f lavfi -i testsrc=s=61x37 -frames:v 40 -c:v libx264 -preset ultrafast -pix_fmt yuv444p videos/odd.mp4",
    );
    assert_eq!(image(&shop.path("videos/odd.mp4")).0, "61x37");
    shop.encode("videos/portrait.mkv", "48x80", 40, H264);
    shop.encode("videos/ten_bit.mp4", "96x64", 40, "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le");
    shop.ffmpeg(&format!(
        "-f lavfi -i testsrc2=s=64x48:r=50 -vf select='not(mod(n,3))+lt(mod(n,40),13)' -vsync vfr -frames:v 70 {H264} videos/vfr.mp4"
    ));
    shop.clip("plain.mp4", 60);
    shop.ffmpeg("-itsoffset 3.2 -i plain.mp4 -c copy videos/late.mkv");
    shop.ffmpeg("-i plain.mp4 -c copy videos/broadcast.ts");
    for (name, file) in [("rotated", "nasa_13013_rotated.mp4"), ("hevc", "h265_video.mp4"), ("av1", "av1_video.mkv")] {
        let ending = Path::new(file).extension().unwrap().to_str().unwrap();
        fs::copy(media(file), shop.path(&format!("videos/{name}.{ending}"))).unwrap();
    }
    resize(&shop, "--short-side 64").ends_with(0).says(&["9 videos made, 0 done before, 0 failed, 0 not reached"]);
    for (name, size) in [
        ("odd.mp4", "104x64"),
        ("portrait.mkv", "64x106"),
        ("ten_bit.mp4", "96x64"),
        ("vfr.mp4", "84x64"),
        ("late.mkv", "84x64"),
        ("rotated.mp4", "64x112"),
        ("hevc.mp4", "64x64"),
        ("av1.mkv", "112x64"),
    ] {
        let source = shop.path("videos").join(name);
        is_copy(&shop, &source, "v:0", name.split_once('.').unwrap().0, size);
    }
    // Its clock starts at any time of day; the copy's starts with the video.
    is_copy(&shop, &shop.path("plain.mp4"), "v:0", "broadcast", "84x64");
    assert!(leftovers(&shop, "out").is_empty());
}

#[test]
fn the_best_stream_is_taken_and_all_sound_is_copied_unless_told_otherwise() {
    let shop = shop();
    let source = shop.path("videos/nasa.mp4");
    fs::copy(media("nasa_13013.mp4"), &source).unwrap();
    resize(&shop, "").ends_with(0);
    is_copy(&shop, &source, "3", "nasa", "454x256");
    let sound = |path: &Path| ffprobe(path, "a", "packet=size");
    let copied = sound(&shop.path("out/nasa.mp4"));
    assert!(copied.len() > 100);
    let (mut copied, mut original) = (copied, sound(&source));
    copied.sort();
    original.sort();
    assert_eq!(copied, original, "packet for packet");
    shop.egofx(&format!("resize --videos videos -o silent {FAST} --audio none")).ends_with(0);
    assert!(sound(&shop.path("silent/nasa.mp4")).is_empty());
    shop.ffmpeg("-f lavfi -i testsrc2=s=64x48:r=25 -f lavfi -i sine -t 2 -c:v libx264 -c:a wmav2 wma.mkv");
    shop.write("wma.csv", "video_uid,path\nwma,wma.mkv\n");
    shop.egofx(&format!("resize -m wma.csv -o wma {FAST}")).ends_with(1).says(&["wma", "ffmpeg ended", "codec wmav2"]);
    shop.egofx(&format!("resize -m wma.csv -o aac {FAST} --audio aac")).ends_with(0);
    assert_eq!(ffprobe(&shop.path("aac/wma.mp4"), "a", "stream=codec_name"), ["aac"]);
}

#[test]
fn a_fixed_height_makes_portrait_videos_small_as_released() {
    let shop = shop();
    shop.encode("videos/portrait.mp4", "108x192", 20, H264);
    shop.encode("videos/landscape.mp4", "192x108", 20, H264);
    resize(&shop, "--fixed-height 64").ends_with(0);
    is_copy(&shop, &shop.path("videos/portrait.mp4"), "v:0", "portrait", "36x64");
    is_copy(&shop, &shop.path("videos/landscape.mp4"), "v:0", "landscape", "112x64");
}

#[test]
fn what_cannot_be_copied_whole_is_refused_and_the_others_go_on() {
    let shop = shop();
    shop.clip("videos/good.mp4", 40);
    shop.encode("videos/cut.mp4", "64x48", 200, &format!("{H264} -movflags +faststart"));
    let bytes = fs::read(shop.path("videos/cut.mp4")).unwrap();
    shop.write("videos/cut.mp4", &bytes[..bytes.len() / 2]);
    let mut noisy = fs::read(shop.encode("videos/noisy.mp4", "320x240", 60, H264)).unwrap();
    let middle = noisy.len() / 3;
    noisy[middle..middle + 6000].iter_mut().zip(1_u32..).for_each(|(byte, i)| *byte = ((i * i * 31) >> 5) as u8);
    shop.write("videos/noisy.mp4", noisy);
    shop.ffmpeg("-f lavfi -i sine -t 1 -c:a aac videos/sound.mp4");
    shop.write("videos/text.mp4", "these are words\n");
    shop.write("videos/empty.mp4", "");
    shop.write("videos/my video.mp4", "no uid");
    let run = resize(&shop, "--short-side 64").ends_with(1).says(&[
        "cut: ",
        "truncated: its header says that it ends at 8.00 s, its frames end at",
        "noisy: ",
        "ffmpeg ended",
        "complaints, the first:",
        "no video stream (found: audio aac)",
        "text.mp4: not a readable video",
        "empty.mp4: the file has 0 bytes",
        "my_video-4d583281: ",
        "1 video made, 0 done before, 6 failed, 0 not reached",
    ]);
    assert_eq!(outputs(&shop, "out").keys().collect::<Vec<_>>(), ["good.mp4"], "{run}");
    assert!(leftovers(&shop, "out").is_empty());
    shop.write("all.csv", "video_uid,path\ngone,gone.mp4\ngood,videos/good.mp4\nnowhere,\n");
    let run = shop.egofx(&format!("resize -m all.csv -o out --short-side 64 --json {FAST}")).ends_with(1);
    let report = json(&run.stdout);
    let failed: Vec<_> =
        report["failures"].as_array().unwrap().iter().map(|f| f["video_uid"].as_str().unwrap()).collect();
    assert_eq!((failed, &report["done_before"], &report["exit_code"]), (vec!["gone", "nowhere"], &1.into(), &1.into()));
}

/// An ffmpeg that says that all is well, and does what `meddle` makes of its arguments, one at a time in `$a`.
fn meddling_ffmpeg(shop: &Workshop, meddle: &str) {
    let script = format!(
        "#!/bin/sh\nn=$#\nwhile [ $n -gt 0 ]; do a=$1; shift; {meddle}\nset -- \"$@\" \"$a\"; n=$((n-1)); done\nexec {} \"$@\"\n",
        tool("ffmpeg").display()
    );
    shop.script("meddling.sh", &script);
}

#[test]
fn the_success_of_ffmpeg_is_no_evidence() {
    let shop = shop();
    shop.clip("videos/a.mp4", 60);
    for (meddle, words) in [
        ("[ \"$a\" = -sn ] && set -- \"$@\" -frames:v 10", ["chunk 0 has 10 frames, expected 60"]),
        ("[ \"$a\" = -sn ] && set -- \"$@\" -output_ts_offset 0.5", ["is shown at 0.5000 s, expected 0.0000 s"]),
        ("case \"$a\" in *scale=*) a=scale=32:32,format=yuv420p;; esac", ["the output is 32x32, turned by 0 degrees"]),
    ] {
        meddling_ffmpeg(&shop, meddle);
        resize(&shop, "--ffmpeg ./meddling.sh").ends_with(1).says(&words);
        assert!(outputs(&shop, "out").is_empty() && leftovers(&shop, "out").is_empty());
    }
    meddling_ffmpeg(&shop, "");
    resize(&shop, "--ffmpeg ./meddling.sh").ends_with(0);
}

#[test]
fn files_of_others_and_sources_are_not_overwritten() {
    let shop = shop();
    shop.clip("videos/a.mp4", 40);
    shop.clip("videos/b.mp4", 40);
    fs::create_dir(shop.path("out")).unwrap();
    shop.write("out/a.mp4", "precious");
    resize(&shop, "").ends_with(1).says(&["a: ", "out/a.mp4 exists already", "--force overwrites it", "1 video made"]);
    assert_eq!(fs::read(shop.path("out/a.mp4")).unwrap(), b"precious");
    resize(&shop, "--force").ends_with(0).says(&["1 video made, 1 done before"]);
    assert_ne!(fs::read(shop.path("out/a.mp4")).unwrap(), b"precious");
    let before = fs::read(shop.path("videos/a.mp4")).unwrap();
    shop.write("all.csv", "video_uid,path\na,videos/a.mp4\n");
    shop.egofx("resize -m all.csv -o videos --force").ends_with(1).says(&["the output would overwrite its source"]);
    assert_eq!(fs::read(shop.path("videos/a.mp4")).unwrap(), before);
    shop.egofx("resize --videos videos -o videos/small").ends_with(2).says(&["--out", "lies in --videos"]);
    shop.egofx("resize --videos videos -o out --short-side 255").ends_with(2).says(&["even number of pixels"]);
    shop.egofx("resize -o out").ends_with(2).says(&["no videos are named: give --manifest FILE, --videos DIR"]);
}

#[test]
fn what_fits_its_record_is_kept_and_the_rest_made_anew() {
    let shop = shop();
    for name in ["a", "b", "c"] {
        shop.clip(&format!("videos/{name}.mp4"), 40);
    }
    resize(&shop, "").ends_with(0).says(&["3 videos made"]);
    let wanted = outputs(&shop, "out");
    let modified = |name: &str| fs::metadata(shop.path("out").join(name)).unwrap().modified().unwrap();
    let before = modified("b.mp4");
    resize(&shop, "").ends_with(0).says(&["0 videos made, 3 done before"]);
    let whole = &wanted["a.mp4"];
    shop.write("out/a.mp4", &whole[..whole.len() - 100]);
    resize(&shop, "")
        .ends_with(0)
        .says(&["1 video made, 2 done before", "a: made anew: its output is absent, incomplete"]);
    fs::remove_file(shop.path("out/c.mp4")).unwrap();
    resize(&shop, "").ends_with(0).says(&["1 video made, 2 done before"]);
    assert!(outputs(&shop, "out") == wanted && modified("b.mp4") == before);
    resize(&shop, "--crf 30").ends_with(2).says(&["was made here with crf = 23, this run would make it with crf = 30"]);
    assert!(outputs(&shop, "out") == wanted);
    shop.clip("videos/b.mp4", 50);
    resize(&shop, "").ends_with(0).says(&["b: made anew: its source has changed"]);
    assert_eq!(packet_times(&shop.path("out/b.mp4"), "v:0").len(), 50);
    resize(&shop, "--crf 30 --force").ends_with(0).says(&["3 videos made"]);
}

/// Three videos that take a while together.
fn long_shop() -> Workshop {
    let shop = shop();
    for (name, frames) in [("a", 700), ("b", 500), ("c", 300)] {
        shop.encode(&format!("videos/{name}.mp4"), "320x240", frames, H264);
    }
    shop
}

fn no_process_stays(shop: &Workshop) {
    wait_for("all processes have ended", 10, || shop.live_processes().is_empty());
}

#[test]
fn a_killed_run_is_finished_by_the_same_command() {
    let shop = long_shop();
    shop.egofx(&format!("resize --videos videos -o whole {FAST}")).ends_with(0);
    let (wanted, mut kills, mut within) = (outputs(&shop, "whole"), 0, 0);
    for (begun, milliseconds) in [(false, 50), (true, 0), (true, 100), (true, 300), (true, 600), (true, 0)] {
        let mut run = shop.start(&format!("resize --videos videos -o out --jobs 2 {FAST}"));
        if begun {
            shop.wait_for_an_encoder(&mut run);
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        within += usize::from(shop.encodes());
        signal(&run, "KILL");
        kills += usize::from(finish(run).code.is_none());
        no_process_stays(&shop);
        let made = if shop.path("out").exists() { outputs(&shop, "out") } else { BTreeMap::new() };
        assert!(made.iter().all(|(name, bytes)| wanted[name] == *bytes), "a half-made output has its name");
    }
    assert!(kills > 0 && within > 0, "{kills} kills, {within} while ffmpeg was at work");
    resize(&shop, "").ends_with(0);
    assert!(outputs(&shop, "out") == wanted, "as if it had never been killed");
    assert!(leftovers(&shop, "out").is_empty());
}

#[test]
fn the_first_interrupt_finishes_what_is_in_flight_and_the_second_leaves() {
    let shop = long_shop();
    let run = shop.start(&format!("resize --videos videos -o out --jobs 1 {FAST}"));
    wait_for("ffmpeg is at work", 20, || shop.encodes());
    signal(&run, "INT");
    finish(run).ends_with(130).says(&["stopping: what is in flight is finished", "not reached"]);
    assert!(!outputs(&shop, "out").is_empty() && leftovers(&shop, "out").is_empty());
    resize(&shop, "").ends_with(0);
    assert_eq!(outputs(&shop, "out").len(), 3);

    let run = shop.start("resize --videos videos -o slow --jobs 1 --preset veryslow --short-side 1080");
    wait_for("ffmpeg is at work", 20, || shop.encodes());
    signal(&run, "INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&run, "INT");
    finish(run).ends_with(130);
    no_process_stays(&shop);
    assert!(outputs(&shop, "slow").is_empty());

    for name in ["TERM", "USR1"] {
        let run = shop.start("resize --videos videos -o slow --jobs 1 --preset veryslow --short-side 1080 --grace 0");
        wait_for("ffmpeg is at work", 20, || shop.encodes());
        signal(&run, name);
        finish(run).ends_with(75).says(&["what is not finished is abandoned", "0 failed, 3 not reached"]);
        no_process_stays(&shop);
        assert!(outputs(&shop, "slow").is_empty() && leftovers(&shop, "slow").is_empty());
    }
}

#[test]
fn a_full_disk_ends_the_run_and_what_is_made_stays() {
    let shop = shop();
    for name in ["a", "b", "c"] {
        shop.encode(&format!("videos/{name}.mp4"), "320x240", 100, H264);
    }
    shop.egofx(&format!("resize --videos videos -o whole {FAST}")).ends_with(0);
    let wanted = outputs(&shop, "whole");
    let Some(disk) = Mount::tmpfs(shop.path("disk"), "size=8m") else { return };
    let room = wanted["a.mp4"].len() * 3 / 2;
    fs::write(disk.0.join("ballast"), vec![1; (8 << 20) - room - (64 << 10)]).unwrap();
    let run = shop.egofx(&format!("resize --videos videos -o disk/out --jobs 1 {FAST}")).ends_with(1);
    let run = run.says(&["b: ", "No space left on device", "1 video made, 0 done before, 1 failed, 1 not reached"]);
    assert_eq!(run.stderr.matches("No space left").count(), 1, "said once is enough: {run}");
    assert!(leftovers(&shop, "disk/out").is_empty());
    fs::remove_file(disk.0.join("ballast")).unwrap();
    shop.egofx(&format!("resize --videos videos -o disk/out {FAST}"))
        .ends_with(0)
        .says(&["2 videos made, 1 done before"]);
    assert!(outputs(&shop, "disk/out") == wanted);
}

#[test]
fn shards_share_the_work_and_two_runs_do_not_get_in_each_others_way() {
    let shop = long_shop();
    shop.egofx(&format!("resize --videos videos -o whole {FAST}")).ends_with(0);
    let first = shop.start(&format!("resize --videos videos -o out --shard 1/2 {FAST}"));
    wait_for("it has begun", 20, || shop.path("out/.egofx/locks/1-of-2.lock").exists());
    std::thread::sleep(Duration::from_millis(100));
    resize(&shop, "--shard 1/2").ends_with(2).says(&["another run writes", "1-of-2.lock"]);
    resize(&shop, "--shard 2/2").ends_with(0);
    finish(first).ends_with(0);
    assert!(outputs(&shop, "out") == outputs(&shop, "whole"));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let shop = shop();
    shop.encode("videos/a.mp4", "192x108", 50, H264);
    shop.write("videos/text.mp4", "words");
    let run = resize(&shop, "--dry-run").ends_with(1);
    assert!(run.stdout.contains("make   a  out/a.mp4  192x108 to 454x256, 2.0 s\n"), "{run}");
    assert!(run.stdout.contains("error  text  ") && run.stdout.contains("not a readable video"), "{run}");
    assert!(!shop.path("out").exists());
    fs::remove_file(shop.path("videos/text.mp4")).unwrap();
    resize(&shop, "").ends_with(0);
    let run = resize(&shop, "--dry-run --json").ends_with(0);
    assert_eq!(json(&run.stdout)[0]["state"], "done", "{run}");
}
