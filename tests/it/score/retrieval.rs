//! Multiple choice and retrieval from feature sets, through the program: EgoMCQ in dual, fusion and ensemble mode, and
//! similarities as a matrix.

use std::path::PathBuf;
use std::sync::LazyLock;

use egofx::store::Unit;
use serde_json::{Value, json};

use crate::support;
use crate::support::{Workshop, python};

/// EgoMCQ of two questions over two videos, their features by a tiny EgoVLPv2.
fn shop() -> Workshop {
    static MADE: LazyLock<PathBuf> = LazyLock::new(|| made().kept("mcq"));
    Workshop::like(&MADE)
}

fn made() -> Workshop {
    let shop = Workshop::new();
    shop.clip("v.mp4", 90);
    shop.encode("w.mp4", "64x48", 75, support::H264);
    let clip = |video: &str, start: f64, end: f64| json!({"video_uid": video, "clip_start": start, "clip_end": end});
    let question = |text: &str, answer: u32, kind: u32, choices: [Value; 5]| {
        let choices: serde_json::Map<String, Value> =
            choices.into_iter().enumerate().map(|(i, choice)| (i.to_string(), choice)).collect();
        json!({"query": {"clip_text": text}, "answer": answer, "types": kind, "choices": choices})
    };
    let within = [0.0, 0.5, 1.0, 1.5, 2.0].map(|start| clip("v", start, start + 1.0));
    let between =
        [clip("w", 0.2, 1.4), clip("v", 0.5, 1.5), clip("w", 1.0, 2.0), clip("v", 2.0, 3.0), clip("w", 2.0, 2.9)];
    let questions = json!({"7": question("#C C cuts", 2, 2, within), "9": question("#C C rests", 1, 1, between)});
    shop.write("egomcq.json", questions.to_string());
    support::write_vocabulary(&shop, "words");
    shop.models();
    shop.egofx("manifest egomcq --annotations egomcq.json --videos . -o mcq.csv").ends_with(0);
    for (name, backbone, feature) in [
        ("video", "egovlpv2_video", "embedding"),
        ("text", "egovlpv2_text", "pooled"),
        ("match", "egovlpv2_upper", "match_logits"),
    ] {
        let shipped = match name {
            "match" => std::fs::read_to_string(support::checkout().join("pipelines/egovlpv2_mcq_match.toml")).unwrap(),
            "text" => std::fs::read_to_string(support::checkout().join("pipelines/egovlpv2_mcq_text.toml")).unwrap(),
            _ => std::fs::read_to_string(support::checkout().join("pipelines/egovlpv2_mcq.toml")).unwrap(),
        };
        assert!(shipped.contains(backbone) && shipped.contains(feature), "{name}");
        shop.write(&format!("{name}.toml"), shipped.replace("frames = 16", "frames = 4"));
    }
    let recipes = "-p video.toml -p text.toml -p match.toml";
    shop.egofx(&format!("extract -m mcq.csv {recipes} --models models --tokenizer words -o out")).ends_with(0);
    shop.egofx("verify out").ends_with(0);
    shop
}

fn row<'u>(unit: &'u Unit, clip: &str, query: Option<&str>) -> ndarray::ArrayView1<'u, f32> {
    let is_it = |meta: &egofx::store::RowMeta| {
        meta.clip_uid.as_ref().is_some_and(|uid| uid.as_str() == clip)
            && (query.is_none() || meta.query_id.as_deref() == query)
    };
    unit.features.row(unit.meta.iter().position(is_it).unwrap())
}

#[test]
fn egomcq_is_answered_in_dual_fusion_and_ensemble_mode() {
    let shop = shop();
    let stores = "--video out/video --text out/text --match out/match";
    let shown = shop.egofx(&format!("mcq -q mcq.queries.csv {stores} -o scores.json --json")).ends_with(0);
    let table = support::json(&shown.stdout);
    let modes: Vec<&str> = table.as_array().unwrap().iter().map(|row| row["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["dual", "fusion", "ensemble"]);
    assert_eq!((&table[0]["inter_questions"], &table[0]["intra_questions"]), (&1.into(), &1.into()));
    let scores = support::json(&std::fs::read_to_string(shop.path("scores.json")).unwrap());
    let score = |mode: &str, question: &str, choice: usize| scores[mode][question][choice].as_f64().unwrap();

    // By hand, of one choice in each video.
    for (video, clip, choice) in [("v", "v_2_3", 3), ("w", "w_1_2", 2)] {
        let (clips, texts) = (shop.unit("out/video", video), shop.unit("out/text", "v"));
        let question =
            texts.features.row(texts.meta.iter().position(|row| row.query_id.as_deref() == Some("9")).unwrap());
        let own = row(&clips, clip, None);
        let cosine = own.dot(&question) / (own.dot(&own) * question.dot(&question)).sqrt();
        assert!((score("dual", "9", choice) - f64::from(cosine)).abs() < 1e-6);
        let pairs = shop.unit("out/match", video);
        let logits = row(&pairs, clip, Some("9"));
        let probability = f64::from(logits[1]).exp() / (f64::from(logits[0]).exp() + f64::from(logits[1]).exp());
        assert!((score("fusion", "9", choice) - probability).abs() < 1e-9);
        assert!((score("ensemble", "9", choice) - f64::from(cosine) - probability).abs() < 1e-6);
    }
    assert_eq!(shop.unit("out/match", "v").meta.len(), 7, "five choices of one question, two of the other");

    // What it counts is what the evaluator counts.
    shop.write("dual.json", scores["dual"].to_string());
    let evaluated = shop.egofx("eval egomcq --predictions dual.json --annotations egomcq.json --json").ends_with(0);
    let best = |question: &str| {
        (0..5)
            .max_by(|&a, &b| score("dual", question, a).total_cmp(&score("dual", question, b)).then(b.cmp(&a)))
            .unwrap()
    };
    let expected = (100.0 * f64::from(best("9") == 1), 100.0 * f64::from(best("7") == 2));
    assert_eq!((table[0]["inter"].as_f64().unwrap(), table[0]["intra"].as_f64().unwrap()), expected);
    assert!(evaluated.stdout.contains("inter"), "{evaluated}");
}

#[test]
fn rows_of_a_model_whose_cards_say_products_are_not_divided_by_their_norms() {
    let shop = shop();
    std::fs::create_dir(shop.path("raw")).unwrap();
    for file in std::fs::read_dir(shop.path("models")).unwrap().map(|entry| entry.unwrap().path()) {
        std::os::unix::fs::symlink(&file, shop.path("raw").join(file.file_name().unwrap())).unwrap();
    }
    for name in ["egovlpv2_video", "egovlpv2_text"] {
        let card = std::fs::read_to_string(shop.path(&format!("models/{name}.toml"))).unwrap();
        let card = card.replacen("precision = ", "measure = \"product\"\nprecision = ", 1);
        assert!(card.contains("product"), "{card}");
        std::fs::remove_file(shop.path(&format!("raw/{name}.toml"))).unwrap();
        shop.write(&format!("raw/{name}.toml"), card);
    }
    shop.egofx("manifest egomcq --annotations egomcq.json --videos . -o here.csv").ends_with(0);
    let extract = "extract -m here.csv -p video.toml -p text.toml --models raw --tokenizer words";
    shop.egofx(&format!("{extract} -o products")).ends_with(0);
    shop.egofx("mcq -q mcq.queries.csv --video products/video --text products/text -o scores.json").ends_with(0);
    let scores = support::json(&std::fs::read_to_string(shop.path("scores.json")).unwrap());
    let (clips, texts) = (shop.unit("products/video", "v"), shop.unit("products/text", "v"));
    let question = texts.features.row(texts.meta.iter().position(|row| row.query_id.as_deref() == Some("9")).unwrap());
    let (own, found) = (row(&clips, "v_2_3", None), scores["dual"]["9"][3].as_f64().unwrap());
    let (product, norms) = (f64::from(own.dot(&question)), f64::from(own.dot(&own) * question.dot(&question)).sqrt());
    assert!((found - product).abs() < 1e-5 * norms && (norms - 1.0).abs() > 0.01, "{found} {product} {norms}");
    shop.egofx("mcq -q mcq.queries.csv --video products/video --text out/text")
        .ends_with(2)
        .says(&["products/video is compared by product, out/text by cosine: they are not of one export"]);
    shop.egofx(&format!("{extract} -o out")).ends_with(2).says(&["measure", "product"]);
}

#[test]
fn what_is_missing_for_a_question_is_named() {
    let shop = shop();
    let refused = |arguments: &str, words: &[&str]| {
        shop.egofx(&format!("mcq -q mcq.queries.csv {arguments}")).ends_with(2).says(words);
    };
    refused("", &["nothing to score by"]);
    refused("--video out/video", &["--text"]);
    refused("--video out/text --text out/text", &["out/text: its rows are of the kind query, expected clip"]);
    refused("--match out/video", &["out/video: its rows are of the kind clip, expected pair"]);
    let queries = std::fs::read_to_string(shop.path("mcq.queries.csv")).unwrap();
    shop.write("more.csv", format!("{queries}11,v_0_1,More?,,,,1,0,v_0_1 v_0.5_1.5 v_1_2 v_1.5_2.5 v_9_10\n"));
    shop.egofx("mcq -q more.csv --match out/match").ends_with(2).says(&["no row of choice of question 11 (1 in all"]);
    shop.egofx("mcq -q more.csv --video out/video --text out/text").ends_with(2).says(&["no row of query 11"]);
}

#[test]
fn similarities_are_one_matrix_with_names_on_both_sides() {
    let shop = shop();
    shop.egofx("similarity --video out/video --text out/text -o sim").ends_with(0);
    shop.egofx("similarity --video out/video --text out/text -o sim").ends_with(0);
    let names = std::fs::read(shop.path("sim/clip_ids.txt")).unwrap();
    shop.write("sim/clip_ids.txt", "mine");
    shop.egofx("similarity --video out/video --text out/text -o sim").ends_with(2).says(&["exists already", "--force"]);
    shop.write("sim/clip_ids.txt", names);
    let found = python(
        &shop,
        "import json, numpy as np\nm = np.load('sim/similarity.npy')\nc, q = (open(f'sim/{n}_ids.txt').read().split() for n in ('clip', 'query'))\n\
         print(json.dumps([list(m.shape), str(m.dtype), len(c), q, float(m[c.index('w_1_2'), q.index('9')])]))",
    );
    let scores = shop.egofx("mcq -q mcq.queries.csv --video out/video --text out/text -o s.json").ends_with(0);
    assert!(scores.stdout.contains("inter-video"), "{scores}");
    let scores = support::json(&std::fs::read_to_string(shop.path("s.json")).unwrap());
    assert_eq!(
        (&found[0], &found[1], &found[2], &found[3]),
        (&json!([8, 2]), &"float32".into(), &8.into(), &json!(["7", "9"]))
    );
    assert!((found[4].as_f64().unwrap() - scores["dual"]["9"][2].as_f64().unwrap()).abs() < 1e-6);
}
