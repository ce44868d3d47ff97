//! The Python package's reader (`python/egofx`): what it reads is what the library reads, in both formats and of all kinds of
//! rows, and what it refuses.

use std::fs;

use egofx::store::RowKind;
use serde_json::{Value, json};

use super::readers::{PRELUDE, rows, shop};
use crate::support::stores::{Made, contract, store, value};
use crate::support::{Workshop, checkout, python};

/// Runs `program` where `import egofx` finds the package of this checkout.
fn with_package(shop: &Workshop, program: &str) -> Value {
    let package = checkout().join("python");
    python(
        shop,
        &format!("import sys\nsys.path.insert(0, {:?})\nimport egofx, json\n{program}", package.display().to_string()),
    )
}

#[test]
fn the_package_reads_what_the_library_reads() {
    let shop = shop();
    let program = PRELUDE.to_owned()
        + r#"
out = {}
names = "start_sec end_sec first_frame last_frame padded missing".split()
for kind in ("h5_f32", "h5_f16", "pq_f32", "pq_f16"):
    store = egofx.open(f"out/{kind}")
    assert list(store) == ["clip", "v", "w"], list(store)
    assert store.contract.backbone == "tiny" and store.contract.dim == 32
    index = store.index
    assert index["unit_uid"].tolist() == list(store) and index["rows"].tolist() == [len(unit) for unit in store.values()]
    for uid, unit in store.items():
        assert unit.features.dtype == {"f32": "f4", "f16": "f2"}[kind[3:]], unit.features.dtype
        assert unit.missing.dtype == unit.padded.dtype == bool and unit.start_sec.dtype == "f8"
        assert unit.clip_uid == uid and unit.clip_uids is None and unit.query_ids is None
        assert unit.split == {"v": "train", "clip": "val", "w": None}[uid]
        out[f"{kind}/{uid}"] = shown(unit.features, {name: getattr(unit, name) for name in names})
print(json.dumps(out))
"#;
    let found = with_package(&shop, &program);
    for set in ["h5_f32", "h5_f16", "pq_f32", "pq_f16"] {
        for clip in ["v", "clip", "w"] {
            assert_eq!(found[format!("{set}/{clip}")], rows(&shop, set, clip), "{set} {clip}");
        }
    }
}

#[test]
fn rows_are_found_by_time() {
    let shop = Workshop::new();
    let clips = [Made::windows("c", "v", Some((2.0, 8.0)), 6)];
    store(&shop.path("out"), &contract("windows", RowKind::Window, 4, 1.0), &clips);
    let found = with_package(
        &shop,
        r#"
unit = egofx.open("out/windows")["c"]
start, end = unit.start_sec, unit.end_sec
assert all(unit.at((a + b) / 2) == row for row, (a, b) in enumerate(zip(start, end)))
assert unit.between(start[1], end[2]).tolist() == [1, 2] and unit.between(end[-1], 1e9).tolist() == []
assert (unit.features[unit.between(start[1], end[2])] == unit.features[1:3]).all()
refused = []
for seconds in (start[0] - 1e-6, end[-1]):
    try: unit.at(seconds)
    except ValueError as error: refused.append(str(error))
print(json.dumps(refused))
"#,
    );
    assert_eq!(found.as_array().map(Vec::len), Some(2));
    assert!(found[0].as_str().unwrap().contains("outside of its rows"), "{found}");
}

/// A unit may hold the rows of several clips or queries.
#[test]
fn annotations_get_the_rows_of_their_clip_and_query() {
    let shop = Workshop::new();
    let rows = |names: [&str; 3]| names.map(|name| (Some(name.to_owned()), false)).to_vec();
    let asked = Made { clip: None, rows: rows(["q0", "q0", "q1"]), ..Made::windows("v", "v", None, 0) };
    store(&shop.path("out"), &contract("asked", RowKind::Token, 2, 0.0), &[asked]);
    let fused = ["q0", "q1"].map(|query| Made::windows("some-clip", "v", Some((0.0, 2.0)), 2).fused(query));
    store(&shop.path("out"), &contract("fused", RowKind::FusedWindow, 2, 1.0), &fused);
    shop.write(
        "queries.csv",
        "query_id,clip_uid,video_uid,text\nq1,some-clip,v,\"Where, now?\"\nq0,some-clip,v,Who?\n",
    );
    let found = with_package(
        &shop,
        r#"
asked = egofx.open("out/asked")
assert asked["v"].query_ids.tolist() == ["q0", "q0", "q1"] and asked["v"].clip_uid is None
try: asked["v"].at(1.0)
except ValueError as error: assert "have no times (token)" in str(error), error
assert asked["v"].clip_uids.tolist() == ["some-clip"] * 3 and asked["v"].rows_of(clip_uid="other").tolist() == []
# What a loader is given, before it becomes a tensor.
egofx.Unit.to_torch = lambda unit, rows: unit.features[rows].tolist()
out = {}
for name in ("asked", "fused"):
    pairs = egofx.TorchDataset(egofx.open(f"out/{name}"), "queries.csv")
    out[name] = [[features, pairs.annotations[i]["text"]] for i, (features, _) in ((i, pairs[i]) for i in range(len(pairs)))]
import pandas
frame = pandas.read_csv("queries.csv")
assert egofx.TorchDataset(egofx.open("out/fused"), frame)[0][0] == out["fused"][0][0]
try: egofx.TorchDataset(egofx.open("out/fused"), [{"clip_uid": "elsewhere"}, {"query_id": "q0"}])
except KeyError as error: assert "1 of 2 annotations have no features" in str(error), error
print(json.dumps(out))
"#,
    );
    let row = |unit: &str, row: usize| [value(unit, row, 0), value(unit, row, 1)].map(f64::from).to_vec();
    assert_eq!(found["asked"], json!([[[row("v", 2)], "Where, now?"], [[row("v", 0), row("v", 1)], "Who?"]]));
    let of = |query: &str| [row(query, 0), row(query, 1)];
    assert_eq!(found["fused"], json!([[of("q1"), "Where, now?"], [of("q0"), "Who?"]]));
}

#[test]
fn a_store_is_read_while_it_grows_and_damage_is_named() {
    let shop = Workshop::new();
    let clips = ["a", "b"].map(|clip| Made::windows(clip, "v", Some((0.0, 4.0)), 4));
    store(&shop.path("out"), &contract("windows", RowKind::Window, 4, 1.0), &clips);
    let ledger = fs::read_dir(shop.path("out/windows/ledger")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read_to_string(&ledger).unwrap();
    let first = whole.lines().next().unwrap();
    // The second line is still being written.
    fs::write(&ledger, &whole[..first.len() + 20]).unwrap();
    shop.write("whole.jsonl", &whole);
    let program = format!(
        r#"
import os, shutil
store = egofx.open("out/windows")
assert list(store) == ["a"], list(store)
shutil.copy("whole.jsonl", {ledger:?})
store.refresh()
assert list(store) == ["a", "b"]
def refused(act):
    try: act()
    except (KeyError, egofx.StoreError) as error: return str(error)
out = [refused(lambda: store["c"])]
path = store["a"].path
good = path.read_bytes()
path.write_bytes(good[:-1])
out.append(refused(lambda: store["a"].features))
path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
out.append(refused(lambda: store["a"].features))
os.remove(path)
out.append(refused(lambda: store["a"].features))
contract = json.load(open("out/windows/store.json"))
json.dump(dict(contract, schema_version=9), open("out/windows/store.json", "w"))
out.append(refused(lambda: egofx.open("out/windows")))
out.append(refused(lambda: egofx.open("out")))
print(json.dumps(out))
"#,
        ledger = ledger.display().to_string()
    );
    let said = with_package(&shop, &program);
    for (said, words) in said.as_array().unwrap().iter().zip([
        "no unit 'c' among 2",
        "bytes, found",
        "expected sha256",
        "committed, but not there",
        "schema version 9, this reader knows 2 to 3: pip install --upgrade egofx",
        "it has no store.json; its feature sets are windows",
    ]) {
        assert!(said.as_str().unwrap().contains(words), "{said}: {words}");
    }
}

#[test]
fn the_package_has_the_versions_of_the_program() {
    let found = with_package(
        &Workshop::new(),
        "from egofx import _store\nprint(json.dumps([egofx.__version__, _store.SCHEMA]))",
    );
    assert_eq!(found, json!([env!("CARGO_PKG_VERSION"), egofx::store::SCHEMA_VERSION]));
}

#[test]
fn the_reader_stays_a_page_or_two() {
    let lines = |name: &str| fs::read_to_string(checkout().join("python/egofx").join(name)).unwrap().lines().count();
    assert!(lines("_store.py") < 300, "{} lines", lines("_store.py"));
}
