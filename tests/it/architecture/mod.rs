//! The structure of the library, as tests: which module may use which, and what every source file owes its readers.
//!
//! Within one crate the compiler lets any module use any other; this table does not. A new edge is a decision: add it here
//! with the change that needs it.

mod imports;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and the modules of this crate that it may use: only such as stand above it, so that there is no circle.
const EDGES: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("ids", &[]),
    ("compat", &[]),
    ("shard", &[]),
    ("stop", &[]),
    ("pixels", &[]),
    ("npy", &[]),
    ("digest", &[]),
    ("measure", &[]),
    ("meter", &[]),
    ("places", &["shard"]),
    ("child", &[]),
    ("shell", &[]),
    ("claims", &[]),
    ("foreign", &[]),
    ("durable", &[]),
    ("url", &[]),
    ("manifest", &["time", "ids", "url"]),
    ("queries", &["ids"]),
    ("benchmark", &["time", "ids", "foreign", "manifest", "queries"]),
    ("grid", &["time", "compat"]),
    ("decode", &["time", "pixels", "child", "foreign", "url"]),
    ("audit", &["time", "ids", "manifest", "grid", "decode"]),
    ("frames", &["time", "ids", "digest", "foreign", "durable", "manifest", "benchmark", "decode"]),
    ("probes", &["time", "digest", "child", "durable", "url", "decode"]),
    ("sample", &["ids", "pixels", "decode"]),
    ("thumbnails", &["time", "child", "decode"]),
    ("checkpoint", &["digest", "foreign", "durable"]),
    ("arch", &["checkpoint"]),
    ("text", &["digest", "foreign"]),
    ("backbone", &["compat", "pixels", "digest", "measure"]),
    ("export", &["digest", "measure", "meter", "durable", "checkpoint", "arch", "backbone"]),
    ("batch", &["pixels", "sample", "backbone"]),
    ("store", &["time", "ids", "shard", "digest", "measure", "foreign", "durable"]),
    ("recipe", &["ids", "compat", "digest", "grid", "decode", "text", "backbone", "store"]),
    ("feature_set", &["ids", "backbone", "store", "recipe"]),
    (
        "plan",
        &[
            "time",
            "ids",
            "compat",
            "shard",
            "digest",
            "manifest",
            "queries",
            "grid",
            "decode",
            "store",
            "recipe",
            "feature_set",
        ],
    ),
    (
        "pipeline",
        &[
            "ids",
            "stop",
            "pixels",
            "digest",
            "meter",
            "claims",
            "manifest",
            "queries",
            "decode",
            "sample",
            "backbone",
            "batch",
            "store",
            "recipe",
            "feature_set",
            "plan",
        ],
    ),
    ("report", &["ids", "shard", "digest", "meter", "durable", "store"]),
    ("status", &["ids", "shard", "meter", "claims", "store", "report"]),
    ("verify", &["ids", "compat", "meter", "store"]),
    ("objects", &["time", "ids", "stop", "digest", "meter", "durable", "url", "decode", "store"]),
    (
        "transcode",
        &[
            "time", "ids", "shard", "stop", "digest", "child", "claims", "durable", "manifest", "grid", "decode",
            "store",
        ],
    ),
    ("submit", &["shell"]),
    ("features", &["time", "ids", "digest", "meter", "store"]),
    ("qfvs", &[]),
    ("labels", &["time", "ids", "queries", "benchmark", "store", "features", "qfvs"]),
    (
        "convert",
        &[
            "time",
            "ids",
            "durable",
            "manifest",
            "queries",
            "benchmark",
            "checkpoint",
            "text",
            "store",
            "features",
            "qfvs",
            "labels",
        ],
    ),
    ("import", &["time", "ids", "shard", "npy", "digest", "measure", "foreign", "durable", "checkpoint", "store"]),
    ("compare", &[]),
    ("retrieval", &["ids", "measure", "queries", "store"]),
    ("metric", &["compat", "npy", "digest", "foreign", "benchmark"]),
    ("search", &["digest", "meter", "durable", "queries", "text", "backbone", "store", "recipe"]),
    ("page", &["time", "ids", "compat", "meter", "thumbnails", "store", "report", "compare", "metric"]),
    (
        "heads",
        &[
            "time",
            "ids",
            "compat",
            "meter",
            "durable",
            "queries",
            "benchmark",
            "backbone",
            "store",
            "features",
            "qfvs",
            "labels",
            "metric",
            "shell",
        ],
    ),
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

/// Made by a program, for programs.
fn is_generated(text: &str) -> bool {
    text.contains("@generated by")
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
fn modules_use_what_stands_above_them_in_the_table_and_in_the_library() {
    let place = |name: &str| EDGES.iter().position(|(module, _)| *module == name).unwrap_or_else(|| panic!("{name}"));
    let lib = include_str!("../../../src/lib.rs");
    let group = |name: &str| {
        let declared = lib.find(&format!("pub mod {name};")).unwrap_or_else(|| panic!("{name} is not in lib.rs"));
        lib[..declared].matches("\n\n").count()
    };
    for (module, edges) in EDGES {
        for used in *edges {
            assert!(place(used) < place(module), "EDGES: {used} is to stand above {module}, which uses it");
            assert!(group(used) <= group(module), "lib.rs: {used} is in a later group than {module}, which uses it");
        }
    }
    assert_eq!(lib.matches("pub mod ").count(), EDGES.len());
}

/// Features of the package, and those that they bring along.
const FEATURES: &[(&str, &[&str])] = &[
    ("onnx", &[]),
    ("export", &["onnx"]),
    ("convert", &[]),
    ("objects", &[]),
    ("cli", &["onnx", "export", "convert", "objects"]),
];

/// The feature that a module is compiled with; `None` for one that is always there.
fn feature_of(module: &str) -> Option<&'static str> {
    let lib = include_str!("../../../src/lib.rs");
    let before = lib.split(&format!("pub mod {module};")).next().unwrap();
    before.lines().last()?.strip_prefix("#[cfg(feature = \"")?.strip_suffix("\")]")
}

#[test]
fn modules_use_only_what_is_compiled_with_them() {
    let has = |feature: &str, other: &str| {
        feature == other || FEATURES.iter().any(|(name, brings)| *name == feature && brings.contains(&other))
    };
    for (module, edges) in EDGES {
        for (used, needed) in edges.iter().filter_map(|used| Some((used, feature_of(used)?))) {
            let with = feature_of(module).unwrap_or("nothing");
            assert!(has(with, needed), "{module} is compiled with {with}, and uses {used}, which {needed} brings");
        }
    }
    let manifest: toml::Table = include_str!("../../../Cargo.toml").parse().unwrap();
    for (name, brings) in FEATURES {
        let listed = manifest["features"][name].as_array().unwrap();
        let own: Vec<&str> = listed.iter().map(|one| one.as_str().unwrap()).filter(|one| !one.contains(':')).collect();
        assert_eq!(own, *brings, "{name}");
    }
    let gated: Vec<_> = EDGES.iter().filter_map(|(module, _)| feature_of(module)).collect();
    assert!(["onnx", "export", "convert", "objects"].iter().all(|feature| gated.contains(feature)), "{gated:?}");
}

#[test]
fn no_files_use_one_another_in_a_circle() {
    let text = |(path, text): &(PathBuf, String)| (path.to_string_lossy().into_owned(), body(text).to_owned());
    let files: Vec<(String, String)> =
        sources().iter().filter(|(path, _)| !is_test(path) && module(path) != "main").map(text).collect();
    let circles = imports::circles(&imports::graph(&files));
    assert_eq!(circles, [] as [Vec<String>; 0]);
}

#[test]
fn nothing_imports_the_command_line_and_only_it_speaks_to_people() {
    for (path, text) in sources() {
        let module = module(&path);
        if matches!(module.as_str(), "cli" | "main") || is_test(&path) {
            continue;
        }
        for word in ["println!", "eprintln!", "indicatif", "anyhow", "clap::", "std::env::"] {
            // Reading the environment for command lines is what `places` is for.
            if module == "places" && word == "std::env::" {
                continue;
            }
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
        assert!(
            is_test(&path) || is_generated(&text) || lines <= MOST_LINES,
            "{}: {lines} lines, at most {MOST_LINES}",
            path.display()
        );
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
    assert!(egofx::metric::EVALUATORS.iter().all(|evaluator| !evaluator.about.is_empty()));
    names.extend(egofx::store::FORMATS.iter().map(|format| format.name));
    let mut consumers: Vec<&str> = egofx::convert::CONSUMERS.iter().map(|consumer| consumer.name).collect();
    consumers.sort_unstable();
    assert!(consumers.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(egofx::convert::CONSUMERS.iter().all(|consumer| !consumer.about.is_empty()));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(egofx::text::RULES.iter().all(|rule| !rule.name.is_empty() && !rule.about.is_empty()));
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
        // Cards of real models are made by `egofx export`.
        if egofx::export::MODELS.iter().any(|model| recipe.body.backbone.starts_with(model.name)) {
            continue;
        }
        egofx::backbone::Towers::single(&root.join("onnx"), &recipe.body.backbone, &recipe.body.feature).unwrap();
    }
    for path in files("onnx") {
        let name = path.file_stem().unwrap().to_string_lossy();
        egofx::backbone::Card::read(&root.join("onnx"), &name).unwrap();
    }
}
