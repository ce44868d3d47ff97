//! Claims of several workers in one folder, in one process: who gets a name, keeps it, loses it.

use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn open(folder: &Path, limit: Duration) -> Claims {
    Claims::open(folder, limit, true).unwrap()
}

/// Has the heartbeat of `name` be `age` old.
fn age(folder: &Path, name: &str, age: Duration) {
    let file = fs::File::options().write(true).open(folder.join(format!("{name}.claim"))).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn ours(taken: Result<Taken, ClaimError>) -> Option<bool> {
    match taken.unwrap() {
        Taken::Ours { over } => Some(over),
        Taken::Others(_) => None,
    }
}

#[test]
fn a_name_has_one_worker_until_it_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path(), LONG), open(folder.path(), LONG));
    assert_eq!(ours(one.take("a", false)), Some(false));
    let Taken::Others(found) = two.take("a", false).unwrap() else { panic!("two have it") };
    assert_eq!((found.pid, found.state), (std::process::id(), State::Held));
    assert!(one.is_ours("a") && !two.is_ours("a"));
    assert!(two.silence("a").unwrap().is_some_and(|(_, silence)| silence < LONG));
    assert!(one.give_back("a", false));
    assert_eq!(two.silence("a").unwrap(), None);
    assert_eq!(ours(two.take("a", false)), Some(false));
    drop((one, two));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn of_many_that_ask_at_once_one_gets_each_name() {
    let folder = tempfile::tempdir().unwrap();
    let workers: Vec<Claims> = (0..8).map(|_| open(folder.path(), LONG)).collect();
    let names: Vec<String> = (0..50).map(|i| format!("v{i}")).collect();
    let taken = |worker: &Claims| names.iter().filter(|name| ours(worker.take(name, false)).is_some()).count();
    let counts: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = workers.iter().map(|worker| scope.spawn(|| taken(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<usize>(), names.len(), "{counts:?}");
}

#[test]
fn a_claim_whose_heartbeat_stopped_is_taken_over_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let dead = open(folder.path(), LONG);
    let workers: Vec<Claims> = (0..8).map(|_| open(folder.path(), LONG)).collect();
    for i in 0..20 {
        let name = &*format!("v{i}");
        ours(dead.take(name, false)).unwrap();
        age(folder.path(), name, LONG / 2);
        assert_eq!(ours(workers[0].take(name, false)), None, "it may live");
        age(folder.path(), name, LONG + Duration::from_secs(5));
        let over: Vec<Option<bool>> = thread::scope(|scope| {
            let threads: Vec<_> = workers.iter().map(|w| scope.spawn(move || ours(w.take(name, false)))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut over: Vec<bool> = over.into_iter().flatten().collect();
        over.sort_unstable();
        assert_eq!(over.len(), 1, "one has it");
        // It comes back, finds that it has lost its claim, and leaves the other's alone.
        assert!(!dead.give_back(name, false));
        assert!(workers.iter().any(|worker| worker.is_ours(name)) && dead.silence(name).unwrap().is_some());
    }
}

/// Leaves a claim of `name` as a worker does that is killed right after a heartbeat; it was this process, or one before it of its number.
fn leave(folder: &Path, name: &str, process: Option<Process>) {
    let left = Claim { run: "killed".into(), process, ..worker(LONG) };
    assert!(file::create(&folder.join(format!("{name}.claim")), &left).unwrap());
}

#[test]
fn what_a_process_of_this_machine_left_that_has_died_is_taken_over_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path(), LONG);
    let this = serde_json::to_value(Process::this().unwrap()).unwrap();
    let with = |field: &str, value: serde_json::Value| {
        let mut process = this.clone();
        process["started"] = 1.into();
        process[field] = value;
        Some(serde_json::from_value::<Process>(process).unwrap())
    };
    leave(folder.path(), "dead", with("started", 1.into()));
    leave(folder.path(), "alive", with("started", this["started"].clone()));
    leave(folder.path(), "another_boot", with("boot", "b".into()));
    leave(folder.path(), "another_container", with("namespace", "pid:[1]".into()));
    leave(folder.path(), "not_told", None);
    let stale: Vec<String> =
        list(folder.path(), SystemTime::now()).into_iter().filter(Seen::is_stale).map(|seen| seen.name).collect();
    assert_eq!(stale, ["dead"]);
    assert_eq!(ours(one.take("dead", false)), Some(true));
    for name in ["alive", "another_boot", "another_container", "not_told"] {
        assert_eq!(ours(one.take(name, false)), None, "{name}");
        age(folder.path(), name, LONG + Duration::from_secs(5));
        assert_eq!(ours(one.take(name, false)), Some(true), "{name}");
    }
}

#[test]
fn claims_of_before_processes_were_told_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let claim = r#"{"host":"n1","pid":7,"since":1,"run":"r","number":2,"limit_ms":9,"state":"held"}"#;
    fs::write(folder.path().join("a.claim"), claim).unwrap();
    let (found, _) = file::read(&folder.path().join("a.claim")).unwrap().unwrap();
    assert_eq!((found.host.as_str(), found.state, &found.process), ("n1", State::Held, &None));
}

#[test]
fn a_claim_is_judged_by_the_longer_of_two_limits() {
    let folder = tempfile::tempdir().unwrap();
    let (patient, hasty) = (open(folder.path(), LONG), open(folder.path(), LONG / 100));
    ours(patient.take("a", false)).unwrap();
    ours(hasty.take("b", false)).unwrap();
    for name in ["a", "b"] {
        age(folder.path(), name, LONG / 2);
    }
    assert_eq!((ours(hasty.take("a", false)), ours(patient.take("b", false))), (None, None));
    age(folder.path(), "a", 2 * LONG);
    assert_eq!(ours(hasty.take("a", false)), Some(true));
}

#[test]
fn a_heartbeat_keeps_a_claim_and_finds_out_that_it_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(800);
    let (one, two) = (open(folder.path(), limit), open(folder.path(), limit));
    ours(one.take("a", false)).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 2 * limit {
        assert_eq!(ours(two.take("a", false)), None, "it lives");
        thread::sleep(limit / 10);
    }
    // As another worker does that has not heard of it.
    let (found, _) = file::read(&one.path("a")).unwrap().unwrap();
    assert!(file::put_aside(&one.path("a"), &found, &worker(limit)).unwrap());
    ours(two.take("a", false)).unwrap();
    while one.is_ours("a") {
        thread::sleep(limit / 10);
    }
    assert!(two.is_ours("a"));
}

#[test]
fn who_waits_tells_the_silent_from_those_that_live() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path(), LONG), open(folder.path(), LONG));
    let begun = Instant::now();
    assert_eq!(two.hands("a", begun), Hands::Free);
    ours(one.take("a", false)).unwrap();
    age(folder.path(), "a", LONG / 2);
    assert_eq!(two.hands("a", begun), Hands::Silent);
    assert_eq!((one.renew("a"), two.renew("a"), one.renew("b")), (Some(true), None, None));
    thread::sleep(Duration::from_millis(20));
    assert_eq!(two.hands("a", begun - LONG), Hands::Alive);
    age(folder.path(), "a", 2 * LONG);
    assert_eq!(two.hands("a", begun), Hands::Free);
    ours(two.take("a", false)).unwrap();
    assert_eq!((one.renew("a"), two.renew("a")), (Some(false), Some(true)));
    two.give_back("a", true);
    assert_eq!(one.hands("a", begun), Hands::Closed);
    let waited = |hands: Hands| (hands.are_waited_for(true), hands.are_waited_for(false));
    let all = [Hands::Free, Hands::Alive, Hands::Silent, Hands::Closed].map(waited);
    assert_eq!(all, [(false, false), (true, false), (true, true), (false, false)]);
}

#[test]
fn what_failed_is_left_alone_until_it_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (open(folder.path(), LONG), open(folder.path(), LONG));
    ours(one.take("a", false)).unwrap();
    assert!(one.give_back("a", true));
    drop(one);
    age(folder.path(), "a", 2 * LONG);
    let Taken::Others(found) = two.take("a", false).unwrap() else { panic!("it was taken") };
    assert_eq!(found.state, State::Failed);
    assert_eq!(ours(two.take("a", true)), Some(false));
}

/// As on a file system where two nodes make one name at once, or a worker is killed as it makes its claim.
#[test]
fn a_torn_claim_is_somebody_s_until_it_is_old() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path(), LONG);
    for torn in ["", "{\"host\":\"n", "null"] {
        fs::write(folder.path().join("a.claim"), torn).unwrap();
        let Taken::Others(found) = one.take("a", false).unwrap() else { panic!("it was taken") };
        assert_eq!(found.state, State::Unknown);
        age(folder.path(), "a", 2 * LONG);
        assert!(ours(one.take("a", false)).is_some(), "{torn}");
        one.give_back("a", false);
    }
}

#[test]
fn another_claim_in_its_place_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path(), LONG);
    ours(one.take("a", false)).unwrap();
    let dead = Claim { run: "dead".into(), ..worker(LONG) };
    assert!(!file::put_aside(&one.path("a"), &dead, &worker(LONG)).unwrap());
    assert!(file::touch(&one.path("a"), &lock(&one.held)["a"].claim.clone()).unwrap(), "it is there as before");
    assert!(!file::touch(&one.path("a"), &dead).unwrap() && !file::touch(&one.path("b"), &dead).unwrap());
}

#[test]
fn what_killed_workers_left_is_swept_and_what_they_failed_at_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dead = open(folder.path(), LONG);
    for name in ["finished", "failed", "new"] {
        ours(dead.take(name, false)).unwrap();
    }
    dead.give_back("failed", true);
    std::mem::forget(dead);
    for name in ["x.clock", "a.1-2-aside"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    for entry in fs::read_dir(folder.path()).unwrap().flatten().filter(|entry| entry.file_name() != "new.claim") {
        let file = fs::File::options().write(true).open(entry.path()).unwrap();
        file.set_modified(SystemTime::now() - 2 * LONG).unwrap();
    }
    drop(open(folder.path(), LONG));
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["failed.claim", "new.claim"]);
}
