//! Other people's tools: h5py, pandas and pyarrow read what is stored, and find in it what `egofx inspect` says.

use crate::support::{DENSE, EGOVLP, Workshop, checkout, json, python, row_bits};

/// One video with a clip, in both formats and both precisions.
pub fn shop() -> Workshop {
    let shop = Workshop::new();
    let mut flags = String::new();
    for (name, grid, format, dtype) in [
        ("h5_f32", DENSE, "hdf5", "f32"),
        ("h5_f16", DENSE, "hdf5", "f16"),
        ("pq_f32", EGOVLP, "parquet", "f32"),
        ("pq_f16", EGOVLP, "parquet", "f16"),
    ] {
        shop.recipe(name, grid, format, dtype);
        flags += &format!(" -p {name}.toml");
    }
    shop.clip("v.mp4", 100);
    let mut bytes = std::fs::read(shop.clip("w.mkv", 100)).unwrap();
    bytes.truncate(bytes.len() / 2);
    shop.write("w.mkv", bytes);
    shop.write(
        "all.csv",
        "video_uid,path,clip_uid,start_sec,end_sec,split\nv,v.mp4,v,,,train\nv,v.mp4,clip,0.48,2.4,val\nw,w.mkv,w,,,\n",
    );
    shop.egofx(&format!("extract -m all.csv {flags} -o out --on-error partial")).ends_with(0);
    shop
}

/// Rows as the library reads them, in the form that the Python programs print.
pub fn rows(shop: &Workshop, set: &str, clip: &str) -> serde_json::Value {
    let unit = shop.unit(&format!("out/{set}"), clip);
    let hex = |row: Vec<u32>| row.iter().map(|bits| format!("{bits:08x}")).collect::<String>();
    let features = row_bits(&unit).into_iter().zip(&unit.meta);
    let features = features.map(|(row, meta)| if meta.missing { "nan".to_owned() } else { hex(row) });
    serde_json::json!({
        "shape": unit.features.shape(),
        "start_sec": unit.meta.iter().map(|meta| meta.start_sec).collect::<Vec<_>>(),
        "end_sec": unit.meta.iter().map(|meta| meta.end_sec).collect::<Vec<_>>(),
        "first_frame": unit.meta.iter().map(|meta| meta.first_frame).collect::<Vec<_>>(),
        "last_frame": unit.meta.iter().map(|meta| meta.last_frame).collect::<Vec<_>>(),
        "padded": unit.meta.iter().map(|meta| meta.padded).collect::<Vec<_>>(),
        "missing": unit.meta.iter().map(|meta| meta.missing).collect::<Vec<_>>(),
        "features": features.collect::<Vec<_>>(),
    })
}

/// What both Python programs begin with: rows to text, bit for bit.
pub const PRELUDE: &str = r#"
import json, sys
import numpy as np
def shown(features, columns):
    bits = np.ascontiguousarray(features.astype(">f4")).view(">u4")
    rows = ["nan" if np.isnan(f).all() else "".join("%08x" % b for b in row) for f, row in zip(features, bits)]
    out = {name: np.asarray(columns[name]).tolist() for name in ("start_sec", "end_sec", "first_frame", "last_frame")}
    out.update({name: np.asarray(columns[name]).astype(bool).tolist() for name in ("padded", "missing")})
    return dict(out, shape=list(features.shape), features=rows)
"#;

#[test]
fn h5py_reads_units_and_the_file_that_links_them() {
    let shop = shop();
    let program = PRELUDE.to_owned()
        + r#"
import h5py
out = {}
for kind, dtype in (("f32", "<f4"), ("f16", "<f2")):
    with h5py.File(f"out/h5_{kind}/features.h5") as master:
        assert sorted(master) == ["clip", "v", "w"], list(master)
        assert master.attrs["backbone"] == "tiny" and master.attrs["dim"] == 32, dict(master.attrs)
        for clip in master:
            assert isinstance(master.get(clip, getlink=True), h5py.ExternalLink)
            with h5py.File(f"out/h5_{kind}/units/{clip}.h5") as unit:
                features = unit["features"]
                assert features.dtype.str == dtype, features.dtype
                assert np.array_equal(features[:], master[clip]["features"][:], equal_nan=True)
                assert "start_sec" in features.attrs["axis"]
                assert unit.attrs["clip_uid"] == clip and unit.attrs["rows"] == len(features)
                assert unit["start_sec"].dtype == "f8" and unit["first_frame"].dtype == "i8"
                assert unit["missing"].dtype == bool and unit["padded"].dtype == bool
                assert len(features[unit["missing"][:]]) == unit["missing"][:].sum(), "a mask, not the rows 0 and 1"
                assert not np.isnan(features[~unit["missing"][:]]).any()
                axes = {name: [axis[0].name for axis in unit[name].dims] for name in unit if name not in ("row", "feature")}
                assert axes.pop("features") == ["/row", "/feature"] and all(axis == ["/row"] for axis in axes.values()), axes
                assert all(h5py.h5ds.is_scale(unit[name].id) for name in ("row", "feature"))
                assert unit["row"][:].tolist() == list(range(len(features))) and len(unit["feature"]) == 32
                assert {type(unit.attrs[name]) for name in ("dim", "rows", "source_frames")} == {np.int64}
                assert unit.attrs["rows_per_sec"] == master.attrs["rows_per_sec"] and "fps" not in unit.attrs
                attributes = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in unit.attrs.items()}
                out[f"{kind}/{clip}"] = dict(shown(features[:], unit), attributes=attributes)
print(json.dumps(out))
"#;
    let found = python(&shop, &program);
    for kind in ["f32", "f16"] {
        for clip in ["v", "clip", "w"] {
            let mut read = found[format!("{kind}/{clip}")].clone();
            let attributes = read.as_object_mut().unwrap().remove("attributes").unwrap();
            assert_eq!(read, rows(&shop, &format!("h5_{kind}"), clip), "{kind} {clip}");
            agrees_with_inspect(&shop, &format!("out/h5_{kind}/units/{clip}.h5"), &attributes);
        }
        let clip = &found[format!("{kind}/clip")];
        assert_eq!((&clip["attributes"]["start_sec"], &clip["attributes"]["end_sec"]), (&0.48.into(), &2.4.into()));
        assert!(clip["start_sec"][0] == 0.48 && (clip["end_sec"][5].as_f64().unwrap() - 2.4).abs() < 1e-9, "{clip}");
        let damaged = found[format!("{kind}/w")]["missing"].as_array().unwrap();
        assert!(damaged.contains(&true.into()) && damaged.contains(&false.into()));
    }
}

/// Every attribute of a file is what `inspect --json` says of it.
fn agrees_with_inspect(shop: &Workshop, path: &str, attributes: &serde_json::Value) {
    let shown = &json(&shop.egofx(&format!("inspect --json {path}")).ends_with(0).stdout)[0];
    for (name, value) in attributes.as_object().unwrap().iter().filter(|(name, _)| *name != "recipe") {
        let said = shown["header"].get(name).or(shown.get(name)).unwrap_or_else(|| panic!("{name} is not shown"));
        let plain = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let equal = plain(said) == plain(value) || said.as_f64().is_some_and(|said| Some(said) == value.as_f64());
        assert!(equal, "{path}: attribute {name} is {value}, inspect says {said}");
    }
}

#[test]
fn pyarrow_and_pandas_read_units_and_index() {
    let shop = shop();
    let program = PRELUDE.to_owned()
        + r#"
import pandas, pyarrow as pa, pyarrow.parquet as pq
out = {}
for kind, value in (("f32", pa.float32()), ("f16", pa.float16())):
    index = pandas.read_parquet(f"out/pq_{kind}/index.parquet").set_index("unit_uid")
    assert list(index.index) == ["clip", "v", "w"], index
    assert index["clip_uid"].to_dict() == {"clip": "clip", "v": "v", "w": "w"} and index["query_id"].isna().all()
    assert index["split"].fillna("").to_dict() == {"clip": "val", "v": "train", "w": ""}, index["split"]
    assert index["rows"].dtype == "int64" and index["bytes"].dtype == "int64"
    listed = pq.read_table(f"out/pq_{kind}/index.parquet").schema.metadata
    assert listed[b"rows_per_sec"] == b"1.87" and listed[b"feature_set"].decode() == f"pq_{kind}", listed
    assert index.loc["clip", "start_sec"] == 0.48 and np.isnan(index.loc["v", "start_sec"])
    assert list(index["video_uid"]) == ["v", "v", "w"] and (index["dim"] == 32).all()
    for clip, entry in index.iterrows():
        table = pq.read_table(f"out/pq_{kind}/" + entry["file"])
        assert table.schema.field("features").type == pa.list_(pa.field("element", value, False), 32), table.schema
        assert len(table) == entry["rows"] and table["row"].to_pylist() == list(range(len(table)))
        assert set(table["clip_uid"].to_pylist()) == {clip}
        assert sum(table["missing"].to_pylist()) == entry["missing_rows"]
        assert table["first_frame"].type == table["row"].type == pa.int64()
        shown_by_pyarrow = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
        assert shown_by_pyarrow["backbone"] == "tiny" and shown_by_pyarrow["unit_uid"] == clip, shown_by_pyarrow
        flat = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        metadata = pq.read_metadata(f"out/pq_{kind}/" + entry["file"]).metadata
        texts = {k.decode(): v.decode() for k, v in metadata.items() if not k.startswith(b"ARROW")}
        out[f"{kind}/{clip}"] = dict(shown(flat.reshape(-1, 32), columns), attributes=texts)
    frame = pandas.read_parquet(f"out/pq_{kind}/units/v.parquet")
    assert len(frame["features"].iloc[0]) == 32 and frame["start_sec"].is_monotonic_increasing
    hdf5 = pandas.read_parquet(f"out/h5_{kind}/index.parquet")
    assert len(hdf5) == 3 and hdf5["rows"].sum() == 13 + 6 + 13, hdf5
print(json.dumps(out))
"#;
    let found = python(&shop, &program);
    for kind in ["f32", "f16"] {
        for clip in ["v", "clip", "w"] {
            let mut read = found[format!("{kind}/{clip}")].clone();
            let attributes = read.as_object_mut().unwrap().remove("attributes").unwrap();
            assert_eq!(read, rows(&shop, &format!("pq_{kind}"), clip), "{kind} {clip}");
            agrees_with_inspect(&shop, &format!("out/pq_{kind}/units/{clip}.parquet"), &attributes);
        }
    }
}

#[test]
fn half_precision_is_the_rounded_single_precision() {
    let shop = shop();
    let program = r#"
import h5py, json, numpy as np
single, half = (h5py.File(f"out/h5_{kind}/units/v.h5")["features"][:] for kind in ("f32", "f16"))
print(json.dumps(bool(np.array_equal(single.astype(np.float16), half))))
"#;
    assert_eq!(python(&shop, program), true);
}

/// The lines of `text` that the examples of the documents consist of.
fn example(text: &str, from: &str, to: &str, line: impl Fn(&str) -> Option<String>) -> String {
    let part = text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(part, _)| part);
    part.unwrap_or_else(|| panic!("nothing from {from:?} to {to:?}")).lines().filter_map(line).collect()
}

/// What `make demo` tells people to type, after what it runs.
#[test]
fn the_python_example_of_the_demo_runs_as_it_is_printed() {
    let shop = Workshop::new();
    let makefile = std::fs::read_to_string(checkout().join("Makefile")).unwrap();
    let commands =
        example(&makefile, "\ndemo: ", "\n\n", |line| Some(line.trim().strip_prefix("$(DEMO) extract ")?.to_owned()));
    for name in ["manifests", "pipelines", "tests"] {
        std::os::unix::fs::symlink(checkout().join(name), shop.path(name)).unwrap();
    }
    shop.egofx(&format!("extract {commands}")).ends_with(0);
    let printed = example(&makefile, "\ndemo: ", "\n\n", |line| {
        let text = line.trim().strip_prefix("@printf '    ")?.trim_end_matches('\'');
        Some(text.replace("\\n", "\n"))
    });
    let program = format!(
        "import contextlib, io, json\nsaid = io.StringIO()\nwith contextlib.redirect_stdout(said):\n{}print(json.dumps(said.getvalue()))",
        printed.lines().map(|line| format!("    {line}\n")).collect::<String>()
    );
    let said = python(&shop, &program);
    assert!(["nasa_13013 (", "nasa_launch ("].iter().all(|name| said.as_str().unwrap().contains(name)), "{said}");
}
