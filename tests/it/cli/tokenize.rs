//! `egofx tokenize`: sentences in, lines of JSON out; where its tokenizers come from, and what it says when there is none.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Outcome, Workshop, checkout, finish, json};

/// A workshop with the made-up DistilBERT vocabulary of `tests/data/text`, `bert/vocab.txt`.
fn shop() -> Workshop {
    let shop = Workshop::new();
    let expected = json(&fs::read_to_string(checkout().join("tests/data/text/expected.json")).unwrap());
    let words: Vec<&str> = expected["wordpiece"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    fs::create_dir(shop.path("bert")).unwrap();
    shop.write("bert/vocab.txt", words.join("\n"));
    shop
}

/// The program, to which no cache of this machine is known.
fn program(shop: &Workshop, arguments: &str) -> Command {
    let mut command = shop.program(arguments);
    ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"].into_iter().for_each(|name| {
        command.env_remove(name);
    });
    command
}

fn run(command: &mut Command) -> Outcome {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

fn with_stdin(command: &mut Command, text: &[u8]) -> Outcome {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text).unwrap();
    finish(child)
}

fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(json).collect()
}

const NLQ: &str = "tokenize --model egovlp --rule nlq";

#[test]
fn each_sentence_is_a_line_and_all_of_them_one_batch() {
    let shop = shop();
    let outcome =
        run(program(&shop, &format!("{NLQ} --tokenizer bert")).args(["#C C picks a bag", "", "Keys"])).ends_with(0);
    let rows = lines(&outcome);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["tokens"], serde_json::json!(["[CLS]", "#", "c", "c", "picks", "a", "bag", "[SEP]"]));
    assert_eq!(
        (&rows[0]["ids"][0], &rows[0]["cut"], &rows[0]["text"]),
        (&3.into(), &0.into(), &"#C C picks a bag".into())
    );
    assert_eq!(rows[1]["tokens"].as_array().unwrap().len(), 8, "as long as the longest");
    assert_eq!(rows[1]["mask"], serde_json::json!([1, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!(outcome.stderr, "");
    let prepared =
        program(&shop, "tokenize --model egovlp --rule nlq-vslnet --tokenizer bert").arg(" Keys ?\n").output();
    let prepared = json(std::str::from_utf8(&prepared.unwrap().stdout).unwrap());
    assert_eq!((&prepared["text"], &prepared["prepared"]), (&" Keys ?\n".into(), &"keys ?\n?".into()));
    let piped =
        with_stdin(&mut program(&shop, &format!("{NLQ} --tokenizer bert/vocab.txt")), b"#C C picks a bag\n\nKeys\n");
    assert_eq!(piped.ends_with(0).stdout, outcome.stdout);
}

#[test]
fn what_is_cut_is_told() {
    let shop = shop();
    let command = format!("{NLQ} --tokenizer bert");
    let outcome = with_stdin(&mut program(&shop, &command), "bag ".repeat(600).as_bytes()).ends_with(0);
    assert_eq!(
        (lines(&outcome)[0]["cut"].as_u64(), outcome.stderr.as_str()),
        (Some(90), "1 sentence cut to 512 tokens\n")
    );
}

#[test]
fn tokenizers_are_found_in_the_local_cache_by_the_variables_of_its_owner() {
    let shop = shop();
    for (variable, hub) in [
        ("HF_HUB_CACHE", ""),
        ("HF_HOME", "hub/"),
        ("XDG_CACHE_HOME", "huggingface/hub/"),
        ("HOME", ".cache/huggingface/hub/"),
    ] {
        let snapshot = shop.path(&format!("{variable}/{hub}models--distilbert-base-uncased/snapshots/6cdc0aad"));
        fs::create_dir_all(&snapshot).unwrap();
        fs::copy(shop.path("bert/vocab.txt"), snapshot.join("vocab.txt")).unwrap();
        let outcome = run(program(&shop, NLQ).env(variable, shop.path(variable)).arg("bag")).ends_with(0);
        assert_eq!(lines(&outcome)[0]["tokens"][1], "bag", "{variable}");
    }
    let outcome = run(program(&shop, NLQ).env("HOME", shop.path("bert")).arg("bag"));
    outcome.ends_with(2).says(&["no tokenizer of egovlp", "bert/.cache/huggingface/hub/models--", "vocab.txt, of"]);
    run(program(&shop, NLQ).arg("bag")).ends_with(2).says(&["no cache folder is known", "hf download"]);
}

#[test]
fn bad_requests_are_refused_with_what_is_valid() {
    let shop = shop();
    let refuses = |arguments: &str, words: &[&str]| {
        let outcome = run(&mut program(&shop, arguments)).ends_with(2).says(words);
        assert_eq!(outcome.stdout, "");
    };
    refuses("tokenize a", &["--rule", "--model"]);
    refuses("tokenize --model bert --rule nlq a", &["no text model is called \"bert\"", "egovlp, egovlpv2"]);
    refuses(
        "tokenize --model egovlp --rule qfvs a",
        &["no rule of egovlp is called \"qfvs\"", "pretrain, egomcq, nlq"],
    );
    refuses(&format!("{NLQ} --tokenizer absent a"), &["absent: No such file"]);
    refuses(
        "tokenize --model egovlpv2 --rule nlq --tokenizer bert a",
        &["takes byte-level BPE", "holds uncased WordPiece"],
    );
    refuses(&format!("{NLQ} --tokenizer onnx a"), &["onnx: no tokenizer, expected tokenizer.json"]);
    refuses(&format!("{NLQ} --tokenizer bert"), &["no sentence"]);
    let latin1 = with_stdin(&mut program(&shop, &format!("{NLQ} --tokenizer bert")), b"caf\xe9\n");
    latin1.ends_with(2).says(&["stdin", "UTF-8"]);
}

#[test]
fn rules_are_listed_in_words_and_in_json() {
    let shop = shop();
    let table = run(&mut program(&shop, "tokenize --rules")).ends_with(0).stdout;
    assert_eq!(table.lines().count(), 1 + egofx::text::RULES.len());
    let lines: Vec<String> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "egovlpv2 nlq 30 30 of VSLNet's files NLQ feature extraction",
        "egovlp nlq longest 512 as it is",
        "egovlpv2 egotaskqa 30 30 stripped, lower EgoTaskQA",
    ] {
        assert!(lines.iter().any(|found| found.starts_with(line)), "{line}: {table}");
    }
    let rules = json(&run(&mut program(&shop, "tokenize --rules --model egovlpv2 --json")).ends_with(0).stdout);
    assert!(rules.as_array().unwrap().iter().all(|rule| rule["model"] == "egovlpv2" && rule["max_length"].is_u64()));
    assert_eq!((&rules[1]["rule"], &rules[1]["padded_to"]), (&"egomcq".into(), &Value::Null));
}
