//! `egofx audit` on real files: each fault is named with its numbers, and sound files are not.

use std::fs;

use crate::support::{H264, Workshop, json, media};

/// Eight videos, one fault each but for the first, which has none; and a ninth that is nowhere.
fn shop() -> Workshop {
    let shop = Workshop::new();
    for name in ["good.mp4", "long.mp4", "clips.mp4"] {
        shop.clip(name, 50);
    }
    shop.encode("cut.mp4", "64x48", 200, &format!("{H264} -movflags +faststart"));
    let bytes = fs::read(shop.path("cut.mp4")).unwrap();
    shop.write("cut.mp4", &bytes[..bytes.len() / 2]);
    shop.ffmpeg(&format!(
        "-f lavfi -i testsrc2=s=64x48:r=50 -vf select='not(mod(n,3))+lt(mod(n,40),13)' -vsync vfr -frames:v 70 {H264} vfr.mp4"
    ));
    shop.ffmpeg(&format!(
        "-f lavfi -i testsrc2=s=64x48:r=25 -frames:v 50 {H264} -metadata:s:v stereo_mode=left_right eyes.mkv"
    ));
    shop.write("text.mp4", "these are words\n");
    let rotated = media("nasa_13013_rotated.mp4");
    let rows = format!(
        "good,good.mp4,,,,2.0,25\ngone,gone.mp4,,,,,\ncut,cut.mp4,,,,8.0,25\nvfr,vfr.mp4,,,,,\nturned,{rotated},,,,,\n\
         long,long.mp4,,,,9.5,30\nclips,clips.mp4,in,0,2,,\nclips,,past,1,4.5,,\nclips,,after,6,8,,\n\
         text,text.mp4,,,,,\neyes,eyes.mkv,,,,,\nnowhere,,,,,,\n"
    );
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec,duration_sec,fps\n{rows}"));
    shop
}

#[test]
fn every_fault_is_named_in_the_manifests_order() {
    let shop = shop();
    let run = shop.egofx("audit -m all.csv").ends_with(1).says(&["10 videos checked, 5 with errors, 4 with warnings"]);
    let expected = [
        ("error    gone ", "gone.mp4: no such file"),
        ("error    cut ", "truncated: its header says that it ends at 8.00 s, its frames end at "),
        ("warning  vfr ", "variable frame rate, "),
        ("warning  turned ", "rotated: shown turned clockwise by 270 degrees"),
        ("warning  long ", "the manifest says 9.50 s, the video ends at 2.00 s"),
        ("warning  long ", "the manifest says 30 fps, the video has 25.000"),
        ("error    clips ", "clip past ends at 4.50 s, the video at 2.00 s"),
        ("error    clips ", "clip after starts at 6.00 s, the video ends at 2.00 s"),
        ("error    text ", "text.mp4: not a readable video: "),
        ("warning  eyes ", "stereo: 64x48, side by side"),
        ("error    nowhere ", "no file of this name is in the folders searched"),
    ];
    let lines: Vec<&str> = run.stdout.lines().filter(|line| !line.starts_with("note")).collect();
    assert_eq!(lines.len(), expected.len(), "{run}");
    for (line, (start, what)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.contains(what), "{line}\nexpected {start} {what}");
    }
}

#[test]
fn programs_get_the_same_with_operands() {
    let shop = shop();
    let report = json(&shop.egofx("audit -m all.csv --json --jobs 3").ends_with(1).stdout);
    assert_eq!((&report["videos"], &report["videos_with_errors"]), (&10.into(), &5.into()));
    let found = report["findings"].as_array().unwrap();
    let of = |kind: &str| found.iter().find(|row| row["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {report}"));
    assert_eq!(of("clip-ends-past-end")["clip_uid"], "past");
    assert_eq!(of("clip-ends-past-end")["end_sec"], 4.5);
    assert_eq!((&of("rate")["manifest_fps"], &of("rate")["severity"]), (&"30".into(), &"warning".into()));
    assert_eq!(of("missing")["video_uid"], "gone");
    assert_eq!(of("truncated")["clips_affected"], 1);
}

#[test]
fn sound_videos_end_with_0_and_bad_arguments_with_2() {
    let shop = Workshop::new();
    shop.clip("good.mp4", 50);
    shop.write("all.csv", "video_uid\ngood\n");
    let run = shop.egofx("audit -m all.csv --videos .").ends_with(0).says(&["1 video checked, 0 with errors, 0 with"]);
    assert_eq!(run.stdout, "");
    shop.egofx("audit -m none.csv").ends_with(2).says(&["none.csv"]);
    shop.egofx("audit -m all.csv --jobs 0").ends_with(2);
    shop.egofx("audit -m all.csv --ffprobe none").ends_with(2).says(&["ffprobe"]);
    shop.write("all.csv", "video_uid,path,start_sec,end_sec\ngood,good.mp4,0,1\ngood,good.mp4,2,1\n");
    shop.egofx("audit -m all.csv").ends_with(1).says(&["line 3", "0 with errors"]);
}
