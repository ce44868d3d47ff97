//! Stores: those of schema 2 are read and gone on with as they were begun, and rows are where their times say.

use std::fs;
use std::path::Path;

use crate::support::{EGOVLP, Workshop, checkout, json, python, row_bits};

/// The sets of the store of schema 2 that is kept with the tests.
const SETS: [&str; 3] = ["windows", "dense", "clips"];

/// A copy of that store in `old`, with its recipes and its manifest.
fn shop() -> Workshop {
    let shop = Workshop::new();
    let data = checkout().join("tests/data");
    copy(&data.join("stores/schema2"), &shop.path("old"));
    fs::create_dir(shop.path("media")).unwrap();
    for name in ["nasa_13013.mp4", "pause.mp4", "d15_30.mp4"] {
        fs::copy(data.join("media").join(name), shop.path("media").join(name)).unwrap();
    }
    let manifest = fs::read_to_string(shop.path("old/all.csv")).unwrap();
    shop.write("all.csv", manifest.replace("../../media/", "media/"));
    shop
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn recipes() -> String {
    SETS.map(|set| format!(" -p old/{set}.toml")).concat()
}

/// Takes unit `unit` out of a set, as if the run had been killed before it.
fn forget(shop: &Workshop, set: &str, unit: &str, extension: &str) {
    let ledger = shop.path(&format!("old/{set}/ledger/1-of-1.jsonl"));
    let text = fs::read_to_string(&ledger).unwrap();
    let kept: String =
        text.split_inclusive('\n').filter(|line| !line.contains(&format!("{{\"unit_uid\":\"{unit}\""))).collect();
    assert!(kept.len() < text.len(), "{text}");
    fs::write(&ledger, kept).unwrap();
    fs::remove_file(shop.path(&format!("old/{set}/units/{unit}.{extension}"))).unwrap();
}

#[test]
fn a_store_of_schema_2_is_read_verified_and_converted() {
    let shop = shop();
    shop.egofx("verify old").ends_with(0);
    let shown = json(&shop.egofx("inspect --json old/windows").ends_with(0).stdout);
    assert_eq!((&shown[0]["schema_version"], &shown[0]["rows_per_sec"]), (&2.into(), &1.87.into()));
    let early = shop.unit("old/windows", "early");
    assert_eq!((early.features.dim(), early.header.split.as_deref()), ((5, 32), None));
    let clips = shop.unit("old/clips", "nasa");
    assert_eq!(clips.meta[1].clip_uid.as_ref().map(ToString::to_string).as_deref(), Some("late"));
    shop.egofx("convert old/windows --to hdf5 -o h5").ends_with(0);
    shop.egofx("convert old/dense --to parquet -o pq").ends_with(0);
}

#[test]
fn a_store_of_schema_2_is_gone_on_with_as_it_was_begun() {
    let shop = shop();
    let made =
        [("windows", "pause", "h5"), ("windows", "late", "h5"), ("dense", "pause", "parquet"), ("clips", "nasa", "h5")];
    let before = made.map(|(set, unit, _)| shop.unit(&format!("old/{set}"), unit));
    made.iter().for_each(|(set, unit, extension)| forget(&shop, set, unit, extension));
    shop.egofx(&format!("extract -m all.csv{} -o old", recipes())).ends_with(0);
    let report = shop.report("old");
    assert_eq!((&report["done_before"], &report["committed"]), (&4.into(), &4.into()));
    for ((set, unit, _), before) in made.iter().zip(&before) {
        let after = shop.unit(&format!("old/{set}"), unit);
        assert_eq!((&after.contract, &after.meta), (&before.contract, &before.meta), "{set} {unit}");
        let apart = (&after.features - &before.features).mapv(f32::abs).fold(0.0, |a: f32, b| a.max(*b));
        assert!(apart < 2e-3, "{set} {unit}: rows are {apart} apart");
    }
    shop.egofx("verify old").ends_with(0);
    let program = r#"
import h5py, json, pyarrow.parquet as pq
for name in ("early", "late"):
    with h5py.File(f"old/windows/units/{name}.h5") as unit:
        assert unit["first_frame"].dtype == "u8" and unit["missing"].dtype == "u1" and unit.attrs["fps"] == 1.87
        assert "row" not in unit and "rows_per_sec" not in unit.attrs and "split" not in unit.attrs
schemas = [pq.read_table(f"old/dense/units/{name}.parquet").schema for name in ("early", "pause")]
print(json.dumps([schemas[0].equals(schemas[1], check_metadata=True), str(schemas[1].field("row").type)]))
"#;
    assert_eq!(python(&shop, program), serde_json::json!([true, "uint64"]));
}

#[test]
fn a_new_store_of_the_same_recipe_has_another_fingerprint_and_cannot_be_mixed_in() {
    let shop = shop();
    shop.egofx("extract -m all.csv -p old/windows.toml -o new").ends_with(0);
    let contract = |out: &str| json(&fs::read_to_string(shop.path(out).join("windows/store.json")).unwrap());
    let (old, new) = (contract("old"), contract("new"));
    assert_ne!(old["fingerprint"], new["fingerprint"], "the same recipe shows other frames where rates vary");
    assert_eq!(
        (&new["schema_version"], &new["rows_per_sec"], &new["fps"]),
        (&3.into(), &1.87.into(), &serde_json::Value::Null)
    );
    // Clips of a file with even frames are the same.
    let rows = |out: &str| row_bits(&shop.unit(&format!("{out}/windows"), "early"));
    assert_eq!(shop.unit("new/windows", "early").header.split.as_deref(), Some("train"));
    assert_eq!(rows("old").len(), rows("new").len());
    let frames = |out: &str| -> Vec<_> {
        shop.unit(&format!("{out}/windows"), "early").meta.iter().map(|row| (row.first_frame, row.last_frame)).collect()
    };
    assert_eq!(frames("old"), frames("new"));
}

/// Row i stands for `[i / 1.87, (i + 1) / 1.87)` whatever the file's rate does, and converters drop no time that is needed.
#[test]
fn rows_of_a_file_with_a_pause_or_two_rates_are_where_their_numbers_say() {
    let shop = shop();
    shop.recipe("rows", EGOVLP, "hdf5", "f32");
    shop.write("uneven.csv", "video_uid,path\npause,media/pause.mp4\nrates,media/d15_30.mp4\n");
    shop.egofx("extract -m uneven.csv -p rows.toml -o out").ends_with(0);
    for (name, count) in [("pause", 117), ("rates", 37)] {
        let unit = shop.unit("out/rows", name);
        assert_eq!(unit.meta.len(), count, "{name}");
        for (i, row) in unit.meta.iter().enumerate() {
            let late = row.start_sec - i as f64 / 1.87;
            assert!((-0.14..1e-9).contains(&late), "{name} row {i} begins at {}", row.start_sec);
        }
    }
    let still = shop.unit("out/rows", "pause").meta[58].clone();
    assert_eq!((still.first_frame, still.last_frame), (59, 59), "the last frame before the pause stays on the screen");
    shop.egofx("verify out").ends_with(0);
    shop.egofx("convert out/rows --to egovlp-pt -o pt").ends_with(0);
}

#[test]
fn rows_that_are_elsewhere_are_not_written_where_no_time_goes_with_them() {
    let shop = shop();
    let run = shop.egofx("convert old/windows --to egovlp-pt -o pt").ends_with(2);
    run.says(&["unit pause: row", "--resample-rows-per-sec 1.87", "--allow-drift"]);
    assert!(!shop.path("pt").exists());
    shop.egofx("convert old/windows --to egovlp-pt -o pt --resample-rows-per-sec 1.87").ends_with(0);
    shop.egofx("convert old/windows --to egovlp-pt -o drifted --allow-drift").ends_with(0);
    // A form that keeps the times of rows takes them as they are.
    shop.egofx("convert old/windows --to hdf5 -o h5").ends_with(0);
    let program = r#"
import h5py, json
with h5py.File("h5/features.h5") as h:
    missing, row = h["pause"]["missing"], h["pause"]["features"].dims[0][0]
    print(json.dumps([str(missing.dtype), row.name, str(h["pause"]["first_frame"].dtype)]))
"#;
    assert_eq!(python(&shop, program), serde_json::json!(["bool", "/pause/row", "int64"]));
    let shapes = |out: &str| json(&fs::read_to_string(shop.path(out).join("feature_shapes.json")).unwrap());
    assert_eq!((&shapes("pt")["pause"], &shapes("pt")["early"]), (&117.into(), &5.into()));
}
