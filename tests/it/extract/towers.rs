//! Text features, fused features and rows for each clip, through the program: what a run gives is what the graphs give
//! for the same frames and sentences, however it is cut into batches, shards and runs.

use std::path::Path;

use egofx::backbone::{Card, Device, Feed, GraphSession, Precision, Provider, SessionOptions};
use egofx::decode::{FfmpegSource, FrameSource, HwAccel};
use egofx::recipe::Recipe;
use egofx::store::Unit;
use egofx::text::{TextModel, TokenizationRule, Tokenizer};

use crate::support;
use crate::support::graphs::RUNTIME;
use crate::support::programs::tools;
use crate::support::{Workshop, row_bits};

const TEXT: &str = "[text]\nmodel = \"egovlpv2\"\nrule = \"nlq\"\n";
const FUSION: &str = "[fusion]\nlower_video = \"egovlpv2_lower_video\"\nlower_text = \"egovlpv2_lower_text\"\n";
const FRAMES: &str = "[grid]\nkind = \"egovlp\"\nframes = 4\n[transform]\nshort_side = 256\ncrop = 256\nfilter = \"bilinear\"\nchannels = \"rgb\"\n";

fn write_recipe(shop: &Workshop, name: &str, backbone: &str, feature: &str, tables: &str) {
    let output = "[output]\nformat = \"hdf5\"\ndtype = \"f32\"\n";
    let head = format!("backbone = \"{backbone}\"\nfeature = \"{feature}\"\ncompat = \"fixed\"\n");
    shop.write(&format!("{name}.toml"), format!("{head}{tables}{output}"));
}

/// Two clips of one video with three queries, a second video with one, and a tiny EgoVLPv2.
fn shop() -> Workshop {
    let shop = Workshop::new();
    shop.clip("v.mp4", 60);
    shop.encode("w.mp4", "48x64", 30, support::H264);
    shop.write(
        "all.csv",
        "video_uid,path,clip_uid,start_sec,end_sec\nv,v.mp4,c1,0,1.2\nv,v.mp4,c2,0.8,2.4\nw,w.mp4,w,,\n",
    );
    let queries = "query_id,clip_uid,text,start_sec,end_sec,split\nq_0,c1,Where is the cup?,0,1,val\n\
                   q_1,c1,  Did I wash it? ,,,val\nq_2,c2,Where is the cup?,1,1.5,val\nq_3,w,Who,0,1,val\n";
    shop.write("all.queries.csv", queries);
    support::write_vocabulary(&shop, "words");
    shop.models();
    write_recipe(&shop, "fused", "egovlpv2_upper", "class", &format!("{FRAMES}{TEXT}{FUSION}"));
    write_recipe(&shop, "tokens", "egovlpv2_text", "hidden", TEXT);
    write_recipe(&shop, "pooled", "egovlpv2_text", "pooled", TEXT);
    shop
}

fn extract(shop: &Workshop, recipes: &[&str], out: &str, flags: &str) -> support::Outcome {
    let recipes: String = recipes.iter().map(|name| format!("-p {name}.toml ")).collect();
    shop.egofx(&format!("extract -m all.csv {recipes} --models models --tokenizer words -o {out} {flags}"))
}

fn session(folder: &Path, card: &Card) -> GraphSession {
    let device = Device { provider: Provider::Cpu, ordinal: 0 };
    let options = SessionOptions { device, precision: Precision::Fp32, threads: 2, rearrange: true };
    GraphSession::open(&RUNTIME, &card.graph_path(folder), options).unwrap()
}

/// One row of a unit by the whole fused graph: the frames that its grid names, and its sentence.
fn whole_tower(shop: &Workshop, unit: &Unit, row: usize, graph: &mut GraphSession) -> Vec<f32> {
    let source = FfmpegSource { tools: tools(), threads: 1, hwaccel: HwAccel::None };
    let video = source.probe(&shop.path(&unit.header.source_name), None).unwrap();
    let recipe = Recipe::read(&shop.path("fused.toml")).unwrap();
    let frames = recipe.frames().unwrap();
    let span = unit.header.span;
    let layout = egofx::plan::Layout::new(&video, &frames, recipe.body.compat, span).unwrap();
    let wanted = &layout.frames[row];
    let mut distinct = wanted.clone();
    distinct.dedup();
    let shown: Vec<_> = source.open(&video, &distinct, &[frames.transform]).map(Result::unwrap).collect();
    let pixels = wanted
        .iter()
        .flat_map(|frame| shown.iter().find(|shown| shown.index == *frame).unwrap().pixels[0].levels().into_owned());
    let tokenizer = Tokenizer::open(&shop.path("words")).unwrap();
    let rule = TokenizationRule::find("nlq", TextModel::EgoVlpV2).unwrap();
    let text = tokenizer.encode(rule, &[unit.header.query_text.as_ref().unwrap()]).unwrap();
    let feeds = [
        Feed::Bytes("frames", pixels.collect(), vec![1, 4, 256, 256, 3]),
        Feed::Ints("ids", text.ids.into_raw_vec_and_offset().0.into(), vec![1, 30]),
        Feed::Ints("mask", text.mask.into_raw_vec_and_offset().0.into(), vec![1, 30]),
    ];
    graph.run_one(&feeds, "class").unwrap().1
}

#[test]
fn a_fused_unit_holds_what_the_whole_tower_gives_for_its_query() {
    let shop = shop();
    extract(&shop, &["fused"], "out", "--batch-size 3").ends_with(0);
    assert_eq!(shop.committed("out/fused"), ["q_0", "q_1", "q_2", "q_3"]);
    let folder = shop.path("models");
    let mut graph = session(&folder, &Card::read(&folder, "egovlpv2_fused").unwrap());
    for (query, clip, text, rows) in [
        ("q_0", "c1", "Where is the cup?", 2),
        ("q_1", "c1", "  Did I wash it? ", 2),
        ("q_2", "c2", "Where is the cup?", 3),
    ] {
        let unit = shop.unit("out/fused", query);
        let header = &unit.header;
        let named =
            (header.clip_uid.as_ref().unwrap().as_str(), header.query_text.as_deref(), header.query_id.as_deref());
        assert_eq!(named, (clip, Some(text), Some(query)));
        assert_eq!((unit.features.dim(), unit.meta.len()), ((rows, 32), rows));
        for row in 0..rows {
            let expected = whole_tower(&shop, &unit, row, &mut graph);
            let found = unit.features.row(row);
            let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 2e-5, "{query} row {row}: {most:e}");
        }
    }
    let (first, second) = (shop.unit("out/fused", "q_0"), shop.unit("out/fused", "q_1"));
    assert_eq!(first.meta, second.meta, "the windows of a clip are the same for all of its queries");
    assert_ne!(first.features, second.features, "the sentence counts");
}

#[test]
fn fused_and_text_rows_do_not_depend_on_batches_decoders_shards_or_resuming() {
    let shop = shop();
    let all = ["fused", "tokens", "pooled"];
    extract(&shop, &all, "a", "").ends_with(0);
    extract(&shop, &all, "b", "--batch-size 1 --decoders 2 --threads 1").ends_with(0);
    assert_eq!(shop.unit_files("a"), shop.unit_files("b"));
    for part in ["2/2", "1/2"] {
        extract(&shop, &all, "c", &format!("--batch-size 5 --shard {part}")).ends_with(0);
    }
    std::fs::remove_file(shop.path("c/fused/units/q_1.h5")).unwrap();
    std::fs::remove_file(shop.path("c/tokens/units/w.h5")).unwrap();
    extract(&shop, &all, "c", "").ends_with(0);
    assert_eq!(shop.report("c")["committed"], 2);
    assert_eq!(shop.unit_files("a"), shop.unit_files("c"));
    shop.egofx("verify a").ends_with(0);
}

#[test]
fn sentences_are_rows_of_their_video_pooled_or_token_by_token() {
    let shop = shop();
    extract(&shop, &["tokens", "pooled"], "out", "").ends_with(0);
    assert_eq!(shop.committed("out/tokens"), ["v", "w"]);
    let (tokens, pooled) = (shop.unit("out/tokens", "v"), shop.unit("out/pooled", "v"));
    assert_eq!((tokens.features.dim(), pooled.features.dim()), ((90, 32), (3, 16)));
    let names: Vec<_> = pooled
        .meta
        .iter()
        .map(|row| (row.query_id.as_deref().unwrap(), row.clip_uid.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(names, [("q_0", "c1"), ("q_1", "c1"), ("q_2", "c2")]);
    assert!(
        tokens.meta.iter().enumerate().all(|(i, row)| row.query_id.as_deref() == Some(["q_0", "q_1", "q_2"][i / 30]))
    );
    // <s>, 17 letters and blanks, </s>; the rule strips, lower-cases and pads to 30.
    assert_eq!(tokens.meta[..30].iter().filter(|row| !row.padded).count(), 19);
    let (rows, sentences) = (row_bits(&tokens), row_bits(&pooled));
    assert_eq!(rows[..30], rows[60..], "the same sentence is the same rows");
    assert_eq!(sentences[0], sentences[2]);
    assert_ne!(sentences[0], sentences[1]);
}

#[test]
fn what_a_recipe_reads_must_be_there_and_fit() {
    let shop = shop();
    let refused = |recipes: &[&str], flags: &str, words: &[&str]| {
        extract(&shop, recipes, "never", flags).ends_with(2).says(words);
        assert!(!shop.path("never").exists());
    };
    refused(&["fused"], "--queries lost.csv", &["lost.csv: cannot read the queries"]);
    write_recipe(&shop, "mute", "egovlpv2_text", "hidden", FRAMES);
    refused(&["mute"], "", &["backbone egovlpv2_text does not take frames"]);
    write_recipe(&shop, "blind", "egovlpv2_video", "embedding", TEXT);
    refused(&["blind"], "", &["backbone egovlpv2_video takes frames"]);
    write_recipe(
        &shop,
        "odd",
        "egovlpv2_upper",
        "class",
        &format!("{FRAMES}{TEXT}{}", FUSION.replace("lower_text", "text")),
    );
    refused(&["odd"], "", &["unknown field `text`"]);
    let crossed = "[fusion]\nlower_video = \"egovlpv2_lower_video\"\nlower_text = \"egovlpv2_text\"\n";
    write_recipe(&shop, "crossed", "egovlpv2_upper", "class", &format!("{FRAMES}{TEXT}{crossed}"));
    refused(&["crossed"], "", &["egovlpv2_text: it gives no text_tokens, egovlpv2_upper takes text_tokens"]);
    write_recipe(&shop, "wanting", "egovlpv2_upper", "answer_logits", &format!("{FRAMES}{TEXT}{FUSION}"));
    refused(&["wanting"], "", &["egovlpv2_upper: it has no output \"answer_logits\"", "match_logits"]);
    shop.write("all.queries.csv", "query_id,clip_uid,text,start_sec,end_sec\nq/0,c1,Where?,,\n");
    refused(&["fused"], "", &["query \"q/0\" cannot name a file of features"]);
    std::fs::remove_file(shop.path("all.queries.csv")).unwrap();
    refused(&["pooled"], "", &["recipe pooled reads sentences", "--queries", "all.queries.csv"]);
}

#[test]
fn another_sentence_under_a_known_id_is_refused() {
    let shop = shop();
    extract(&shop, &["fused", "pooled"], "out", "").ends_with(0);
    let queries = std::fs::read_to_string(shop.path("all.queries.csv")).unwrap();
    shop.write("all.queries.csv", queries.replace("Who", "Whose"));
    extract(&shop, &["fused"], "out", "").ends_with(2).says(&["unit q_3 was planned as"]);
    extract(&shop, &["pooled"], "out", "").ends_with(2).says(&["unit w was planned as"]);
}
