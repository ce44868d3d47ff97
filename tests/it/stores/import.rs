//! `egofx import` and `egofx compare`: other people's files become a store, and what differs is found and named.

use std::fs;

use egofx::checkpoint::{Tensor, Value, none_announced, write_torch_value};
use egofx::store::RowKind;
use serde_json::json;

use crate::support::stores::{Made, contract, store};
use crate::support::{Workshop, checkout, json, python};

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
        assert!((theirs.contract.rows_per_sec - 1.87).abs() < 1e-9 && theirs.contract.backbone == "egovlp");
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

/// In Python: `torch.save(value)` of today and of before 1.6, for values whose pickle names no storage.
const SAVE: &str = "import io, json, os, pickle, zipfile, numpy as np\n\
def save(path, value):\n\
\x20   with zipfile.ZipFile(path, 'w') as z: z.writestr('archive/data.pkl', pickle.dumps(value, protocol=2)); z.writestr('archive/version', '3')\n\
def save_old(path, value):\n\
\x20   parts = [0x1950a86a20f9469cfc6c, 1001, {'protocol_version': 1001, 'little_endian': True, 'type_sizes': {}}, value, []]\n\
\x20   open(path, 'wb').write(b''.join(pickle.dumps(part, protocol=2) for part in parts))\n\
v = (np.arange(28).reshape(7, 4) / 8).astype('f4')\n";

#[test]
fn every_form_that_others_publish_gives_the_same_rows() {
    let shop = Workshop::new();
    fs::create_dir_all(shop.path("f")).unwrap();
    let program = format!(
        "{SAVE}\
         save('f/now.pt', v); save_old('f/old.pt', v); save('f/dict.pt', {{'fps': 1.87, 'features': v, 'ids': np.arange(3)}})\n\
         save('f/batch.pt', v[None]); save('f/half.pt', v.astype('f2')); save('f/double.pth', v.astype('>f8')); save('f/columns.pt', np.asfortranarray(v))\n\
         save('f/numpy1.pt', v); z = zipfile.ZipFile('f/numpy1.pt').read('archive/data.pkl').replace(b'numpy._core', b'numpy.core')\n\
         with zipfile.ZipFile('f/numpy1.pt', 'w') as a: a.writestr('x/data.pkl', z)\n\
         np.save('f/float16.npy', v.astype('f2')); np.save('f/big.npy', v.astype('>f4')); np.save('f/batched.npy', v[None])\n\
         np.savez('f/plain.npz', v); np.savez_compressed('f/packed.npz', features=v, allow_pickle=True)\n\
         np.savez('f/many.npz', one=v, two=v, times=np.zeros(3))\n\
         json.dump({{}}, open('f/feature_shapes.json', 'w')); np.save('f/names.npy', np.array({{'a': 1}}, dtype=object), allow_pickle=True)\n\
         save('f/classes.pt', {{'put': 1}}); open('f/._now.pt', 'w').write('x'); open('f/.DS_Store', 'w').write('x')\n\
         print(json.dumps([]))"
    );
    python(&shop, &program);
    let run = shop.egofx(&format!("import f --as all -o in {EGOVLP}")).ends_with(0);
    run.says(&[
        "15 clips, 105 rows of 4 features",
        "passed over, without an array [rows, dim]: 3 files, f/._now.pt for instance",
    ]);
    shop.egofx("verify in/all").ends_with(0);
    let expected: Vec<f32> = (0..28u8).map(|value| f32::from(value) / 8.0).collect();
    let names = shop.committed("in/all");
    assert_eq!(names.len(), 15, "{names:?}");
    for name in &names {
        assert_eq!(shop.unit("in/all", name).features.iter().copied().collect::<Vec<_>>(), expected, "{name}");
    }
    assert!(
        ["one", "two", "plain", "packed", "columns", "double"].iter().all(|name| names.contains(&(*name).to_owned()))
    );
    shop.egofx("compare f in/all").ends_with(0);
}

#[test]
fn what_torch_wrote_before_1_6_and_groundnlqs_map_are_taken() {
    let shop = Workshop::new();
    let data = checkout().join("tests/data/import");
    fs::create_dir(shop.path("feats")).unwrap();
    fs::copy(data.join("legacy.pt"), shop.path("feats/clip.pt")).unwrap();
    shop.egofx(&format!("import feats --as old -o in {EGOVLP}")).ends_with(0).says(&["1 clip, 5 rows of 4 features"]);
    let rows = shop.unit("in/old", "clip").features;
    // A tensor of the same values in the form of today.
    let tensor = Tensor::from_f32(vec![5, 4], rows.as_slice().unwrap());
    fs::create_dir(shop.path("now")).unwrap();
    let file = fs::File::create(shop.path("now/clip.pt")).unwrap();
    write_torch_value(file, &Value::Tensor(tensor), none_announced).unwrap();
    shop.egofx("compare feats now --min-cosine 1").ends_with(0);
    let bytes = fs::read(data.join("legacy.pt")).unwrap();
    assert_eq!(bytes[bytes.len() - 4..], rows[[4, 3]].to_le_bytes(), "the last of its elements");
    shop.write("cut.pt", &bytes[..bytes.len() - 1]);
    shop.egofx(&format!("import cut.pt --as cut -o in {EGOVLP}")).ends_with(2).says(&["cut.pt is cut short"]);
    for (from, to, what) in [
        (&b"FloatStorage"[..], &b"QUIntStorage"[..], "is of no type that is known here"),
        // Where an offset into another storage would stand.
        (b"K\x14Nt", b"K\x14K\x07t", "found nothing"),
    ] {
        let at = bytes.windows(from.len()).position(|held| held == from).unwrap();
        shop.write("odd.pt", [&bytes[..at], to, &bytes[at + from.len()..]].concat());
        shop.egofx(&format!("import odd.pt --as odd -o in {EGOVLP}")).ends_with(2).says(&["odd.pt", what]);
    }

    let map = data.join("groundnlq");
    shop.egofx(&format!("import {} --as ground -o in {EGOVLP}", map.display()))
        .ends_with(0)
        .says(&["2 clips, 907 rows"]);
    let long = shop.unit("in/ground", "clip-b").features;
    assert!((0..900).all(|row| (0..4).all(|column| long[[row, column]] == (row * 4 + column) as f32 / 8.0)));
    assert_eq!(fs::read_dir(&map).unwrap().count(), 1, "no lock is left");
    shop.egofx(&format!("compare in/ground {}", map.display())).ends_with(0);
    let run = shop.egofx(&format!("import {} --as map -o in {EGOVLP}", map.join("data.mdb").display())).ends_with(0);
    run.says(&["2 clips, 907 rows"]);
}

#[test]
fn features_of_queries_become_units_that_know_their_query() {
    let shop = Workshop::new();
    for split in ["train", "val"] {
        fs::create_dir_all(shop.path("saved").join(split)).unwrap();
    }
    let original = checkout().join("tests/data/convert/egovlpv2_feat_0.pt");
    fs::copy(&original, shop.path("saved/val/feat_0.pt")).unwrap();
    let text = |value: &str| Value::Text(value.to_owned());
    let entries = [
        ("fused_video_features", Value::Tensor(Tensor::from_f32(vec![3, 768], &vec![0.5; 3 * 768]))),
        ("dual_text_features", Value::Tensor(Tensor::from_f32(vec![1, 2, 768], &vec![1.0; 2 * 768]))),
        ("vid", text("clip-x")),
        ("query", text("where is it?")),
        ("annotation_uid", text("note")),
        ("query_idx", Value::Tensor(Tensor::from_i64(vec![], &[4]))),
    ];
    let dict = Value::Dict(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let file = fs::File::create(shop.path("saved/train/feat_0.pt")).unwrap();
    write_torch_value(file, &dict, none_announced).unwrap();
    let saved = egofx::checkpoint::Saved::open(&original).unwrap().unwrap();
    let dim = saved.arrays().into_iter().find(|(name, _)| name == "fused_video_features").unwrap().1.shape[1];
    let (folder, clips) = if dim == 768 { ("saved", 2) } else { ("saved/train", 1) };
    let run = shop.egofx(&format!("import {folder} --as fused -o in {EGOVLP}")).ends_with(0);
    run.says(&[if clips == 2 { "2 clips" } else { "1 clip" }]);
    shop.egofx("verify in/fused").ends_with(0);
    let unit = shop.unit("in/fused", "note_4");
    assert_eq!(unit.contract.row_kind, RowKind::FusedWindow);
    assert_eq!(unit.header.clip_uid.as_ref().map(|uid| uid.as_str()), Some("clip-x"));
    assert_eq!(unit.header.query_id.as_deref(), Some("note_4"));
    assert_eq!(unit.header.query_text.as_deref(), Some("where is it?"));
    assert_eq!(unit.features.dim(), (3, 768));
    shop.egofx(&format!("import saved/val --as val -o in {EGOVLP}")).ends_with(0);
    shop.egofx("compare saved/val in/val --min-cosine 1").ends_with(0);
}

#[test]
fn nothing_in_a_pickle_is_run() {
    let shop = Workshop::new();
    let mark = shop.path("owned");
    let call = format!("cposix\nsystem\n(S'touch {}'\ntR.", mark.display());
    let zipped = |name: &str, pickle: &[u8]| {
        let mut zip = zip::ZipWriter::new(fs::File::create(shop.path(name)).unwrap());
        zip.start_file("a/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, pickle).unwrap();
        zip.finish().unwrap();
    };
    zipped("zip.pt", call.as_bytes());
    let old = fs::read(checkout().join("tests/data/import/legacy.pt")).unwrap();
    let value = old.windows(8).position(|bytes| bytes == b"\x80\x02ctorch").unwrap();
    shop.write("old.pt", [&old[..value], call.as_bytes(), b"\x80\x02]."].concat());
    shop.write("call.npz", call.as_bytes());
    for name in ["zip.pt", "old.pt", "call.npz"] {
        shop.egofx(&format!("import {name} --as x -o in {EGOVLP}")).ends_with(2).says(&[name]);
        assert!(!mark.exists(), "{name}");
    }
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
    refused("cube.npy", &["cube.npy: expected an .npy of type f2, f4 or f8 with two axes"]);
    refused("objects.npy", &["objects.npy: expected an .npy of type f2, f4 or f8 with two axes"]);
    refused("nowhere", &["cannot open nowhere"]);
    refused("m.csv", &["m.csv: expected .pt, .pth, .npy, .npz, .h5, .hdf5 or a folder with such, found another file"]);
    refused("long.npy -m m.csv", &["long.npy: clip long is not in the manifest"]);
    fs::rename(shop.path("long.npy"), shop.path("b.npy")).unwrap();
    refused("b.npy -m m.csv", &["b.npy: 99 rows, expected at most 8: clip b lasts 4 s"]);
    let feat = checkout().join("tests/data/convert/egovlpv2_feat_0.pt");
    refused(&format!("{} pt", feat.display()), &["egovlpv2_feat_0.pt holds windows that have met a query, pt/a.pt"]);
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
    refused("pt", "nothing", &["nothing: expected .pt, .pth, .npy, .npz, .h5, .hdf5 or a folder with such"]);
    refused("pt", "absent", &["cannot open absent"]);
    shop.egofx("compare pt npy --min-cosine 2").ends_with(2).says(&["expected a number from -1 to 1"]);
}
