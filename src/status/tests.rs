//! The account of a store that the tests write part by part.

use std::fs::File;

use super::*;
use crate::store::{Dtype, Store, samples};

/// A store with what each of two parts has committed, at one unit a second.
fn store(out: &Path) -> std::path::PathBuf {
    let contract = samples::contract("hdf5", Dtype::F32);
    let [mut one, mut two] = ["1/2", "2/2"].map(|part| Store::open(out, &contract, part.parse().unwrap()).unwrap());
    let planned = ["a", "b", "c", "d"].map(samples::planned);
    one.promise(&planned).unwrap();
    let begin = SystemTime::now() - Duration::from_secs(100);
    let commit = |store: &mut Store, uid: &str, sec: u64| {
        let entry = samples::commit(store, uid);
        let file = File::options().write(true).open(store.path().join(entry.file)).unwrap();
        file.set_modified(begin + Duration::from_secs(sec)).unwrap();
    };
    commit(&mut one, "a", 0);
    commit(&mut one, "b", 4);
    commit(&mut two, "c", 2);
    one.path().to_owned()
}

#[test]
fn parts_are_told_with_their_speed_and_what_is_missing() {
    let out = tempfile::tempdir().unwrap();
    let path = store(out.path());
    let status = StoreStatus::read(&path).unwrap();
    assert_eq!((status.planned, status.done, status.is_done()), (4, 3, false));
    let [one, two] = &status.workers[..] else { panic!("two parts") };
    assert_eq!((one.shard.as_str(), one.units, two.units), ("1/2", 2, 1));
    assert_eq!((one.units_per_sec, two.units_per_sec), (Some(0.25), None));
    assert!(one.holder.contains(&format!("process {},", std::process::id())), "{}", one.holder);
    assert!(!one.is_alive && status.remaining_sec.is_none(), "no run has a claim");
}

#[test]
fn what_failed_is_told_until_it_is_done() {
    let out = tempfile::tempdir().unwrap();
    let path = store(out.path());
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let failure = |uid: &str, set: &str| serde_json::json!({"feature_set": set, "unit_uid": uid, "why": "broken"});
    let report = serde_json::json!({"failures": [failure("a", &name), failure("d", &name), failure("d", "another")]});
    fs::write(out.path().join("report-1-of-2.json"), report.to_string()).unwrap();
    fs::write(out.path().join("report-2-of-2.json"), "{\"failures\": [").unwrap();
    let failed = StoreStatus::read(&path).unwrap().failed;
    assert_eq!(failed, [FailedUnit { unit_uid: UnitUid::parse("d").unwrap(), why: "broken".into() }]);
}
