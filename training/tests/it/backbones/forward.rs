//! What the networks compute against what the original modules computed.

use tch::Tensor;

use super::support::{FULL, Golden, OUTPUT, SMALL, STATE, egovlp, egovlpv2, lower_variance, off, variables};

#[test]
fn egovlps_video_tower_computes_what_the_original_computes() {
    let golden = Golden::open("egovlp", "expected");
    let (_store, model) = egovlp(16);
    for frames in [1, 4, 8, 16] {
        let video = golden.input(&format!("video_f{frames}"));
        model.check_video(video).unwrap();
        golden.compare(&format!("video_f{frames}.cls"), &model.video_class(video, false), OUTPUT);
        golden.compare(&format!("video_f{frames}.embed"), &model.video(video, false), OUTPUT);
    }
    for frames in [4, 8] {
        let states = model.video_states(golden.input(&format!("video_f{frames}")));
        golden.compare(&format!("video_f{frames}.embedded"), &states[0], STATE);
        for (i, state) in states[1..].iter().enumerate() {
            golden.compare(&format!("video_f{frames}.block{i}"), state, STATE);
        }
    }
    let reordered = golden.input("video_f4").index_select(1, &reordered(golden.input("video_f4")));
    golden.compare("video_f4_perm2031.embed", &model.video(&reordered, false), OUTPUT);
}

fn reordered(like: &Tensor) -> Tensor {
    Tensor::from_slice(&[2i64, 0, 3, 1]).to_device(like.device())
}

#[test]
fn egovlps_text_tower_computes_what_the_original_computes() {
    let golden = Golden::open("egovlp", "expected");
    let (_store, model) = egovlp(16);
    for name in ["padded", "full", "short", "long"].map(|name| format!("text_{name}")) {
        let [ids, mask] = golden.text(&name);
        model.check_text(ids, mask).unwrap();
        golden.compare(&format!("{name}.last_hidden"), &model.text_hidden(ids, mask, false), OUTPUT);
        golden.compare(&format!("{name}.pooled"), &model.text(ids, mask, false), OUTPUT);
    }
}

#[test]
fn egovlps_epsilons_are_the_originals() {
    let golden = Golden::open("egovlp", "expected_lowvar");
    let (store, model) = egovlp(16);
    lower_variance(&store, "egovlp");
    let [ids, mask] = golden.text("text_padded");
    golden.compare("video_f4.embed", &model.video(golden.input("video_f4"), false), OUTPUT);
    golden.compare("text_padded.pooled", &model.text(ids, mask, false), OUTPUT);
}

#[test]
fn egovlp_for_fewer_frames_is_the_same_on_them() {
    let golden = Golden::open("egovlp", "expected");
    let (_store, model) = egovlp(4);
    golden.compare("loaded_t4.video_f4.embed", &model.video(golden.input("video_f4"), false), OUTPUT);
    let error = model.check_video(golden.input("video_f8")).unwrap_err().to_string();
    assert_eq!(error, "backbone: frames has shape [2, 8, 3, 32, 32], expected [B, 1 to 4, 3, 32, 32]");
}

#[test]
fn egovlpv2s_towers_compute_alone_what_the_original_computes() {
    let golden = Golden::open("egovlpv2", "expected");
    for frames in [4, 5, 16] {
        let (_store, model) = egovlpv2(frames, FULL);
        let video = golden.input(&format!("video_f{frames}"));
        model.check_video(video).unwrap();
        golden.compare(&format!("dual.video_f{frames}.cls"), &model.video_class(video, false), OUTPUT);
        golden.compare(&format!("dual.video_f{frames}.embed"), &model.video(video, false), OUTPUT);
    }
    let (_store, model) = egovlpv2(4, FULL);
    let video = golden.input("video_f4");
    for (i, state) in model.video_states(video).iter().enumerate() {
        let name = if i == 0 { "embedded".to_owned() } else { format!("block{}", i - 1) };
        golden.compare(&format!("dual.video_f4.{name}"), state, STATE);
    }
    let video = video.index_select(1, &reordered(video));
    golden.compare("dual.video_f4_perm2031.embed", &model.video(&video, false), OUTPUT);
    for name in ["padded", "full", "short", "nlq", "pt"].map(|name| format!("text_{name}")) {
        let [ids, mask] = golden.text(&name);
        model.check_text(ids, mask).unwrap();
        let text = model.text(ids, mask, false);
        golden.compare(&format!("dual.{name}.last_hidden"), &text.tokens, OUTPUT);
        golden.compare(&format!("dual.{name}.pooled"), &text.pooled, OUTPUT);
    }
}

#[test]
fn fused_towers_compute_what_the_original_computes() {
    let golden = Golden::open("egovlpv2", "expected");
    let pairs = ["padded", "full", "short", "nlq", "pt"].map(|text| (4, text));
    for (frames, text) in pairs.into_iter().chain([(5, "padded"), (16, "padded")]) {
        let (_store, model) = egovlpv2(frames, FULL);
        let [ids, mask] = golden.text(&format!("text_{text}"));
        let fused = model.fused(golden.input(&format!("video_f{frames}")), ids, mask, false);
        let name = format!("fused.video_f{frames}.text_{text}");
        golden.compare(&format!("{name}.cls"), &fused.class, OUTPUT);
        golden.compare(&format!("{name}.text"), &fused.tokens, OUTPUT);
        golden.compare(&format!("{name}.itm_logits"), &model.vtm(&fused), OUTPUT);
    }
}

#[test]
fn masked_words_are_guessed_as_the_original_does() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, FULL);
    let (ids, mask) = (golden.input("text_pt.mlm_ids"), golden.input("text_pt.mask"));
    let fused = model.fused(golden.input("video_f4"), ids, mask, false);
    golden.compare("fused.video_f4.text_pt.mlm_logits", &model.mlm(&fused), OUTPUT);
}

#[test]
fn small_projectors_are_the_originals() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, SMALL);
    let [ids, mask] = golden.text("text_padded");
    golden.compare("small.text_padded.pooled", &model.text(ids, mask, false).pooled, OUTPUT);
    golden.compare("small.video_f4.embed", &model.video(golden.input("video_f4"), false), OUTPUT);
}

#[test]
fn egovlpv2s_epsilons_are_the_originals() {
    let golden = Golden::open("egovlpv2", "expected_lowvar");
    let (store, model) = egovlpv2(4, FULL);
    lower_variance(&store, "egovlpv2");
    let video = golden.input("video_f4");
    let [ids, mask] = golden.text("text_padded");
    golden.compare("dual.video_f4.embed", &model.video(video, false), OUTPUT);
    golden.compare("dual.text_padded.pooled", &model.text(ids, mask, false).pooled, OUTPUT);
    let [ids, mask] = golden.text("text_pt");
    let fused = model.fused(video, ids, mask, false);
    golden.compare("fused.video_f4.text_pt.cls", &fused.class, OUTPUT);
    golden.compare("fused.video_f4.text_pt.text", &fused.tokens, OUTPUT);
    golden.compare("fused.video_f4.text_pt.itm_logits", &model.vtm(&fused), OUTPUT);
    let masked = model.fused(video, golden.input("text_pt.mlm_ids"), mask, false);
    golden.compare("fused.video_f4.text_pt.mlm_logits", &model.mlm(&masked), OUTPUT);
}

#[test]
fn a_row_does_not_depend_on_its_batch() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, FULL);
    let video = golden.input("video_f4");
    let [ids, mask] = golden.text("text_padded");
    let both = model.fused(video, ids, mask, false);
    let (clips, texts) = (model.video(video, false), model.text(ids, mask, false).pooled);
    for row in 0..2 {
        let [video, ids, mask] = [video, ids, mask].map(|x| x.narrow(0, row, 1));
        let alone = model.fused(&video, &ids, &mask, false);
        assert!(off(&alone.class, &both.class.narrow(0, row, 1)) <= OUTPUT);
        assert!(off(&alone.tokens, &both.tokens.narrow(0, row, 1)) <= OUTPUT);
        assert!(off(&model.video(&video, false), &clips.narrow(0, row, 1)) <= OUTPUT);
        assert!(off(&model.text(&ids, &mask, false).pooled, &texts.narrow(0, row, 1)) <= OUTPUT);
    }
}

#[test]
fn cross_attention_weights_of_a_text_to_a_video_sum_to_one() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, FULL);
    let [ids, mask] = golden.text("text_padded");
    let maps = model.cross_attn_weights(golden.input("video_f4"), ids, mask);
    assert_eq!(maps.len(), 6);
    for maps in maps {
        assert_eq!(maps.size(), [2, 2, 7, 17]);
        let sums = maps.sum_dim_intlist(-1, false, None);
        assert!(off(&sums, &sums.ones_like()) <= 1e-5);
        assert!(maps.max().double_value(&[]) > 1.5 / 17.0, "not all alike");
    }
}

#[test]
fn a_text_that_does_not_look_at_the_video_is_what_it_is_alone() {
    let golden = Golden::open("egovlpv2", "expected");
    let (store, model) = egovlpv2(4, FULL);
    let [ids, mask] = golden.text("text_padded");
    let fused = || model.fused(golden.input("video_f4"), ids, mask, false).tokens;
    let alone = model.text(ids, mask, false).tokens;
    assert!(off(&fused(), &alone) > 1e-1);
    for (name, mut weight) in variables(&store) {
        if name.ends_with("alpha_t2i") {
            let _ = tch::no_grad(|| weight.zero_());
        }
    }
    assert!(off(&fused(), &alone) <= 1e-6);
}

#[test]
fn training_drops_values_of_texts_and_none_of_videos() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, FULL);
    let video = golden.input("video_f4");
    let [ids, mask] = golden.text("text_padded");
    let text = |train| model.text(ids, mask, train).tokens;
    assert!(off(&text(true), &text(false)) > 1e-2);
    assert!(off(&text(true), &text(true)) > 1e-2, "drawn anew");
    let fused = |train| model.fused(video, ids, mask, train).class;
    assert!(off(&fused(true), &fused(false)) > 1e-3);
    assert_eq!(off(&model.video(video, true), &model.video(video, false)), 0.0);
    let golden = Golden::open("egovlp", "expected");
    let (_store, model) = egovlp(16);
    let [ids, mask] = golden.text("text_padded");
    assert!(off(&model.text(ids, mask, true), &model.text(ids, mask, false)) > 1e-2);
    assert_eq!(off(&model.video(video, true), &model.video(video, false)), 0.0);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let golden = Golden::open("egovlpv2", "expected");
    let (_store, model) = egovlpv2(4, FULL);
    let [ids, mask] = golden.text("text_padded");
    let error = |result: Result<(), egofx_train::backbones::BackboneError>| result.unwrap_err().to_string();
    let five = model.check_video(golden.input("video_f5"));
    assert_eq!(error(five), "backbone: frames has shape [2, 5, 3, 32, 32], expected [B, 4, 3, 32, 32]");
    let long = ids.repeat([1, 6]);
    assert_eq!(error(model.check_text(&long, &long)), "backbone: ids has shape [2, 42], expected [B, 1 to 40]");
    let narrow = mask.narrow(1, 0, 3);
    assert_eq!(error(model.check_text(ids, &narrow)), "backbone: mask has shape [2, 3], expected [2, 7]");
    let floats = mask.to_kind(tch::Kind::Float);
    assert_eq!(error(model.check_text(ids, &floats)), "backbone: mask holds Float, expected Int64");
}
