//! The structure of this package, as tests: which module may use which, that no two files need each other, what every source
//! file owes its readers, and which words it does not speak.
//!
//! Within one crate the compiler lets any module use any other; these tables do not. A new edge is a decision: add it here
//! with the change that needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate that it may use, from the ground up: none uses what stands below it in this table.
/// Some files stand apart from their folder, because what is below the folder takes them.
const EDGES: &[(&str, &[&str])] = &[
    ("backbones::error", &[]),
    ("corpora::error", &[]),
    ("native", &[]),
    ("nn", &[]),
    ("rng", &[]),
    ("schedule", &[]),
    ("scores", &[]),
    ("synthetic", &[]),
    ("tensorboard", &[]),
    ("tensors", &[]),
    ("curves", &["scores"]),
    ("device", &["native"]),
    ("error", &["backbones::error", "corpora::error", "curves", "native"]),
    ("loader", &["error"]),
    ("losses", &["rng"]),
    ("memory", &["native"]),
    ("metrics_log", &["error", "tensorboard"]),
    ("optimizer", &["error", "native"]),
    ("precision", &["error", "native"]),
    ("sources", &["error"]),
    ("provenance", &["error", "sources"]),
    ("experiment", &["error", "optimizer", "precision", "schedule"]),
    ("distributed", &["error", "native"]),
    ("loss_sums", &["distributed", "error", "scores", "tensors"]),
    ("trainer::context", &["distributed", "loader"]),
    ("checkpoint", &["error", "experiment", "loss_sums", "precision", "provenance"]),
    ("backbones", &["backbones::error", "checkpoint", "error", "native", "nn"]),
    ("corpora", &["corpora::error", "error", "losses", "rng", "sources"]),
    ("attention_maps", &["corpora", "error"]),
    (
        "learner",
        &[
            "checkpoint",
            "corpora",
            "device",
            "distributed",
            "error",
            "experiment",
            "loss_sums",
            "optimizer",
            "rng",
            "sources",
        ],
    ),
    ("tasks", &["error", "learner", "rng", "sources"]),
    (
        "pretraining",
        &[
            "backbones",
            "backbones::error",
            "checkpoint",
            "corpora",
            "error",
            "learner",
            "loss_sums",
            "losses",
            "optimizer",
            "rng",
            "sources",
            "tensors",
        ],
    ),
    (
        "finetuning",
        &[
            "backbones",
            "backbones::error",
            "checkpoint",
            "corpora",
            "corpora::error",
            "error",
            "learner",
            "loss_sums",
            "losses",
            "optimizer",
            "pretraining",
            "rng",
            "scores",
            "sources",
            "tensors",
        ],
    ),
    (
        "heads",
        &["checkpoint", "error", "learner", "loss_sums", "nn", "optimizer", "rng", "sources", "tasks", "tensors"],
    ),
    ("evaluate", &["error", "experiment", "learner", "loader", "loss_sums", "precision", "trainer::context"]),
    ("clip_cache", &["corpora", "corpora::error", "error", "experiment", "learner", "sources"]),
    (
        "trainer",
        &[
            "checkpoint",
            "distributed",
            "error",
            "evaluate",
            "experiment",
            "learner",
            "loader",
            "loss_sums",
            "memory",
            "metrics_log",
            "native",
            "optimizer",
            "precision",
            "rng",
            "scores",
            "sources",
            "trainer::context",
        ],
    ),
    (
        "sweep",
        &[
            "curves",
            "error",
            "experiment",
            "learner",
            "metrics_log",
            "provenance",
            "scores",
            "sources",
            "trainer",
            "trainer::context",
        ],
    ),
    ("lr_find", &["curves", "error", "experiment", "learner", "sources", "trainer", "trainer::context"]),
    (
        "predict",
        &[
            "checkpoint",
            "error",
            "evaluate",
            "experiment",
            "learner",
            "loss_sums",
            "sources",
            "sweep",
            "tasks",
            "trainer::context",
        ],
    ),
    ("onnx", &["checkpoint", "error", "experiment", "learner", "predict"]),
    (
        "registry",
        &[
            "backbones",
            "clip_cache",
            "error",
            "experiment",
            "finetuning",
            "heads",
            "learner",
            "lr_find",
            "onnx",
            "predict",
            "pretraining",
            "sweep",
        ],
    ),
];

/// Longest file, in lines, tests not counted.
const MOST_LINES: usize = 400;

/// Words of version 0.1 for which the field has its own, with these. In code and experiment files they do not come back, but where
/// old files are read.
const GONE: &[(&str, &str)] = &[
    ("Behaviour", "Compat"),
    ("Carrier", "Backend"),
    ("Dice", "Rng"),
    ("Journal", "MetricsLog"),
    ("Landing", "SeekPoint"),
    ("Looks", "AttentionMaps"),
    ("Meeting", "Rendezvous"),
    ("Slot", "Param"),
    ("Treatment", "ParamGroup"),
    ("WorldPaths", "ShapesPaths"),
    ("Wish", "WindowRequest"),
    ("behaviour", "compat"),
    ("contrastive", "egonce"),
    ("crop_share", "crop_scale"),
    ("feed_forward", "mlp_dim"),
    ("forget_gradients", "zero_grad"),
    ("heads_lr", "head_lr_mult"),
    ("hidden_words", "mlm_probability"),
    ("looks", "attention_maps"),
    ("mirrored", "hflip"),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` with that extension, by their paths below the package, with their text.
fn files(folder: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "samples")
}

/// The source files of the library and the program, without files of tests.
fn sources() -> Vec<(PathBuf, String)> {
    let sources = files("src", "rs").into_iter().filter(|(path, _)| !is_test(path)).collect::<Vec<_>>();
    assert!(sources.len() > 100, "the sources were found");
    sources
}

/// These, and those of the package beside this one.
fn all_sources() -> impl Iterator<Item = (PathBuf, String)> {
    sources().into_iter().chain(files("pixels/src", "rs"))
}

/// What stands before the tests.
fn body(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

/// The code before the tests, without comments.
fn code(text: &str) -> String {
    let lines = body(text).lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// `src/trainer/steps.rs` as `trainer::steps`, `src/trainer/mod.rs` as `trainer`.
fn module(path: &Path) -> String {
    let parts = path.strip_prefix("src").unwrap().with_extension("");
    let parts: Vec<_> = parts.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    let kept = if parts.last().is_some_and(|last| last == "mod") { &parts[..parts.len() - 1] } else { &parts[..] };
    kept.join("::")
}

/// The paths of a `use` tree: `a::{b, c::d}` has `a::b` and `a::c::d`.
fn expanded(tree: &str, prefix: &str, into: &mut Vec<String>) {
    let Some((before, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap().trim();
        into.push(format!("{prefix}{path}"));
        return;
    };
    let (prefix, inner) = (format!("{prefix}{}", before.trim()), &inner[..inner.rfind('}').unwrap()]);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inner[start..at].trim().is_empty() {
                    expanded(&inner[start..at], &prefix, into);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Paths that begin with `crate::` or `super::` anywhere in the code, and those of its `use` lines.
fn paths(code: &str) -> Vec<String> {
    let (mut paths, mut rest) = (Vec::new(), String::new());
    for statement in code.split_inclusive(';') {
        match statement
            .trim_start()
            .rsplit_once("use ")
            .filter(|(before, _)| before.is_empty() || before.ends_with("pub ") || before.ends_with('\n'))
        {
            Some((_, tree)) => expanded(&tree.trim_end_matches(';').replace('\n', " "), "", &mut paths),
            None => rest.push_str(statement),
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(start) {
            let end =
                rest[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len() - at);
            paths.push(rest[at..at + end].to_owned());
        }
    }
    paths
}

/// Each file of the library, and the files that it names.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let sources: Vec<(String, String)> =
        sources().into_iter().map(|(path, text)| (module(&path), code(&text))).collect();
    let library = |name: &str| !matches!(name, "lib" | "main") && !name.starts_with("cli");
    let known: BTreeSet<String> = sources.iter().map(|(name, _)| name.clone()).filter(|name| library(name)).collect();
    let mut graph = BTreeMap::new();
    for (name, code) in sources.into_iter().filter(|(name, _)| library(name)) {
        let named = paths(&code).into_iter().filter_map(|path| resolved(&name, &path, &known));
        graph.insert(name.clone(), named.filter(|file| *file != name).collect());
    }
    graph
}

/// The file that holds what `path` names in module `name`, if it is one of this crate.
fn resolved(name: &str, path: &str, known: &BTreeSet<String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base: Vec<&str> = name.split("::").collect();
    match parts[0] {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            while parts.first() == Some(&"super") {
                base.pop();
                parts.remove(0);
            }
            parts.insert(0, "super");
        }
        first if known.contains(&format!("{name}::{first}")) => parts.insert(0, "self"),
        _ => return None,
    }
    base.extend(&parts[1..]);
    (1..=base.len()).rev().map(|length| base[..length].join("::")).find(|name| known.contains(name))
}

/// The line of the table that a file belongs to.
fn line_of(file: &str) -> usize {
    let whole = EDGES.iter().position(|(name, _)| *name == file);
    let first = file.split("::").next().unwrap();
    whole
        .or_else(|| EDGES.iter().position(|(name, _)| *name == first))
        .unwrap_or_else(|| panic!("{first} is missing in EDGES"))
}

#[test]
fn modules_use_only_what_they_may_and_nothing_above_them() {
    for (number, (name, edges)) in EDGES.iter().enumerate() {
        for edge in *edges {
            let place =
                EDGES.iter().position(|(known, _)| known == edge).unwrap_or_else(|| panic!("{edge} is no module"));
            assert!(place < number, "{name} stands below {edge} and may not use it");
        }
    }
    for (file, named) in graph() {
        let own = line_of(&file);
        for used in named {
            let (name, edges) = EDGES[own];
            let other = EDGES[line_of(&used)].0;
            let in_folder = other.split("::").next() == name.split("::").next() && !name.contains("::");
            assert!(
                other == name || in_folder || edges.contains(&other),
                "{file}: {name} may not use {other} ({used})"
            );
        }
    }
}

#[test]
fn no_two_files_need_each_other() {
    let mut left = graph();
    // Whatever uses nothing that is left is no part of a circle.
    while let Some(free) = left.iter().find(|(_, named)| named.iter().all(|file| !left.contains_key(file))) {
        let free = free.0.clone();
        left.remove(&free);
    }
    assert!(left.is_empty(), "these files form circles, or use some: {:?}", left.keys());
}

#[test]
fn paths_are_found_in_trees_and_in_code() {
    let code = "use a::b;\nuse crate::x::{self, y::{Z, w}};\nfn f() { crate::error::E::new(super::g::h) }\n";
    let expected =
        ["a::b", "crate::x::self", "crate::x::y::Z", "crate::x::y::w", "crate::error::E::new", "super::g::h"];
    assert_eq!(paths(code), expected);
    let known: BTreeSet<String> = ["x", "x::y", "x::z", "error"].map(str::to_owned).into();
    let of = |path: &str| resolved("x::z", path, &known);
    assert_eq!(of("crate::x::self"), Some("x".into()));
    assert_eq!(of("super::y::Z"), Some("x::y".into()));
    assert_eq!(of("crate::error::E::new"), Some("error".into()));
    assert_eq!(of("std::fmt"), None);
}

#[test]
fn nothing_imports_the_command_line_and_only_it_speaks_to_people() {
    for (path, text) in sources() {
        let module = module(&path);
        if module.starts_with("cli") || module == "main" {
            continue;
        }
        for word in ["println!", "eprintln!", "indicatif", "anyhow", "clap::"] {
            assert!(!code(&text).contains(word), "{}: {word} belongs to cli", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_short_enough_to_read() {
    for (path, text) in all_sources().chain(files("tests", "rs")) {
        assert!(text.starts_with("//! "), "{}: opens without saying what it is for", path.display());
        let lines = body(&text).lines().count();
        let is_source = !path.starts_with("tests");
        assert!(!is_source || lines <= MOST_LINES, "{}: {lines} lines, at most {MOST_LINES}", path.display());
    }
}

#[test]
fn no_file_unwraps_outside_tests() {
    for (path, text) in all_sources() {
        // What a forward pass cannot do is a fault of the network: tch's own operators panic there as well.
        let may_panic = path.starts_with("src/backbones") || path.starts_with("src/nn");
        for word in [".unwrap()", "todo!(", "unimplemented!(", "panic!("].iter().take(if may_panic { 3 } else { 4 }) {
            assert!(!code(&text).contains(word), "{}: {word} outside of tests", path.display());
        }
    }
}

/// Identifiers and keys of a text, with what stands in quotes.
fn identifiers(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_owned).collect()
}

#[test]
fn words_of_version_0_1_do_not_come_back() {
    // These read files of version 0.1; this tests that they do; the list itself.
    let may = [
        "src/experiment/renamed.rs",
        "src/corpora/cached.rs",
        "tests/it/program/renamed.rs",
        "tests/it/architecture.rs",
    ]
    .map(PathBuf::from);
    let all = ["src", "pixels/src", "tests", "benches"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs"))
        .chain(files("configs", "toml"));
    let is_other = |path: &Path| may.iter().any(|file| file == path);
    for (path, text) in all.filter(|(path, _)| !is_other(path)) {
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let lines = text.lines().filter(|line| !is_rust || !line.trim_start().starts_with("//"));
        let found = identifiers(&lines.collect::<Vec<_>>().join("\n"));
        for (gone, today) in GONE {
            assert!(!found.contains(*gone), "{}: {gone} is called {today}", path.display());
        }
        assert!(!text.contains("made-up"), "{}: made-up is called synthetic", path.display());
    }
}
