//! The objectives of pretraining and tuning against the original losses; see `data/objectives/README.md`.

use std::path::PathBuf;

use egofx::compat::Compat::{self, AsReleased, Fixed};
use egofx_train::losses::{
    HardNegative, IGNORED, LossTerms, LossWeights, Masking, NOUNS, Picked, Rule, VERBS, VtmPairs, adaptive_max_margin,
    classification, cosine, egonce, infonce, key_frame, max_margin, mine_hard_negatives, mlm_loss, multi_hot,
    negative_weights, positives, vtm_labels, vtm_pairs,
};
use egofx_train::rng::{Purpose, generator};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::support::device::device;

/// Of losses: between versions of torch they differ by 2e-6.
const LOSS: f64 = 1e-5;
/// Of single entries of gradients, which are up to 10 in size.
const GRADIENT: f64 = 2e-5;
/// Of sampling weights.
const WEIGHT: f64 = 1e-6;
const TEMPERATURE: f64 = 0.05;

fn golden(name: &str) -> Value {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/data/objectives", name].iter().collect();
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// All numbers of nested lists, with their shape.
fn flat(value: &Value, shape: &mut Vec<i64>, numbers: &mut Vec<f64>, depth: usize) {
    let Some(list) = value.as_array() else { return numbers.push(value.as_f64().unwrap()) };
    if shape.len() == depth {
        shape.push(list.len() as i64);
    }
    list.iter().for_each(|value| flat(value, shape, numbers, depth + 1));
}

fn tensor(value: &Value) -> Tensor {
    let (mut shape, mut numbers) = (Vec::new(), Vec::new());
    flat(value, &mut shape, &mut numbers, 0);
    Tensor::from_slice(&numbers).view(&shape[..]).to_kind(Kind::Float).to_device(device())
}

fn integers(value: &Value) -> Tensor {
    tensor(value).to_kind(Kind::Int64)
}

fn truth(value: &Value) -> Tensor {
    tensor(value).to_kind(Kind::Bool)
}

fn leaf(value: &Value) -> Tensor {
    tensor(value).set_requires_grad(true)
}

fn tags(value: &Value, classes: i64) -> Tensor {
    let lists = value.as_array().unwrap().iter();
    let lists: Vec<Vec<i64>> =
        lists.map(|list| list.as_array().unwrap().iter().map(|tag| tag.as_i64().unwrap()).collect()).collect();
    multi_hot(&lists, classes).to_device(device())
}

fn number(tensor: &Tensor) -> f64 {
    tensor.double_value(&[])
}

fn whole(tensor: &Tensor) -> Vec<i64> {
    Vec::<i64>::try_from(tensor.flatten(0, -1)).unwrap()
}

#[track_caller]
fn near(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

#[track_caller]
fn alike(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size());
    let difference = (found - expected).abs().max().double_value(&[]);
    assert!(difference <= tolerance, "differs by {difference}:\n{found}\n{expected}");
}

const RULES: [(&str, Rule); 4] =
    [("noun_and_verb", Rule::NounAndVerb), ("noun", Rule::Noun), ("verb", Rule::Verb), ("neither", Rule::None)];

#[test]
fn similarities_are_cosines_with_a_least_norm() {
    let file = golden("egonce.json");
    for case in file["cases"].as_array().unwrap() {
        alike(&cosine(&tensor(&case["text"]), &tensor(&case["video"])), &tensor(&case["sim"]), 1e-6);
    }
    let tiny = &file["sim_matrix_with_tiny_norms"];
    alike(&cosine(&tensor(&tiny["a"]), &tensor(&tiny["b"])), &tensor(&tiny["sim"]), 1e-6);
}

#[test]
fn positives_share_tags_as_the_rule_says() {
    for case in golden("egonce.json")["cases"].as_array().unwrap() {
        let (verbs, nouns) = (tags(&case["verbs"], VERBS), tags(&case["nouns"], NOUNS));
        for (name, rule) in RULES {
            let found = positives(&verbs, &nouns, rule);
            assert_eq!(found.kind(), Kind::Bool);
            assert_eq!(found, truth(&case["egonce"][name]["positive"]), "{name}");
        }
    }
}

#[test]
fn tags_outside_the_vocabulary_are_no_other_tags() {
    let hot = multi_hot(&[vec![0, 3], vec![], vec![-1, 4, 5]], 4);
    assert_eq!(whole(&hot.to_kind(Kind::Int64)), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn egonce_and_its_gradients_are_the_original_ones() {
    for case in golden("egonce.json")["cases"].as_array().unwrap() {
        for (name, _) in RULES {
            let expected = &case["egonce"][name];
            let positives = truth(&expected["positive"]);
            let sim = leaf(&case["sim"]);
            let loss = egonce(&sim, &positives, TEMPERATURE);
            near(number(&loss), &expected["loss"], LOSS);
            loss.backward();
            alike(&sim.grad(), &tensor(&expected["grad_sim"]), GRADIENT);
            let (text, video) = (leaf(&case["text"]), leaf(&case["video"]));
            egonce(&cosine(&text, &video), &positives, TEMPERATURE).backward();
            alike(&text.grad(), &tensor(&expected["grad_text"]), GRADIENT);
            alike(&video.grad(), &tensor(&expected["grad_video"]), GRADIENT);
        }
        let positives = truth(&case["egonce"]["noun_and_verb"]["positive"]);
        near(number(&egonce(&tensor(&case["sim"]), &positives, 0.2)), &case["egonce_temperature_0.2"], LOSS);
    }
}

#[test]
fn infonce_is_egonce_without_other_positives() {
    for case in golden("egonce.json")["cases"].as_array().unwrap() {
        let sim = leaf(&case["sim"]);
        let loss = infonce(&sim, TEMPERATURE);
        near(number(&loss), &case["infonce"]["loss"], LOSS);
        loss.backward();
        alike(&sim.grad(), &tensor(&case["infonce"]["grad_sim"]), GRADIENT);
    }
}

/// Quirk of EgoVLP: with both switches off its EgoNCE takes verbs.
#[test]
fn without_switches_egovlp_falls_back_to_verbs() {
    for case in golden("egonce.json")["cases"].as_array().unwrap() {
        let (verbs, nouns) = (tags(&case["verbs"], VERBS), tags(&case["nouns"], NOUNS));
        let loss = |compat: Compat| {
            let positives = positives(&verbs, &nouns, Rule::None.in_egovlp(compat));
            number(&egonce(&tensor(&case["sim"]), &positives, TEMPERATURE))
        };
        near(loss(AsReleased), &case["egonce"]["neither"]["loss_v1"], LOSS);
        near(loss(Fixed), &case["egonce"]["neither"]["loss"], LOSS);
    }
    assert_eq!(Rule::Noun.in_egovlp(AsReleased), Rule::Noun);
}

#[test]
fn a_far_positive_makes_a_large_loss_and_no_infinite_one() {
    let sim = Tensor::from_slice(&[-200f32, 200.0, 200.0, -200.0]).view([2, 2]).set_requires_grad(true);
    let loss = egonce(&sim, &Tensor::eye(2, (Kind::Bool, tch::Device::Cpu)), 1.0);
    assert_eq!(number(&loss), 800.0);
    loss.backward();
    assert!(sim.grad().isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn max_margins_are_the_original_ones() {
    let file = golden("margin.json");
    let cases = file["ranking"].as_array().unwrap();
    for case in cases {
        let (margin, without) = (case["margin"].as_f64().unwrap(), case["fix_norm"].as_bool().unwrap());
        for kind in ["max_margin", "adaptive"] {
            let sim = leaf(&case["sim"]);
            let loss = match kind {
                "adaptive" => adaptive_max_margin(&sim, &tensor(&case["weight"]), margin, without, AsReleased),
                _ => max_margin(&sim, margin, without, AsReleased),
            };
            match case[kind]["loss"].as_f64() {
                None => assert!(number(&loss).is_nan()),
                Some(_) => {
                    near(number(&loss), &case[kind]["loss"], LOSS);
                    loss.backward();
                    alike(&sim.grad(), &tensor(&case[kind]["grad_sim"]), GRADIENT);
                }
            }
        }
    }
    assert_eq!(cases.iter().filter(|case| case["max_margin"]["loss"] == "NaN").count(), 2);
}

/// Quirk: of one row without its diagonal the released loss is the mean of nothing.
#[test]
fn the_margin_of_a_single_pair_is_nothing() {
    let sim = Tensor::from_slice(&[0.3f32]).view([1, 1]).set_requires_grad(true);
    assert!(number(&max_margin(&sim, 0.2, true, AsReleased)).is_nan());
    let loss = max_margin(&sim, 0.2, true, Fixed);
    assert_eq!(number(&loss), 0.0);
    loss.backward();
    assert_eq!(number(&sim.grad().abs().max()), 0.0);
    let pairs = Tensor::from_slice(&[0.3f32, 0.2, 0.1, 0.4]).view([2, 2]);
    assert_eq!(number(&max_margin(&pairs, 0.2, true, AsReleased)), number(&max_margin(&pairs, 0.2, true, Fixed)));
}

#[test]
fn classification_is_the_mean_cross_entropy() {
    let case = &golden("margin.json")["cross_entropy"];
    let loss = classification(&tensor(&case["logits"]), &integers(&case["target"]));
    near(number(&loss), &case["loss"], LOSS);
}

/// Quirk of PNR: the cross-entropy is reduced before it is multiplied by whether there is a change.
#[test]
fn clips_without_a_change_weigh_in_the_released_loss_of_key_frames() {
    let case = &golden("margin.json")["cross_entropy"];
    let (logits, target) = (tensor(&case["logits"]), integers(&case["target"]));
    let changes = Tensor::from_slice(&[1f32, 0.0, 1.0, 1.0, 0.0, 0.0]).to_device(device());
    let loss = |compat| number(&key_frame(&logits, &target, &changes, compat));
    assert!((loss(AsReleased) - case["loss"].as_f64().unwrap() / 2.0).abs() < LOSS);
    let rows = Tensor::from_slice(&[0i64, 2, 3]).to_device(device());
    let changed = classification(&logits.index_select(0, &rows), &target.index_select(0, &rows));
    assert!((loss(Fixed) - number(&changed) / 2.0).abs() < LOSS);
    assert!((loss(Fixed) - loss(AsReleased)).abs() > 0.01);
    let all = changes.ones_like();
    let [compat, fixed] = [AsReleased, Fixed].map(|compat| number(&key_frame(&logits, &target, &all, compat)));
    assert!((compat - fixed).abs() < LOSS);
}

fn masking(file: &Value) -> Masking {
    Masking {
        specials: whole(&integers(&file["special_ids_never_selected"])),
        mask: 50264,
        vocabulary: 50265,
        probability: file["probability"].as_f64().unwrap(),
    }
}

#[test]
fn words_are_hidden_as_transformers_hides_them() {
    let file = golden("masking.json");
    let masking = masking(&file);
    for case in file["cases"].as_array().unwrap() {
        assert_eq!(case["random_high_exclusive"], masking.vocabulary);
        let picked = |selected: Tensor| Picked {
            selected,
            masked: truth(&case["drawn_replace_0.8"]),
            random: truth(&case["drawn_random_0.5"]),
            random_tokens: integers(&case["drawn_words"]),
        };
        let ids = integers(&case["input_ids"]);
        let found = masking.apply(&ids, &picked(truth(&case["drawn_selected"])));
        assert_eq!(whole(&found.ids), whole(&integers(&case["expected_input_ids"])));
        assert_eq!(whole(&found.labels), whole(&integers(&case["expected_labels"])));
        // Whatever is drawn for them, special tokens stay.
        let found = masking.apply(&ids, &picked(ids.ones_like().to_kind(Kind::Bool)));
        for ((id, shown), label) in whole(&ids).iter().zip(whole(&found.ids)).zip(whole(&found.labels)) {
            let special = masking.specials.contains(id);
            assert_eq!(label, if special { IGNORED } else { *id });
            assert!(!special || shown == *id);
        }
    }
}

/// Three standard deviations of a share.
fn deviation(share: f64, of: i64) -> f64 {
    3.0 * (share * (1.0 - share) / of as f64).sqrt()
}

#[test]
fn drawn_words_have_the_statistics_of_transformers() {
    let file = golden("masking.json");
    let (masking, statistics) = (masking(&file), &file["statistics"]);
    let count = statistics["maskable_tokens"].as_i64().unwrap();
    let ids = Tensor::arange_start(4, count + 4, (Kind::Int64, device())).remainder(50264).clamp_min(4);
    let ids = ids.view([-1, 13]);
    let found = masking.mask_tokens(&ids, &mut generator(1, Purpose::Weights));
    assert_eq!(found.ids.size(), ids.size());
    let guessed = found.labels.ne(IGNORED);
    let sum = |marks: &Tensor| marks.sum(Kind::Int64).int64_value(&[]);
    let (selected, masked) = (sum(&guessed), sum(&found.ids.eq(masking.mask)));
    let changed = sum(&found.ids.ne_tensor(&ids));
    let share = |part: i64, of: i64, expected: f64, name: &str| {
        let found = part as f64 / of as f64;
        assert!((found - expected).abs() < deviation(expected, of), "{name}: {found}");
        let original = statistics[name].as_f64().unwrap();
        assert!((found - original).abs() < 1.5 * deviation(expected, of), "{name}: {found} {original}");
    };
    share(selected, count, 0.15, "fraction_selected");
    share(masked, selected, 0.8, "fraction_mask");
    share(selected - changed, selected, 0.1, "fraction_kept");
    assert_eq!(sum(&found.ids.ne_tensor(&ids).logical_and(&guessed.logical_not())), 0);
    let words = found.ids.ne_tensor(&ids).logical_and(&found.ids.ne(masking.mask));
    let mean = number(&found.ids.masked_select(&words).mean(Kind::Double));
    let three = 3.0 * 50265.0 / (12.0 * sum(&words) as f64).sqrt();
    assert!((mean - 50264.0 / 2.0).abs() < three, "{mean}");
    let again = masking.mask_tokens(&ids, &mut generator(1, Purpose::Weights));
    assert_eq!(whole(&found.ids), whole(&again.ids));
}

/// Departure from the original, whose loss is NaN then.
#[test]
fn a_batch_without_mlm_probability_has_no_loss_and_no_gradient() {
    let logits = Tensor::ones([2, 3, 7], (Kind::Float, device())).set_requires_grad(true);
    let labels = Tensor::full([2, 3], IGNORED, (Kind::Int64, device()));
    let loss = mlm_loss(&logits, &labels);
    assert_eq!(number(&loss), 0.0);
    loss.backward();
    assert_eq!(number(&logits.grad().abs().max()), 0.0);
    let _ = labels.get(1).get(2).fill_(3);
    assert!((number(&mlm_loss(&logits, &labels)) - 7f64.ln()).abs() < LOSS);
}

/// A process's part of a step.
struct Rank {
    number: usize,
    expected: Value,
}

/// A step in one process or in two.
struct Step {
    case: Value,
    local: usize,
    ranks: Vec<Rank>,
}

fn steps() -> Vec<Step> {
    let cases = golden("total.json")["cases"].as_array().unwrap().clone();
    let step = |case: Value| {
        let ranks = case["ranks"].as_array().unwrap().iter().enumerate();
        let ranks = ranks.map(|(number, expected)| Rank { number, expected: expected.clone() }).collect();
        Step { local: case["local_batch"].as_u64().unwrap() as usize, ranks, case }
    };
    cases.into_iter().map(step).collect()
}

impl Step {
    /// The rank's rows of a gathered tensor.
    fn rows(&self, gathered: &Tensor, rank: usize) -> Tensor {
        gathered.narrow(0, (rank * self.local) as i64, self.local as i64)
    }

    /// What a rank computes with: its own rows, through which gradients flow, among those of the others.
    fn gathered(&self, own: &Tensor, all: &Tensor, rank: usize) -> Tensor {
        let (first, behind) = ((rank * self.local) as i64, ((rank + 1) * self.local) as i64);
        let others = all.detach();
        let after = others.narrow(0, behind, others.size()[0] - behind);
        Tensor::cat(&[&others.narrow(0, 0, first), own, &after], 0)
    }

    fn sim(&self) -> Tensor {
        tensor(&self.case["sim_text_video"])
    }

    fn positives(&self) -> Tensor {
        positives(&tags(&self.case["verbs"], VERBS), &tags(&self.case["nouns"], NOUNS), Rule::NounAndVerb)
    }

    /// All logits of words, of which only the first ones are stored.
    fn word_logits(&self) -> Tensor {
        let first = tensor(&self.case["mlm_logits_first_64"]);
        let words = self.case["mlm_vocabulary"].as_i64().unwrap();
        first.constant_pad_nd([0, words - 64])
    }
}

impl Rank {
    fn numbers(&self, name: &str) -> Vec<i64> {
        whole(&integers(&self.expected[name]))
    }

    fn permutation(&self) -> Vec<usize> {
        self.numbers("permutation").into_iter().map(|place| place as usize).collect()
    }

    fn negatives(&self) -> &[Value] {
        self.expected["negatives"].as_array().unwrap()
    }

    fn vtm_pairs(&self, local: usize) -> VtmPairs {
        let pick = |negative: &Value| HardNegative {
            coin: negative["coin"].as_f64().unwrap(),
            row: negative["drawn"].as_u64().unwrap() as usize,
        };
        let picks: Vec<HardNegative> = self.negatives().iter().map(pick).collect();
        vtm_pairs(self.number * local, &self.permutation(), &picks)
    }
}

#[test]
fn mined_pairs_follow_from_what_was_drawn() {
    for step in steps() {
        for rank in &step.ranks {
            let found = rank.vtm_pairs(step.local);
            assert_eq!(vtm_labels(&rank.permutation()), rank.numbers("itm_labels"));
            assert_eq!(whole(&found.labels), rank.numbers("itm_labels"));
            assert_eq!(whole(&found.video_index), rank.numbers("video_used"));
            assert_eq!(whole(&found.text_index), rank.numbers("text_used"));
        }
    }
}

/// Quirk: the tables that negatives are drawn from are swapped.
#[test]
fn negatives_are_drawn_from_swapped_rows_as_released() {
    let mut compared = 0;
    for step in steps() {
        for rank in &step.ranks {
            let first = rank.number * step.local;
            let of = |compat| negative_weights(&step.sim(), &step.positives(), first, step.local, TEMPERATURE, compat);
            let (compat, fixed) = (of(AsReleased), of(Fixed));
            for negative in rank.negatives() {
                let row = negative["local_row"].as_i64().unwrap();
                let expected = tensor(&negative["weights"]);
                let is_video = negative["coin"].as_f64().unwrap() > 0.5;
                let (released, named) =
                    if is_video { (&compat.videos, &fixed.videos) } else { (&compat.texts, &fixed.texts) };
                alike(&released.get(row), &expected, WEIGHT);
                let other = if is_video { &fixed.texts } else { &fixed.videos };
                alike(&other.get(row), &expected, WEIGHT);
                assert!(number(&(named.get(row) - expected).abs().max()) > 1e-3);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 10);
}

/// Shares of drawn rows come to the weights, and half of the rows match.
#[test]
fn mining_draws_by_the_weights() {
    let step = steps().swap_remove(0);
    let (sim, positives) = (step.sim(), step.positives());
    for compat in [AsReleased, Fixed] {
        let mut draw = generator(3, Purpose::Weights);
        let rows = step.local as i64;
        let mut counts = [Tensor::zeros([rows, rows], (Kind::Double, tch::Device::Cpu)), Tensor::new()];
        counts[1] = counts[0].zeros_like();
        let (mut matched, rounds) = (0, 4000);
        for _ in 0..rounds {
            let found = mine_hard_negatives(&sim, &positives, 0, step.local, TEMPERATURE, compat, &mut draw);
            let [labels, videos, texts] = [&found.labels, &found.video_index, &found.text_index].map(whole);
            assert_eq!(labels.iter().sum::<i64>(), 3);
            matched += labels[0];
            for row in (0..step.local).filter(|&row| labels[row] == 0) {
                let own = row as i64;
                assert!(videos[row] == own || texts[row] == own);
                let (table, other) = if videos[row] == own { (1, texts[row]) } else { (0, videos[row]) };
                let _ = counts[table].get(own).get(other).f_add_scalar_(1.0).unwrap();
            }
        }
        assert!((matched as f64 / f64::from(rounds) - 0.5).abs() < deviation(0.5, i64::from(rounds)));
        let expected = negative_weights(&sim, &positives, 0, step.local, TEMPERATURE, compat);
        for (counts, weights) in counts.iter().zip([expected.videos, expected.texts]) {
            let drawn = counts.sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
            let weights = weights.to_device(tch::Device::Cpu).to_kind(Kind::Double);
            let shares = &weights / weights.sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
            // Nearly 1000 draws for each row.
            alike(&(counts / drawn), &shares, 0.06);
        }
    }
}

#[test]
fn a_pair_alone_does_not_match_and_keeps_its_row() {
    let one = Tensor::ones([1, 1], (Kind::Float, device()));
    let found =
        mine_hard_negatives(&one, &one.gt(0.0), 0, 1, TEMPERATURE, AsReleased, &mut generator(1, Purpose::Weights));
    assert_eq!([found.labels, found.video_index, found.text_index].map(|t| whole(&t)), [[0], [0], [0]]);
}

/// Each rank computes the loss of all rows, and its gradient is its slice of the gradient of all.
#[test]
fn a_step_in_two_processes_is_the_step_in_one() {
    for step in steps() {
        let (text, video) = (leaf(&step.case["text"]), leaf(&step.case["video"]));
        let (pairs, words) = (leaf(&step.case["itm_logits"]), step.word_logits().set_requires_grad(true));
        let matches: Vec<i64> = step.ranks.iter().flat_map(|rank| rank.numbers("itm_labels")).collect();
        let matches = Tensor::from_slice(&matches).to_device(device());
        let hidden = integers(&step.case["mlm_labels"]);
        let positives = step.positives();
        assert_eq!(positives, truth(&step.case["positive"]));
        let losses = |text: &Tensor, video: &Tensor, pairs: &Tensor, words: &Tensor| LossTerms {
            egonce: Some(egonce(&cosine(text, video), &positives, TEMPERATURE)),
            mlm: Some(mlm_loss(words, &hidden)),
            vtm: Some(classification(pairs, &matches)),
        };
        losses(&text, &video, &pairs, &words).total(LossWeights::CODE).unwrap().backward();
        for rank in &step.ranks {
            let leaves = [&text, &video, &pairs, &words]
                .map(|all| step.rows(&all.detach(), rank.number).copy().set_requires_grad(true));
            let [t, v, p, w] = [&text, &video, &pairs, &words];
            let all = [(0, t), (1, v), (2, p), (3, w)].map(|(at, all)| step.gathered(&leaves[at], all, rank.number));
            let found = losses(&all[0], &all[1], &all[2], &all[3]);
            let expected = &rank.expected["losses"];
            for (part, name) in [(&found.egonce, "EgoNCE"), (&found.mlm, "loss_mlm"), (&found.vtm, "loss_itm")] {
                near(number(part.as_ref().unwrap()), &expected[name], LOSS);
            }
            let total = found.total(LossWeights::CODE).unwrap();
            near(number(&total), &expected["loss_total"], 2e-5);
            total.backward();
            for (own, name) in leaves.iter().zip(["grad_text", "grad_video", "grad_itm"]) {
                alike(&own.grad(), &tensor(&rank.expected[name]), GRADIENT);
            }
            for (own, all) in leaves.iter().zip([t, v, p, w]) {
                alike(&own.grad(), &step.rows(&all.grad(), rank.number), 1e-6);
            }
            let size = number(&leaves[3].grad().abs().sum(Kind::Float));
            near(size, &rank.expected["grad_mlm_total_abs"], 2e-4);
        }
    }
}

#[test]
fn the_total_weighs_what_is_switched_on() {
    let scalar = |value: f32| Some(Tensor::from(value));
    let losses = || LossTerms { egonce: scalar(1.0), mlm: scalar(10.0), vtm: scalar(100.0) };
    assert_eq!(number(&losses().total(LossWeights::CODE).unwrap()), 211.0);
    assert_eq!(number(&losses().total(LossWeights::PAPER).unwrap()), 211.0 / 4.0);
    let two = LossTerms { mlm: None, ..losses() };
    assert_eq!(number(&two.total(LossWeights::CODE).unwrap()), 201.0);
    assert!(LossTerms::default().total(LossWeights::CODE).is_none());
}
