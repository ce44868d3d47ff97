//! The learning-rate range test as people run it.

use super::cli::{DATA, Workshop, words};

#[test]
fn a_range_test_leaves_a_table_and_a_curve_and_no_weights() {
    let shop = Workshop::new();
    shop.config(1);
    let find = ["lr-find", "-c", "nlq.toml", "--train", "nlq_train.json", "--val", "nlq_val.json", "-o", "lr"];
    let range = ["--min-lr", "1e-5", "--max-lr", "1", "--num-training", "40", "--json"];
    let found = shop.run(&[&find[..], &DATA[..], &range[..]].concat());
    assert!(found.status.success(), "{}", words(&found));
    let json: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let points = json["points"].as_array().unwrap();
    let rates: Vec<f64> = points.iter().map(|point| point[0].as_f64().unwrap()).collect();
    assert!((15..=40).contains(&rates.len()) && rates[0] == 1e-5 && rates.is_sorted(), "{rates:?}");
    let suggestion = json["suggestion"].as_f64().unwrap();
    assert!(suggestion > rates[9] && suggestion < 1.0, "{suggestion}");

    let table = std::fs::read_to_string(shop.path("lr/lr_find.csv")).unwrap();
    assert_eq!((table.lines().next(), table.lines().count()), (Some("lr,loss,smoothed_loss"), rates.len() + 1));
    let curve = std::fs::read_to_string(shop.path("lr/lr_find.svg")).unwrap();
    assert!(curve.contains("suggested: ") && curve.contains("learning rate"), "{curve}");
    let mut left: Vec<_> =
        std::fs::read_dir(shop.path("lr")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lr_find.csv", "lr_find.svg"]);

    let wrong = shop.run(&[&find[..], &DATA[..], &["--min-lr", "1", "--max-lr", "0.1"]].concat());
    assert_eq!(wrong.status.code(), Some(2));
    assert!(words(&wrong).contains("--max-lr is 0.1, expected more than --min-lr, 1"), "{}", words(&wrong));
}
