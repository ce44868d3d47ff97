//! Tokenizers against what transformers made of the same made-up vocabularies (`tests/data/text/make.py`), and everything
//! that can be wrong with a vocabulary's files.

use std::fs;

use ndarray::Axis;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::text::{Preparation, RULES};

#[derive(Deserialize)]
struct Expected {
    wordpiece: Vec<String>,
    bpe: Vec<String>,
    merges: Vec<String>,
    /// Sentences, which the cases name by their place here.
    batches: Vec<Vec<String>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    rule: String,
    batch: usize,
    /// What the original code makes of the sentences first; nothing if it leaves them as they are.
    prepared: Option<Vec<String>>,
    ids: Vec<Vec<i64>>,
    mask: Vec<Vec<i64>>,
}

fn expected() -> Expected {
    serde_json::from_str(include_str!("../../../tests/data/text/expected.json")).unwrap()
}

/// A folder with both vocabularies, DistilBERT's in `bert` and RoBERTa's in `roberta`.
fn folder() -> tempfile::TempDir {
    let (folder, expected) = (tempfile::tempdir().unwrap(), expected());
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let ids: serde_json::Map<String, Value> =
        expected.bpe.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    write("bert/vocab.txt", expected.wordpiece.join("\n") + "\n");
    write("roberta/vocab.json", json!(ids).to_string());
    write("roberta/merges.txt", format!("#version: 0.2\n{}\n", expected.merges.join("\n")));
    folder
}

fn rule(name: &str, model: TextModel) -> &'static TokenizationRule {
    TokenizationRule::find(name, model).unwrap()
}

fn rows(array: &Array2<i64>) -> Vec<Vec<i64>> {
    array.axis_iter(Axis(0)).map(|row| row.to_vec()).collect()
}

/// The error of opening `path`, in words.
fn refused(path: &Path) -> String {
    Tokenizer::open(path).unwrap_err().to_string()
}

/// Everything the expected file holds, but for the two tokenizers that `of` gives.
fn agrees_with_transformers(of: impl Fn(TextModel) -> Tokenizer) {
    let expected = expected();
    assert!(expected.cases.len() > 8);
    for case in &expected.cases {
        let (model, texts) = (case.model.parse().unwrap(), &expected.batches[case.batch]);
        let (tokenizer, rule) = (of(model), rule(&case.rule, model));
        let encoded = tokenizer.encode(rule, texts).unwrap();
        for (row, text) in texts.iter().enumerate() {
            let (ids, place) = (encoded.ids.row(row).to_vec(), format!("{} {}: {text:?}", case.model, case.rule));
            assert_eq!(rule.prepare(text), case.prepared.as_ref().unwrap_or(texts)[row], "{place}");
            assert_eq!(ids, case.ids[row], "{place}");
            assert_eq!(encoded.mask.row(row).to_vec(), case.mask[row], "{place}");
        }
    }
}

/// Two rules of one model that treat sentences alike give the same ids; one of each kind is compared with the original. CLIP's
/// are compared in its own tests.
#[test]
fn every_treatment_of_sentences_is_compared_with_the_original() {
    let treatment =
        |rule: &TokenizationRule| (rule.model.name(), rule.preparation.name(), rule.padding == Padding::Longest);
    let length = |rule: &TokenizationRule| rule.max_length;
    let cases = expected().cases;
    let compared: Vec<_> = cases.iter().map(|case| rule(&case.rule, case.model.parse().unwrap())).collect();
    for rule in RULES.iter().filter(|rule| rule.model != TextModel::Lavila) {
        let alike = compared.iter().any(|of| treatment(of) == treatment(rule) && length(of) == length(rule));
        assert!(alike, "{} of {}", rule.name, rule.model.name());
    }
}

#[test]
fn ids_and_masks_are_those_of_transformers() {
    let folder = folder();
    agrees_with_transformers(|model| match model {
        TextModel::EgoVlp => Tokenizer::open(&folder.path().join("bert")).unwrap(),
        TextModel::EgoVlpV2 => Tokenizer::open(&folder.path().join("roberta/vocab.json")).unwrap(),
        TextModel::Lavila => unreachable!("compared in the tests of clip"),
    });
}

/// As `save_pretrained` writes it: the padding and the truncation of the last call are in the file.
#[test]
fn a_whole_tokenizer_json_is_the_same_tokenizer_however_it_was_last_used() {
    let folder = folder();
    for name in ["bert", "roberta"] {
        let mut whole = serde_json::to_value(&Tokenizer::open(&folder.path().join(name)).unwrap().inner).unwrap();
        whole["truncation"] = json!({"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
        whole["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null,
            "pad_id": 3, "pad_type_id": 0, "pad_token": "x"});
        // It is taken before the parts beside it.
        fs::write(folder.path().join(name).join("vocab.txt"), "spoiled").unwrap();
        fs::write(folder.path().join(name).join("tokenizer.json"), whole.to_string()).unwrap();
    }
    agrees_with_transformers(|model| {
        let name = if model == TextModel::EgoVlp { "bert" } else { "roberta" };
        Tokenizer::open(&folder.path().join(name)).unwrap()
    });
}

#[test]
fn special_ids_are_the_vocabularys() {
    let folder = folder();
    let bert = Tokenizer::open(&folder.path().join("bert/vocab.txt")).unwrap();
    assert_eq!(
        (bert.model, bert.specials),
        (TextModel::EgoVlp, Specials { start: 3, end: 4, pad: 0, unknown: 2, mask: 5 })
    );
    let roberta = Tokenizer::open(&folder.path().join("roberta/merges.txt")).unwrap();
    let mask = expected().bpe.len() as i64 - 1;
    assert_eq!(roberta.specials, Specials { start: 0, end: 2, pad: 1, unknown: 3, mask });
    assert_eq!(
        (roberta.token(mask).as_deref(), roberta.token(mask + 1), roberta.token(-1)),
        (Some("<mask>"), None, None)
    );
    assert_eq!(roberta.path, folder.path().join("roberta/vocab.json"));
}

#[test]
fn rows_are_as_long_as_the_rule_says_and_what_is_cut_is_counted() {
    let folder = folder();
    let bert = Tokenizer::open(&folder.path().join("bert")).unwrap();
    let roberta = Tokenizer::open(&folder.path().join("roberta")).unwrap();
    let texts = ["the bag", "", "bag ".repeat(600).trim()].map(str::to_owned);
    for rule in RULES.iter().filter(|rule| rule.model != TextModel::Lavila) {
        let tokenizer = if rule.model == TextModel::EgoVlp { &bert } else { &roberta };
        let encoded = tokenizer.encode(rule, &texts).unwrap();
        let added = usize::from(rule.preparation == Preparation::Question); // its question mark
        assert_eq!(encoded.ids.dim(), (3, rule.max_length), "{rule:?}");
        assert_eq!(encoded.mask.dim(), encoded.ids.dim());
        assert_eq!(encoded.mask.row(1).sum(), 2 + added as i64, "an empty sentence is its two special tokens");
        assert_eq!(
            (encoded.ids[(2, 0)], encoded.ids[(2, rule.max_length - 1)]),
            (tokenizer.specials.start, tokenizer.specials.end)
        );
        assert_eq!(encoded.mask.row(2).sum(), rule.max_length as i64);
        assert_eq!(encoded.cut, [0, 0, 602 + added - rule.max_length], "{rule:?}");
        let none = tokenizer.encode(rule, &[] as &[&str]).unwrap();
        assert_eq!(none.ids.nrows(), 0);
    }
    let short = bert.encode(rule("egomcq", TextModel::EgoVlp), &["a", "the bag"]).unwrap();
    assert_eq!(rows(&short.mask), [[1, 1, 1, 0], [1, 1, 1, 1]]);
    assert_eq!(short.ids[(0, 3)], bert.specials.pad);
    let one = bert.encode(rule("egomcq", TextModel::EgoVlp), &["a"]).unwrap();
    assert_eq!(one.ids.dim(), (1, 3), "alone, a sentence is not padded");
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let folder = folder();
    let roberta = Tokenizer::open(&folder.path().join("roberta")).unwrap();
    let (rule, texts) = (rule("nlq", TextModel::EgoVlpV2), ["Where did I put my keys?", "", "picks"]);
    let together = roberta.encode(rule, &texts).unwrap();
    for (row, text) in texts.iter().enumerate() {
        let alone = roberta.encode(rule, &[text]).unwrap();
        assert_eq!((alone.ids.row(0), alone.mask.row(0)), (together.ids.row(row), together.mask.row(row)));
    }
}

#[test]
fn a_rule_of_the_other_model_is_refused() {
    let folder = folder();
    let bert = Tokenizer::open(&folder.path().join("bert")).unwrap();
    let error = bert.encode(rule("qfvs", TextModel::EgoVlpV2), &["a"]).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("rule qfvs of egovlpv2 takes byte-level BPE (RoBERTa), "), "{text}");
    assert!(text.ends_with("vocab.txt holds uncased WordPiece (DistilBERT)"), "{text}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("weights.bin"), "").unwrap();
    for name in ["empty", "weights.bin"] {
        let text = refused(&at(name));
        assert!(
            text.contains(&format!("{name}: no tokenizer, expected tokenizer.json, vocab.txt, or vocab")),
            "{text}"
        );
    }
    for name in ["absent", "absent.json", "roberta/vocab.txt"] {
        assert!(refused(&at(name)).contains(&format!("{name}: No such file")), "{}", refused(&at(name)));
    }
    fs::remove_file(at("roberta/merges.txt")).unwrap();
    for name in ["roberta", "roberta/vocab.json"] {
        let text = refused(&at(name));
        assert!(text.contains("vocab.json: ") && text.ends_with("merges.txt must lie beside it"), "{text}");
    }
    fs::rename(at("roberta/vocab.json"), at("roberta/merges.txt")).unwrap();
    assert!(refused(&at("roberta")).ends_with("vocab.json must lie beside it"));
}

#[test]
fn what_is_broken_is_named_with_the_parsers_words() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (text, words) in [
        ("", "EOF"),
        ("{\"version\": \"1.0\"", "EOF"),
        ("[]", "invalid"),
        ("{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": [[\"a\", \"b\"]]}}", "out of vocabulary"),
    ] {
        fs::write(at("tokenizer.json"), text).unwrap();
        let said = refused(&at("tokenizer.json"));
        assert!(said.contains("tokenizer.json: ") && said.contains(words), "{text}: {said}");
    }
    for (name, spoiled) in
        [("vocab.json", "{"), ("vocab.json", "[1]"), ("merges.txt", "a b c d"), ("merges.txt", "zz yy")]
    {
        let other = self::folder();
        fs::write(other.path().join("roberta").join(name), spoiled).unwrap();
        let said = refused(&other.path().join("roberta"));
        assert!(said.contains("vocab.json: with ") && said.contains("merges.txt: "), "{spoiled}: {said}");
    }
    fs::write(at("bert/vocab.txt"), [0xff, 0xfe, b'\n']).unwrap();
    assert!(refused(&at("bert")).contains("UTF-8"), "{}", refused(&at("bert")));
}

#[test]
fn a_vocabulary_without_the_special_tokens_is_refused() {
    let folder = folder();
    let path = folder.path().join("bert/vocab.txt");
    fs::write(&path, "[PAD]\n[CLS]\nbag\n").unwrap();
    assert!(refused(&path).ends_with("the vocabulary lacks [SEP], [UNK], [MASK]"), "{}", refused(&path));
    let path = folder.path().join("roberta/vocab.json");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("<pad>", "pad").replace("</s>", "<end>")).unwrap();
    assert!(refused(&path).ends_with("the vocabulary lacks </s>, <pad>"), "{}", refused(&path));
}

#[test]
fn a_tokenizer_made_for_something_else_is_refused() {
    let folder = folder();
    let whole = |name: &str| serde_json::to_value(&Tokenizer::open(&folder.path().join(name)).unwrap().inner).unwrap();
    let path = folder.path().join("tokenizer.json");
    let refused_json = |value: &Value| {
        fs::write(&path, value.to_string()).unwrap();
        refused(&path)
    };
    let mut cased = whole("bert");
    cased["normalizer"]["lowercase"] = false.into();
    assert!(refused_json(&cased).contains("tells \"A\" from \"a\""));
    let mut bare = whole("bert");
    bare["post_processor"] = Value::Null;
    assert!(refused_json(&bare).contains("makes [] of the empty sentence, expected [3, 4]"));
    let mut blank = whole("roberta");
    blank["pre_tokenizer"]["add_prefix_space"] = true.into();
    assert!(refused_json(&blank).contains("puts a blank before sentences"));
    let words = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}});
    assert!(refused_json(&words).contains("is none of the tokenizers that are known here"));
}

/// A Hugging Face cache with `repository`, a snapshot for each of `revisions`, and `main` in `refs/main` if it is given.
fn cache(repository: &str, revisions: &[&str], main: Option<&str>) -> tempfile::TempDir {
    let (cache, sources) = (tempfile::tempdir().unwrap(), folder());
    let repository = cache.path().join(repository);
    let kind = if repository.to_string_lossy().contains("roberta") { "roberta" } else { "bert" };
    for revision in revisions {
        let snapshot = repository.join("snapshots").join(revision);
        fs::create_dir_all(&snapshot).unwrap();
        for file in fs::read_dir(sources.path().join(kind)).unwrap().flatten() {
            fs::copy(file.path(), snapshot.join(file.file_name())).unwrap();
        }
    }
    if let Some(main) = main {
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), main).unwrap();
    }
    cache
}

#[test]
fn local_caches_are_searched_under_both_names_and_refs_main_decides() {
    for (model, name) in [
        (TextModel::EgoVlp, "models--distilbert-base-uncased"),
        (TextModel::EgoVlp, "models--distilbert--distilbert-base-uncased"),
        (TextModel::EgoVlpV2, "models--roberta-base"),
        (TextModel::EgoVlpV2, "models--FacebookAI--roberta-base"),
    ] {
        for (revisions, main, taken) in
            [(&["0a1b"][..], None, "0a1b"), (&["0a1b", "ff00", "77aa"], Some("ff00\n"), "ff00")]
        {
            let cache = cache(name, revisions, main);
            let nowhere = cache.path().join("nowhere");
            let found = Tokenizer::find(model, &[nowhere, cache.path().to_owned()]).unwrap();
            let repository = cache.path().join(name);
            assert_eq!(
                (found.model, found.path.parent().unwrap()),
                (model, &*repository.join("snapshots").join(taken))
            );
            assert_eq!(Tokenizer::open(&repository).unwrap().path, found.path);
        }
    }
}

#[test]
fn a_cache_that_does_not_decide_is_refused() {
    let several = cache("models--roberta-base", &["ff00", "0a1b"], None);
    let find = |cache: &tempfile::TempDir| {
        Tokenizer::find(TextModel::EgoVlpV2, &[cache.path().to_owned()]).unwrap_err().to_string()
    };
    assert!(find(&several).contains("several snapshots (0a1b, ff00) and no refs/main"), "{}", find(&several));
    let outside = cache("models--roberta-base", &["ff00"], Some("../../../etc"));
    assert!(find(&outside).contains("refs/main: \"../../../etc\" is not a revision"), "{}", find(&outside));
    // The current revision's tokenizer was not fetched: an older one is not taken in its place.
    let older = cache("models--roberta-base", &["ff00"], Some("0a1b"));
    assert!(find(&older).contains("models--roberta-base/snapshots/0a1b"), "{}", find(&older));
}

#[test]
fn without_a_local_copy_the_message_says_what_to_fetch_and_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let caches = [folder.path().join("one"), folder.path().join("two")];
    for (model, words) in [
        (TextModel::EgoVlp, ["download distilbert/distilbert-base-uncased tokenizer.json", "vocab.txt, of"]),
        (TextModel::EgoVlpV2, ["download FacebookAI/roberta-base tokenizer.json", "vocab.json and merges.txt, of"]),
    ] {
        let text = Tokenizer::find(model, &caches).unwrap_err().to_string();
        for word in words.into_iter().chain(["one/models--", "two/models--", "--tokenizer"]) {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    let text = Tokenizer::find(TextModel::EgoVlp, &[]).unwrap_err().to_string();
    assert!(text.contains("no cache folder is known"), "{text}");
}
