//! Faulty and odd videos: what is true is kept, what is not is named, and no fault harms its neighbours.

use std::fs;
use std::path::Path;

use crate::support::videos::tools;
use crate::support::{H264, Outcome, Workshop, media, packet_times, row_bits};

/// Frames of the undamaged clip that damaged ones are made of; 19 rows of [`support::DENSE`].
const FRAMES: u32 = 150;

/// A workshop with `good.mp4`, `whole.<extension>` and `bad.<extension>`, which is `whole` changed by `harm`.
fn shop(extension: &str, options: &str, harm: impl Fn(&mut Vec<u8>)) -> Workshop {
    let shop = Workshop::with_recipe();
    shop.clip("good.mp4", 40);
    let (whole, bad) = (format!("whole.{extension}"), format!("bad.{extension}"));
    let mut bytes = fs::read(shop.encode(&whole, "64x48", FRAMES, &format!("{H264} {options}"))).unwrap();
    harm(&mut bytes);
    shop.write(&bad, bytes);
    shop.manifest(&["good.mp4", &whole, &bad]);
    shop
}

/// Cuts a file to this share of its length.
fn cut(share: f64) -> impl Fn(&mut Vec<u8>) {
    move |bytes| bytes.truncate((bytes.len() as f64 * share) as usize)
}

/// Writes noise over `length` bytes from this share of a file on.
fn noise(share: f64, length: usize) -> impl Fn(&mut Vec<u8>) {
    move |bytes| {
        let at = (bytes.len() as f64 * share) as usize;
        let mut state = 12345_u32;
        for byte in &mut bytes[at..at + length] {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
    }
}

/// The default policy: `bad` fails with a message that has `words`, the others are committed.
fn skips(shop: &Workshop, words: &[&str]) {
    let run = shop.extract("skip", "").ends_with(1).says(words);
    let report = shop.report("skip");
    let [failure] = &report["failures"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&failure["unit_uid"], &failure["feature_set"]), (&"bad".into(), &"rows".into()));
    let why = failure["why"].as_str().unwrap();
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
    assert_eq!(report["exit_code"], 1, "{run}");
    let committed = shop.committed("skip/rows");
    assert!(committed.contains(&"good".to_owned()) && !committed.contains(&"bad".to_owned()), "{committed:?}");
    shop.egofx("verify skip").ends_with(1).says(&["bad", "it was promised and is not committed"]);
    assert_eq!(shop.leftovers("skip"), [""; 0].map(Path::new));
}

/// `--on-error partial`: rows that are not missing have the bits of those of `whole`. How many there are.
fn keeps_true_rows(shop: &Workshop) -> usize {
    shop.extract("partial", "--on-error partial").ends_with(0);
    let (bad, whole) = (shop.unit("partial/rows", "bad"), shop.unit("partial/rows", "whole"));
    assert_eq!(bad.meta.len(), whole.meta.len(), "rows promised by the header");
    let (bits, wanted) = (row_bits(&bad), row_bits(&whole));
    for (row, meta) in bad.meta.iter().enumerate() {
        let is_nan = bad.features.row(row).iter().all(|value| value.is_nan());
        assert_eq!(meta.missing, is_nan, "row {row}");
        assert!(meta.missing || bits[row] == wanted[row], "row {row} differs from the undamaged file's");
    }
    let kept = bad.meta.iter().filter(|meta| !meta.missing).count();
    assert!(0 < kept && kept < bad.meta.len(), "{kept} of {} rows kept", bad.meta.len());
    assert_eq!(shop.report("partial")["missing_rows"], bad.meta.len() - kept);
    shop.egofx("verify partial").ends_with(0);
    kept
}

/// A file of which no row can be had: it fails under every policy.
fn fails_always(shop: &Workshop, words: &[&str]) {
    skips(shop, words);
    shop.extract("partial", "--on-error partial").ends_with(1).says(words);
}

#[test]
fn a_truncated_mp4_without_index_is_named() {
    let shop = shop("mp4", "", cut(0.6));
    fails_always(&shop, &["bad.mp4", "not a readable video"]);
}

/// Rows that are kept at least of a file that was cut in its middle: since version 7 ffmpeg reads ahead while it decodes, and
/// complains of the cut some frames before they come out.
fn kept_before_the_cut() -> usize {
    if (1..7).contains(&tools().major()) { 7 } else { 3 }
}

#[test]
fn a_truncated_mp4_with_its_index_first_keeps_its_true_rows() {
    let shop = shop("mp4", "-movflags +faststart", cut(0.5));
    skips(&shop, &["bad.mp4", "rows cannot be had", "6.00 s were expected"]);
    assert!(keeps_true_rows(&shop) >= kept_before_the_cut());
}

#[test]
fn a_truncated_mkv_keeps_its_true_rows() {
    let shop = shop("mkv", "", cut(0.5));
    skips(&shop, &["bad.mkv", "rows cannot be had", "6.00 s were expected"]);
    assert!(keeps_true_rows(&shop) >= kept_before_the_cut());
}

#[test]
fn noise_in_the_middle_costs_the_rows_that_it_hits_and_no_others() {
    let shop = shop("mp4", "", noise(0.5, 2000));
    skips(&shop, &["bad.mp4"]);
    assert!(keeps_true_rows(&shop) >= 5);
}

#[test]
fn noise_anywhere_never_makes_a_false_row() {
    for (share, length) in [(0.1, 40), (0.3, 200), (0.45, 5000), (0.7, 300), (0.8, 3000)] {
        let shop = shop("mp4", "", noise(share, length));
        eprintln!("noise of {length} bytes at {share}: {} rows kept", keeps_true_rows(&shop));
    }
}

#[test]
fn noise_in_an_mkv_never_makes_a_false_row() {
    for share in [0.3, 0.6] {
        let shop = shop("mkv", "", noise(share, 3000));
        shop.extract("partial", "--on-error partial").ends_with(0);
        let (bad, whole) = (shop.unit("partial/rows", "bad"), shop.unit("partial/rows", "whole"));
        let (bits, wanted) = (row_bits(&bad), row_bits(&whole));
        assert_eq!(bits.len(), wanted.len(), "frames that are lost keep their places");
        let kept: Vec<usize> = (0..bits.len()).filter(|&i| !bad.meta[i].missing).collect();
        assert!(kept.len() >= 4 && kept.len() < bits.len(), "{} rows were kept", kept.len());
        assert!(kept.iter().all(|&i| bits[i] == wanted[i]), "noise at {share}: {kept:?}");
    }
}

#[test]
fn what_is_no_video_is_named_with_what_it_is() {
    let shop = shop("mp4", "", |bytes| bytes.clear());
    fails_always(&shop, &["bad.mp4", "0 bytes, expected a video"]);
    shop.write("bad.mp4", "This is the story of a text that called itself a video.\n".repeat(50));
    fs::remove_dir_all(shop.path("skip")).unwrap();
    fs::remove_dir_all(shop.path("partial")).unwrap();
    fails_always(&shop, &["bad.mp4", "Invalid data found"]);
}

#[test]
fn a_file_with_sound_only_is_named_with_its_streams() {
    let shop = shop("mp4", "", |_| {});
    shop.ffmpeg("-f lavfi -i sine=d=2 -c:a aac bad.mp4");
    fails_always(&shop, &["bad.mp4", "no video stream", "audio aac"]);
}

#[test]
fn files_that_cannot_be_opened_are_named_with_the_reason() {
    let shop = shop("mp4", "", |_| {});
    fs::remove_file(shop.path("bad.mp4")).unwrap();
    fails_always(&shop, &["bad.mp4", "no such file"]);
    fs::create_dir(shop.path("bad.mp4")).unwrap();
    fails_again(&shop, &["bad.mp4", "an empty folder, expected one video's file"]);
    fs::remove_dir(shop.path("bad.mp4")).unwrap();
    let locked = shop.clip("bad.mp4", 20);
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    if fs::File::open(&locked).is_err() {
        fails_again(&shop, &["bad.mp4", "Permission denied"]);
    } else {
        eprintln!("skipped: this user may read any file, so permissions cannot be tested");
    }
}

/// [`skips`] in a store where everything else is done already.
fn fails_again(shop: &Workshop, words: &[&str]) -> Outcome {
    let run = shop.extract("skip", "").ends_with(1).says(words);
    assert_eq!(shop.report("skip")["failures"].as_array().unwrap().len(), 1);
    run
}

#[test]
fn a_video_that_is_nowhere_is_named() {
    let shop = Workshop::with_recipe();
    shop.clip("good.mp4", 40);
    fs::create_dir(shop.path("folder")).unwrap();
    fs::rename(shop.path("good.mp4"), shop.path("folder/good.mp4")).unwrap();
    shop.write("all.csv", "video_uid\ngood\nlost\n");
    shop.extract("out", "--videos folder")
        .ends_with(1)
        .says(&["lost", "no file named lost is in the folders searched"]);
    assert_eq!(shop.committed("out/rows"), ["good"]);
}

#[test]
fn clips_that_a_video_does_not_have_are_refused_one_by_one() {
    let shop = Workshop::with_recipe();
    shop.clip("v.mp4", 100);
    let clips = "v,v.mp4,good,0.5,3\nv,v.mp4,late,4,5\nv,v.mp4,long,2,9\nv,v.mp4,after,20,30\n";
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\n{clips}"));
    let ends = "the video ends at 4.00 s";
    shop.extract("out", "").ends_with(1).says(&[
        &format!("late: {}: the clip starts at 4 s, {ends}", shop.path("v.mp4").display()),
        &format!("after: {}: the clip starts at 20 s, {ends}", shop.path("v.mp4").display()),
        "of 22 rows cannot be had: 9.00 s were expected, the frames end at 4.00 s",
    ]);
    assert_eq!(shop.committed("out/rows"), ["good"]);
    shop.extract("out", "--on-error partial").ends_with(1);
    assert_eq!(shop.committed("out/rows"), ["good", "long"]);
    let long = shop.unit("out/rows", "long");
    assert_eq!(long.meta.iter().filter(|meta| !meta.missing).count(), 6, "50 frames of 8 to a row");
    shop.egofx("verify out").ends_with(1).says(&["late", "after"]);
}

#[test]
fn a_video_that_is_shorter_than_annotated_is_found_by_its_clips() {
    let shop = Workshop::with_recipe();
    shop.clip("v.mp4", 50);
    shop.clip("tiny.mp4", 3);
    shop.recipe("rows", "kind = \"uniform\"\nfps = \"25\"\nframes = 8\nstride = 8\ntail = \"drop\"", "hdf5", "f32");
    let lines = "v,v.mp4,v_all,0,4,4,100\ntiny,tiny.mp4,tiny_all,,,,\n";
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec,duration_sec,num_frames\n{lines}"));
    shop.extract("out", "").ends_with(1).says(&[
        "v.mp4: ",
        "4.00 s were expected, the frames end at 2.00 s",
        "tiny.mp4: ",
        "too short for one window",
    ]);
    assert!(shop.committed("out/rows").is_empty());
}

#[test]
fn the_policy_fail_ends_the_run_and_keeps_what_is_committed() {
    let shop = Workshop::with_recipe();
    for (name, frames) in [("first.mp4", 200), ("third.mp4", 50)] {
        shop.clip(name, frames);
    }
    shop.write("second.mp4", "no video");
    let lines = "first,first.mp4,8\nsecond,second.mp4,5\nthird,third.mp4,2\n";
    shop.write("all.csv", format!("video_uid,path,duration_sec\n{lines}"));
    shop.extract("out", "--on-error fail --decoders 1").ends_with(1).says(&["second.mp4", "1 not reached"]);
    assert_eq!(shop.committed("out/rows"), ["first"]);
    let report = shop.report("out");
    assert_eq!(
        (&report["unreached"], &report["interrupted"], &report["exit_code"]),
        (&1.into(), &false.into(), &1.into())
    );
    shop.extract("out", "").ends_with(1);
    assert_eq!(shop.committed("out/rows"), ["first", "third"]);
    assert_eq!(shop.report("out")["done_before"], 1);
}

#[test]
fn names_that_would_leave_the_store_are_refused_by_line() {
    let shop = Workshop::with_recipe();
    shop.clip("good.mp4", 40);
    shop.write("all.csv", "video_uid,path\n../../x,good.mp4\ngood,good.mp4\na/b,good.mp4\n..,good.mp4\n");
    let run = shop.extract("out", "").ends_with(1).says(&["line 2", "../../x", "line 4", "a/b", "line 5"]);
    assert!(!run.stderr.contains("line 3"), "{run}");
    assert_eq!(shop.committed("out/rows"), ["good"]);
    assert_eq!(shop.report("out")["rejected"].as_array().unwrap().len(), 3);
    assert!(!shop.path("x.h5").exists() && !shop.path("../x.h5").exists());
}

/// Extracts `name`: one row per 8 frames, at ffprobe's times.
fn succeeds(shop: &Workshop, name: &str, stream: &str) {
    shop.manifest(&[name]);
    let (out, uid) = (format!("out-{name}"), Path::new(name).file_stem().unwrap().to_string_lossy().into_owned());
    shop.extract(&out, "").ends_with(0);
    let (unit, times) = (shop.unit(&format!("{out}/rows"), &uid), packet_times(&shop.path(name), stream));
    assert_eq!(unit.header.source_frames as usize, times.len(), "{name}");
    assert_eq!(unit.meta.len(), times.len().div_ceil(8), "{name}");
    for meta in &unit.meta {
        assert!(!meta.missing && !meta.padded, "{name}");
        assert!((meta.start_sec - times[meta.first_frame as usize]).abs() < 1e-5, "{name}: {meta:?}");
        let next = times.get(meta.last_frame as usize + 1);
        assert!(next.is_none_or(|next| (meta.end_sec - next).abs() < 1e-5), "{name}: {meta:?}");
    }
    shop.egofx(&format!("verify {out}")).ends_with(0);
}

#[test]
fn odd_but_sound_videos_succeed_with_the_times_of_their_frames() {
    let shop = Workshop::with_recipe();
    let av1 = "-c:v libaom-av1 -usage realtime -cpu-used 8 -pix_fmt yuv420p";
    let hevc = "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p";
    for (name, size, codec) in [
        ("ten_bit.mp4", "64x48", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le"),
        ("full_chroma.mkv", "61x37", "-c:v libx264 -preset ultrafast -pix_fmt yuv444p"),
        ("odd.mp4", "61x37", "-c:v libx264 -preset ultrafast -pix_fmt yuv444p"),
        ("lossless.mkv", "61x37", "-c:v ffv1"),
        ("portrait.mp4", "48x80", H264),
        ("av1.mkv", "64x64", av1),
        ("hevc.mp4", "64x64", hevc),
        ("vp9.webm", "64x48", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8"),
        ("long_name.mov", "64x48", "-c:v mpeg4 -bf 2"),
    ] {
        shop.encode(name, size, 60, codec);
        succeeds(&shop, name, "v:0");
    }
}

#[test]
fn variable_rates_and_late_starts_keep_their_times() {
    let shop = Workshop::with_recipe();
    shop.ffmpeg(&format!(
        "-f lavfi -i testsrc2=s=64x48:r=50 -vf select='not(mod(n,3))+lt(mod(n,40),13)' -vsync vfr -frames:v 70 {H264} vfr.mp4"
    ));
    succeeds(&shop, "vfr.mp4", "v:0");
    shop.clip("plain.mp4", 60);
    shop.ffmpeg("-itsoffset 3.2 -i plain.mp4 -c copy late.mkv");
    succeeds(&shop, "late.mkv", "v:0");
}

#[test]
fn turned_images_are_turned_back() {
    let shop = Workshop::with_recipe();
    shop.clip("plain.mp4", 60);
    shop.ffmpeg("-i plain.mp4 -c copy -metadata:s:v:0 rotate=90 turned.mp4");
    succeeds(&shop, "turned.mp4", "v:0");
    shop.ffmpeg(&format!("-i turned.mp4 -qp 0 {H264} upright.mkv"));
    succeeds(&shop, "upright.mkv", "v:0");
    let of = |name: &str, ending| shop.unit(&format!("out-{name}.{ending}/rows"), name);
    let (turned, upright) = (of("turned", "mp4"), of("upright", "mkv"));
    let far = turned.features.iter().zip(&upright.features).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "a lossless copy of the turned image gives rows that differ by {far}");
    fs::copy(media("nasa_13013_rotated.mp4"), shop.path("nasa.mp4")).unwrap();
    succeeds(&shop, "nasa.mp4", "v:0");
}

#[test]
fn the_best_of_several_streams_is_taken() {
    let shop = Workshop::with_recipe();
    fs::copy(media("nasa_13013.mp4"), shop.path("nasa.mp4")).unwrap();
    succeeds(&shop, "nasa.mp4", "3");
}
