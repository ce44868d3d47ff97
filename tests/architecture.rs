//! The structure of the library, as tests: which module may use which, and what every source file owes its readers.
//!
//! Within one crate the compiler lets any module use any other; this table does not. A new edge is a decision: add it here
//! with the change that needs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("ids", &[]),
    ("time", &[]),
    ("manifest", &["ids", "time"]),
    ("benchmark", &["manifest", "ids"]),
    ("recipe", &["digest", "ids", "grid", "backbone", "store"]),
    ("grid", &["time"]),
    ("plan", &["ids", "time", "manifest", "recipe", "grid", "decode", "store"]),
    ("decode", &["time", "recipe"]),
    ("sample", &["decode"]),
    ("batch", &["sample", "backbone"]),
    ("backbone", &["digest"]),
    ("checkpoint", &["digest"]),
    ("store", &["digest", "ids", "time"]),
    ("pipeline", &["digest", "ids", "plan", "recipe", "decode", "sample", "batch", "backbone", "store"]),
    ("verify", &["ids", "store"]),
];

/// Longest file, in lines, tests not counted.
const MOST_LINES: usize = 400;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 40, "the sources were found");
    found
}

/// What stands before the tests.
fn body(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "samples")
}

/// The module that a file belongs to: its first folder, or its own name.
fn module(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Modules named after `crate::` in code, not in comments.
fn uses(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let after = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>());
    after.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()).collect()
}

#[test]
fn modules_use_only_what_they_may() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for (path, text) in sources() {
        let module = module(&path);
        if matches!(module.as_str(), "lib" | "main" | "cli") || is_test(&path) {
            continue;
        }
        let stem = module.as_str();
        let edges = allowed.get(stem).unwrap_or_else(|| panic!("{stem} is missing in EDGES"));
        for used in uses(body(&text)) {
            assert!(used == stem || edges.contains(&used.as_str()), "{}: {stem} may not use {used}", path.display());
        }
    }
}

#[test]
fn nothing_imports_the_command_line_and_only_it_speaks_to_people() {
    for (path, text) in sources() {
        let module = module(&path);
        if matches!(module.as_str(), "cli" | "main") || is_test(&path) {
            continue;
        }
        for word in ["println!", "eprintln!", "indicatif", "anyhow", "clap::", "std::env::"] {
            let code = body(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
            assert!(!code.clone().any(|line| line.contains(word)), "{}: {word} belongs to cli", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_short_enough_to_read() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{}: opens without saying what it is for", path.display());
        let lines = body(&text).lines().count();
        assert!(is_test(&path) || lines <= MOST_LINES, "{}: {lines} lines, at most {MOST_LINES}", path.display());
    }
}

#[test]
fn no_file_unwraps_outside_tests() {
    for (path, text) in sources() {
        if is_test(&path) {
            continue;
        }
        for word in [".unwrap()", "panic!(", "todo!(", "unimplemented!("] {
            assert!(!body(&text).contains(word), "{}: {word} outside of tests", path.display());
        }
    }
}

#[test]
fn registries_have_unique_names_and_say_what_their_entries_are() {
    let mut names: Vec<&str> = egofx::benchmark::BENCHMARKS.iter().map(|b| b.name).collect();
    names.extend(egofx::store::FORMATS.iter().map(|format| format.name));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(egofx::benchmark::BENCHMARKS.iter().all(|b| !b.about.is_empty()));
    assert!(egofx::store::FORMATS.iter().all(|format| !format.about.is_empty() && !format.extension.is_empty()));
}

#[test]
fn every_recipe_and_card_that_is_shipped_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect()
    };
    assert!(!files("pipelines").is_empty() && !files("onnx").is_empty());
    for path in files("pipelines") {
        let recipe = egofx::recipe::Recipe::read(&path).unwrap();
        egofx::backbone::Card::read(&root.join("onnx"), &recipe.body.backbone).unwrap();
    }
    for path in files("onnx") {
        let name = path.file_stem().unwrap().to_string_lossy();
        egofx::backbone::Card::read(&root.join("onnx"), &name).unwrap();
    }
}
