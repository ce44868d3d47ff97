//! Malformed files of others, and damaged files of ours: an error that names the file, soon, in little memory, and never a
//! crash, a panic, or numbers that nobody committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use egofx::ids::UnitUid;
use egofx::store::{RowKind, StoreError, StoreReader};

use crate::support;
use crate::support::stores::{Made, contract, store};
use crate::support::{Workshop, checkout};

/// Most memory that a malformed file may cost, in KiB.
const MOST_KIB: i64 = 100 << 10;
/// Most processor time that it may cost, in seconds: a second, and the rest for programs that are not optimised.
const MOST_SEC: i64 = 4;
const GRID: &str = "--as x --backbone m --window-frames 4 --rows-per-sec 1.87 -o in";

fn hostile(name: &str) -> PathBuf {
    checkout().join("tests/data/hostile").join(name)
}

fn names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(checkout().join("tests/data/hostile")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with(prefix));
    names.sort();
    assert!(!names.is_empty(), "{prefix}");
    names
}

/// Runs its arguments and prints their status, KiB and seconds. A process of its own, because a child's peak counts what its
/// parent holds when it is forked, and this program holds the memory of all tests.
const MEASURE: &str = "import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(status, used.ru_maxrss, int(used.ru_utime + used.ru_stime))";

/// Runs the program on a file that it must refuse with exit code 2 and all of `words`; gives what it says.
#[track_caller]
fn refused(shop: &Workshop, arguments: &str, words: &[&str]) -> String {
    let program = shop.program(arguments);
    let mut command = Command::new("python3");
    command.args(["-c", MEASURE]).arg(program.get_program()).args(program.get_args());
    command.current_dir(program.get_current_dir().unwrap());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    let (measured, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let numbers: Vec<i64> = measured.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [status, kib, seconds] = numbers[..] else { panic!("{measured:?}: {said}") };
    let status = status as i32;
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 2, "egofx {arguments}: {status:#x}\n{said}");
    assert!(!said.contains("panicked"), "egofx {arguments}: {said}");
    assert!(kib < MOST_KIB, "egofx {arguments}: {kib} KiB\n{said}");
    assert!(seconds < MOST_SEC, "egofx {arguments}: {seconds} s\n{said}");
    for word in words {
        assert!(said.contains(word), "nothing says {word:?}: egofx {arguments}: {said}");
    }
    said
}

#[test]
fn hdf5_files_that_break_libhdf5_are_refused() {
    let shop = Workshop::new();
    for name in names("import_") {
        let file = hostile(&name);
        refused(&shop, &format!("import {} {GRID}", file.display()), &[&name, "expected an HDF5 file"]);
        refused(&shop, &format!("compare {0} {0}", file.display()), &[&name]);
        assert!(!shop.path("in/x").exists());
    }
    for name in names("inspect_") {
        let file = hostile(&name);
        let said = refused(&shop, &format!("inspect {}", file.display()), &[&name]);
        assert_eq!(said.contains("comes to no end"), name.contains("hang"), "{said}");
        // Its features may be as healthy as its header is not.
        let run = shop.egofx(&format!("compare {0} {0}", file.display()));
        assert!(matches!(run.code, Some(0 | 2)) && !run.stderr.contains("panicked"), "{run}");
    }
}

#[test]
fn healthy_hdf5_files_beside_a_hostile_one_are_read_by_another_process() {
    let shop = Workshop::new();
    store(
        &shop.path("out"),
        &contract("ours", RowKind::Window, 8, 1.87),
        &[Made::windows("a", "v", None, 9), Made::windows("b", "w", None, 3)],
    );
    fs::create_dir(shop.path("mixed")).unwrap();
    for unit in ["a", "b"] {
        fs::copy(shop.path(&format!("out/ours/units/{unit}.h5")), shop.path(&format!("mixed/{unit}.h5"))).unwrap();
    }
    shop.egofx("compare out/ours mixed --min-cosine 1").ends_with(0);
    let shown = shop.egofx("inspect mixed/a.h5 --json").ends_with(0).stdout;
    assert_eq!(support::json(&shown)[0]["shape"], serde_json::json!([9, 8]));
    fs::copy(hostile("import_2.h5"), shop.path("mixed/c.h5")).unwrap();
    refused(&shop, &format!("import mixed {GRID}"), &["mixed/c.h5"]);
}

#[test]
fn arrays_whose_headers_lie_are_refused() {
    let shop = Workshop::new();
    shop.write("videos.csv", "id,actions\nA,c001 0 1\n");
    for (name, why) in [("npy_hang.npy", "a header without"), ("huge1.npy", "promises 4000000000000")] {
        let file = hostile(name).display().to_string();
        for command in [
            format!("import {file} {GRID}"),
            format!("compare {file} {file}"),
            format!("eval charades -p {file} -a videos.csv"),
        ] {
            refused(&shop, &command, &[name, why]);
        }
    }
    let tensor = hostile("zero_over.safetensors").display().to_string();
    for command in [format!("checkpoint convert {tensor} o.pth"), format!("checkpoint {tensor}")] {
        refused(&shop, &command, &["zero_over.safetensors", "shape [0, 9223372036854775808, 9223372036854775808]"]);
    }
    assert!(!shop.path("o.pth").exists());
}

#[test]
fn files_on_which_a_library_panics_are_refused() {
    let shop = Workshop::new();
    for name in names("unit_parquet") {
        refused(&shop, &format!("inspect {}", hostile(&name).display()), &[&name, "is damaged"]);
    }
    for name in names("tokenizer_panic") {
        for model in ["egovlp", "egovlpv2"] {
            let tokenizer = hostile(&name).display().to_string();
            refused(&shop, &format!("tokenize --model {model} --rule nlq --tokenizer {tokenizer} a"), &[&name]);
        }
    }
    fs::create_dir_all(shop.path("truth/P01")).unwrap();
    shop.write("truth/P01/Cupglass_Desk_oracle.txt", "1\n2\n");
    shop.write("said.json", "{\"P01\": {\"Cupglass_Desk\": [1, 2]}}");
    let tags = hostile("Tags_panic.mat").display().to_string();
    refused(&shop, &format!("eval qfvs -p said.json -a truth --tags {tags}"), &["Tags_panic.mat", "damage"]);
    shop.write("deep.mat", nested_cells(40_000));
    refused(&shop, "eval qfvs -p said.json -a truth --tags deep.mat", &["deep.mat", "damage"]);
}

/// A MATLAB file of cells within cells.
fn nested_cells(depth: u32) -> Vec<u8> {
    let mut header = b"MATLAB 5.0 MAT-file, ".to_vec();
    header.resize(124, b' ');
    header.extend(b"\0\x01IM");
    let mut cells = Vec::new();
    for level in 0..depth {
        // An array of class 1 (cell), its extents [1, 1], and its name, which only the outermost one has.
        let name: [u32; 2] = if level == 0 { [4 << 16 | 1, u32::from_le_bytes(*b"Tags")] } else { [1, 0] };
        let words = [14, (depth - level) * 48 - 8, 6, 8, 1, 0, 5, 8, 1, 1, name[0], name[1]];
        cells.extend(words.into_iter().flat_map(u32::to_le_bytes));
    }
    [header, cells].concat()
}

#[test]
fn annotations_with_absurd_numbers_are_scored_at_once_or_refused() {
    let shop = Workshop::new();
    let (said, truth) = (hostile("pnr_predictions_hang.json"), hostile("pnr_annotations_hang.json"));
    for compat in ["as-released", "fixed"] {
        let arguments = format!("-p {} -a {} --allow-missing --compat {compat}", said.display(), truth.display());
        let shown = shop.egofx(&format!("eval pnr {arguments}"));
        assert!(matches!(shown.code, Some(0 | 2)) && !shown.stderr.contains("panicked"), "{shown}");
    }
}

/// Any byte of a unit's file counts, in every format: the columns, the header, and what lies between them.
#[test]
fn a_unit_with_any_changed_byte_is_not_read() {
    for format in ["hdf5", "parquet"] {
        let folder = tempfile::tempdir().unwrap();
        let mut contract = contract("ours", RowKind::Window, 3, 1.87);
        contract.format = format.into();
        store(folder.path(), &contract, &[Made::windows("a", "v", Some((10.0, 12.0)), 4)]);
        let reader = StoreReader::open(&folder.path().join("ours")).unwrap();
        let (uid, committed) = (UnitUid::parse("a").unwrap(), reader.committed().unwrap());
        let entry = committed.get(&uid).unwrap();
        let path = folder.path().join("ours").join(&entry.file);
        let whole = fs::read(&path).unwrap();
        assert!(reader.read_entry(entry).is_ok());
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, bytes).unwrap();
            let error = reader.read_entry(entry).unwrap_err();
            assert!(matches!(error, StoreError::Checksum { .. }), "{format} byte {at}: {error}");
            assert!(reader.read_header(entry).is_err(), "{format} byte {at}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(reader.read_entry(entry).is_ok(), "a file that is right again");
    }
}

/// A store of two units alike in all but their names.
fn twins(shop: &Workshop, name: &str, kind: RowKind, format: &str) {
    let mut contract = contract(name, kind, 8, 1.87);
    contract.format = format.into();
    let unit = |name: &str| Made { rows: vec![(Some("q".to_owned()), false); 5], ..Made::windows(name, "v", None, 5) };
    store(&shop.path("out"), &contract, &[unit("a"), unit("b")]);
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_reader_refuses_a_damaged_unit_and_names_it() {
    for (format, file) in [("hdf5", "a.h5"), ("parquet", "a.parquet")] {
        let shop = Workshop::new();
        twins(&shop, "ours", RowKind::Window, format);
        twins(&shop, "same", RowKind::Window, format);
        twins(&shop, "clips", RowKind::Clip, format);
        twins(&shop, "queries", RowKind::Query, format);
        shop.egofx("compare out/ours out/same").ends_with(0);
        for set in ["ours", "clips"] {
            let path = shop.path(&format!("out/{set}/units/{file}"));
            let middle = fs::read(&path).unwrap().len() / 2;
            flip(&path, middle);
        }
        let words = [file, "is not the file that was committed"];
        for form in ["hdf5", "parquet", "egovlp-pt", "ego4d-pt", "actionformer-npy"] {
            let run = shop.egofx(&format!("convert out/ours --to {form} -o to_{form}"));
            assert!(matches!(run.code, Some(1 | 2)), "{run}");
            run.says(&words);
            assert!(!shop.path(&format!("to_{form}")).exists(), "{form}");
        }
        refused(&shop, "compare out/ours out/same", &words);
        refused(&shop, "compare out/same out/ours", &words);
        refused(&shop, "similarity --video out/clips --text out/queries -o s.npy", &words);
    }
}

/// Files may change places, with their ledger's lines: the header says whose they are.
#[test]
fn units_that_changed_places_are_told_by_their_headers() {
    for (format, extension) in [("hdf5", "h5"), ("parquet", "parquet")] {
        let shop = Workshop::new();
        twins(&shop, "ours", RowKind::Window, format);
        let path = |unit: &str| shop.path(&format!("out/ours/units/{unit}.{extension}"));
        let (a, b) = (fs::read(path("a")).unwrap(), fs::read(path("b")).unwrap());
        fs::write(path("a"), b).unwrap();
        fs::write(path("b"), a).unwrap();
        shop.egofx("convert out/ours --to hdf5 -o one").ends_with(2).says(&["is not the file that was committed"]);
        let ledger = shop.path("out/ours/ledger/1-of-1.jsonl");
        let entries: Vec<serde_json::Value> = fs::read_to_string(&ledger).unwrap().lines().map(support::json).collect();
        let mut swapped = entries.clone();
        for key in ["sha256", "bytes"] {
            swapped[0][key] = entries[1][key].clone();
            swapped[1][key] = entries[0][key].clone();
        }
        fs::write(&ledger, swapped.iter().map(|entry| format!("{entry}\n")).collect::<String>()).unwrap();
        let words = ["expected unit a of video v, found unit b of video v"];
        shop.egofx("convert out/ours --to hdf5 -o two").ends_with(2).says(&words);
        refused(&shop, "compare out/ours out/ours", &words);
    }
}
