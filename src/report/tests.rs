//! Reports of parts that are written here, merged.

use serde_json::{Value, json};

use super::*;
use crate::store::{Dtype, PlannedUnit, Store, samples};

/// A store of which part `part` is open, with the promise of units `a` to `d`.
fn open(out: &Path, part: &str) -> (Store, Vec<PlannedUnit>) {
    let store = Store::open(out, &samples::contract("hdf5", Dtype::F32), part.parse().unwrap()).unwrap();
    let planned = ["a", "b", "c", "d"].map(samples::planned).to_vec();
    store.promise(&planned).unwrap();
    (store, planned)
}

/// Writes the report of `part`, with the fields of `told` in the place of the usual ones.
fn write(out: &Path, part: &str, sets: &[PlannedSet], told: Value) {
    let stage =
        |stage: &str, busy_sec: f64| json!({"stage": stage, "threads": 2, "busy_sec": busy_sec, "busy_share": 0.1});
    let mut report = json!({
        "units": 2, "done_before": 1, "committed": 1, "failures": [], "remarks": ["odd"], "interrupted": false, "rows": 6,
        "missing_rows": 1, "frames_decoded": 30, "frames_dropped": 7, "frames_piped": 20, "decode_multiplicity": 1.5, "decode_fallbacks": 0, "video_sec": 2.5,
        "elapsed_sec": 10.0, "stages": [stage("decode", 4.0), stage("infer", 1.0)], "unreached": 0, "rejected": [], "trouble": [],
        "feature_sets": ["sample"], "plan": plan_id(sets), "part": part, "exit_code": 0, "taken_units": 1, "taken_over": 1,
        "device": {"taken": "cpu", "auto": true, "passed_over": ["cuda: none"], "faster": []},
    });
    for (name, value) in told.as_object().unwrap() {
        report[name] = value.clone();
    }
    fs::write(out.join(name_of(part.parse().unwrap())), report.to_string()).unwrap();
}

fn failure(uid: &str) -> Value {
    json!({"feature_set": "sample", "unit_uid": uid, "video_uid": "v", "why": "broken"})
}

fn merged(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

#[test]
fn counts_are_summed_and_missing_parts_are_named() {
    let out = tempfile::tempdir().unwrap();
    let (store, units) = open(out.path(), "1/3");
    let sets = [PlannedSet { store: &store, units: &units }];
    write(out.path(), "1/3", &sets, json!({"remarks": ["odd", "even"]}));
    merge(out.path(), "1/3".parse().unwrap(), &sets).unwrap();
    let one = merged(out.path());
    assert_eq!(
        (&one["missing_parts"], &one["unreached"], &one["exit_code"]),
        (&json!(["2/3", "3/3"]), &4.into(), &3.into())
    );
    write(out.path(), "3/3", &sets, json!({"elapsed_sec": 30.0, "frames_decoded": 60, "decode_multiplicity": 1.0}));
    merge(out.path(), "3/3".parse().unwrap(), &sets).unwrap();
    let two = merged(out.path());
    for (field, sum) in [
        ("units", 4),
        ("committed", 2),
        ("rows", 12),
        ("missing_rows", 2),
        ("frames_dropped", 14),
        ("taken_units", 2),
        ("taken_over", 2),
    ] {
        assert_eq!(two[field], sum, "{field}");
    }
    assert_eq!((&two["missing_parts"], &two["remarks"]), (&json!(["2/3"]), &json!(["even", "odd"])));
    assert_eq!((two["video_sec"].as_f64(), two["elapsed_sec"].as_f64()), (Some(5.0), Some(40.0)));
    assert_eq!(two["decode_multiplicity"].as_f64(), Some(90.0 / 80.0), "of 20 and 60 frames needed");
    let decode = json!({"stage": "decode", "threads": 4, "busy_sec": 8.0, "busy_share": 0.1});
    assert_eq!(two["stages"][0], decode, "8 of 80 s of threads");
    assert_eq!((&two["parts"][1]["part"], &two["parts"][1]["elapsed_sec"]), (&"3/3".into(), &30.0.into()));
    let bytes = fs::read(out.path().join("report.json")).unwrap();
    merge(out.path(), "1/3".parse().unwrap(), &sets).unwrap();
    assert_eq!(fs::read(out.path().join("report.json")).unwrap(), bytes, "the same again");
    // It is no report of a run of one part.
    assert_eq!(read_all(out.path()).into_keys().map(|part| part.to_string()).collect::<Vec<_>>(), ["1/3", "3/3"]);
}

#[test]
fn what_failed_is_told_until_somebody_has_committed_it() {
    let out = tempfile::tempdir().unwrap();
    let (mut store, units) = open(out.path(), "1/2");
    for uid in ["a", "b"] {
        samples::commit(&mut store, uid);
    }
    // To be made anew, which failed.
    fs::remove_file(store.path().join("units/b.h5")).unwrap();
    let told = |store: &Store| {
        let sets = [PlannedSet { store, units: &units }];
        write(out.path(), "1/2", &sets, json!({"failures": [failure("a"), failure("b"), failure("c")]}));
        write(out.path(), "2/2", &sets, json!({"failures": [failure("c")]}));
        merge(out.path(), "2/2".parse().unwrap(), &sets).unwrap();
        let merged = merged(out.path());
        let failures =
            merged["failures"].as_array().unwrap().iter().map(|f| f["unit_uid"].as_str().unwrap().to_owned());
        (failures.collect::<Vec<_>>(), merged["unreached"].as_u64().unwrap(), merged["exit_code"].as_u64().unwrap())
    };
    assert_eq!(told(&store), (vec!["b".into(), "c".into()], 1, 1), "d was not reached");
    for uid in ["b", "c", "d"] {
        samples::commit(&mut store, uid);
    }
    assert_eq!(told(&store), (vec![], 0, 0));
}

#[test]
fn parts_that_were_stopped_say_so_until_others_have_done_their_rest() {
    let out = tempfile::tempdir().unwrap();
    let (mut store, units) = open(out.path(), "1/2");
    let code = |store: &Store| {
        let sets = [PlannedSet { store, units: &units }];
        write(out.path(), "1/2", &sets, json!({"interrupted": true, "exit_code": 75}));
        merge(out.path(), "1/2".parse().unwrap(), &sets).unwrap();
        merged(out.path())["exit_code"].as_u64().unwrap()
    };
    assert_eq!(code(&store), 75);
    for uid in ["a", "b", "c", "d"] {
        samples::commit(&mut store, uid);
    }
    assert_eq!(code(&store), 0);
}

#[test]
fn reports_of_other_plans_counts_and_versions_are_left_alone() {
    let out = tempfile::tempdir().unwrap();
    let (store, units) = open(out.path(), "1/2");
    let (sets, fewer) =
        ([PlannedSet { store: &store, units: &units }], [PlannedSet { store: &store, units: &units[..3] }]);
    assert_ne!(plan_id(&sets), plan_id(&fewer));
    write(out.path(), "1/2", &sets, json!({}));
    write(out.path(), "2/2", &fewer, json!({}));
    write(out.path(), "2/3", &sets, json!({}));
    merge(out.path(), "1/2".parse().unwrap(), &sets).unwrap();
    assert_eq!(merged(out.path())["missing_parts"], json!(["2/2"]));
    for other in ["{\"failures\": [", "{\"units\": 2}"] {
        fs::write(out.path().join("report-2-of-2.json"), other).unwrap();
        merge(out.path(), "1/2".parse().unwrap(), &sets).unwrap();
        assert_eq!(merged(out.path())["missing_parts"], json!(["2/2"]), "{other}");
    }
}

/// Parts end at once, again and again; each sees what others wrote at any moment.
#[test]
fn of_parts_that_end_at_once_the_last_one_writes_the_whole() {
    let out = tempfile::tempdir().unwrap();
    let (store, units) = open(out.path(), "1/8");
    let sets = [PlannedSet { store: &store, units: &units }];
    for round in 0..5 {
        std::thread::scope(|scope| {
            for index in 1..=8 {
                let sets = &sets;
                let out = out.path();
                scope.spawn(move || {
                    let part = Shard::new(index, 8).unwrap();
                    write(out, &part.to_string(), sets, json!({"rows": round}));
                    merge(out, part, sets).unwrap();
                });
            }
        });
        let whole = merged(out.path());
        assert_eq!((&whole["missing_parts"], &whole["rows"]), (&json!([]), &(8 * round).into()));
        assert!(whole["parts"].as_array().unwrap().iter().all(|part| part["rows"] == round));
    }
    let left = fs::read_dir(out.path()).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}
