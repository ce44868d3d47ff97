//! What commands write is there whole or not at all: every operation on a file fails once, or is the program's last.
//!
//! `support/faults.c` is preloaded into the program and counts what it does to files below one folder. `make test` tries a
//! few operations of each command, `make test-long` every one, in four ways: the program dies before it, or in its midst,
//! or it is refused for want of room, or by the device. Invariant: a command ends with 0 only if its output is, byte for
//! byte, that of an undisturbed run; otherwise nothing has changed, and the same command again makes that output and leaves
//! nothing besides.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use egofx::store::RowKind;

use crate::support;
use crate::support::stores::{Made, contract, store};
use crate::support::{Workshop, checkout};

/// Ways to go wrong, as `faults.c` calls them.
const WAYS: [&str; 4] = ["kill", "torn", "enospc", "eio"];
/// Files by their paths below the output folder.
type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What a command leaves when it is disturbed.
#[derive(Clone, Copy, PartialEq)]
enum Promise {
    /// All of it or nothing.
    Whole,
    /// Of several files each is the former or the new one when the program dies; an error changes nothing.
    Files,
    /// Units that were done stay.
    Units,
}

struct Case {
    name: &'static str,
    /// `@` is the output folder.
    command: String,
    promise: Promise,
    /// A command that was run there before.
    before: Option<String>,
}

fn case(name: &'static str, promise: Promise, command: impl Into<String>) -> Case {
    Case { name, command: command.into(), promise, before: None }
}

impl Case {
    /// The same over what another command made.
    fn over(self, before: impl Into<String>) -> Self {
        Self { before: Some(before.into()), command: self.command + " --force", ..self }
    }
}

/// A workshop with inputs for every command.
struct Campaign {
    shop: Workshop,
    library: PathBuf,
}

/// What became of a disturbed run.
struct Disturbed {
    output: Output,
    happened: bool,
}

impl Campaign {
    fn new() -> Self {
        let shop = Workshop::new();
        let library = shop.path("faults.so");
        let source = checkout().join("tests/it/support/faults.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
        assert!(compiled.unwrap().success());
        let windows = |rows| ["a", "b"].map(|clip| Made::windows(clip, "v", Some((0.0, 16.0)), rows));
        store(&shop.path("in"), &contract("windows", RowKind::Window, 6, 1.87), &windows(30));
        store(&shop.path("in"), &contract("others", RowKind::Window, 6, 1.87), &windows(8));
        fs::create_dir(shop.path("out")).unwrap();
        Self { shop, library }
    }

    fn out(&self) -> PathBuf {
        self.shop.path("out")
    }

    fn command(&self, command: &str) -> Command {
        self.shop.program(&command.replace('@', &self.out().to_string_lossy()))
    }

    fn undisturbed(&self, command: &str) {
        let output = self.command(command).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `command` so that its operation number `at` goes wrong.
    fn disturbed(&self, command: &str, way: &str, at: usize) -> Disturbed {
        let hit = self.shop.path("hit");
        let _ = fs::remove_file(&hit);
        let output = self
            .command(command)
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_BELOW", self.out())
            .env("FAULTS_HOW", way)
            .env("FAULTS_AT", at.to_string())
            .env("FAULTS_HIT", &hit)
            .output()
            .unwrap();
        Disturbed { output, happened: hit.exists() }
    }

    fn reset(&self, before: &Tree) {
        fs::remove_dir_all(self.out()).unwrap();
        fs::create_dir(self.out()).unwrap();
        for (name, bytes) in before {
            let path = self.out().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// All files, but for those that only a run under way has, and those that say who ran when.
    fn tree(&self, promise: Promise) -> Tree {
        let entries =
            walkdir::WalkDir::new(self.out()).into_iter().flatten().filter(|entry| entry.file_type().is_file());
        let names = entries.map(|entry| entry.path().strip_prefix(self.out()).unwrap().to_owned());
        let is = |part: &std::ffi::OsStr| {
            let part = part.to_string_lossy();
            let of_a_run =
                part.starts_with(".egofx-") || part == "tmp" || part == "locks" || part.starts_with("report");
            of_a_run || (promise == Promise::Units && part == "ledger")
        };
        let names = names.filter(|name| !name.iter().any(is));
        names.map(|name| (name.clone(), fs::read(self.out().join(&name)).unwrap())).collect()
    }

    /// Tries `case` at every `stride`th operation from the first on, in each way.
    fn try_all(&self, case: &Case, ways: &[&str], stride: usize) -> Tried {
        self.reset(&Tree::new());
        if let Some(before) = &case.before {
            self.undisturbed(before);
        }
        let before = self.tree(case.promise);
        self.undisturbed(&case.command);
        let expected = self.tree(case.promise);
        assert_ne!(before, expected, "{}: nothing was written", case.name);
        let mut tried = Tried::default();
        for way in ways {
            for at in (1..).step_by(stride) {
                self.reset(&before);
                let disturbed = self.disturbed(&case.command, way, at);
                if !disturbed.happened {
                    assert!(disturbed.output.status.success(), "{}", told(&disturbed.output));
                    break;
                }
                tried.points += 1;
                let judged = self.judge(case, &disturbed.output, &before, &expected);
                if let Err(why) = judged.and_then(|()| self.again(case, &expected)) {
                    let said = told(&disturbed.output);
                    tried.faults.push(format!("{}, {way} at operation {at}: {why}\n{said}", case.name));
                }
            }
        }
        tried
    }

    /// What a disturbed run has left.
    fn judge(&self, case: &Case, output: &Output, before: &Tree, expected: &Tree) -> Result<(), String> {
        let (found, said) = (self.tree(case.promise), told(output));
        let died = output.status.signal() == Some(9);
        expect(died || output.status.code().is_some_and(|code| code <= 1), "its exit status")?;
        expect(!said.contains("panicked"), "a panic")?;
        if output.status.success() {
            return same(&found, expected).map_err(|differ| format!("ended with 0, and {differ}"));
        }
        expect(died || said.contains(&*self.out().to_string_lossy()), "no file is named")?;
        match case.promise {
            Promise::Whole if died => same(&found, before).or_else(|_| same(&found, expected)),
            Promise::Files if died => {
                let mut names = found.keys().chain(expected.keys()).chain(before.keys());
                let either = |name| [before, expected].iter().any(|tree| tree.get(name) == found.get(name));
                expect(names.all(either), "a file is neither the former nor the new one")
            }
            Promise::Whole | Promise::Files => same(&found, before),
            Promise::Units => Ok(()),
        }
    }

    /// The same command again, undisturbed.
    fn again(&self, case: &Case, expected: &Tree) -> Result<(), String> {
        let output = self.command(&case.command).output().unwrap();
        let said = told(&output);
        let refused = output.status.code() == Some(2) && said.contains("exists already");
        let ended = output.status.success() || (refused && case.promise == Promise::Whole);
        expect(ended, &format!("the same command again: {said}"))?;
        same(&self.tree(case.promise), expected).map_err(|differ| format!("the same command again: {differ}"))?;
        let left = self.shop.leftovers("out");
        expect(left.is_empty(), &format!("after the same command again there is {left:?}"))
    }
}

/// Points that were tried, and what was wrong.
#[derive(Default)]
struct Tried {
    points: usize,
    faults: Vec<String>,
}

impl Tried {
    /// Asserts that nothing was wrong at `least` points or more, and tells how many there were.
    #[track_caller]
    fn at_least(self, least: usize, name: &str) {
        eprintln!("{name}: {} points, {} faults", self.points, self.faults.len());
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        assert!(self.points >= least, "{name}: only {} points", self.points);
    }
}

fn expect(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// Files that are in one tree only, or that differ.
fn same(found: &Tree, expected: &Tree) -> Result<(), String> {
    let all = found.keys().chain(expected.keys());
    let differ: BTreeSet<_> = all.filter(|name| found.get(*name) != expected.get(*name)).collect();
    if differ.is_empty() { Ok(()) } else { Err(format!("{differ:?} differ from what is expected")) }
}

fn told(output: &Output) -> String {
    format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

const EGOVLP: &str = "--rows-per-sec 1.87 --window-frames 4 --backbone egovlp";

/// Commands that need neither a model nor a video.
fn cases(shop: &Workshop) -> Vec<Case> {
    use Promise::{Files, Whole};
    let data = |name: &str| checkout().join("tests/data").join(name).display().to_string();
    shop.egofx("convert in/windows --to egovlp-pt -o pt").ends_with(0);
    shop.egofx("convert in/others --to egovlp-pt -o others").ends_with(0);
    let convert = |format: &str| format!("convert in/windows --to {format} -o @/made");
    let import = |files: &str| format!("import {files} --as made -o @ {EGOVLP}");
    let manifest =
        |file: &str| format!("manifest nlq --annotations {} -o @/nlq.csv", data(&format!("annotations/{file}")));
    let checkpoint =
        |file: &str, to: &str| format!("checkpoint convert {} @/{to}", data(&format!("checkpoints/{file}")));
    vec![
        case("manifest", Files, manifest("nlq_golden.json")),
        case("manifest --force", Files, manifest("nlq_golden.json")).over(manifest("nlq_val.json")),
        case("egovlp-pt", Whole, convert("egovlp-pt")),
        case("hdf5", Whole, convert("hdf5")),
        case("hdf5 --force", Whole, convert("hdf5")).over("convert in/others --to hdf5 -o @/made"),
        case("parquet", Whole, convert("parquet")),
        case("actionformer-npy", Whole, convert("actionformer-npy")),
        case("import", Whole, import("pt")),
        case("import --force", Whole, import("pt")).over(import("others")),
        case("import to parquet", Whole, import("pt") + " --format parquet"),
        case("safetensors", Whole, checkpoint("module.pt", "c.safetensors")),
        case("pth", Whole, checkpoint("module.pt", "c.pth")),
        case("pth --force", Whole, checkpoint("module.pt", "c.pth")).over(checkpoint("odd.tar", "c.pth")),
    ]
}

/// Commands about queries: tables, dicts and maps of tokens.
fn cases_of_queries(shop: &Workshop) -> Vec<Case> {
    let golden = checkout().join("tests/data/annotations/nlq_golden.json");
    let listed = shop.egofx(&format!("manifest nlq --annotations {} -o nlq.csv", golden.display()));
    listed.ends_with(0);
    let queries = egofx::queries::Queries::read(&shop.path("nlq.queries.csv")).unwrap();
    let clips = [
        Made::windows("clip-0001", "vid-aaaa", Some((0.0, 480.0)), 897),
        Made::windows("clip-0002", "vid-aaaa", Some((480.0021, 960.0021)), 10),
        Made::windows("clip-0003", "vid-bbbb", Some((0.0, 216.4333)), 100),
    ];
    store(&shop.path("in"), &contract("clips", RowKind::Window, 5, 1.87), &clips);
    let of = |clip: &str| clips.iter().find(|made| made.unit == clip).unwrap().clone();
    let tokens = ["vid-aaaa", "vid-bbbb"].map(|video| {
        let about = queries.iter().filter(|query| of(query.clip_uid.as_str()).video == video);
        let tokens = about.flat_map(|query| (0..8).map(move |token| (Some(query.id.to_owned()), token >= 6)));
        Made { clip: None, span: None, rows: tokens.collect(), ..Made::windows(video, video, None, 0) }
    });
    store(&shop.path("in"), &contract("tokens", RowKind::Token, 4, 0.0), &tokens);
    let videos = [Made::windows("vid-aaaa", "vid-aaaa", None, 1801), Made::windows("vid-bbbb", "vid-bbbb", None, 300)];
    store(&shop.path("in"), &contract("whole", RowKind::Window, 3, 1.875), &videos);
    let fused = queries.iter().map(|query| of(query.clip_uid.as_str()).fused(query.id));
    store(&shop.path("in"), &contract("fused", RowKind::FusedWindow, 6, 1.87), &fused.collect::<Vec<_>>());
    let tables = "--queries nlq.queries.csv -m nlq.csv -o @/made";
    let convert = |set: &str, format: &'static str, more: &str| {
        case(format, Promise::Whole, format!("convert {set} --to {format} {more} {tables}"))
    };
    let mut cases = vec![
        convert("in/clips", "groundnlq-lmdb", "--tokens in/tokens"),
        convert("in/whole", "ego4d-pt", ""),
        convert("in/fused", "egovlpv2-nlq", "--tokens in/tokens"),
        convert("", "vslnet-json", ""),
    ];
    cases.extend(["egovlp-text-npy", "egovlp-text-pt"].map(|format| {
        let command = format!("convert in/tokens --to {format} --queries nlq.queries.csv -o @/made");
        case(format, Promise::Whole, command)
    }));
    cases
}

/// Shots that met their prompts.
fn cases_of_summaries(shop: &Workshop) -> Vec<Case> {
    for folder in ["oracle/P01", "tags/P01"] {
        fs::create_dir_all(shop.path(folder)).unwrap();
    }
    shop.write("oracle/P01/Cupglass_Desk_oracle.txt", "1\n3\n12\n");
    let tags = |shot: usize| if shot.is_multiple_of(3) { "Desk,Hat\n" } else { "Cupglass\n" };
    shop.write("tags/P01/P01.txt", (0..12).map(tags).collect::<String>());
    shop.egofx("manifest qfvs --annotations oracle -o qfvs.csv").ends_with(0);
    let video = Made::windows("P01", "P01", None, 12);
    store(&shop.path("in"), &contract("shots", RowKind::Window, 4, 0.2), std::slice::from_ref(&video));
    let queries = egofx::queries::Queries::read(&shop.path("qfvs.queries.csv")).unwrap();
    let fused = queries.iter().map(|query| video.clone().fused(query.id));
    store(&shop.path("in"), &contract("prompted", RowKind::FusedWindow, 6, 0.2), &fused.collect::<Vec<_>>());
    let command = "convert in/prompted --to qfvs-pt --shots in/shots --tags tags -m qfvs.csv -o @/made";
    vec![case("qfvs-pt", Promise::Whole, command)]
}

/// Commands that write what features are scored by.
fn cases_of_scores(shop: &Workshop) -> Vec<Case> {
    use Promise::Files;
    let data = |name: &str| checkout().join("tests/data/metrics/mq").join(name).display().to_string();
    let names = ["c_0", "c_1", "c_2", "c_3", "c_4"];
    let row = |id: &str| (Some(id.to_owned()), false);
    let clips = names.map(|clip| Made { rows: vec![row(clip)], ..Made::windows(clip, "v", Some((0.0, 1.0)), 1) });
    store(&shop.path("in"), &contract("pooled", RowKind::Clip, 4, 0.0), &clips);
    let rows = ["7", "9"].map(row).to_vec();
    let asked = Made { clip: None, rows, ..Made::windows("v", "v", None, 0) };
    store(&shop.path("in"), &contract("asked", RowKind::Query, 4, 0.0), &[asked]);
    let table = "query_id,clip_uid,text,start_sec,end_sec,split,types,answer,choices\n";
    let question = |id: &str, types: u8| format!("{id},c_2,Who?,,,,{types},2,{}\n", names.join(" "));
    shop.write("mcq.queries.csv", format!("{table}{}{}", question("7", 1), question("9", 2)));
    let detections = data("detections_expected.json");
    let stores = "--video in/pooled --text in/asked";
    vec![
        case("mcq", Files, format!("mcq --queries mcq.queries.csv {stores} -o @/scores.json")),
        case("similarity", Files, format!("similarity {stores} -o @/similarity")),
        case(
            "postprocess",
            Files,
            format!("postprocess vsgn --proposals {detections} -a {} -o @/submission.json", data("moments_val.json")),
        ),
    ]
}

/// The command that runs a model.
fn cases_of_extraction(shop: &Workshop) -> Vec<Case> {
    use Promise::Units;
    shop.recipe("rows", support::DENSE, "hdf5", "f32");
    one_video(shop);
    shop.manifest(&["videos/v.mp4"]);
    vec![case("extract", Units, "extract -m all.csv -p rows.toml -o @")]
}

/// Commands that write graphs and cards.
fn cases_of_graphs(_: &Workshop) -> Vec<Case> {
    let export = |seed: u32| format!("export --random egovlp --tiny --seed {seed} --out @/models");
    vec![case("export", Promise::Files, export(1)), case("export --force", Promise::Files, export(1)).over(export(2))]
}

/// Commands that encode videos.
fn cases_of_videos(shop: &Workshop) -> Vec<Case> {
    one_video(shop);
    let fast = "--preset ultrafast --threads 1";
    vec![
        case("resize", Promise::Units, format!("resize --videos videos -o @ {fast}")),
        case("chunk", Promise::Units, format!("chunk --videos videos -o @ --length 1 {fast}")),
    ]
}

fn one_video(shop: &Workshop) {
    fs::create_dir(shop.path("videos")).unwrap();
    shop.encode("videos/v.mp4", "64x48", 30, support::H264);
}

#[test]
fn a_few_faults_of_each_kind_leave_all_or_nothing() {
    let campaign = Campaign::new();
    for (number, case) in cases(&campaign.shop).iter().enumerate() {
        // Others for each command, so that together they meet every kind of operation.
        campaign.try_all(case, &WAYS, 29 + number).at_least(4, case.name);
    }
}

#[test]
fn a_single_refused_operation_never_changes_an_hdf5_file_in_silence() {
    let campaign = Campaign::new();
    let hdf5 = case("hdf5", Promise::Whole, "convert in/windows --to hdf5 -o @/made");
    campaign.try_all(&hdf5, &["enospc"], 1).at_least(40, "hdf5");
}

/// All points of all cases that `of` gives, `least` of them or more, to the end whatever is found.
fn try_every(of: fn(&Workshop) -> Vec<Case>, least: usize) {
    let campaign = Campaign::new();
    let mut all = Tried::default();
    for case in of(&campaign.shop) {
        let tried = campaign.try_all(&case, &WAYS, 1);
        eprintln!("{}: {} points, {} faults", case.name, tried.points, tried.faults.len());
        all.points += tried.points;
        all.faults.extend(tried.faults);
    }
    all.at_least(least, "together");
}

#[test]
#[ignore = "long: every operation of every command that writes fails once in each of four ways"]
fn every_fault_leaves_all_or_nothing() {
    try_every(cases, 1000);
}

#[test]
#[ignore = "long: the same for what is written about queries"]
fn every_fault_of_commands_about_queries_leaves_all_or_nothing() {
    try_every(cases_of_queries, 1000);
}

#[test]
#[ignore = "long: the same for summaries"]
fn every_fault_of_commands_about_summaries_leaves_all_or_nothing() {
    try_every(cases_of_summaries, 50);
}

#[test]
#[ignore = "long: the same for scores and submissions"]
fn every_fault_of_commands_about_scores_leaves_all_or_nothing() {
    try_every(cases_of_scores, 100);
}

#[test]
#[ignore = "long: the same for extraction, a second each"]
fn every_fault_of_extraction_leaves_all_or_nothing() {
    try_every(cases_of_extraction, 400);
}

#[test]
#[ignore = "long: the same for graphs, a second each"]
fn every_fault_of_commands_about_graphs_leaves_all_or_nothing() {
    try_every(cases_of_graphs, 1000);
}

#[test]
#[ignore = "long: the same for commands that encode videos"]
fn every_fault_of_commands_about_videos_leaves_all_or_nothing() {
    try_every(cases_of_videos, 300);
}
