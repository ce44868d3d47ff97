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

/// What the run of part 1 tells, `age` ago.
fn tell(store: &Path, age: u64) {
    let limit = Duration::from_secs(3600);
    let told = || Activity { computed_twice: 7, ..Activity::default() };
    let pulse = claims::Pulse::begin(&store.join(CLAIMS), "1-of-2", limit, told).unwrap();
    let (path, kept) = (store.join(CLAIMS).join("1-of-2.run"), store.join("kept"));
    while fs::hard_link(&path, &kept).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(pulse);
    fs::rename(kept, &path).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
}

#[test]
fn how_a_run_is_it_tells_itself_while_it_lives_and_its_report_after() {
    let out = tempfile::tempdir().unwrap();
    let path = store(out.path());
    let one = || StoreStatus::read(&path).unwrap().workers.swap_remove(0);
    let twice = |worker: &Worker| worker.activity.as_ref().map(|activity| activity.computed_twice);
    assert_eq!((one().activity, one().has_died), (None, false));
    let report = |sets: serde_json::Value| {
        let stages = serde_json::json!([{"stage": "infer", "threads": 1, "busy_sec": 2.0, "busy_share": 0.25}]);
        let told = serde_json::json!({"feature_sets": sets, "computed_twice": 3, "rows": 20, "elapsed_sec": 8.0, "stages": stages});
        fs::write(out.path().join("report-1-of-2.json"), told.to_string()).unwrap();
    };
    report(serde_json::json!(["another"]));
    assert_eq!(one().activity, None, "that was a run of another feature set");
    report(serde_json::json!(["another", "sample"]));
    let ended = one().activity.unwrap();
    assert_eq!((ended.computed_twice, ended.rows_per_sec, ended.busy("infer")), (3, 2.5, Some(0.25)));
    tell(&path, 0);
    assert_eq!((twice(&one()), one().is_alive, one().has_died), (Some(7), true, false), "a call of it is at work");
    tell(&path, 4000);
    assert_eq!(
        (twice(&one()), one().is_alive, one().has_died),
        (None, false, true),
        "it died, and its report is older"
    );
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
