//! What a target holds after commits, failures and deaths, and what lies beside it.

use super::private::{LOCK, PREFIX};
use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn put(target: &Path, existing: Existing, text: &str) -> io::Result<()> {
    write(target, existing, |error| error, |file| file.write_all(text.as_bytes()))
}

#[test]
fn a_file_is_written_once_or_replaced_and_nothing_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/a.csv");
    put(&target, Existing::Refuse, "one").unwrap();
    assert_eq!(put(&target, Existing::Refuse, "two").unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&target).unwrap(), b"one");
    put(&target, Existing::Replace, "three").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"three");
    assert_eq!(names(target.parent().unwrap()), ["a.csv"]);
}

#[test]
fn a_file_has_the_mode_that_others_expect() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (plain, target) = (folder.path().join("plain"), folder.path().join("target"));
    fs::write(&plain, "").unwrap();
    put(&target, Existing::Refuse, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&target), mode(&plain));
}

#[test]
fn a_folder_takes_the_place_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    for text in ["one", "two"] {
        let partial = Partial::begin(&target).unwrap();
        fs::create_dir(partial.path()).unwrap();
        fs::write(partial.path().join(text), text).unwrap();
        partial.commit(Existing::Replace).unwrap();
        assert_eq!((names(&target), names(folder.path())), (vec![text.to_owned()], vec!["out".to_owned()]));
    }
    let partial = Partial::begin(&target).unwrap();
    fs::create_dir(partial.path()).unwrap();
    assert_eq!(partial.commit(Existing::Refuse).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!((names(&target), names(folder.path())), (vec!["two".to_owned()], vec!["out".to_owned()]));
}

#[test]
fn what_fails_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    put(&target, Existing::Refuse, "one").unwrap();
    let half = |file: &mut BufWriter<File>| {
        file.write_all(b"half")?;
        Err(io::Error::other("no more"))
    };
    assert_eq!(write(&target, Existing::Replace, |error| error, half).unwrap_err().to_string(), "no more");
    assert_eq!((fs::read(&target).unwrap(), names(folder.path())), (b"one".to_vec(), vec!["a".to_owned()]));
}

#[test]
fn of_several_files_all_are_placed_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let begin = |name: &str, text: &str| {
        let partial = Partial::begin(&folder.path().join(name)).unwrap();
        partial.fill(|error| error, |file| file.write_all(text.as_bytes())).unwrap();
        partial
    };
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    commit_all(vec![begin("a", "1"), begin("b", "2")], Existing::Refuse).unwrap();
    let failed = commit_all(vec![begin("c", "3"), begin("b", "4")], Existing::Refuse).unwrap_err();
    assert_eq!((failed.path, failed.source.kind()), (folder.path().join("b"), ErrorKind::AlreadyExists));
    assert_eq!((names(folder.path()), read("b")), (vec!["a".to_owned(), "b".to_owned()], "2".to_owned()));
    // The last of them cannot be placed: the exchange before it is undone.
    let nothing = Partial::begin(&folder.path().join("d")).unwrap();
    let lost = begin("e", "5");
    fs::remove_file(lost.path()).unwrap();
    assert_eq!(
        commit_all(vec![begin("a", "6"), nothing], Existing::Replace).unwrap_err().path,
        folder.path().join("d")
    );
    assert_eq!(lost.commit_beside(&["absent".into()]).unwrap_err().path, folder.path().join("absent"));
    assert_eq!((names(folder.path()), read("a")), (vec!["a".to_owned(), "b".to_owned()], "1".to_owned()));
}

#[test]
fn files_beside_one_another_are_placed_or_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let begin = |text: &str| {
        let partial = Partial::begin(&folder.path().join("set")).unwrap();
        ["x", "y"].iter().for_each(|name| fs::write(partial.folder().join(name), text).unwrap());
        partial
    };
    begin("1").commit_beside(&["x".into(), "y".into()]).unwrap();
    assert!(begin("2").commit_beside(&["x".into(), "y".into(), "z".into()]).is_err());
    assert_eq!((read("x"), read("y"), names(folder.path()).len()), ("1".into(), "1".into(), 2));
    begin("2").commit_beside(&["x".into()]).unwrap();
    assert_eq!((read("x"), read("y"), names(folder.path()).len()), ("2".into(), "1".into(), 2));
}

#[test]
fn leftovers_of_the_dead_go_and_work_of_the_living_stays() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    let alive = Partial::begin(&target).unwrap();
    let make = |name: &str| {
        let left = folder.path().join(format!("{PREFIX}{name}"));
        fs::create_dir_all(left.join("new/deep")).unwrap();
        left
    };
    let [dead, foreign, odd] = ["a.dead", "ab.dead", "a.odd"].map(make);
    [&dead, &foreign].iter().for_each(|left| fs::write(left.join(LOCK), "").unwrap());
    let empty = folder.path().join(format!("{PREFIX}a.empty"));
    fs::create_dir(&empty).unwrap();
    put(&target, Existing::Refuse, "one").unwrap();
    assert!(alive.folder().exists() && foreign.exists() && odd.exists(), "no lock, and not empty: not ours");
    assert!(!dead.exists() && !empty.exists());
}

#[test]
fn long_and_odd_names_have_private_folders_too() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "ä".repeat(120), "a b:c%d".to_owned(), LOCK.to_owned()] {
        let target = folder.path().join(&name);
        put(&target, Existing::Refuse, "one").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"one");
    }
}

#[test]
fn many_writers_of_one_target_leave_one_of_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let target = &target;
            scope.spawn(move || (0..20).for_each(|_| put(target, Existing::Replace, &writer.to_string()).unwrap()));
        }
    });
    assert_eq!((fs::read(&target).unwrap().len(), names(folder.path())), (1, vec!["a".to_owned()]));
}

#[test]
fn files_of_dead_writers_go_and_those_of_the_living_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let [dead, living, other] = [".egofx-a.probe.00", ".egofx-a.probe.01", "a.probe"].map(file);
    [&dead, &living, &other].iter().for_each(|path| fs::write(path, "half").unwrap());
    let held = File::open(&living).unwrap();
    held.try_lock().unwrap();
    clean_unsynced(folder.path());
    assert_eq!([&dead, &living, &other].map(|path| path.exists()), [false, true, true]);
    replace_unsynced(&other, b"whole").unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"whole");
    clean_unsynced(&file("nowhere"));
}
