//! Videos and lists that mean harm, or might: each costs its own unit at most, in seconds and in little memory.

use std::fs;
use std::process::Command;

use crate::support;
use crate::support::{EGOVLP, H264, Outcome, Workshop};

/// Address space that a run may take, in KiB: some five times what it takes, and far less than what one wrong time would ask
/// for.
const MOST_KIB: u64 = 6 << 20;

fn hostile(name: &str) -> std::path::PathBuf {
    support::checkout().join("tests/data/hostile").join(name)
}

/// Runs the program with bounds on its memory and its time, in seconds of the processor.
fn bounded(shop: &Workshop, arguments: &str) -> Outcome {
    let program = env!("CARGO_BIN_EXE_egofx");
    let script = format!("ulimit -v {MOST_KIB}; ulimit -t 120; exec {program} {arguments}");
    let mut command = shop.command("sh", "-c");
    shop.finished(arguments, command.arg(script))
}

/// A workshop with a healthy video of 4 seconds, `good.mp4`, and recipes that put windows on time, on frames and on clips.
fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.encode("good.mp4", "64x48", 100, H264);
    for (name, grid) in RECIPES {
        shop.recipe(name, grid, "hdf5", "f32");
    }
    shop
}

const RECIPES: [(&str, &str); 4] = [
    ("egovlp", EGOVLP),
    ("uniform", "kind = \"uniform\"\nfps = \"100\"\nframes = 4\nstride = 4\ntail = \"pad\""),
    ("dense", support::DENSE),
    ("single", "kind = \"egoclip\"\nframes = 4"),
];

fn extract(shop: &Workshop, recipe: &str, out: &str, flags: &str) -> Outcome {
    bounded(shop, &format!("extract -m all.csv -p {recipe}.toml -o {out} {flags}"))
}

#[test]
fn one_wrong_time_in_a_list_costs_one_unit() {
    let shop = shop();
    for (line, words) in [
        ("0,1e9", "the clip ends at 1000000000.00 s, the video at 4.00 s"),
        ("1e9,2e9", "the clip starts at 1000000000 s, the video ends at 4.00 s"),
        ("0,480000000", "the clip ends at 480000000.00 s, the video at 4.00 s"),
        ("0,1e300", "line 2: end_sec 1e300 is later than any video lasts; seconds are expected"),
        ("1e18,2e18", "line 2: start_sec 1e18 is later than any video lasts; seconds are expected"),
        ("0,inf", "line 2: end_sec \"inf\" is not a finite number"),
        ("nan,1", "line 2: start_sec \"nan\" is not a finite number"),
        ("-5,1", "line 2: start_sec -5 is before the video begins"),
    ] {
        let clips = format!("v,good.mp4,c1,{line}\nv,good.mp4,c3,0,2\nw,good.mp4,c4,0,2\n");
        shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\n{clips}"));
        let is_promised = words.starts_with("the clip");
        let run = extract(&shop, "egovlp", "out", "--on-error partial").ends_with(1).says(&[words]);
        assert_eq!(shop.committed("out/egovlp"), ["c3", "c4"], "{line}: {run}");
        shop.egofx("verify out").ends_with(i32::from(is_promised));
        fs::remove_dir_all(shop.path("out")).unwrap();
        for recipe in ["uniform", "dense"].into_iter().filter(|_| is_promised) {
            extract(&shop, recipe, "out", "").ends_with(1);
            assert_eq!(shop.committed(&format!("out/{recipe}")), ["c3", "c4"], "{line}");
            fs::remove_dir_all(shop.path("out")).unwrap();
        }
        let run = extract(&shop, "single", "out", "--on-error partial");
        assert!(run.code.is_some_and(|code| code < 2), "{run}");
        bounded(&shop, "audit -m all.csv").ends_with(1);
        for probe in ["", "--probe 1"] {
            let run = bounded(&shop, &format!("plan -m all.csv -p egovlp.toml -p uniform.toml {probe}")).ends_with(1);
            assert!(run.stderr.contains("line 2: "), "{run}");
        }
        fs::remove_dir_all(shop.path("out")).unwrap();
    }
}

#[test]
fn shares_of_a_plan_are_not_spoilt_by_one_wrong_time() {
    let shop = shop();
    let clips: String = (0..8).map(|v| format!("v{v},good.mp4,c{v},0,2,4\n")).collect();
    let poison = "v0,good.mp4,poison,0,1e9,4\n";
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec,duration_sec\n{poison}{clips}"));
    let units: Vec<u64> = (1..=2)
        .map(|shard| {
            let run = bounded(&shop, &format!("plan -m all.csv -p egovlp.toml --shard {shard}/2 --json")).ends_with(1);
            support::json(&run.stdout)["units"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(units.iter().sum::<u64>(), 9);
    assert!(units.iter().all(|units| *units >= 2), "{units:?}");
}

#[test]
fn a_jump_in_time_costs_its_own_video() {
    let shop = shop();
    for jump in ["1e9", "1e12", "1e15"] {
        let name = format!("video_jump_{jump}.mkv");
        fs::copy(hostile(&name), shop.path("bad.mkv")).unwrap();
        shop.manifest(&["bad.mkv", "good.mp4"]);
        for recipe in ["egovlp", "uniform"] {
            for policy in ["skip", "partial"] {
                let run = extract(&shop, recipe, "out", &format!("--on-error {policy}")).ends_with(1);
                assert_eq!(shop.committed(&format!("out/{recipe}")), ["good"], "{name}: {run}");
                let why = shop.report("out")["failures"][0]["why"].to_string();
                assert!(why.contains("frames are spread over") && why.contains("timestamps jump"), "{name}: {why}");
                fs::remove_dir_all(shop.path("out")).unwrap();
            }
        }
        // By frames, the gap is none: the rows are right and the gap is flagged, or they are refused.
        extract(&shop, "dense", "out", "--on-error partial");
        let committed = shop.committed("out/dense");
        assert!(committed.contains(&"good".to_owned()), "{name}");
        if committed.contains(&"bad".to_owned()) {
            let notes = shop.unit("out/dense", "bad").header.notes;
            assert!(notes.iter().any(|note| note.contains("its timestamps jump by")), "{notes:?}");
        }
        extract(&shop, "single", "out", "");
        let run = bounded(&shop, "audit -m all.csv");
        assert!(run.code.is_some_and(|code| code < 2), "{run}");
        assert!(format!("{}{}", run.stdout, run.stderr).contains("timestamps jump by"), "{run}");
        for arguments in ["plan -m all.csv -p egovlp.toml --probe 1", "resize -m all.csv -o small --short-side 48"] {
            let run = bounded(&shop, arguments);
            assert!(run.code.is_some_and(|code| code < 2), "{run}");
        }
        let run = bounded(&shop, "chunk -m all.csv -o pieces --length 1 --preset ultrafast");
        assert!(run.code.is_some_and(|code| code < 2) && shop.path("pieces/good/3.mp4").exists(), "{run}");
        for folder in ["out", "small", "pieces"] {
            let _ = fs::remove_dir_all(shop.path(folder));
        }
    }
}

#[test]
fn absurd_rates_are_refused_or_right() {
    let shop = shop();
    for name in ["1e6fps", "delta0", "ts0", "2e9ticks_ts1", "2e9ticks_ts15360"] {
        fs::copy(hostile(&format!("video_{name}.mp4")), shop.path("bad.mp4")).unwrap();
        shop.manifest(&["bad.mp4", "good.mp4"]);
        for recipe in ["egovlp", "dense"] {
            let run = extract(&shop, recipe, "out", "");
            assert!(run.code.is_some_and(|code| code < 2), "{name}: {run}");
            assert!(shop.committed(&format!("out/{recipe}")).contains(&"good".to_owned()), "{name}: {run}");
        }
        fs::remove_dir_all(shop.path("out")).unwrap();
    }
}

/// Playlists beside what they name, which is a video that would be read otherwise.
#[test]
fn playlists_are_no_videos_whatever_they_are_called() {
    let shop = shop();
    shop.recipe("rows", support::DENSE, "hdf5", "f32");
    shop.clip("secret.mp4", 50);
    shop.ffmpeg("-i secret.mp4 -c copy seg.ts");
    shop.ffmpeg("-i secret.mp4 -c copy -movflags frag_keyframe+empty_moov+default_base_moof frag.mp4");
    let here = shop.path("").canonicalize().unwrap().display().to_string();
    let here = here.trim_end_matches('/');
    let listed = |name: &str| fs::read_to_string(hostile(name)).unwrap().replace("@ABSOLUTE@", here);
    let sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n";
    let relative = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:2.0,\nseg.ts\n#EXT-X-ENDLIST\n".to_owned();
    let files = [
        ("hls", listed("playlist_hls_absolute.mp4"), "hls"),
        ("hls_relative", relative, "hls"),
        ("dash", listed("playlist_dash_absolute.mp4"), "dash"),
        ("concat", listed("playlist_concat.mp4"), "concat"),
        ("sdp", sdp.to_owned(), "sdp"),
    ];
    for (name, text, _) in &files {
        shop.write(&format!("{name}.mp4"), text);
    }
    let names: Vec<String> = files.iter().map(|(name, ..)| format!("{name}.mp4")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["good.mp4"]).collect();
    shop.manifest(&names);
    for policy in ["skip", "partial"] {
        let run = shop.extract("out", &format!("--on-error {policy}")).ends_with(1);
        assert_eq!(shop.committed("out/rows"), ["good"], "{run}");
        for (name, _, format) in &files {
            let words = format!("{name}.mp4: its format is {format}, expected a video's own file");
            assert!(run.stderr.contains(&words), "{words}: {run}");
        }
        fs::remove_dir_all(shop.path("out")).unwrap();
    }
    for command in ["audit -m all.csv", "resize -m all.csv -o small --short-side 32", "chunk -m all.csv -o pieces"] {
        let run = shop.egofx(command).ends_with(1);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert_eq!(said.matches("expected a video's own file").count(), files.len(), "{run}");
    }
}

/// Files with names that ffmpeg would take for protocols, patterns or options.
#[test]
fn names_are_never_protocols_patterns_or_options() {
    let shop = Workshop::with_recipe();
    let names =
        ["pipe:0", "http:a.mp4", "concat:a|b.mp4", "-i.mp4", "a%03d.mp4", "file:c.mp4", "subfile,,start,0,,:d.mp4"];
    let mut lines = String::from("video_uid,path\n");
    for (i, name) in names.iter().enumerate() {
        fs::copy(shop.clip("made.mp4", 20), shop.path(name)).unwrap();
        lines += &format!("v{i},\"{name}\"\n");
    }
    shop.write("all.csv", lines);
    shop.extract("out", "").ends_with(0);
    assert_eq!(shop.committed("out/rows").len(), names.len());
    let run = shop.egofx("resize -m all.csv -o small --short-side 32 --preset ultrafast").ends_with(0);
    assert!(run.stderr.contains(&format!("{} videos made", names.len())), "{run}");
}

/// What each container and stream of one codec becomes: none of them is kept out.
#[test]
fn containers_of_videos_are_let_in() {
    let shop = Workshop::with_recipe();
    let codecs = [
        ("mp4", H264),
        ("mov", H264),
        ("m4v", "-c:v mpeg4"),
        ("3gp", "-c:v h263 -s 176x144"),
        ("mkv", H264),
        ("webm", "-c:v libvpx -deadline realtime"),
        ("avi", "-c:v mpeg4"),
        ("ts", H264),
        ("mpg", "-c:v mpeg2video"),
        ("vob", "-c:v mpeg2video -f vob"),
        ("flv", "-c:v flv1"),
        ("wmv", "-c:v wmv2"),
        ("asf", "-c:v msmpeg4"),
        ("ogv", "-c:v libtheora"),
        ("nut", "-c:v ffv1"),
        ("mxf", "-c:v mpeg2video"),
        ("ivf", "-c:v libvpx -deadline realtime"),
        ("gif", ""),
        ("apng", "-f apng"),
        ("mjpeg", "-c:v mjpeg -strict unofficial"),
        ("h264", H264),
        ("hevc", "-c:v libx265 -preset ultrafast -x265-params log-level=none"),
        ("y4m", "-pix_fmt yuv420p"),
        ("dv", "-s 720x576 -c:v dvvideo -pix_fmt yuv420p"),
        ("rm", "-c:v rv20"),
        ("swf", "-c:v flv1"),
        ("gxf", "-s 720x576 -c:v mpeg2video -pix_fmt yuv420p"),
        ("obu", "-c:v libaom-av1 -usage realtime -cpu-used 8 -pix_fmt yuv420p -f obu"),
        ("dirac", "-c:v vc2 -f dirac"),
    ];
    let mut names = Vec::new();
    for (ending, codec) in codecs {
        let name = format!("{ending}_file.{ending}");
        let made = Command::new(support::tool("ffmpeg"))
            .args(["-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=128x96:r=25", "-frames:v", "20"])
            .args(codec.split_whitespace())
            .arg(shop.path(&name))
            .status();
        if made.unwrap().success() {
            names.push(name);
        } else {
            eprintln!("skipped: this ffmpeg makes no {ending}");
        }
    }
    assert!(names.len() >= 22, "{names:?}");
    shop.manifest(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let run = shop.extract("out", "--on-error partial");
    assert!(!run.stderr.contains("its format is"), "{run}");
    assert_eq!(shop.committed("out/rows").len(), names.len(), "{run}");
}
