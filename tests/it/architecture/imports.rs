//! Which file uses which, read off `use` declarations and paths in code.
//!
//! Not a compiler: macros and names of the standard prelude are not followed. A name that a module only passes on (`pub use`)
//! leads to the file that defines it, so that a module's own list of exports is no dependency. Invariant: what stands in
//! tests is left out.

use std::collections::{BTreeMap, BTreeSet};

/// A path of modules below the crate, and perhaps an item's name at its end.
pub type Path = Vec<String>;

/// A file by its path below `src`, and the files that it uses.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files of one crate.
struct Files<'t> {
    /// Bodies by modules.
    texts: BTreeMap<Path, (&'t str, String)>,
    /// What names in modules stand for.
    names: BTreeMap<Path, BTreeMap<String, Path>>,
}

/// The graph of `sources`: paths below `src`, with the code before their tests.
pub fn graph(sources: &[(String, String)]) -> Graph {
    let files = Files::new(sources);
    let edges = |(module, (name, text)): (&Path, &(&str, String))| {
        let used = files.used(module, text);
        ((*name).to_owned(), used.into_iter().filter(|other| other != name).collect())
    };
    files.texts.iter().map(edges).collect()
}

/// Groups of files that use one another in a circle: the strongly connected components of more than one file (Tarjan 1972,
/// here by reachability, which is enough for some hundred files).
pub fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        let circle: Vec<String> =
            others.iter().filter(|other| reached[**other].contains(file)).map(|o| (*o).clone()).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reachable<'g>(graph: &'g Graph, from: &'g String) -> BTreeSet<&'g String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&String> = vec![from];
    while let Some(file) = open.pop() {
        for next in graph.get(file).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

impl<'t> Files<'t> {
    fn new(sources: &'t [(String, String)]) -> Self {
        let texts: BTreeMap<Path, (&str, String)> =
            sources.iter().map(|(name, text)| (module(name), (name.as_str(), code(text)))).collect();
        let mut files = Self { texts, names: BTreeMap::new() };
        for (module, (_, text)) in &files.texts {
            let mut names = BTreeMap::new();
            for (_, paths) in declarations(text) {
                for (path, alias) in paths {
                    if let Some(full) = absolute(&path, module, &files.texts) {
                        names.insert(alias, full);
                    }
                }
            }
            files.names.insert(module.clone(), names);
        }
        files
    }

    /// Files that `text`, the code of `module`, uses.
    fn used(&self, module: &Path, text: &str) -> BTreeSet<String> {
        let mut rest = text.to_owned();
        let mut paths = Vec::new();
        for (declaration, named) in declarations(text) {
            if declaration.starts_with("pub") {
                rest = rest.replace(&declaration, "");
            } else {
                paths.extend(named.into_iter().map(|(path, _)| path));
            }
        }
        paths.extend(inline(&rest));
        let full = paths.iter().filter_map(|path| absolute(path, module, &self.texts));
        full.filter_map(|path| self.file_of(&path, 0)).map(str::to_owned).collect()
    }

    /// The file that defines what `path` leads to.
    fn file_of(&self, path: &Path, depth: usize) -> Option<&'t str> {
        let length = (0..=path.len()).rev().find(|length| self.texts.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let passed_on = rest.first().and_then(|name| self.names.get(module)?.get(name));
        match passed_on {
            Some(other) if depth < 5 && other != path => self.file_of(&[other, &rest[1..]].concat(), depth + 1),
            _ => Some(self.texts[module].0),
        }
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `a::b`.
fn module(name: &str) -> Path {
    let mut parts: Path = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// The text without lines of comment.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// `use` declarations with what each of them names, and under which name.
fn declarations(text: &str) -> Vec<(String, Vec<(Path, String)>)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in text.lines() {
        let start = line.trim_start();
        let is_use =
            start.starts_with("use ") || (start.starts_with("pub") && start.contains(" use ") && !start.contains('='));
        if is_use && let Some(end) = text[offset..].find(';') {
            let declaration = text[offset..offset + end].trim_start().to_owned();
            let tree = declaration.split_once("use ").map_or("", |(_, tree)| tree).to_owned();
            let mut paths = Vec::new();
            expand(&[], &tree, &mut paths);
            found.push((declaration, paths));
        }
        offset += line.len() + 1;
    }
    found
}

/// The paths of a tree such as `a::{b, c::{self, D as E}}`.
fn expand(prefix: &[String], tree: &str, paths: &mut Vec<(Path, String)>) {
    let tree = tree.trim();
    let segments = |text: &str| -> Path {
        text.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    };
    let Some((head, rest)) = tree.split_once('{') else {
        let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
        let mut path = [prefix, &segments(path)].concat();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = alias.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
        paths.push((path, name));
        return;
    };
    let prefix = [prefix, &segments(head)].concat();
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        expand(&prefix, &inner[start..], paths);
    }
}

/// Paths in code that begin with `crate::` or `super::`.
fn inline(text: &str) -> Vec<Path> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_name(c));
    let paths = words.filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    paths.map(|path| path.split("::").map(str::to_owned).collect()).collect()
}

/// `path` from the crate on, as `module` means it; `None` for one into another crate.
fn absolute(path: &Path, module: &Path, texts: &BTreeMap<Path, (&str, String)>) -> Option<Path> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = &module[..module.len().checked_sub(ups)?];
            Some([base, &path[ups..]].concat())
        }
        name => {
            let child = [module.as_slice(), &[name.to_owned()]].concat();
            texts.contains_key(&child).then(|| [module, path.as_slice()].concat())
        }
    }
}

#[test]
fn circles_are_found_through_names_that_are_passed_on() {
    let sources = [
        ("lib.rs", "pub mod a;\npub mod b;\n"),
        ("a/mod.rs", "mod x;\nmod y;\npub use x::X;\nuse crate::b::{self, B as Other};\n"),
        ("a/x.rs", "use super::y::Y;\npub struct X(Y);\n"),
        ("a/y.rs", "// use super::X;\npub struct Y;\nfn f() -> super::super::b::B { todo!() }\n"),
        ("b.rs", "pub struct B(crate::a::X);\n"),
    ];
    let sources = sources.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let graph = graph(&sources);
    let uses = |name: &str| graph[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!((uses("a/mod.rs"), uses("a/x.rs"), uses("b.rs")), (vec!["b.rs"], vec!["a/y.rs"], vec!["a/x.rs"]));
    assert_eq!(circles(&graph), [["a/x.rs", "a/y.rs", "b.rs"].map(str::to_owned).to_vec()]);
}
