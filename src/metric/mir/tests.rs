//! Retrieval against what the original code computed.
//!
//! Not for files of the real size. Fixtures of `f32` embeddings are held to their rounding, all else to 1e-9.

use std::path::PathBuf;

use ndarray::{Array2, array};
use serde_json::Value;

use super::super::samples;
use super::*;

fn caption(value: &Value) -> Caption {
    Caption {
        narration_id: value["narration_id"].as_str().unwrap().to_owned(),
        verb_class: value["verb_class"].as_i64().unwrap(),
        noun_classes: samples::indices(&value["all_noun_classes"]).into_iter().map(|class| class as u32).collect(),
    }
}

fn captions(value: &Value) -> Vec<Caption> {
    value.as_array().unwrap().iter().map(caption).collect()
}

#[track_caller]
fn check(found: &MirScore, expected: &Value, scale: f64, names: [&str; 4], tolerance: f64) {
    let released = Compat::AsReleased;
    let values = [
        mean(&found.video_to_text.ndcg, released),
        mean(&found.text_to_video.ndcg, released),
        mean(&found.video_to_text.average_precision, released),
        mean(&found.text_to_video.average_precision, released),
    ];
    for (name, value) in names.iter().zip(values) {
        samples::within(value * scale, &expected[name], tolerance, name);
    }
}

const NAMES: [&str; 4] = ["nDCG_V2T", "nDCG_T2V", "mAP_V2T", "mAP_T2V"];

#[test]
fn scores_and_relevancies_are_the_original_ones() {
    let (input, expected) = (samples::json("mir/input.json"), samples::json("mir/expected.json"));
    let (clips, sentences) = (captions(&input["videos"]), captions(&input["sentences"]));
    let relevancy = relevancy(&clips, &sentences);
    assert_eq!(relevancy, samples::matrix(&expected["relevancy"]));
    let similarity = samples::matrix(&expected["similarity_video_by_sentence"]);
    let found = score(similarity.view(), relevancy.view(), Compat::AsReleased).unwrap();
    check(&found, &expected["metrics_percent"], 100.0, NAMES, 1e-9);
    for (queries, name) in [
        (&found.video_to_text.ndcg, "nDCG_V2T"),
        (&found.text_to_video.ndcg, "nDCG_T2V"),
        (&found.video_to_text.average_precision, "AP_V2T"),
        (&found.text_to_video.average_precision, "AP_T2V"),
    ] {
        for (at, value) in queries.iter().enumerate() {
            samples::close(*value, &expected["per_query"][name][at], name);
        }
    }
    let fixed = score(similarity.view(), relevancy.view(), Compat::Fixed).unwrap();
    for (queries, name) in [(fixed.video_to_text, "V2T"), (fixed.text_to_video, "T2V")] {
        samples::close(mean(&queries.average_precision, Compat::Fixed), &expected["contrast_binary_mAP"][name], name);
    }
}

#[test]
fn the_numerator_of_precision_adds_up_graded_relevancies_as_released_only() {
    let expected = samples::json("mir/expected.json");
    let case = &expected["worked_fractional_quirk"];
    let (similarity, relevancy) = (samples::matrix(&case["sim"]), samples::matrix(&case["rel"]));
    let found = |compat| one_way(similarity.view(), relevancy.view(), compat);
    samples::close(found(Compat::AsReleased).average_precision[0], &case["mAP_official"], "as released");
    samples::close(found(Compat::Fixed).average_precision[0], &case["mAP_with_binary_relevance"], "fixed");
    samples::close(found(Compat::Fixed).ndcg[0], &case["nDCG"], "nDCG");
    let case = &expected["worked_3x4"];
    let found = one_way(samples::matrix(&case["sim"]).view(), samples::matrix(&case["rel"]).view(), Compat::AsReleased);
    samples::close(mean(&found.ndcg, Compat::AsReleased), &case["nDCG"], "nDCG");
    samples::close(mean(&found.average_precision, Compat::AsReleased), &case["mAP"], "mAP");
}

#[test]
fn a_query_without_an_exact_match_is_nan_as_released_and_left_out_when_fixed() {
    let (similarity, relevancy) = (array![[0.9, 0.1], [0.1, 0.9]], array![[0.5, 0.0], [0.0, 1.0]]);
    let found = score(similarity.view(), relevancy.view(), Compat::AsReleased).unwrap();
    assert!(found.video_to_text.average_precision[0].is_nan());
    assert!(mean(&found.video_to_text.average_precision, Compat::AsReleased).is_nan());
    assert_eq!(mean(&found.video_to_text.average_precision, Compat::Fixed), 1.0);
    let report = report(&found, Coverage::default(), Compat::AsReleased);
    assert!(report.score("mAP average").is_nan() && report.score("nDCG average") == 1.0);
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
}

#[test]
fn equal_similarities_keep_their_order() {
    let relevancy = array![[1.0, 0.0]];
    assert_eq!(one_way(array![[0.5, 0.5]].view(), relevancy.view(), Compat::Fixed).average_precision, [1.0]);
    let relevancy = array![[0.0, 1.0]];
    assert_eq!(one_way(array![[0.5, 0.5]].view(), relevancy.view(), Compat::Fixed).average_precision, [0.5]);
}

#[test]
fn both_kinds_of_dual_softmax_are_the_original_ones() {
    let expected = samples::json("mir/expected.json");
    let similarity = samples::matrix(&expected["similarity_video_by_sentence"]);
    let found = dual_softmax(similarity.view(), DualSoftmax::CaptionsFirst, DUAL_SOFTMAX_TEMPERATURE);
    let golden = samples::matrix(&expected["dual_softmax_temp500"]);
    assert!((&found - &golden).iter().all(|difference| difference.abs() < 1e-6), "{found}");
    for case in cases() {
        let shop = Shop::new(&case);
        let report = evaluate(&shop.inputs(true).choose("dual-softmax", "clips-first")).unwrap();
        check_report(&report, &case["v1_challenge_script"]["dual_softmax"], 1.0);
        assert_eq!(report.notes.last().unwrap(), "similarities re-weighted by dual softmax, clips-first");
    }
}

fn cases() -> Vec<Value> {
    samples::json("mir/cases.json")["cases"].as_array().unwrap().clone()
}

#[track_caller]
fn check_report(report: &Report, expected: &Value, scale: f64) {
    let scores = ["nDCG V2T", "nDCG T2V", "mAP V2T", "mAP T2V"];
    for (score, name) in scores.iter().zip(NAMES) {
        samples::within(report.score(score) * scale, &expected[name], 1e-9 * scale, name);
    }
}

/// The files of a case: rows are in the order of a loader that repeats some.
struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new(case: &Value) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        let names = |key: &str| -> Vec<String> {
            case[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let (clips, sentences) = (names("narration_ids"), names("sentence_narration_ids"));
        let lines: String = clips.iter().map(|id| format!("{id},0,\"[1, 2]\"\n")).collect();
        shop.write("clips.csv", &format!("narration_id,verb_class,all_noun_classes\n{lines}"));
        shop.write("sentences.csv", &format!("narration_id,narration\n{}", sentences.join(",x\n") + ",x\n"));
        let rows = samples::indices(&case["sample_index_of_row"]);
        shop.write("ids.txt", &rows.iter().map(|row| clips[*row].clone() + "\n").collect::<String>());
        for (name, key) in
            [("video", "video_embeds"), ("text", "text_embeds"), ("relevancy", "relevancy_video_x_sentence")]
        {
            ndarray_npy::write_npy(shop.path(&format!("{name}.npy")), &samples::matrix(&case[key])).unwrap();
        }
        let similarity: Array2<f64> = samples::matrix(&case["sim_text_x_video"]).reversed_axes();
        ndarray_npy::write_npy(shop.path("similarity.npy"), &similarity).unwrap();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn inputs(&self, by_embeddings: bool) -> Inputs {
        let inputs = Inputs::default()
            .file("annotations", self.path("clips.csv"))
            .file("sentences", self.path("sentences.csv"))
            .file("relevancy", self.path("relevancy.npy"))
            .file("clip-ids", self.path("ids.txt"));
        match by_embeddings {
            true => inputs.file("predictions", self.path("video.npy")).file("text", self.path("text.npy")),
            false => inputs.file("predictions", self.path("similarity.npy")),
        }
    }
}

#[test]
fn loaders_orders_repeats_and_sentences_come_out_as_in_both_originals() {
    for case in cases() {
        let shop = Shop::new(&case);
        for by_embeddings in [true, false] {
            let report = evaluate(&shop.inputs(by_embeddings)).unwrap();
            check_report(&report, &case["v1"], 100.0);
            check_report(&report, &case["v2"], 100.0);
            check_report(&report, &case["v1_challenge_script"]["plain"], 1.0);
        }
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let shop = Shop::new(&cases()[0]);
    let error = |inputs: Inputs| evaluate(&inputs).unwrap_err().to_string();
    let without_ids = Inputs::default()
        .file("annotations", shop.path("clips.csv"))
        .file("sentences", shop.path("sentences.csv"))
        .file("predictions", shop.path("similarity.npy"));
    let text = error(without_ids);
    assert!(text.contains("expected 14 rows, one for each of the clips, or --clip-ids, found 17 rows"), "{text}");
    shop.write("ids.txt", &"P01_00_0\n".repeat(17));
    assert!(error(shop.inputs(false)).contains("1 of 14 clips, missing 13 ("));
    shop.write("sentences.csv", "narration_id\nP99\n");
    assert!(error(shop.inputs(false)).contains("expected narration ids of clips, found \"P99\", which is not in"));
    shop.write("clips.csv", "narration_id,verb_class,all_noun_classes\nP01,x,[1]\n");
    let text = error(shop.inputs(false));
    assert!(
        text.ends_with("expected a verb class and a list of noun classes, found \"x\" and \"[1]\" in row 1"),
        "{text}"
    );
}
