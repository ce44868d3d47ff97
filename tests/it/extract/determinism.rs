//! Flags that are about speed: they change no bit of any row, and no frame is decoded twice.

use std::collections::BTreeMap;

use crate::support::videos::tools;
use crate::support::{DENSE, EGOVLP, H264, Workshop, row_bits, tool};

const BOTH: &str = "extract -m all.csv -p rows.toml -p coarse.toml -o";
const CLIPS: [&str; 5] = ["a", "a_early", "a_late", "b", "c"];

/// Three videos, one with overlapping clips, for two recipes.
fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.recipe("rows", DENSE, "hdf5", "f32");
    shop.recipe("coarse", EGOVLP, "parquet", "f32");
    shop.counting_ffmpeg();
    shop.clip("a.mp4", 130);
    shop.encode("b.mp4", "61x37", 75, "-c:v libx264 -preset ultrafast -pix_fmt yuv444p");
    shop.encode("c.mkv", "80x120", 50, H264);
    let lines = "a,a.mp4,a,,\na,a.mp4,a_early,0.4,3\na,a.mp4,a_late,2,5.2\nb,b.mp4,b,,\nc,c.mkv,c,,\n";
    shop.write("all.csv", format!("video_uid,path,clip_uid,start_sec,end_sec\n{lines}"));
    shop
}

/// The bits of all rows of `out`, by feature set and clip.
fn rows(shop: &Workshop, out: &str, sets: &[&str]) -> BTreeMap<String, Vec<Vec<u32>>> {
    let names = sets.iter().flat_map(|set| CLIPS.map(|clip| (*set, clip)));
    names.map(|(set, clip)| (format!("{set}/{clip}"), row_bits(&shop.unit(&format!("{out}/{set}"), clip)))).collect()
}

#[test]
fn flags_about_speed_change_no_bit() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} out")).ends_with(0);
    let wanted = rows(&shop, "out", &["rows", "coarse"]);
    for flags in [
        "--batch-size 1",
        "--batch-size 3",
        "--batch-size 64 --memory 1",
        "--decoders 3",
        "--decoders 1",
        "--threads 1",
        "--threads 2 --batch-size 5 --decoders 2",
        "--device cpu,cpu",
        "--device cpu,cpu --batch-size 1 --decoders 3",
    ] {
        let out = format!("out{}", flags.replace(' ', "_"));
        shop.egofx(&format!("{BOTH} {out} {flags}")).ends_with(0);
        assert!(rows(&shop, &out, &["rows", "coarse"]) == wanted, "{flags} changed rows");
        let same_bytes = shop.unit_files(&out) == shop.unit_files("out");
        assert!(same_bytes || flags.contains("cpu,cpu"), "{flags} changed files");
    }
}

#[test]
fn the_order_of_the_manifest_changes_no_byte() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} out")).ends_with(0);
    let text = std::fs::read_to_string(shop.path("all.csv")).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1..].reverse();
    shop.write("all.csv", lines.join("\n"));
    shop.egofx(&format!("{BOTH} reversed")).ends_with(0);
    assert!(shop.unit_files("reversed") == shop.unit_files("out"));
}

#[test]
fn recipes_together_decode_once_and_give_what_they_give_alone() {
    let shop = shop();
    shop.egofx(&format!("{BOTH} out --ffmpeg ./ffmpeg.sh")).ends_with(0);
    let report = shop.report("out");
    assert_eq!((&report["decode_multiplicity"], &report["frames_decoded"]), (&1.0.into(), &(130 + 75 + 50).into()));
    assert_eq!(report["frames_piped"], 130 + 75 + 50, "the dense recipe wants all frames");
    assert_eq!(shop.decoders_started().len(), 3, "one decoder for each video");
    for set in ["rows", "coarse"] {
        shop.egofx(&format!("extract -m all.csv -p {set}.toml -o alone")).ends_with(0);
    }
    assert!(shop.unit_files("alone") == shop.unit_files("out"));
}

#[test]
fn clips_far_apart_are_reached_by_seeking_and_have_the_same_bits() {
    let shop = Workshop::with_recipe();
    shop.counting_ffmpeg();
    shop.clip("v.mp4", 600);
    shop.write("all.csv", "video_uid,path,clip_uid,start_sec,end_sec\nv,v.mp4,late,20,22\nv,v.mp4,early,1,3\n");
    shop.extract("far", "--ffmpeg ./ffmpeg.sh").ends_with(0);
    assert_eq!(shop.decoders_started().len(), 2);
    let report = shop.report("far");
    assert!(report["frames_decoded"].as_u64().unwrap() < 150 && report["decode_multiplicity"] == 1.0, "{report}");
    shop.write(
        "all.csv",
        "video_uid,path,clip_uid,start_sec,end_sec\nv,v.mp4,late,20,22\nv,v.mp4,early,1,3\nv,v.mp4,v,,\n",
    );
    shop.extract("near", "--ffmpeg ./ffmpeg.sh").ends_with(0);
    assert_eq!(shop.decoders_started().len(), 1);
    for clip in ["late", "early"] {
        let of = |out: &str| row_bits(&shop.unit(&format!("{out}/rows"), clip));
        assert!(of("far") == of("near"), "{clip}");
    }
}

/// ffmpeg drops packets since version 7; one that says that it is older decodes all of them.
#[test]
fn frames_that_nobody_needs_are_not_decoded_and_no_row_changes() {
    let shop = Workshop::new();
    shop.recipe("rows", EGOVLP, "hdf5", "f32");
    shop.encode("a.mp4", "64x48", 300, "-c:v libx264 -preset veryfast -pix_fmt yuv420p");
    shop.clip("b.mp4", 130);
    shop.manifest(&["a.mp4", "b.mp4"]);
    let real = tool("ffmpeg").display().to_string();
    let says = "if [ \"$1\" = -version ]; then echo ffmpeg version 6.0 Copyright; exit; fi";
    shop.script("older.sh", &format!("#!/bin/sh\n{says}\nexec {real} \"$@\"\n"));
    shop.extract("out", "").ends_with(0).says(&["dropped before decoding"]);
    shop.extract("whole", "--ffmpeg ./older.sh").ends_with(0);
    for clip in ["a", "b"] {
        let of = |out: &str| row_bits(&shop.unit(&format!("{out}/rows"), clip));
        assert!(of("out") == of("whole"), "{clip}");
    }
    let of = |out: &str| {
        ["decoded", "dropped", "piped"].map(|what| shop.report(out)[format!("frames_{what}")].as_u64().unwrap())
    };
    let ([decoded, dropped, piped], [all, none, same]) = (of("out"), of("whole"));
    assert_eq!((decoded + dropped, 0, piped), (all, none, same));
    assert_eq!(dropped > 100, tools().major() >= 7, "{dropped} of {all} frames were dropped");
    assert_eq!(shop.report("out")["decode_multiplicity"], 1.0);
}

/// EgoVLP's extractors never compute the batch of four windows that is not full.
#[test]
fn as_released_the_last_windows_of_egovlp_are_zero_rows_and_sound() {
    let shop = Workshop::new();
    shop.clip("long.mp4", 100);
    shop.clip("short.mp4", 40);
    let recipe = shop.recipe("rows", EGOVLP, "hdf5", "f32");
    let text = std::fs::read_to_string(&recipe).unwrap();
    shop.write("released.toml", text.replace("compat = \"fixed\"", "compat = \"as-released\""));
    shop.manifest(&["long.mp4", "short.mp4"]);
    shop.egofx("extract -m all.csv -p rows.toml -p released.toml -o out").ends_with(0);
    shop.egofx("verify out").ends_with(0);
    for (clip, rows, zeros) in [("long", 7, 3), ("short", 3, 3)] {
        let (fixed, released) = (shop.unit("out/rows", clip), shop.unit("out/released", clip));
        assert_eq!((fixed.features.nrows(), released.features.nrows()), (rows, rows));
        let is_zero = |row: usize| released.features.row(row).iter().all(|&value| value == 0.0);
        assert!((0..rows).all(|row| is_zero(row) == (row >= rows - zeros)), "{clip}");
        assert!(released.meta.iter().all(|row| !row.missing));
        assert!(released.header.notes.iter().any(|note| note.contains("rows are zeros, as released")));
        assert!(fixed.features.outer_iter().all(|row| row.iter().any(|&value| value != 0.0)));
    }
}

/// Frames that are scaled in single precision and frames that are only cut meet in one batch, and a recipe that rounds shares
/// their decode.
#[test]
fn frames_that_are_scaled_in_floats_change_no_bit_of_those_beside_them() {
    let shop = Workshop::new();
    shop.recipe("coarse", EGOVLP, "hdf5", "f32");
    let text = std::fs::read_to_string(shop.recipe("rows", EGOVLP, "hdf5", "f32")).unwrap();
    let read = text.replace("channels", "reader = \"decord\"\nchannels");
    shop.write("rounded.toml", &read);
    shop.write("rows.toml", read.replace("\"bilinear\"", "\"bilinear-aliased\""));
    for (name, size) in [("cut", "342x256"), ("grown", "160x120"), ("shrunk", "640x480")] {
        shop.encode(&format!("{name}.mp4"), size, 70, H264);
    }
    shop.manifest(&["cut.mp4", "grown.mp4", "shrunk.mp4"]);
    let of = |store: &str| ["cut", "grown", "shrunk"].map(|video| row_bits(&shop.unit(store, video)));
    shop.egofx("extract -m all.csv -p coarse.toml -p rounded.toml -o out --batch-size 4").ends_with(0);
    let mut found = Vec::new();
    for flags in ["--batch-size 1", "--batch-size 3 --decoders 3", "--batch-size 64", "-p coarse.toml -p rounded.toml"]
    {
        let out = format!("out{}", flags.replace(' ', "_"));
        shop.extract(&out, flags).ends_with(0);
        found.push(of(&format!("{out}/rows")));
        if flags.contains("-p") {
            assert!(["coarse", "rounded"].iter().all(|set| of(&format!("{out}/{set}")) == of(&format!("out/{set}"))));
        }
    }
    assert!(found.iter().all(|rows| *rows == found[0]), "batches or other recipes changed rows");
    let [cut, grown, _] = of("out/rounded");
    assert_eq!((found[0][0] == cut, found[0][1] == grown), (true, false), "what is only cut has the bits that it had");
}
