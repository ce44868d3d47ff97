//! Videos in object storage: the rows are those of the files, and a network that fails costs time or that video, and nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use walkdir::WalkDir;

use crate::support::storage::{BUCKET, Fault, Pages, Proxy, Storage};
use crate::support::{Outcome, Workshop, finish, signal, wait_for};

/// The clips `names` here and in a bucket, and the rows of the files in `local`.
fn shop(names: &[&str]) -> (Workshop, Storage) {
    let (shop, storage) = (Workshop::with_recipe(), Storage::start());
    for (i, name) in names.iter().enumerate() {
        let path = shop.clip(&format!("{name}.mp4"), 24 + 8 * i as u32);
        storage.put(&format!("in/{name}.mp4"), &fs::read(path).unwrap());
    }
    let paths: Vec<String> = names.iter().map(|name| format!("{name}.mp4")).collect();
    shop.manifest(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    shop.extract("local", "").ends_with(0);
    (shop, storage)
}

fn url(name: &str) -> String {
    format!("s3://{BUCKET}/in/{name}.mp4")
}

/// A manifest of the objects `names`.
fn list(shop: &Workshop, names: &[&str]) {
    let urls: Vec<String> = names.iter().map(|name| url(name)).collect();
    shop.manifest(&urls.iter().map(String::as_str).collect::<Vec<_>>());
}

fn extract(shop: &Workshop, endpoint: &str, out: &str, flags: &str) -> Outcome {
    let arguments = format!("extract -m all.csv -p rows.toml -o {out} --cache-dir cache {flags}");
    shop.finished(&arguments, &mut shop.program_at(endpoint, &arguments))
}

fn files_below(shop: &Workshop, folder: &str) -> Vec<PathBuf> {
    let entries = WalkDir::new(shop.path(folder)).into_iter().flatten();
    entries.filter(|entry| entry.file_type().is_file()).map(|entry| entry.into_path()).collect()
}

#[test]
fn the_rows_of_objects_are_those_of_files_and_the_cache_stays_within_its_bound() {
    let names = ["a", "b", "c", "d"];
    let (shop, storage) = shop(&names);
    let largest =
        names.iter().map(|name| fs::metadata(shop.path(&format!("{name}.mp4"))).unwrap().len()).max().unwrap();
    // One by its own URL, which has something behind it as signed ones do.
    let page = format!("{}/{BUCKET}/in/d.mp4?x-id=GetObject", storage.endpoint());
    shop.write("all.csv", format!("video_uid,path\na,{}\nb,{}\nc,{}\nd,{page}\n", url("a"), url("b"), url("c")));
    let (done, most) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let sizes = files_below(&shop, "cache").into_iter().filter_map(|path| fs::metadata(path).ok());
                most.fetch_max(sizes.map(|size| size.len() as usize).sum(), Relaxed);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let outcome = extract(&shop, &storage.endpoint(), "remote", &format!("--decoders 3 --cache-bytes {largest}"));
        done.store(true, Relaxed);
        outcome.ends_with(0);
    });
    let most = most.into_inner() as u64;
    assert!(0 < most && most <= largest, "{most} of {largest} bytes");
    assert!(shop.unit_files("remote") == shop.unit_files("local"));
    assert_eq!(fs::read_dir(shop.path("cache")).unwrap().count(), 0);
    // Parts of a plan share its work as with files.
    for part in ["1/2 --steal always", "2/2"] {
        extract(&shop, &storage.endpoint(), "shared", &format!("--shard {part}")).ends_with(0);
    }
    assert!(shop.unit_files("shared") == shop.unit_files("local"));
    // A second call has nothing to do, and opens no cache at all.
    fs::remove_dir(shop.path("cache")).unwrap();
    extract(&shop, "http://127.0.0.1:1", "remote", "").ends_with(0);
    assert_eq!(shop.report("remote")["done_before"], 4);
}

#[test]
fn a_local_copy_is_preferred_and_what_fetches_nothing_says_so() {
    let (shop, storage) = shop(&["a"]);
    list(&shop, &["a"]);
    extract(&shop, "http://127.0.0.1:1", "found", "--videos .").ends_with(0);
    assert!(shop.unit_files("found") == shop.unit_files("local"));
    let run = |arguments: &str| shop.finished(arguments, &mut shop.program_at(&storage.endpoint(), arguments));
    run("audit -m all.csv --cache-dir cache").ends_with(0);
    run("plan -m all.csv -p rows.toml").ends_with(0);
    for command in ["resize", "chunk"] {
        let outcome = run(&format!("{command} -m all.csv -o small"));
        outcome.ends_with(1).says(&[&url("a"), "expected a path of this machine", "--videos"]);
    }
    // Where nothing says who we are, nothing is begun.
    let arguments = "extract -m all.csv -p rows.toml -o nobody --fetch-retries 0";
    let mut command = shop.program_at(&storage.endpoint(), arguments);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    command.env("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
    let outcome = shop.finished(arguments, &mut command).ends_with(2);
    outcome.says(&[&url("a"), "there are no credentials", "set AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE=true"]);
    assert!(!shop.path("nobody").exists());
    shop.write("all.csv", "video_uid,path\na,gs://bucket/a.mp4\n");
    let outcome = extract(&shop, &storage.endpoint(), "other", "");
    outcome.ends_with(1).says(&["gs://bucket/a.mp4: of this scheme nothing is read; expected s3://BUCKET/KEY"]);
}

#[test]
fn pages_are_read_by_https_from_whom_the_machine_trusts() {
    let shop = Workshop::with_recipe();
    shop.clip("a.mp4", 24);
    let pages = Pages::of(&shop);
    shop.manifest(&[&pages.url("a.mp4"), &pages.url("b.mp4")]);
    let audit = |trusted: &str| {
        let mut command = shop.program_at("", "audit -m all.csv --cache-dir cache --fetch-retries 0");
        shop.finished("audit", command.env("SSL_CERT_FILE", shop.path(trusted)).env_remove("SSL_CERT_DIR")).ends_with(1)
    };
    let found = audit("ca.pem").stdout;
    assert!(found.contains("b.mp4: no such object") && !found.contains("a.mp4"), "{found}");
    let mut lines = audit("own.pem").stdout;
    lines.retain(|c| c != '\n');
    assert!(lines.contains("a.mp4: ") && lines.contains("certificate"), "{lines}");
}

#[test]
fn lost_connections_and_busy_servers_cost_time_and_nothing_else() {
    let (shop, storage) = shop(&["a", "b"]);
    list(&shop, &["a", "b"]);
    let mut asked = 0;
    let proxy = Proxy::before(&storage, move |request| {
        asked += 1;
        match (request.starts_with("HEAD"), asked) {
            (true, 1) => Fault::Answer(503, "<Error><Code>SlowDown</Code></Error>"),
            (true, _) => Fault::None,
            (false, at) if at % 4 == 3 => Fault::Answer(500, "<Error><Code>InternalError</Code></Error>"),
            (false, _) => Fault::Cut(3000),
        }
    });
    // The cache is in the output folder unless another one is named.
    let arguments = "extract -m all.csv -p rows.toml -o remote --decoders 1 --fetch-retries 2";
    shop.finished(arguments, &mut shop.program_at(&proxy.endpoint(), arguments)).ends_with(0);
    assert_eq!(shop.leftovers("remote"), [""; 0].map(PathBuf::from));
    assert!(shop.unit_files("remote") == shop.unit_files("local"));
    let seen = proxy.seen();
    let resumed = seen.iter().filter(|request| request.starts_with("GET") && request.contains(" bytes=3000-"));
    assert!(resumed.count() >= 2, "{seen:#?}");
}

#[test]
fn what_cannot_be_had_fails_alone_and_half_a_file_is_never_decoded() {
    let (shop, storage) = shop(&["good", "short", "lied", "denied", "changed", "large"]);
    list(&shop, &["good", "missing", "short", "lied", "denied", "changed", "large"]);
    let big = vec![0; 1 << 20];
    storage.put("in/large.mp4", &big);
    let proxy = Proxy::before(&storage, |request| {
        let of = |name: &str| request.contains(&format!("/in/{name}.mp4"));
        match request {
            // Beyond the first thousand bytes nothing ever comes.
            _ if of("short") && request.contains(" bytes=") => Fault::Cut(0),
            _ if of("short") && request.starts_with("GET") => Fault::Cut(1000),
            _ if of("lied") => Fault::Shorten(1000),
            _ if of("denied") && request.starts_with("GET") => Fault::Answer(
                400,
                "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
            ),
            _ if of("denied") => Fault::Answer(400, ""),
            _ if of("changed") && request.starts_with("GET") => Fault::Answer(412, ""),
            _ => Fault::None,
        }
    });
    let outcome = extract(&shop, &proxy.endpoint(), "remote", "--fetch-retries 1 --cache-bytes 512K");
    let size = |name: &str| fs::metadata(shop.path(&format!("{name}.mp4"))).unwrap().len();
    outcome.ends_with(1).says(&[
        &format!("{}: no such object", url("missing")),
        "correct the path in the manifest",
        &format!("{}: expected {} bytes, found 1000", url("short"), size("short")),
        &format!("{}: expected {} bytes with ETag", url("lied"), size("lied")),
        &format!("{}: access is refused (ExpiredToken: The provided token has expired.)", url("denied")),
        "renew AWS_ACCESS_KEY_ID",
        &format!("{}: expected the version that was there first, found another", url("changed")),
        &format!("{}: it has 1048576 bytes, the cache may hold 524288: give more with --cache-bytes", url("large")),
    ]);
    assert_eq!(shop.committed("remote/rows"), ["good"]);
    let report = shop.report("remote");
    assert_eq!(report["failures"].as_array().unwrap().len(), 6, "{report}");
    assert_eq!(fs::read_dir(shop.path("cache")).unwrap().count(), 0);
    // Once the network is well, the same command does the rest.
    proxy.decide(|_| Fault::None);
    list(&shop, &["good", "short", "lied", "denied", "changed"]);
    extract(&shop, &proxy.endpoint(), "remote", "").ends_with(0);
    let (remote, mut local) = (shop.unit_files("remote"), shop.unit_files("local"));
    local.retain(|name, _| !name.contains("large"));
    assert!(remote == local);
}

#[test]
fn a_run_that_is_killed_while_it_fetches_leaves_nothing_that_another_takes_for_whole() {
    let (shop, storage) = shop(&["a", "b"]);
    list(&shop, &["a", "b"]);
    let proxy =
        Proxy::before(&storage, |request| if request.starts_with("GET") { Fault::Stall(2000) } else { Fault::None });
    let start = |flags: &str| {
        let arguments = format!("extract -m all.csv -p rows.toml -o remote --cache-dir cache {flags}");
        let mut command = shop.program_at(&proxy.endpoint(), &arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let half =
        || files_below(&shop, "cache").iter().any(|path| fs::metadata(path).is_ok_and(|file| file.len() == 2000));
    let killed = start("");
    wait_for("half a file is there", 60, half);
    signal(&killed, "KILL");
    assert_eq!(finish(killed).code, None);
    assert!(half(), "what a killed run leaves");
    // A polite end gives the fetch up when the grace is over; and what the dead run left is gone by then.
    proxy.seen();
    let stopped = start("--grace 0");
    wait_for("the run fetches", 60, || proxy.seen().iter().any(|request| request.starts_with("GET")));
    signal(&stopped, "TERM");
    finish(stopped).ends_with(75);
    assert_eq!(fs::read_dir(shop.path("cache")).unwrap().count(), 0);
    proxy.decide(|_| Fault::None);
    extract(&shop, &proxy.endpoint(), "remote", "").ends_with(0);
    assert!(shop.unit_files("remote") == shop.unit_files("local"));
}
