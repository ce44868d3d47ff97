//! `egofx import` and `egofx compare`: other people's files become a store, and what differs is found and named.

#[path = "support/stores.rs"]
mod stores;
mod support;

use std::fs;

use egofx::store::RowKind;
use serde_json::json;
use stores::{Made, contract, store};
use support::{Workshop, checkout, json, python};

const EGOVLP: &str = "--rows-per-sec 1.87 --window-frames 4 --backbone egovlp";

/// Windows of two clips, as a store and as every form of file.
fn shop() -> Workshop {
    let shop = Workshop::new();
    let clips = [Made::windows("a", "v", Some((10.0, 58.0)), 89), Made::windows("b", "v", Some((60.0, 64.0)), 7)];
    store(&shop.path("out"), &contract("ours", RowKind::Window, 8, 1.87), &clips);
    for (format, folder) in [("egovlp-pt", "pt"), ("actionformer-npy", "npy"), ("hdf5", "h5")] {
        shop.egofx(&format!("convert out/ours --to {format} -o {folder}")).ends_with(0);
    }
    shop.write("m.csv", "video_uid,clip_uid,start_sec,end_sec\nv,a,10,58\nv,b,60,64\n");
    shop
}

#[test]
fn files_become_a_store_that_every_command_takes() {
    let shop = shop();
    for (name, files) in [("from_pt", "pt"), ("from_npy", "npy/a.npy npy/b.npy"), ("from_h5", "h5/features.h5")] {
        let run = shop.egofx(&format!("import {files} --as {name} -o in {EGOVLP} -m m.csv --json")).ends_with(0);
        let said = json(&run.stdout);
        assert_eq!((&said["clips"], &said["rows"], &said["dim"]), (&json!(2), &json!(96), &json!(8)), "{run}");
        shop.egofx(&format!("verify in/{name}")).ends_with(0);
        shop.egofx(&format!("compare out/ours in/{name} --min-cosine 1")).ends_with(0);
        let (ours, theirs) = (shop.unit("out/ours", "a"), shop.unit(&format!("in/{name}"), "a"));
        assert_eq!(ours.features, theirs.features);
        assert_eq!(theirs.contract.onnx_sha256, "imported");
        assert!((theirs.contract.fps - 1.87).abs() < 1e-9 && theirs.contract.backbone == "egovlp");
        assert_eq!((theirs.header.video_uid.as_str(), theirs.header.span), ("v", ours.header.span));
        assert!(theirs.header.notes[0].starts_with("imported from ") && theirs.header.notes[0].contains(", sha256 "));
        let times = |unit: &egofx::store::Unit| unit.meta.iter().map(|row| row.start_sec).collect::<Vec<_>>();
        assert!(times(&ours).iter().zip(times(&theirs)).all(|(a, b)| (a - b).abs() < 1e-9));
        let shown = json(&shop.egofx(&format!("inspect --json in/{name}")).ends_with(0).stdout);
        assert_eq!((&shown[0]["checkpoint"], &shown[0]["units"]["committed"]), (&json!("imported"), &json!(2)));
    }
    shop.egofx("convert in/from_npy --to egovlp-pt -o back").ends_with(0);
    for clip in ["a.pt", "b.pt"] {
        assert_eq!(fs::read(shop.path("back").join(clip)).unwrap(), fs::read(shop.path("pt").join(clip)).unwrap());
    }
    shop.egofx(&format!("import pt --as small -o in {EGOVLP} --f16 --format parquet")).ends_with(0);
    shop.egofx("verify in/small").ends_with(0);
    shop.egofx("compare in/small npy").ends_with(0);
}

#[test]
fn the_originals_file_is_taken_and_its_zero_tail_is_recognised() {
    let shop = Workshop::new();
    fs::create_dir(shop.path("released")).unwrap();
    fs::copy(checkout().join("tests/data/convert/egovlp_clip.pt"), shop.path("released/c.pt")).unwrap();
    let run = shop.egofx(&format!("import released --as egovlp -o in {EGOVLP}")).ends_with(0);
    run.says(&["note: rows of nothing but zeros: 1", "1 clip, 9 rows of 8 features"]);
    let program = "import h5py, json, os, numpy as np\n\
        f = h5py.File('in/egovlp/units/c.h5')['features'][:]; assert not f[8].any() and f[:8].any(axis=1).all()\n\
        f[8] = f[7] * 1.01; os.makedirs('fixed'); np.save('fixed/c.npy', f); print(json.dumps(f.shape))";
    assert_eq!(python(&shop, program), json!([9, 8]));
    let run = shop.egofx("compare released fixed").ends_with(1);
    assert!(run.stdout.contains("A has EgoVLP's zero tail"), "{run}");
    let run = shop.egofx("compare fixed in/egovlp --json").ends_with(1);
    let found = json(&run.stdout);
    assert_eq!(found["units"]["c"]["signatures"], json!(["egovlp-zero-tail-in-b"]));
    assert_eq!(found["units"]["c"]["zero_rows"], json!({"a": 0, "b": 1}));
    assert_eq!(found["same"], false);
}

#[test]
fn rows_of_nan_are_missing_and_infinities_are_refused() {
    let shop = Workshop::new();
    let program = "import numpy as np, json\n\
        a = np.ones((4, 2), 'f4'); a[2, 1] = np.nan; np.save('a.npy', a); a[2, 1] = np.inf; np.save('b.npy', a); print('0')";
    python(&shop, program);
    shop.egofx(&format!("import a.npy --as n -o in {EGOVLP}"))
        .ends_with(0)
        .says(&["note: rows with NaN, which are flagged missing: 1"]);
    let unit = shop.unit("in/n", "a");
    assert!(unit.meta[2].missing && unit.header.notes[1] == "rows with NaN, which are flagged missing: 1");
    shop.egofx("verify in/n").ends_with(0);
    let run = shop.egofx(&format!("import b.npy --as i -o in {EGOVLP}")).ends_with(2);
    run.says(&["b.npy: unit b row 2: feature 1 is inf, expected a finite number"]);
    assert!(!shop.path("in/i").exists(), "nothing is left");
    assert_eq!(fs::read_dir(shop.path("in")).unwrap().count(), 1);
}

#[test]
fn files_that_do_not_fit_are_named_with_what_was_expected() {
    let shop = shop();
    let refused = |arguments: &str, words: &[&str]| {
        shop.egofx(&format!("import {arguments} --as x -o in {EGOVLP}")).ends_with(2).says(words);
        assert!(!shop.path("in/x").exists());
    };
    let program = "import numpy as np, os\nos.makedirs('mixed'); np.save('mixed/a.npy', np.ones((3, 4), 'f4')); \
        np.save('mixed/b.npy', np.ones((3, 5), 'f4')); np.save('cube.npy', np.ones((3, 4, 5), 'f4')); \
        np.save('objects.npy', np.array({'a': 1}), allow_pickle=True); np.save('long.npy', np.ones((99, 2), 'f4')); print('0')";
    python(&shop, program);
    refused("mixed", &["mixed/b.npy: expected 4 features per row, as in mixed/a.npy, found 5"]);
    refused("cube.npy", &["cube.npy: expected an .npy of type f4 or f8 with two axes"]);
    refused("objects.npy", &["objects.npy: expected an .npy of type f4 or f8 with two axes"]);
    refused("nowhere", &["cannot open nowhere"]);
    refused("m.csv", &["m.csv: expected .pt, .pth, .npy, .h5, .hdf5 or a folder with such, found another file"]);
    refused("long.npy -m m.csv", &["long.npy: clip long is not in the manifest"]);
    fs::rename(shop.path("long.npy"), shop.path("b.npy")).unwrap();
    refused("b.npy -m m.csv", &["b.npy: 99 rows, expected at most 8: clip b lasts 4 s"]);
    let feat = checkout().join("tests/data/convert/egovlpv2_feat_0.pt");
    refused(&feat.display().to_string(), &["expected one tensor, or a dict with one, found"]);
    let run = shop.egofx("import pt --as x -o in --backbone b --window-frames 4").ends_with(2);
    run.says(&["--stride"]);
    shop.egofx(&format!("import pt --as x -o in {EGOVLP}")).ends_with(0);
    let again = |flags: &str| shop.egofx(&format!("import npy --as x -o in {EGOVLP} {flags}"));
    again("").ends_with(2).says(&["in/x exists already; --force replaces it if it was imported"]);
    again("--force").ends_with(0);
    let run = shop.egofx(&format!("import npy --as ours -o out {EGOVLP} --force")).ends_with(2);
    run.says(&["out/ours was not imported, so that --force does not replace it"]);
    shop.egofx("verify out/ours").ends_with(0);
}

#[test]
fn differences_are_found_counted_and_described() {
    let shop = shop();
    let program = "import numpy as np, os\n\
        for d in ('noise', 'late', 'few', 'wide', 'other', 'full_deprecated'): os.makedirs(d)\n\
        a, b = np.load('npy/a.npy'), np.load('npy/b.npy')\n\
        n = b.copy(); n[3] = -n[3]; np.save('noise/a.npy', a); np.save('noise/b.npy', n)\n\
        np.save('late/a.npy', a[5:]); np.save('late/b.npy', b)\n\
        np.save('few/a.npy', a); np.save('wide/a.npy', np.ones((3, 9), 'f4')); np.save('other/z.npy', a)\n\
        np.save('full_deprecated/a.npy', a); np.save('full_deprecated/b.npy', b); print('0')";
    python(&shop, program);
    let run = shop.egofx("compare out/ours noise --json").ends_with(1);
    let found = json(&run.stdout);
    assert_eq!((&found["overall"]["units"], &found["overall"]["units_that_differ"]), (&json!(2), &json!(1)));
    assert!((found["units"]["b"]["cosine_min"].as_f64().unwrap() + 1.0).abs() < 1e-9, "{run}");
    assert_eq!(found["units"]["b"]["cosine_median"], 1.0);
    let run = shop.egofx("compare npy late").ends_with(1);
    assert!(
        run.stdout.contains("B[i] = A[5.00 + 1.00000 i]") && run.stdout.contains("1 of them not the same"),
        "{run}"
    );
    shop.egofx("compare pt few").ends_with(1).says(&["1 clip only in A, b for instance"]);
    shop.egofx("compare pt few --common").ends_with(0);
    let run = shop.egofx("compare pt full_deprecated").ends_with(0);
    assert!(run.stdout.contains("B lies in a folder that Ego4D calls deprecated"), "{run}");
    let run = shop.egofx("compare h5/features.h5 pt --all").ends_with(0);
    assert_eq!(run.stdout.lines().count(), 4, "{run}");
}

#[test]
fn what_cannot_be_compared_ends_with_2() {
    let shop = shop();
    let program = "import numpy as np, os\nos.makedirs('wide'); os.makedirs('other'); os.makedirs('nothing')\n\
        np.save('wide/a.npy', np.ones((3, 9), 'f4')); np.save('other/z.npy', np.ones((3, 8), 'f4')); print('0')";
    python(&shop, program);
    let refused = |a: &str, b: &str, words: &[&str]| {
        shop.egofx(&format!("compare {a} {b}")).ends_with(2).says(words);
    };
    refused("pt", "wide", &["nothing to compare: A has 8 features per row, B has 9 (pt and wide)"]);
    refused("pt", "other", &["nothing to compare: no clip is in both; the first of A is \"a\", of B \"z\""]);
    refused("pt", "nothing", &["nothing: expected .pt, .pth, .npy, .h5, .hdf5 or a folder with such"]);
    refused("pt", "absent", &["cannot open absent"]);
    shop.egofx("compare pt npy --min-cosine 2").ends_with(2).says(&["expected a number from -1 to 1"]);
}
