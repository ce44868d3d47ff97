//! What a page says of a store, as data and as a file.

use std::fs;

use egofx::store::RowKind;
use serde_json::{Value, json};

use super::{HOSTILE, said, sample};
use crate::support::Workshop;
use crate::support::stores::{Made, contract, store};
use crate::support::videos::data;

fn check<'v>(view: &'v Value, what: &str) -> &'v Value {
    let checks = view["sets"][0]["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("{what}: {view}"))
}

#[test]
fn what_is_there_what_is_missing_and_what_failed_is_told() {
    let shop = Workshop::new();
    sample(&shop, 5);
    let view = said(&shop, "features --no-thumbnails");
    let set = &view["sets"][0];
    assert_eq!((&set["rows"], &set["committed"], &set["planned"]), (&json!(210), &json!(6), &json!(8)));
    assert_eq!((&view["run"]["device"], &view["run"]["rows"]), (&json!("cpu"), &json!(130)));
    assert_eq!(view["names"], json!(["v0", "v1", "v2", "v3", "v4"]));
    assert_eq!(
        view["lines"][1],
        json!({"video_uid": "v1", "committed": 1, "planned": 1, "rows": 40, "padded": 0, "missing": 2, "shown": 1})
    );
    let lanes = |video: usize| view["videos"][video]["lanes"].as_array().unwrap();
    let of = |lane: &Value, name: &str| lane[name].as_u64().unwrap();
    assert_eq!((of(&lanes(0)[0], "rows"), of(&lanes(0)[0], "padded"), lanes(0).len()), (40, 1, 2));
    let runs: Vec<&Value> = lanes(1)[0]["runs"].as_array().unwrap().iter().map(|run| &run["kind"]).collect();
    assert_eq!(runs, ["rows", "missing", "rows"]);
    assert_eq!(lanes(2)[1]["absent"], json!(format!("failed: {HOSTILE}")));
    assert_eq!((&lanes(3)[1]["absent"], &lanes(3)[1]["span"]), (&json!("not committed yet"), &json!([2.0, 8.0])));
    assert_eq!(check(&view, "rows that are missing")["count"], 2);
    assert_eq!(check(&view, "rows that are missing")["examples"][0], "c1, row 10 at 0:05");
    assert_eq!(
        (check(&view, "equal rows")["count"].as_u64(), set["map"]["points"].as_array().unwrap().len()),
        (Some(0), 208)
    );
    let similarity = &view["videos"][0]["similarities"][0];
    assert_eq!((of(similarity, "rows"), of(similarity, "side")), (40, 40), "a clip within another one is left out");
    assert_eq!(similarity["range_sec"], json!([0.25, 19.75]));
}

#[test]
fn the_first_component_follows_what_varies_most() {
    let shop = Workshop::new();
    store(
        &shop.path("f"),
        &contract("rows", RowKind::Window, 8, 1.0),
        &[Made::windows("a", "v", Some((0.0, 30.0)), 30)],
    );
    let view = said(&shop, "f --no-thumbnails");
    let map = &view["sets"][0]["map"];
    let explained: Vec<f64> =
        map["explained"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect();
    assert!(
        explained[0] >= explained[1] && explained[0] + explained[1] > 0.99,
        "sines of one frequency lie on a plane: {explained:?}"
    );
    assert_eq!(said(&shop, "f --no-thumbnails"), view, "the same again");
}

#[test]
fn thumbnails_are_of_the_videos_that_are_there() {
    let shop = Workshop::new();
    let made = [("c", "nasa_13013"), ("d", "elsewhere")]
        .map(|(unit, video)| Made::windows(unit, video, Some((0.0, 10.0)), 10));
    store(&shop.path("f"), &contract("rows", RowKind::Window, 4, 1.0), &made);
    let clip = data("media/nasa_13013.mp4");
    let media = clip.parent().unwrap().display().to_string();
    let view = said(&shop, &format!("f --videos {media}"));
    let counts: Vec<usize> = (0..2).map(|at| view["videos"][at]["thumbnails"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [0, 10]);
    assert!(view["notes"][0].as_str().unwrap().starts_with("1 of 2 videos have no thumbnails"));
    let thumbnail = &view["videos"][1]["thumbnails"][3];
    assert!(thumbnail["sec"] == 3.5 && thumbnail["uri"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"));
    shop.write("all.csv", format!("video_uid,path\nnasa_13013,{}\nelsewhere,gone.mp4\n", clip.display()));
    let view = said(&shop, "f -m all.csv");
    assert!(
        view["videos"][0]["no_thumbnails"].as_str().unwrap().ends_with("gone.mp4: no such file"),
        "{}",
        view["videos"][0]
    );
    assert_eq!(view["notes"], json!([]));
}

#[test]
fn rows_are_set_against_those_of_another_store_at_the_same_times() {
    let shop = Workshop::new();
    let set = |name: &str, dim: usize, made: &[Made]| {
        store(&shop.path(name), &contract("rows", RowKind::Window, dim, 1.0), made)
    };
    let (a, b) = (Made::windows("a", "v", Some((0.0, 10.0)), 10), Made::windows("b", "v", Some((10.0, 20.0)), 10));
    set("one", 8, &[a.clone(), b.clone()]);
    set("wide", 9, std::slice::from_ref(&a));
    // Its rows begin three seconds later, and a unit is not there.
    set("late", 8, &[Made { span: Some((3.0, 10.0)), rows: vec![(None, false); 7], ..a }]);
    let against =
        |other: &str| said(&shop, &format!("one --no-thumbnails --against {other}"))["sets"][0]["against"].clone();
    let same = against("one");
    assert_eq!((&same["compared"], &same["least"], &same["only_here"]), (&json!(20), &json!(1.0), &json!(0)));
    assert_eq!(same["cosines"]["counts"].as_array().unwrap().last(), Some(&json!(20)));
    let late = against("late");
    assert_eq!((&late["compared"], &late["only_here"], &late["only_there"]), (&json!(7), &json!(13), &json!(0)));
    assert!(late["least"].as_f64().unwrap() < 0.999);
    assert!(late["worst"][0].as_str().unwrap().starts_with("a, row "), "{late}");
    assert_eq!(against("wide")["why_not"], "its rows have 9 features, those of this store 8");
}

#[test]
fn predictions_lie_on_the_time_lines_with_the_numbers_of_eval_beside_them() {
    let shop = Workshop::new();
    let file = |name: &str| data(&format!("metrics/{name}")).display().to_string();
    for (name, clip, truth, predictions, score) in [
        ("nlq", "clip-0001", "nlq/gt.json", "nlq/pred.json", "R@1 IoU>0.3"),
        ("mq", "clip-1", "mq/moments_val.json", "mq/submission_expected.json", "average mAP"),
    ] {
        let made = Made::windows(clip, "v", Some((100.0, 580.0)), 48);
        store(&shop.path(name), &contract("rows", RowKind::Window, 4, 0.1), &[made]);
        let files = format!("--predictions {} --annotations {} --allow-missing", file(predictions), file(truth));
        let view = said(&shop, &format!("{name} --no-thumbnails {files}"));
        let eval = shop.egofx(&format!("eval {name} {files} --json")).ends_with(0);
        let eval: Value = serde_json::from_str(&eval.stdout).unwrap();
        let scores = view["scores"]["scores"].as_array().unwrap();
        let found = scores.iter().find(|pair| pair[0] == score).unwrap();
        assert_eq!((&found[1], &view["scores"]["benchmark"]), (&eval["scores"][score], &json!(name)));
        assert!(view["scores"]["clips_elsewhere"].as_u64().unwrap() > 0);
        let span = &view["videos"][0]["spans"][0];
        assert_eq!(span["truths"][0][0], 110.0, "seconds of the video, in which the clip begins at 100 s: {span}");
        assert!(!span["text"].as_str().unwrap().is_empty() && span["clip_uid"] == clip);
    }
    let refused = shop.egofx(&format!("report nlq --predictions {} -a {}", file("nlq/gt.json"), file("nlq/gt.json")));
    refused.ends_with(2).says(&["gt.json: expected a submission of NLQ or MQ"]);
}

#[test]
fn a_unit_that_cannot_be_read_is_told_and_the_others_are_shown() {
    let shop = Workshop::new();
    sample(&shop, 4);
    fs::write(shop.path("features/rows/units/c1.h5"), "damaged").unwrap();
    let view = said(&shop, "features/rows --no-thumbnails");
    assert_eq!(check(&view, "units that cannot be read")["count"], 1);
    assert!(view["videos"][1]["lanes"][0]["absent"].as_str().unwrap().contains("c1.h5"));
    assert_eq!(view["sets"][0]["map"]["points"].as_array().unwrap().len(), 130);
}

#[test]
fn of_many_videos_some_are_shown_and_the_others_counted() {
    let shop = Workshop::new();
    sample(&shop, 12);
    let view = said(&shop, "features --no-thumbnails --detail 4");
    let shown: Vec<&Value> = view["videos"].as_array().unwrap().iter().map(|video| &video["video_uid"]).collect();
    assert_eq!(shown, ["v0", "v1", "v2", "v3"], "those of which something is missing, then the first ones");
    assert_eq!((view["all_videos"].as_u64(), view["lines"].as_array().unwrap().len()), (Some(12), 12));
}

#[test]
fn sentences_have_no_times_and_a_map_all_the_same() {
    let shop = Workshop::new();
    let made = Made {
        clip: None,
        rows: (0..6).map(|at| (Some(format!("q{at}")), false)).collect(),
        ..Made::windows("v", "v", None, 0)
    };
    store(&shop.path("f"), &contract("texts", RowKind::Query, 4, 0.0), &[made]);
    let view = said(&shop, "f");
    assert_eq!((&view["videos"][0]["lanes"][0]["runs"], &view["videos"][0]["end_sec"]), (&json!([]), &json!(0.0)));
    assert_eq!(view["sets"][0]["map"]["points"].as_array().unwrap().len(), 6);
    assert_eq!(view["videos"][0]["similarities"][0]["range_sec"], Value::Null);
    shop.egofx("report f").ends_with(0);
}

#[test]
fn a_page_is_written_anew_and_nothing_else_is_overwritten() {
    let shop = Workshop::new();
    sample(&shop, 4);
    for _ in 0..2 {
        let written = shop.egofx("report features --no-thumbnails").ends_with(0).says(&["rows that are missing: 2"]);
        assert!(written.stdout.starts_with("features/report.html  "), "{written}");
    }
    let page = fs::read_to_string(shop.path("features/report.html")).unwrap();
    assert!(page.len() < 400_000 && !page.contains(HOSTILE));
    shop.egofx("verify features").ends_with(1).says(&["c2-failed"]);
    shop.write("mine.html", "<p>mine");
    let refused = shop.egofx("report features --no-thumbnails -o mine.html").ends_with(2);
    refused.says(&["mine.html exists already and is no page of egofx report; --force overwrites it"]);
    shop.egofx("report features --no-thumbnails -o mine.html --force").ends_with(0);
    fs::create_dir(shop.path("empty")).unwrap();
    shop.egofx("report empty").ends_with(2).says(&["empty: no feature set here or one folder below"]);
}
