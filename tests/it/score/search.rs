//! Search through the program and the library: scores and order against NumPy, moments, refusals, and texts that stay texts.

use std::path::PathBuf;
use std::sync::LazyLock;

use egofx::backbone::{Card, Dim};
use egofx::meter::Meter;
use egofx::ndarray::{Array2, Axis};
use egofx::search::{Hit, MomentRule, current, search, search_batch};
use egofx::store::{Contract, RowKind, StoreReader};
use serde_json::{Value, json};

use super::heads::head_of;
use crate::support;
use crate::support::stores::{self, Made};
use crate::support::{Outcome, Workshop, python};

/// Windows of two videos and three sentences by a tiny EgoVLPv2, and a set of class tokens beside them.
fn shop() -> Workshop {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| made().kept("search"));
    Workshop::like(&MADE)
}

const QUERIES: [(&str, &str); 3] = [("q1", "#C C washes a pan"), ("q2", "where I cut"), ("q3", "#O rests, \"again\"")];

fn made() -> Workshop {
    let shop = Workshop::new();
    shop.clip("v.mp4", 120);
    shop.encode("w.mp4", "64x48", 75, support::H264);
    shop.write(
        "all.csv",
        "video_uid,clip_uid,start_sec,end_sec,path\nv,v-1,0,2.4,v.mp4\nv,v-2,2.4,4.8,v.mp4\nw,w-1,0,3,w.mp4\n",
    );
    let mut table = egofx::queries::Queries::new(&[]);
    let clip_uid = egofx::ids::ClipUid::parse("v-1").unwrap();
    for (id, text) in QUERIES {
        table.push(egofx::queries::Query { id, clip_uid: &clip_uid, text, start_sec: None, end_sec: None }, &[]);
    }
    let mut bytes = Vec::new();
    table.write_csv(&mut bytes).unwrap();
    shop.write("queries.csv", bytes);
    support::write_vocabulary(&shop, "words");
    shop.models();
    let shipped = |name: &str| std::fs::read_to_string(support::checkout().join("pipelines").join(name)).unwrap();
    let rows = shipped("egovlpv2_mq.toml").replace("frames = 16", "frames = 4");
    shop.write("rows.toml", &rows);
    shop.write("class.toml", rows.replace("\"embedding\"", "\"class\""));
    shop.write("text.toml", shipped("egovlpv2_mcq_text.toml"));
    let recipes = "-p rows.toml -p class.toml -p text.toml --queries queries.csv";
    shop.egofx(&format!("extract -m all.csv {recipes} --models models --tokenizer words -o out")).ends_with(0);
    shop
}

/// A search by a sentence of any kind.
fn by_sentence(shop: &Workshop, arguments: &str, text: &str) -> Outcome {
    let arguments = format!("search --models models --tokenizer words {arguments}");
    shop.finished(&arguments, shop.program(&arguments).arg(text))
}

fn moments(shown: &Outcome, query: usize) -> Vec<Value> {
    support::json(&shown.stdout)[query]["moments"].as_array().unwrap().clone()
}

/// Reads an index as the book says how.
const READ: &str = "import json, numpy as np\n\
    def index(path):\n\
    \x20   h = json.loads(open(path, 'rb').read(4096))\n\
    \x20   rows = np.memmap(path, '<f2', 'r', 4096, (h['rows'], h['stride']))[:, :h['dim']]\n\
    \x20   times = np.memmap(path, '<f8', 'r', 4096 + 2 * h['rows'] * h['stride'], (h['rows'], 2))\n\
    \x20   return rows.astype(np.float32), times\n";

/// That `found` (rows with scores, best first) is the ranking of `scores` (by row): equal within 1e-5 at every rank, and in the order
/// of rows where scores are equal.
#[track_caller]
fn expect_ranking(found: &[(usize, f64)], scores: &[f64]) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&one, &another| scores[another].total_cmp(&scores[one]));
    for (rank, (&(row, score), best)) in found.iter().zip(&order).enumerate() {
        let (own, expected) = (scores[row], scores[*best]);
        assert!((score - own).abs() < 1e-5, "row {row}: {score}, NumPy says {own}");
        assert!((score - expected).abs() < 1e-5, "rank {rank}: {score}, NumPy says {expected}");
    }
    let in_order = |pair: &[(usize, f64)]| pair[0].1 > pair[1].1 || pair[0].1 == pair[1].1 && pair[0].0 < pair[1].0;
    assert!(found.windows(2).all(in_order), "best first, ties by row");
}

#[test]
fn sentences_rank_windows_as_numpy_does_alone_and_in_a_batch() {
    let shop = shop();
    let texts = shop.unit("out/text", "v");
    let vectors: Vec<Vec<f32>> = texts.features.outer_iter().map(|row| row.to_vec()).collect();
    let ids: Vec<&str> = texts.meta.iter().map(|row| row.query_id.as_deref().unwrap()).collect();
    shop.write("vectors.json", json!(vectors).to_string());
    let flags = "--margin 0 --top 1000 --json";
    let batch = format!("search out/rows --batch queries.csv --models models --tokenizer words {flags}");
    let batch = shop.egofx(&batch).ends_with(0).says(&["search.index: written: there is none"]);
    let rows = StoreReader::open(&shop.path("out/rows")).unwrap().committed().unwrap();
    let rows: u64 = rows.iter().map(|entry| entry.rows).sum();
    let program = format!(
        "{READ}rows, times = index('out/rows/search.index')\nq = np.array(json.load(open('vectors.json')), np.float32)\n\
         q /= np.linalg.norm(q, axis=1, keepdims=True)\nprint(json.dumps([(rows @ q.T).T.tolist(), times.tolist()]))"
    );
    let numpy = python(&shop, &program);
    let times: Vec<(f64, f64)> = serde_json::from_value(numpy[1].clone()).unwrap();
    assert!(times.len() as u64 == rows && rows > 10, "{rows}");
    for (query, (id, text)) in QUERIES.iter().enumerate() {
        let place = ids.iter().position(|found| found == id).unwrap();
        let scores: Vec<f64> = serde_json::from_value(numpy[0][place].clone()).unwrap();
        let alone = by_sentence(&shop, &format!("out/rows {flags}"), text).ends_with(0);
        for shown in [moments(&alone, 0), moments(&batch, query)] {
            // Rows of the two videos, by clip and start: both clips of v come before w's.
            let row = |moment: &Value| {
                let (video, start) = (moment["video_uid"].as_str().unwrap(), moment["start_sec"].as_f64().unwrap());
                let rows = times.iter().enumerate().filter(|(_, times)| times.0 == start);
                let row =
                    if video == "v" { rows.map(|(row, _)| row).next() } else { rows.map(|(row, _)| row).next_back() };
                (row.unwrap(), moment["score"].as_f64().unwrap())
            };
            let found: Vec<(usize, f64)> = shown.iter().map(row).collect();
            assert!(found.len() > 8, "{}", found.len());
            expect_ranking(&found, &scores);
        }
    }
}

/// A store of `units` with rows of 40 features, which is no multiple of anything, and its index.
fn unlike_rows(shop: &Workshop, name: &str, units: &[Made]) -> egofx::search::Index {
    let contract = Contract { recipe: RECIPE.into(), ..stores::contract(name, RowKind::Window, 40, 1.875) };
    stores::store(&shop.path(""), &contract, units);
    let path = egofx::search::index_file(&shop.path(name), None).unwrap();
    current(&StoreReader::open(&shop.path(name)).unwrap(), &path, &Meter::default()).unwrap().0
}

const RECIPE: &str = "backbone = \"egovlpv2_video\"\nfeature = \"embedding\"\ncompat = \"fixed\"\n[grid]\nkind = \"egovlpv2\"\nframes = 4\n\
    [transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n[output]\nformat = \"hdf5\"\ndtype = \"f32\"\n";

#[test]
fn many_rows_of_two_stores_are_ranked_as_numpy_ranks_them() {
    let shop = Workshop::new();
    let units: Vec<Made> = (0..7).map(|i| Made::windows(&format!("u{i}"), &format!("v{i}"), None, 150 + i)).collect();
    // The same rows once more in the second store, so that each has an equal.
    let indexes = [unlike_rows(&shop, "one", &units), unlike_rows(&shop, "two", &units[..3])];
    let queries = Array2::from_shape_fn((20, 40), |(i, j)| ((i * 41 + j * 7) as f32 * 0.37).sin());
    let norms = queries.map_axis(Axis(1), |row| row.dot(&row).sqrt()).insert_axis(Axis(1));
    let queries = queries / norms;
    shop.write("queries.json", json!(queries.outer_iter().map(|row| row.to_vec()).collect::<Vec<_>>()).to_string());
    let program = format!(
        "{READ}rows = np.concatenate([index(f'{{name}}/search.index')[0] for name in ('one', 'two')])\n\
         print(json.dumps((rows @ np.array(json.load(open('queries.json')), np.float32).T).T.tolist()))"
    );
    let numpy: Vec<Vec<f64>> = serde_json::from_value(python(&shop, &program)).unwrap();
    let all = MomentRule { top: 10_000, margin: 0.0 };
    let first = indexes[0].rows();
    let ranking = |hits: &[Hit]| -> Vec<(usize, f64)> {
        hits.iter().map(|hit| (hit.store * first + hit.moment.row, f64::from(hit.moment.score))).collect()
    };
    let batch = search_batch(&indexes, queries.view(), all).unwrap();
    for (query, (scores, hits)) in numpy.iter().zip(&batch).enumerate() {
        assert_eq!(scores.len(), hits.len());
        expect_ranking(&ranking(hits), scores);
        assert_eq!(&search(&indexes, queries.row(query), all, None).unwrap(), hits, "alone and in a batch");
        let top = MomentRule { top: 7, ..all };
        assert_eq!(search(&indexes, queries.row(query), top, None).unwrap(), hits[..7]);
    }
}

#[test]
fn a_store_that_is_being_written_is_searched_as_far_as_it_is_committed() {
    let shop = Workshop::new();
    let contract = Contract { recipe: RECIPE.into(), ..stores::contract("set", RowKind::Window, 16, 1.0) };
    stores::store(&shop.path(""), &contract, &[Made::windows("a", "a", None, 4)]);
    let _run = stores::opened(&shop.path(""), &contract);
    let search = || shop.egofx("search set --like a@0.5 --json --margin 0").ends_with(0);
    assert_eq!(moments(&search().says(&["written: there is none"]), 0).len(), 3, "its own window is left out");
    assert!(!search().stderr.contains("written"), "it is current");
    drop(_run);
    stores::store(&shop.path(""), &contract, &[Made::windows("b", "b", None, 5)]);
    let shown = search().says(&["set/search.index: written: the store has changed"]);
    assert_eq!(moments(&shown, 0).len(), 8);
    // In another folder; the store is left as it is, and its own index is not needed.
    std::fs::remove_file(shop.path("set/search.index")).unwrap();
    let elsewhere = || shop.egofx("search set --like a@0.5 --json --margin 0 --index-dir mine").ends_with(0);
    assert_eq!(moments(&elsewhere().says(&["mine/set-", ".search.index: written"]), 0).len(), 8);
    assert!(!elsewhere().stderr.contains("written") && !shop.path("set/search.index").exists());
    assert!(shop.egofx("index set --index-dir mine").ends_with(0).stdout.contains("is of what it holds"));
    // It is of no concern to anybody else.
    shop.egofx("verify set").ends_with(0);
    std::fs::write(shop.path("set/search.index"), "short").unwrap();
    search().says(&["written: it is damaged: it has 5 bytes"]);
}

#[test]
fn texts_of_others_stay_texts() {
    let shop = shop();
    let hostile = "=<script>alert('1')</script>, \"quoted\"\n; $(touch x) \u{202e}";
    let shown = by_sentence(&shop, "out/rows --json --top 2", hostile).ends_with(0);
    assert_eq!(support::json(&shown.stdout)[0]["text"], hostile);
    assert_eq!(moments(&shown, 0).len(), 2);
    let shown = by_sentence(&shop, "out/rows --csv --top 2", hostile).ends_with(0);
    let mut table = csv::Reader::from_reader(shown.stdout.as_bytes());
    let rows: Vec<csv::StringRecord> = table.records().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), &rows[1][1], &rows[1][3]), (2, hostile, "2"));
    let shown = by_sentence(&shop, "out/rows --top 1", hostile).ends_with(0);
    assert!(shown.stdout.starts_with(" score  video  clip  start   end  windows\n"), "{shown}");
    by_sentence(&shop, "out/rows", " \n").ends_with(2).says(&["the sentence is empty: expected a sentence"]);
}

#[test]
fn a_page_shows_a_thumbnail_of_each_moment_and_holds_no_script() {
    let shop = shop();
    let ask = |flags: &str| by_sentence(&shop, &format!("out/rows --html found.html {flags}"), "<script>1</script>\"");
    let page = || std::fs::read_to_string(shop.path("found.html")).unwrap();
    ask("-m all.csv --margin 0 --top 5").ends_with(0);
    let images = page().matches("<img src=\"data:image/jpeg;base64,/9j/").count();
    assert_eq!((images, page().matches("<script").count(), page().matches("<li>").count()), (5, 0, 5));
    assert!(page().contains("<h2>&lt;script&gt;1&lt;/script&gt;&quot;</h2>"));
    // Without a manifest there are times alone; a page that is there is not overwritten unasked.
    ask("--top 2").ends_with(2).says(&["found.html exists already", "--force"]);
    ask("--top 2 --force").ends_with(0);
    assert_eq!((page().matches("<img").count(), page().matches("no image").count()), (0, 2));
    shop.write("none.csv", "video_uid,path\nv,absent.mp4\n");
    ask("-m none.csv --top 99 --margin 0 --force")
        .ends_with(0)
        .says(&["no thumbnail: ", "w: the manifest has no file of it"]);
    assert!(!page().contains("<img"));
}

#[test]
fn a_moment_finds_others_and_a_folder_is_searched_where_it_can_be() {
    let shop = shop();
    let shown = shop.egofx("search out/rows out/class --like v@1.5").ends_with(2);
    let shown = shown.says(&["out/rows has \"embedding\" of", "out/class has \"class\" of", "one at a time"]);
    assert!(!shop.path("out/class/search.index").exists(), "{shown}");
    let shown = shop.egofx("search out/class --like v@1.5 --json --margin 0 --top 100").ends_with(0);
    assert_eq!(support::json(&shown.stdout)[0]["like"], "v@1.5");
    let own = |moment: &Value| {
        let [start, end] = ["start_sec", "end_sec"].map(|key| moment[key].as_f64().unwrap());
        moment["video_uid"] == "v" && start <= 1.5 && 1.5 < end
    };
    assert!(!moments(&shown, 0).is_empty() && !moments(&shown, 0).iter().any(own), "{shown}");
    shop.egofx("search out/class --like v@99")
        .ends_with(2)
        .says(&["no window covers v@99: its windows are from 0.00 to"]);
    shop.egofx("search out/class --like v").ends_with(2).says(&["expected VIDEO@SECOND"]);
    // Class tokens and sentences are passed over, with a word.
    let shown = by_sentence(&shop, "out --json", "#C C cuts").ends_with(0);
    let shown = shown.says(&[
        "passed over: out/class: no sentence can be compared",
        "passed over: out/text: its rows are of the kind query",
    ]);
    assert!(moments(&shown, 0).iter().all(|moment| moment["store"] == "out/rows"));
    let shown = shop.egofx("index out --json").ends_with(0).says(&["passed over: out/text"]);
    let told = support::json(&shown.stdout);
    assert_eq!(
        (&told[0]["feature_set"], &told[1]["feature_set"], &told[1]["written"]),
        (&json!("class"), &json!("rows"), &Value::Null)
    );
    let shown = shop.egofx("index out/rows --force").ends_with(0);
    assert!(shown.stdout.ends_with("written: it was asked for\n"), "{shown}");
}

#[test]
fn what_cannot_be_searched_is_refused_before_anything_is_made() {
    let shop = shop();
    let refused = |arguments: &str, words: &[&str]| {
        by_sentence(&shop, arguments, "#C C cuts").ends_with(2).says(words);
    };
    refused("out/class", &["out/class: no sentence can be compared", "\"class\" of egovlpv2_video", "-p egovlpv2_mq"]);
    refused("out/text", &["out/text: its rows are of the kind query, expected window or clip: they are sentences"]);
    refused("absent", &["absent"]);
    let contract = Contract { recipe: RECIPE.into(), ..stores::contract("other", RowKind::Window, 16, 1.0) };
    stores::store(&shop.path("out"), &contract, &[Made::windows("a", "a", None, 4)]);
    refused(
        "out/other",
        &["out/other: its rows come from the checkpoint none (sha256 cdcdcdcdcdcd), and no text tower in models does"],
    );
    refused("out/other", &["(found: egovlp_text of ", "egovlpv2_text of ", "--models DIR"]);
    refused("out/rows out/other", &["out/rows has ", "out/other has ", "(sha256 cdcdcdcdcdcd)"]);
    shop.egofx("search out/rows").ends_with(2).says(&["behind them a sentence in quotation marks"]);
    shop.egofx("search out/rows out/class")
        .ends_with(2)
        .says(&["out/class is a folder: the sentence stands behind the stores"]);
    let queries = std::fs::read_to_string(shop.path("queries.csv")).unwrap();
    shop.write("empty.csv", queries + "q4,v-1,,,\n");
    shop.egofx("search out/rows --batch empty.csv").ends_with(2).says(&["empty.csv: query q4: its text is empty"]);
    for store in ["rows", "class", "other"] {
        assert!(!shop.path(&format!("out/{store}/search.index")).exists(), "{store}");
    }
    // A store without a committed unit.
    let empty = Contract { feature_set: "empty".into(), ..contract };
    drop(stores::opened(&shop.path("out"), &empty));
    shop.egofx("search out/empty --like a@1").ends_with(2).says(&["out/empty: no row is committed that has features"]);
}

#[test]
fn a_video_is_asked_without_a_manifest_and_a_second_question_extracts_nothing() {
    let shop = shop();
    std::fs::create_dir(shop.path("v2")).unwrap();
    for entry in std::fs::read_dir(shop.path("models")).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("egovlpv2") {
            std::os::unix::fs::symlink(entry.path(), shop.path("v2").join(name)).unwrap();
        }
    }
    let kitchen = shop.encode("kitchen.mp4", "64x48", 75, support::H264);
    std::fs::rename(kitchen, shop.path("a kitchen.mp4")).unwrap();
    let checkpoint = support::videos::data("checkpoints/egovlpv2_tiny_smallproj.pth");
    let of_checkpoint = format!("--checkpoint {} --head-size 16", checkpoint.display());
    let ask = |models: &str, sentence: &str| {
        let mut command = shop.program(&format!("ask {models} --tokenizer words --json --top 3"));
        command.args(["a kitchen.mp4", "--", sentence]).env("XDG_CACHE_HOME", shop.path("cache"));
        shop.finished("ask", &mut command)
    };
    let shown = ask(&of_checkpoint, "#C C cuts").ends_with(0).says(&["graphs: ", "rows: ", "search: "]);
    assert!(!moments(&shown, 0).is_empty() && support::json(&shown.stdout)[0].get("spans").is_none(), "{shown}");
    let shown = ask(&of_checkpoint, "#C C rests").ends_with(0);
    assert!(!shown.stderr.contains("graphs: ") && !shown.stderr.contains("written: "), "{shown}");
    let shown = ask("--models v2", "#C C washes a pan").ends_with(0);
    let shown = shown.says(&["rows: ", "search: ", "written: there is none"]);
    let found = moments(&shown, 0);
    assert!(!found.is_empty() && found.iter().all(|moment| moment["video_uid"] == "video"), "{shown}");
    let shown = ask("--models v2", "--like nothing").ends_with(0).says(&["1 done before"]);
    assert!(
        !shown.stderr.contains("written:") && support::json(&shown.stdout)[0]["text"] == "--like nothing",
        "{shown}"
    );
    let mut command = shop.program("ask absent.mp4 x");
    shop.finished("ask", &mut command).ends_with(2).says(&["absent.mp4: no such file: expected a video"]);
}

#[test]
fn a_head_gives_spans_of_a_video_and_a_second_question_extracts_its_tokens_alone() {
    let shop = shop();
    shop.encode("kitchen.mp4", "64x48", 100, support::H264);
    let dim = |card: &str, recipe: &str| {
        let card = Card::describe(&shop.path("models"), card).unwrap();
        let feature = egofx::recipe::Recipe::find(recipe.as_ref()).unwrap().body.feature;
        let shape = card.outputs.into_iter().find(|output| output.name == feature).unwrap().shape;
        let Some(Dim::Fixed(dim)) = shape.last() else { panic!("{shape:?}") };
        *dim as usize
    };
    let dims = [dim("egovlpv2_video", "egovlpv2_mq"), dim("egovlpv2_text", "egovlpv2_nlq_tokens")];
    head_of(&shop.path("head"), "vslnet", dims);
    let ask = |arguments: &str, more: &[&str]| {
        let mut command = shop.program(&format!("ask kitchen.mp4 --models models --tokenizer words {arguments}"));
        command.args(more).env("XDG_CACHE_HOME", shop.path("cache"));
        shop.finished("ask", &mut command)
    };
    let spans = |shown: &Outcome| support::json(&shown.stdout)[0]["spans"].as_array().unwrap().clone();
    let shown = ask("--head head --json --html page.html", &["--question", "Where is it?", "#C C cuts"]).ends_with(0);
    let shown = shown.says(&["rows: ", "tokens: ", "search: ", "spans: "]);
    let found = spans(&shown);
    assert!(!moments(&shown, 0).is_empty() && (1..=5).contains(&found.len()), "{shown}");
    assert_eq!(support::json(&shown.stdout)[0]["question"], "Where is it?");
    for (number, span) in found.iter().enumerate() {
        let [start, end] = ["start_sec", "end_sec"].map(|name| span[name].as_f64().unwrap());
        assert!(0.0 <= start && start < end && end <= 4.0, "{span}");
        assert_eq!(
            (&span["rank"], &span["video_uid"], &span["clip_uid"]),
            (&json!(number + 1), &json!("kitchen"), &json!("kitchen-0000"))
        );
    }
    let page = std::fs::read_to_string(shop.path("page.html")).unwrap();
    assert!(page.contains("Spans: Where is it?") && !page.contains("no image"), "{page}");
    assert_eq!(page.matches("<img").count(), moments(&shown, 0).len() + found.len());
    let tokens = || {
        let questions = std::fs::read_dir(shop.path("cache/egofx/ask/questions")).unwrap();
        questions.map(|entry| entry.unwrap().path().join("nlq.queries.csv")).filter(|path| path.is_file()).count()
    };
    assert_eq!(tokens(), 1);
    // The first "done before" is said of the rows.
    let shown = ask("--head head --top 2", &["#C C cuts"]).ends_with(0).says(&["1 done before"]);
    assert_eq!((tokens(), shown.stderr.matches("1 done before").count()), (2, 1), "{shown}");
    assert!(!shown.stderr.contains("written: "), "{shown}");
    let (_, second) = shown.stdout.split_once("\n\n").unwrap();
    let lines: Vec<Vec<&str>> = second.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), &lines[0][..]), (3, &["span", "video", "clip", "start", "end"][..]), "{second}");
    assert_eq!(lines[1][..3], ["1", "kitchen", "kitchen-0000"]);
    let shown = ask("--head head --top 2", &["#C C cuts"]).ends_with(0);
    assert_eq!((tokens(), shown.stderr.matches("1 done before").count()), (2, 2), "{shown}");
}

#[test]
fn heads_that_cannot_be_asked_are_refused_before_rows_are_made() {
    let shop = shop();
    shop.encode("kitchen.mp4", "64x48", 25, support::H264);
    head_of(&shop.path("other"), "vslnet", [2304, 768]);
    head_of(&shop.path("mq"), "actionformer", [3, 4]);
    let refused = |head: &str, words: &[&str]| {
        let mut command = shop.program(&format!("ask kitchen.mp4 --models models --tokenizer words --head {head}"));
        command.arg("#C C cuts").env("XDG_CACHE_HOME", shop.path("cache"));
        shop.finished("ask", &mut command).ends_with(2).says(words)
    };
    refused("mq", &["actionformer.toml: expected a head for nlq (vslnet), found actionformer"]);
    refused("absent", &["absent: entity not found"]);
    let shown = refused(
        "other",
        &[
            "other: it takes other features than `egofx ask` extracts: dim of egovlp_nlq is ",
            "dim of egovlpv2_mq is ",
            "the head takes 2304",
            "egofx extract -m ",
            "egofx predict nlq --head other ",
        ],
    );
    assert!(!shop.path("cache/egofx/ask/features").exists(), "{shown}");
    // The tables that it names are there.
    let named = shown.stderr.split_whitespace().filter(|word| word.contains("/nlq.")).map(std::path::Path::new);
    assert_eq!(named.filter(|path| path.is_file()).count(), 2, "{shown}");
}
