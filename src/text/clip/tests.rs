//! CLIP's tokenizer against what the original made of 34 sentences (`tests/data/text/clip.json`), and every form in which its
//! vocabulary comes.
//!
//! The file has the merges that these sentences need, with their ranks. The others are filled in with merges of control
//! characters, which no sentence has, so that all ids are those of the whole vocabulary.

use std::fs;
use std::io::Write;

use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::json;
use tokenizers::processors::bert::BertProcessing;

use super::{MARKS, of_merges};
use crate::text::{Padding, TextModel, TokenizationRule, Tokenizer};
use crate::text::{Preparation, RULES};

#[derive(Deserialize)]
struct Golden {
    merges: Vec<(usize, String)>,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    ids: Vec<i64>,
    truncated: bool,
    pooled_position: usize,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/data/text/clip.json")).unwrap()
}

/// All 48894 merges, in the order of their ranks.
fn merges() -> Vec<String> {
    let mut merges = vec![None; 48894];
    for (rank, merge) in golden().merges {
        merges[rank] = Some(merge);
    }
    let controls: Vec<String> = ('\u{100}'..='\u{11f}').map(String::from).collect();
    let (mut made, mut from) = (controls.clone(), 0);
    let mut spare = std::iter::from_fn(|| {
        let (token, control) = (made[from / 32].clone(), &controls[from % 32]);
        from += 1;
        made.push(format!("{token}{control}"));
        Some(format!("{token} {control}"))
    });
    merges.into_iter().map(|merge| merge.unwrap_or_else(|| spare.next().unwrap())).collect()
}

fn openai_file() -> String {
    format!("\"bpe_simple_vocab_16e6.txt#version: 0.2\n{}\nnot read\n", merges().join("\n"))
}

/// As Hugging Face keeps it: the marks are put around a sentence by the file itself.
fn whole_tokenizer() -> tokenizers::Tokenizer {
    let mut whole = of_merges(openai_file().as_bytes()).unwrap();
    let [start, end] = [(MARKS[0], 49406), (MARKS[1], 49407)].map(|(mark, id)| (mark.to_owned(), id));
    whole.with_post_processor(Some(BertProcessing::new(end, start)));
    whole
}

#[test]
fn ids_are_those_of_the_original_in_every_form_of_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("bpe_simple_vocab_16e6.txt");
    fs::write(&plain, openai_file()).unwrap();
    fs::create_dir(folder.path().join("packed")).unwrap();
    let packed = fs::File::create(folder.path().join("packed/bpe_simple_vocab_16e6.txt.gz")).unwrap();
    let mut packed = GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(openai_file().as_bytes()).unwrap();
    packed.finish().unwrap();
    let tokenizer = Tokenizer::open(&plain).unwrap();
    let (hub, whole) = (folder.path().join("hub"), folder.path().join("tokenizer.json"));
    fs::create_dir(&hub).unwrap();
    let ids: serde_json::Map<_, _> =
        (0..49408).map(|id| (tokenizer.token(id).unwrap(), serde_json::Value::from(id))).collect();
    fs::write(hub.join("vocab.json"), json!(ids).to_string()).unwrap();
    fs::write(hub.join("merges.txt"), format!("#version: 0.2\n{}\n", merges().join("\n"))).unwrap();
    fs::write(&whole, serde_json::to_string(&whole_tokenizer()).unwrap()).unwrap();
    let rule = TokenizationRule::find("egomcq", TextModel::Lavila).unwrap();
    let sentences = golden().sentences;
    assert_eq!(sentences.len(), 34);
    for path in [plain, folder.path().join("packed"), hub, whole] {
        let tokenizer = Tokenizer::open(&path).unwrap();
        assert_eq!((tokenizer.model, tokenizer.vocabulary()), (TextModel::Lavila, 49408), "{}", path.display());
        assert_eq!((tokenizer.specials.start, tokenizer.specials.end, tokenizer.specials.pad), (49406, 49407, 0));
        for Sentence { text, ids, truncated, .. } in &sentences {
            let encoded = tokenizer.encode(rule, &[text]).unwrap();
            let expected = &ids[..ids.len().min(77)];
            assert_eq!(encoded.ids.row(0).to_vec(), expected, "{text:?}");
            assert_eq!(encoded.cut[0] > 0, *truncated, "{text:?}");
        }
    }
}

/// What the text tower pools by: the first of the highest ids.
#[test]
fn a_text_that_is_too_long_loses_its_end_mark_as_in_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bpe_simple_vocab_16e6.txt");
    fs::write(&path, openai_file()).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    let rule = TokenizationRule::find("nlq", TextModel::Lavila).unwrap();
    for Sentence { text, pooled_position, .. } in golden().sentences {
        let ids = tokenizer.encode(rule, &[&text]).unwrap().ids.row(0).to_vec();
        let highest = ids.iter().max().unwrap();
        assert_eq!(ids.iter().position(|id| id == highest), Some(pooled_position), "{text:?}");
    }
    assert!(rule.about_cut().contains("the same for all of them"));
}

#[test]
fn all_stages_read_alike() {
    let rules = RULES.iter().filter(|rule| rule.model == TextModel::Lavila);
    for rule in rules {
        let found = (rule.preparation, rule.padding, rule.max_length, rule.keeps_end);
        assert_eq!(found, (Preparation::Cleaned, Padding::Longest, 77, false), "{}", rule.name);
    }
}

#[test]
fn a_file_of_openai_that_is_cut_short_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bpe_simple_vocab_16e6.txt");
    fs::write(&path, openai_file().lines().take(900).collect::<Vec<_>>().join("\n")).unwrap();
    let words = Tokenizer::open(&path).unwrap_err().to_string();
    assert!(words.ends_with("expected a line and 48894 lines of two parts each"), "{words}");
}
