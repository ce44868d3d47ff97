//! What a store suffers, and the verdict on it.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::rows::times_problem;
use super::*;
use crate::store::samples::{self, DIM};
use crate::store::{Dtype, FORMATS, RowBlock, RowMeta, Store, UnitHeader};
use crate::time::TimeSpan;

/// The verdict on a store whose index and master file are of today.
fn check(store: &Store) -> VerifyReport {
    store.finish().unwrap();
    check_as_it_is(store)
}

fn check_as_it_is(store: &Store) -> VerifyReport {
    verify(&StoreReader::open(store.path()).unwrap(), VerifyOptions::default()).unwrap()
}

/// Units, nameless for the store as a whole, and what is wrong with them.
fn kinds(report: &VerifyReport) -> Vec<(&str, ProblemKind)> {
    report.problems.iter().map(|p| (p.unit_uid.as_ref().map_or("", UnitUid::as_str), p.kind)).collect()
}

/// Replaces `from` in the ledger of the only shard.
fn edit_ledger(store: &Store, from: &str, to: &str) {
    let path = store.path().join("ledger/1-of-1.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// Puts the file `written` in place of unit `a`, and makes the ledger agree with it.
fn smuggle(store: &Store, written: &Path) {
    let (path, bytes) = (store.path().join("units/a.h5"), fs::read(written).unwrap());
    let entry = store.committed().unwrap().iter().next().unwrap().clone();
    fs::write(path, &bytes).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    edit_ledger(store, &entry.sha256, &sha256);
    edit_ledger(store, &format!("\"bytes\":{}", entry.bytes), &format!("\"bytes\":{}", bytes.len()));
}

/// A store whose unit `a` holds what `change` makes of it, with a ledger that agrees.
fn with_rows(change: impl Fn(&mut RowBlock, &mut UnitHeader)) -> VerifyReport {
    let (out, store) = samples::store("hdf5", &["a"]);
    let (mut block, mut header) = (samples::whole(), samples::header("a", 6));
    change(&mut block, &mut header);
    let written = out.path().join("other.h5");
    let mut sink = (FORMATS[0].create)(&written, store.contract(), &header).unwrap();
    sink.append(&block).unwrap();
    sink.finish().unwrap();
    smuggle(&store, &written);
    check(&store)
}

#[test]
fn a_finished_store_is_sound_in_every_format() {
    for format in FORMATS {
        let (_out, store) = samples::store(format.name, &["b", "a"]);
        store.finish().unwrap();
        let report = check(&store);
        assert!(report.is_sound() && report.warnings.is_empty(), "{report:?}");
        assert_eq!((report.planned, report.committed, report.rows), (2, 2, 12));
        assert_eq!((report.padded, report.missing, report.zero_rows), (2, 2, 0));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["feature_set"], &json["rows"]), (&"sample".into(), &12.into()));
    }
}

#[test]
fn a_promised_unit_that_is_not_there_is_a_problem() {
    let (_out, store) = samples::store("hdf5", &["b"]);
    store.promise(&[samples::planned("c"), samples::planned("a")]).unwrap();
    let report = check(&store);
    assert_eq!(kinds(&report), [("a", ProblemKind::Uncommitted), ("c", ProblemKind::Uncommitted)]);
}

#[test]
fn flipped_truncated_deleted_and_swapped_files_are_problems() {
    for format in FORMATS {
        let (_out, store) = samples::store(format.name, &["a", "b", "c", "d", "e"]);
        let path = |uid: &str| store.path().join(format!("units/{uid}.{}", format.extension));
        let mut bytes = fs::read(path("a")).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path("a"), &bytes).unwrap();
        fs::write(path("b"), &fs::read(path("b")).unwrap()[..middle]).unwrap();
        fs::remove_file(path("c")).unwrap();
        fs::copy(path("e"), path("d")).unwrap();
        let report = check(&store);
        use ProblemKind::{Absent, Changed};
        assert_eq!(kinds(&report), [("a", Changed), ("b", Changed), ("c", Absent), ("d", Changed)]);
        let options = VerifyOptions { checksums_only: true, ..VerifyOptions::default() };
        let quick = verify(&StoreReader::open(store.path()).unwrap(), options).unwrap();
        assert_eq!(quick.problems, report.problems);
    }
}

#[test]
fn a_foreign_file_is_found_even_if_the_ledger_agrees_with_it() {
    let (out, store) = samples::store("hdf5", &["a", "b"]);
    fs::copy(store.path().join("units/b.h5"), out.path().join("copy.h5")).unwrap();
    smuggle(&store, &out.path().join("copy.h5"));
    assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Ledger)]);

    let (out, store) = samples::store("hdf5", &["a"]);
    smuggle(&store, &samples::write_unit(out.path(), &FORMATS[0], Dtype::F16));
    let report = check(&store);
    assert_eq!(kinds(&report), [("a", ProblemKind::Contract)]);
    assert_eq!(report.problems[0].what, "its file has dtype = f16, expected f32");

    let rubbish = out.path().join("rubbish");
    fs::write(&rubbish, "rubbish").unwrap();
    smuggle(&store, &rubbish);
    assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Unreadable)]);
}

#[test]
fn an_edited_ledger_is_found() {
    for (from, to, kind) in [
        ("\"rows\":6", "\"rows\":7", ProblemKind::Ledger),
        ("\"padded_rows\":1", "\"padded_rows\":0", ProblemKind::Ledger),
        ("\"fingerprint\":\"f0", "\"fingerprint\":\"f1", ProblemKind::Contract),
        ("\"sha256\":\"", "\"sha256\":\"0", ProblemKind::Changed),
    ] {
        let (_out, store) = samples::store("hdf5", &["a"]);
        edit_ledger(&store, from, to);
        assert_eq!(kinds(&check(&store)), [("a", kind)], "{from}");
    }
    let (_out, store) = samples::store("hdf5", &["a"]);
    edit_ledger(&store, "\"video_uid\":\"v\"", "\"video_uid\":\"w\"");
    assert_eq!(kinds(&check(&store)), [("a", ProblemKind::Unplanned), ("a", ProblemKind::Ledger)]);
    edit_ledger(&store, "\"rows\":6", "\"rows\":six");
    let error = verify(&StoreReader::open(store.path()).unwrap(), VerifyOptions::default()).unwrap_err();
    assert!(matches!(error, StoreError::Ledger { line: 1, .. }), "{error}");
}

#[test]
fn rows_with_wrong_values_are_problems() {
    let report = with_rows(|block, _| block.features[[2, 1]] = f32::NAN);
    assert_eq!(kinds(&report), [("a", ProblemKind::NotFinite)]);
    assert_eq!(report.problems[0].what, "row 2 feature 1 is NaN, expected a finite number");
    let report = with_rows(|block, _| block.features[[5, 0]] = f32::INFINITY);
    assert_eq!(kinds(&report), [("a", ProblemKind::NotFinite)]);
    let report = with_rows(|block, _| block.features[[3, 2]] = 1.0);
    assert_eq!(kinds(&report), [("a", ProblemKind::MissingNotNan)]);
}

#[test]
fn rows_with_wrong_times_are_problems() {
    let changes: [fn(&mut RowBlock, &mut UnitHeader); 9] = [
        |block, _| block.meta.swap(1, 2),
        |block, _| block.meta[2].end_sec = 0.0,
        |block, _| block.meta[2].start_sec = f64::NAN,
        |block, _| block.meta[2].last_frame = 31,
        |block, _| block.meta[0].first_frame = 99,
        |_, header| header.source_frames = 90,
        |block, _| block.meta[4].end_sec = 0.0,
        // From here on all is well: a whole video has no end that a row could pass, ...
        |block, _| block.meta[5].end_sec = 99.0,
        // ... and a missing row may lie past the end of the file.
        |block, _| block.meta[3].last_frame = 5000,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let report = with_rows(change);
        let expected: &[_] = if index >= 7 { &[] } else { &[("a", ProblemKind::Times)] };
        assert_eq!(kinds(&report), expected, "{index}: {:?}", report.problems);
    }
}

#[test]
fn rows_lie_inside_of_their_unit() {
    let mut unit = samples::unit("hdf5", Dtype::F32);
    unit.header.span = TimeSpan::new(0.5, 3.0);
    let row = |start_sec, end_sec, padded| RowMeta {
        first_frame: 0,
        last_frame: 15,
        start_sec,
        end_sec,
        padded,
        ..RowMeta::default()
    };
    for (start, end, padded, sound) in [
        (0.5, 1.0, false, true),
        (0.47, 1.0, false, true),
        (0.3, 1.0, false, false),
        (2.5, 3.04, false, true),
        (2.5, 3.2, false, false),
        (2.5, 3.2, true, true),
        (3.2, 3.4, true, false),
    ] {
        // Another row ends with a later frame.
        let last = RowMeta { last_frame: 16, ..row(2.9, 3.0, false) };
        unit.meta = vec![row(start, end, padded), last];
        let lenient = VerifyOptions { rows_outside_expected: true, ..VerifyOptions::default() };
        assert_eq!(times_problem(lenient, &unit), None);
        let found = times_problem(VerifyOptions::default(), &unit);
        assert_eq!(found.is_none(), sound, "{start} {end} {padded}: {found:?}");
    }
    // The last frame begins inside, and is shown until long after the unit's end.
    unit.meta = vec![row(2.5, 2.9, false), RowMeta { last_frame: 16, ..row(2.9, 9.0, false) }];
    assert_eq!(times_problem(VerifyOptions::default(), &unit), None);
    unit.meta[1].start_sec = 3.2;
    assert!(times_problem(VerifyOptions::default(), &unit).is_some());
}

#[test]
fn what_does_no_harm_is_a_warning() {
    let (out, mut store) = samples::store("hdf5", &["a"]);
    store.promise(&[samples::planned("b")]).unwrap();
    let mut unit = store.begin(samples::header("b", 6)).unwrap();
    let block = samples::block(0, 6);
    unit.append(&RowBlock { features: ndarray::Array2::zeros((6, DIM)), ..block }).unwrap();
    store.commit(unit).unwrap();
    store.finish().unwrap();
    fs::write(store.path().join("units/z.h5"), "").unwrap();
    fs::write(store.path().join("tmp/1-of-1/y.h5"), "").unwrap();
    let moved = out.path().join("moved");
    fs::rename(store.path(), &moved).unwrap();
    let report = verify(&StoreReader::open(&moved).unwrap(), VerifyOptions::default()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.zero_rows, 6);
    assert_eq!(
        report.warnings,
        [
            "6 rows hold nothing but zeros",
            &format!("its folder has another name, {}", moved.canonicalize().unwrap().display()),
            "units/z.h5 is in no ledger; no reader counts it",
            "tmp/1-of-1/y.h5 belongs to a run that is live or was killed",
        ]
    );
    let options = VerifyOptions { zero_rows_expected: true, ..VerifyOptions::default() };
    let lenient = verify(&StoreReader::open(&moved).unwrap(), options).unwrap();
    assert_eq!(lenient.warnings.len(), 3);
}

/// Words that a verdict has for the only problem of its store.
fn only(report: &VerifyReport, unit_uid: &str, kind: ProblemKind) -> String {
    assert_eq!(kinds(report), [(unit_uid, kind)], "{:?}", report.problems);
    report.problems[0].what.clone()
}

#[test]
fn a_promise_that_is_cut_or_gone_is_a_problem() {
    let (_out, store) = samples::store("hdf5", &["a", "b", "c"]);
    assert!(check(&store).is_sound());
    let path = store.path().join("planned.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    fs::write(&path, &text[..last]).unwrap();
    let report = check(&store);
    only(&report, "c", ProblemKind::Unpromised);
    assert_eq!((report.planned, report.committed), (2, 3));
    fs::write(&path, &text[..text.len() - 5]).unwrap();
    assert_eq!(kinds(&check(&store)), [("", ProblemKind::Plan), ("c", ProblemKind::Unpromised)]);
    fs::remove_file(&path).unwrap();
    assert_eq!(kinds(&check(&store)), ["a", "b", "c"].map(|unit| (unit, ProblemKind::Unpromised)));
    let records = verify_records(&StoreReader::open(store.path()).unwrap(), |_| true).unwrap();
    assert_eq!(records, check(&store).problems);
    store.promise(&["a", "b", "c"].map(samples::planned)).unwrap();
    assert!(check(&store).is_sound(), "the next run promises them again");
}

#[test]
fn an_index_that_is_absent_damaged_or_of_others_is_a_problem() {
    for format in FORMATS {
        let (_out, mut store) = samples::store(format.name, &["a", "b"]);
        let index = store.path().join("index.parquet");
        let what = |store: &Store| {
            let report = check_as_it_is(store);
            report.problems.into_iter().find(|p| p.kind == ProblemKind::Index).map_or(String::new(), |p| p.what)
        };
        assert!(what(&store).starts_with("index.parquet is absent; the next run that finishes"), "{}", what(&store));
        store.finish().unwrap();
        assert_eq!(what(&store), "");
        let whole = fs::read(&index).unwrap();
        for damaged in [&[][..], b"rubbish", &whole[..whole.len() - 9]] {
            fs::write(&index, damaged).unwrap();
            assert!(what(&store).starts_with("index.parquet is damaged ("), "{}", what(&store));
        }
        let (_else, other) = samples::store(format.name, &["a", "c"]);
        other.finish().unwrap();
        fs::copy(other.path().join("index.parquet"), &index).unwrap();
        assert!(what(&store).starts_with("index.parquet lists unit c with sha256 "), "{}", what(&store));
        fs::write(&index, whole).unwrap();
        samples::commit(&mut store, "d");
        assert!(what(&store).starts_with("index.parquet lists 2 units, expected 3;"), "{}", what(&store));
    }
}

#[test]
fn a_master_file_that_is_absent_damaged_or_of_others_is_a_problem() {
    let (_out, mut store) = samples::store("hdf5", &["a", "b"]);
    let master = store.path().join("features.h5");
    store.finish().unwrap();
    let whole = fs::read(&master).unwrap();
    let found = |bytes: &[u8]| {
        fs::write(&master, bytes).unwrap();
        only(&check_as_it_is(&store), "", ProblemKind::Master)
    };
    for damaged in [&[][..], b"rubbish", &whole[..whole.len() / 2], &fs::read(store.path().join("units/a.h5")).unwrap()]
    {
        let words = found(damaged);
        assert!(words.starts_with("features.h5 is "), "{words}");
    }
    let link = whole.windows(10).position(|bytes| bytes == b"units/b.h5").unwrap();
    let mut bent = whole.clone();
    bent[link + 6] = b'a';
    assert!(found(&bent).starts_with("features.h5 links units/a.h5 for unit b, expected units/b.h5"));
    let (_else, other) = samples::store("hdf5", &["a", "c"]);
    other.finish().unwrap();
    let words = found(&fs::read(other.path().join("features.h5")).unwrap());
    assert!(words.starts_with("features.h5 links nothing for unit b"), "{words}");
    let fingerprint = whole.windows(2).position(|bytes| bytes == b"f0").unwrap();
    let mut others = whole.clone();
    others[fingerprint + 1] = b'1';
    assert!(found(&others).starts_with("features.h5 is another store's: fingerprint is"), "{}", found(&others));
    fs::remove_file(&master).unwrap();
    assert!(only(&check_as_it_is(&store), "", ProblemKind::Master).starts_with("features.h5 is absent"));
    fs::write(&master, &whole).unwrap();
    assert!(check_as_it_is(&store).is_sound());
    samples::commit(&mut store, "d");
    assert_eq!(kinds(&check_as_it_is(&store))[..2], [("", ProblemKind::Index), ("", ProblemKind::Master)]);
}

#[test]
fn ledgers_that_contradict_one_another_are_a_problem() {
    let (_out, store) = samples::store("hdf5", &["a", "b"]);
    let ledger = store.path().join("ledger/1-of-1.jsonl");
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, text.repeat(2)).unwrap();
    assert!(check(&store).is_sound(), "the same lines twice say the same");
    let line = text.lines().next().unwrap().replace("\"padded_rows\":1", "\"padded_rows\":2");
    fs::write(store.path().join("ledger/2-of-2.jsonl"), line + "\n").unwrap();
    let report = check(&store);
    assert!(report.problems.iter().all(|p| p.kind == ProblemKind::Ledger) && !report.is_sound(), "{report:?}");
    assert!(
        report.problems.iter().any(|p| p.what == "two lines of its ledgers say different things of its revision 1")
    );
}

#[test]
fn records_of_a_store_are_judged_without_reading_its_rows() {
    let (_out, store) = samples::store("hdf5", &["a", "b", "c"]);
    let records = || verify_records(&StoreReader::open(store.path()).unwrap(), |_| true).unwrap();
    assert_eq!(records(), []);
    fs::remove_file(store.path().join("units/a.h5")).unwrap();
    fs::write(store.path().join("units/b.h5"), "short").unwrap();
    edit_ledger(&store, "\"rows\":6", "\"rows\":7");
    let found: Vec<_> =
        records().into_iter().map(|problem| (problem.unit_uid.unwrap().to_string(), problem.kind)).collect();
    let expected = [("a", ProblemKind::Absent), ("b", ProblemKind::Changed), ("c", ProblemKind::Ledger)];
    assert_eq!(found, expected.map(|(unit, kind)| (unit.to_owned(), kind)));
}

#[test]
fn a_folder_that_was_a_store_is_found() {
    let (out, store) = samples::store("hdf5", &["a"]);
    assert_eq!(crate::store::without_contract(out.path()).unwrap(), [] as [std::path::PathBuf; 0]);
    fs::remove_file(store.path().join("store.json")).unwrap();
    fs::create_dir(out.path().join("units")).unwrap();
    for place in [out.path(), store.path()] {
        assert_eq!(crate::store::without_contract(place).unwrap(), [store.path()]);
    }
    let report = verify_without_contract(store.path());
    assert_eq!((report.is_sound(), report.feature_set.as_str()), (false, "sample"));
    assert!(only(&report, "", ProblemKind::NoContract).contains("sample/store.json is absent"));
}
