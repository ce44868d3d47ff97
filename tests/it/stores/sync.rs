//! Copies of stores in object storage: whole once the ledger is there, sent once, and noticed where they are damaged.

use std::fs;

use egofx::store::RowKind;

use crate::support::storage::{BUCKET, Fault, Proxy, Storage};
use crate::support::stores::{Made, contract, store};
use crate::support::{Outcome, Workshop};

/// Two stores in `out`: `nlq` of three units, one of them longer than a part of an upload, and `mq` of one.
fn shop() -> (Workshop, Storage) {
    let (shop, storage) = (Workshop::new(), Storage::start());
    let units = [("a", 3), ("b", 5)].map(|(name, rows)| Made::windows(name, "video", Some((0.0, 9.0)), rows));
    store(&shop.path("out"), &contract("nlq", RowKind::Window, 256, 1.0), &units);
    store(&shop.path("out"), &contract("mq", RowKind::Window, 16, 1.0), &units[..1]);
    (shop, storage)
}

fn run(shop: &Workshop, endpoint: &str, arguments: &str) -> Outcome {
    shop.finished(arguments, &mut shop.program_at(endpoint, arguments))
}

fn sync(shop: &Workshop, endpoint: &str, flags: &str) -> Outcome {
    run(shop, endpoint, &format!("sync out s3://{BUCKET}/features/ {flags}"))
}

/// Copies everything below `features/` to the folder `back`.
fn fetch_back(shop: &Workshop, storage: &Storage) {
    let _ = fs::remove_dir_all(shop.path("back"));
    for key in storage.keys() {
        let path = shop.path("back").join(key.strip_prefix("features/").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, storage.get(&key)).unwrap();
    }
}

fn puts(requests: &[String]) -> Vec<&str> {
    let puts = requests.iter().filter_map(|request| request.strip_prefix("PUT /bucket/features/"));
    puts.collect()
}

#[test]
fn a_store_is_sent_once_in_order_and_what_is_there_is_a_sound_store() {
    let (shop, storage) = shop();
    let proxy = Proxy::before(&storage, |_| Fault::None);
    sync(&shop, &proxy.endpoint(), "").ends_with(0).says(&["2 units; 7 files copied"]);
    let seen = proxy.seen();
    let sent: Vec<&str> = puts(&seen).into_iter().filter(|name| name.starts_with("nlq/")).collect();
    let (mut units, records) = (sent[..2].to_vec(), &sent[2..]);
    units.sort_unstable();
    assert_eq!(units, ["nlq/units/a.h5", "nlq/units/b.h5"]);
    assert_eq!(
        records,
        ["nlq/store.json", "nlq/planned.jsonl", "nlq/index.parquet", "nlq/features.h5", "nlq/ledger/1-of-1.jsonl"]
    );
    fetch_back(&shop, &storage);
    run(&shop, "", "verify back").ends_with(0);
    assert!(shop.unit_files("back") == shop.unit_files("out"));
    // What is there is not sent again; what came since is.
    sync(&shop, &proxy.endpoint(), "").ends_with(0).says(&["0 files copied"]);
    assert_eq!(puts(&proxy.seen()), [""; 0]);
    let more = [Made::windows("c", "video", None, 4)];
    store(&shop.path("out"), &contract("nlq", RowKind::Window, 256, 1.0), &more);
    let outcome = sync(&shop, &proxy.endpoint(), "--json").ends_with(0);
    let report = crate::support::json(&outcome.stdout);
    assert_eq!((&report[1]["report"]["copied"], &report[1]["report"]["replaced"]), (&5.into(), &serde_json::json!([])));
    fetch_back(&shop, &storage);
    run(&shop, "", "verify back").ends_with(0);
    assert_eq!(shop.committed("back/nlq"), ["a", "b", "c"]);
}

#[test]
fn damaged_and_lost_objects_are_noticed_and_sent_again() {
    let (shop, storage) = shop();
    sync(&shop, &storage.endpoint(), "").ends_with(0);
    let key = |name: &str| format!("features/nlq/units/{name}.h5");
    let (good, mut bad) = (storage.get(&key("a")), storage.get(&key("a")));
    bad[100] ^= 1;
    storage.put(&key("a"), &bad);
    storage.delete(&key("b"));
    let outcome = sync(&shop, &storage.endpoint(), "").ends_with(0);
    outcome.says(&["nlq/units/a.h5: was not as recorded, and was replaced", "2 files copied"]);
    assert!(storage.get(&key("a")) == good && storage.keys().contains(&key("b")));
    // Bytes that changed under the right sha256 are seen by whoever reads them.
    let (_, sha256) = egofx::digest::file(&shop.path("out/nlq/units/a.h5")).unwrap();
    storage.put_with(&key("a"), &[("x-amz-meta-sha256", &sha256)], &bad);
    sync(&shop, &storage.endpoint(), "").ends_with(0).says(&["0 files copied"]);
    let outcome = sync(&shop, &storage.endpoint(), "--read-back").ends_with(0);
    outcome.says(&["nlq/units/a.h5: was not as recorded", "1 file copied"]);
    assert!(storage.get(&key("a")) == good);
}

#[test]
fn a_put_that_is_repeated_is_harmless_and_one_that_fails_keeps_the_ledger_back() {
    let (shop, storage) = shop();
    let mut first = true;
    let proxy = Proxy::before(&storage, move |request| match request {
        // It has come, and the sender does not hear of it.
        _ if request.starts_with("PUT") && request.contains("/a.h5") && std::mem::take(&mut first) => {
            Fault::AnswerAfter(500)
        }
        _ if request.starts_with("PUT") && request.contains("/b.h5") => {
            Fault::Answer(403, "<Error><Code>AccessDenied</Code><Message>Not you.</Message></Error>")
        }
        _ => Fault::None,
    });
    let outcome = sync(&shop, &proxy.endpoint(), "").ends_with(1);
    outcome.says(&["units/b.h5: s3://bucket/features/nlq/units/b.h5: access is refused (AccessDenied: Not you.)"]);
    assert!(puts(&proxy.seen()).iter().filter(|name| name.ends_with("/a.h5")).count() > 2);
    let promised = |set: &str| storage.keys().contains(&format!("features/{set}/ledger/1-of-1.jsonl"));
    assert!(promised("mq") && !promised("nlq"));
    proxy.decide(|_| Fault::None);
    sync(&shop, &proxy.endpoint(), "").ends_with(0).says(&["6 files copied"]);
    fetch_back(&shop, &storage);
    run(&shop, "", "verify back").ends_with(0);
    // What is damaged here is not sent in the place of what is sound there.
    let path = shop.path("out/nlq/units/a.h5");
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, bytes).unwrap();
    storage.delete("features/nlq/units/a.h5");
    let outcome = sync(&shop, &proxy.endpoint(), "").ends_with(1);
    outcome.says(&["out/nlq/units/a.h5: expected", "as its record says, found", "extract makes it anew"]);
    assert!(!storage.keys().contains(&"features/nlq/units/a.h5".to_owned()));
}

#[test]
fn a_copy_comes_back_and_what_is_damaged_there_is_not_taken() {
    let (shop, storage) = shop();
    sync(&shop, &storage.endpoint(), "").ends_with(0);
    let back = |flags: &str| run(&shop, &storage.endpoint(), &format!("sync s3://{BUCKET}/features back {flags}"));
    let key = "features/nlq/units/b.h5";
    let good = storage.get(key);
    storage.put(key, &good[1..]);
    let outcome = back("").ends_with(1);
    outcome.says(&["back/nlq: units/b.h5: s3://bucket/features/nlq/units/b.h5: expected", "as the ledger says, found"]);
    assert!(!shop.path("back/nlq/units/b.h5").exists() && !shop.path("back/nlq/ledger").exists());
    storage.put(key, &good);
    back("").ends_with(0).says(&["back/nlq: 2 units; 6 files copied", "1 there before"]);
    run(&shop, "", "verify back").ends_with(0);
    assert!(shop.unit_files("back") == shop.unit_files("out"));
    assert_eq!(shop.leftovers("back"), [""; 0].map(std::path::PathBuf::from));
    back("").ends_with(0).says(&["back/nlq: 2 units; 0 files copied"]);
    // Neither end is overwritten where it knows more.
    let more = [Made::windows("c", "video", None, 4)];
    store(&shop.path("back"), &contract("nlq", RowKind::Window, 256, 1.0), &more);
    back("").ends_with(2).says(&["back/nlq/planned.jsonl: it has lines that are not known here"]);
    // One more than what is new: nothing says what the object is that this test has put there.
    run(&shop, &storage.endpoint(), "sync back s3://bucket/features").ends_with(0).says(&["3 units; 6 files copied"]);
    sync(&shop, &storage.endpoint(), "").ends_with(2).says(&["s3://bucket/features/nlq/planned.jsonl: it has lines"]);
    let outcome = run(&shop, &storage.endpoint(), "sync out/mq s3://bucket/features/nlq").ends_with(2);
    outcome.says(&["s3://bucket/features/nlq/store.json: another store is there", "Name another place"]);
}

#[test]
fn long_files_go_in_parts_and_wrong_places_are_refused() {
    let (shop, storage) = (Workshop::new(), Storage::start());
    let long = Made::windows("long", "video", None, 2000);
    store(&shop.path("out"), &contract("nlq", RowKind::Window, 4096, 1.0), &[long]);
    assert!(fs::metadata(shop.path("out/nlq/units/long.h5")).unwrap().len() > 8 << 20);
    let proxy = Proxy::before(&storage, |_| Fault::None);
    run(&shop, &proxy.endpoint(), "sync out/nlq s3://bucket/features").ends_with(0);
    assert!(proxy.seen().iter().any(|request| request.contains("long.h5?partNumber=2&uploadId=")));
    assert!(storage.get("features/units/long.h5") == fs::read(shop.path("out/nlq/units/long.h5")).unwrap());
    run(&shop, &proxy.endpoint(), "sync out/nlq s3://bucket/features --read-back")
        .ends_with(0)
        .says(&["0 files copied"]);
    for (arguments, words) in [
        ("sync out https://host/features", "https://host/features/nlq: of another scheme; expected s3://BUCKET/PREFIX"),
        ("sync s3://bucket/features s3://bucket/other", "expected a folder of this machine and a URL"),
        ("sync onnx s3://bucket/features", "onnx: no feature set here or one folder below"),
        ("sync out s3://other/features", "NoSuchBucket"),
        ("sync s3://bucket/nothing back", "s3://bucket/nothing: no feature set here or one folder below"),
    ] {
        run(&shop, &proxy.endpoint(), arguments).ends_with(2).says(&[words]);
    }
}
