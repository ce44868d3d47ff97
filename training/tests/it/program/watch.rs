//! What a run logs, keeps and goes on from: lines between validations, the best checkpoints, more epochs than were planned.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use egofx_train::checkpoint;
use egofx_train::metrics_log::{Entry, METRICS_FILE, read};

use super::cli::{DATA, TRAIN, Workshop, words};

/// Metrics that differ from run to run.
const MEASURED: [&str; 4] = ["samples_per_sec", "waiting_share", "memory_gib", "cuda_peak_gib"];

/// Writes an experiment of so many epochs whose rate does not depend on their number, with further keys of `[train]`.
fn config(shop: &Workshop, epochs: u32, more: &str) {
    shop.config(epochs);
    let path = shop.path("nlq.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let schedule = text.split("[train.schedule]").nth(1).unwrap();
    let text =
        text.replace(schedule, "\nkind = \"constant\"\n").replace("drop_last =", &format!("{more}\ndrop_last ="));
    let text = text.replace("batch = 32", "batch = 8");
    std::fs::write(&path, text).unwrap();
}

fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&TRAIN[..], &DATA[..], &["-o", out], more].concat()
}

#[track_caller]
fn succeeds(shop: &Workshop, arguments: &[&str]) -> String {
    let output = shop.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    words(&output)
}

/// The lines of a run, without what was measured, which each line of a step must have.
fn lines(folder: &Path) -> Vec<Entry> {
    let mut entries = read(&folder.join(METRICS_FILE)).unwrap();
    for entry in &mut entries {
        if entry.metrics.contains_key("lr") {
            let measured = MEASURED[..3].iter().map(|name| entry.metrics[*name].as_f64().unwrap()).collect::<Vec<_>>();
            assert!(measured[0] > 0.0 && (0.0..=1.0).contains(&measured[1]) && measured[2] > 0.0, "{measured:?}");
        }
        entry.metrics.retain(|name, _| !MEASURED.contains(&name.as_str()));
    }
    entries
}

fn kept(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("epoch-")).collect();
    names.sort();
    names
}

#[test]
fn a_finished_run_that_is_given_more_epochs_ends_as_one_that_was_planned_so_long() {
    let shop = Workshop::small();
    let more = "log_steps = 3\nvalidation_steps = 4\neval_on_start = true\nsave_top_k = 2\nsave_every_n_epochs = 2";
    config(&shop, 3, more);
    succeeds(&shop, &train("whole", &[]));
    config(&shop, 2, more);
    succeeds(&shop, &train("run", &[]));
    let early = kept(&shop.path("run"));
    // What is logged and kept may change as well, and changes nothing of what is learnt.
    config(&shop, 3, more);
    let told = succeeds(&shop, &train("run", &["--resume"]));
    assert!(told.contains("goes on after epoch 2"), "{told}");
    let [whole, run] = ["whole", "run"].map(|name| shop.path(name));
    let bytes = |folder: &Path| std::fs::read(folder.join("last.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&run), "other weights");
    assert_eq!(lines(&whole), lines(&run));
    assert_eq!(kept(&whole), kept(&run));

    let entries = lines(&whole);
    assert_eq!((entries[0].step, entries[0].split.as_str()), (0, "val"));
    let steps = checkpoint::open(&whole.join("last.safetensors")).unwrap().progress.step;
    let logged: Vec<u64> =
        entries.iter().filter(|entry| entry.metrics.contains_key("lr")).map(|entry| entry.step).collect();
    assert_eq!(logged, (1..=steps / 3).map(|line| 3 * line).collect::<Vec<_>>());
    let names = ["loss", "lr", "grad_norm"];
    assert!(entries.iter().filter(|entry| logged.contains(&entry.step) && entry.split == "train").all(|entry| {
        !entry.metrics.contains_key("lr") || names.iter().all(|name| entry.metrics[*name].as_f64().is_some())
    }));
    let validated: Vec<u64> = entries.iter().filter(|entry| entry.split == "val").map(|entry| entry.step).collect();
    let per_epoch = steps / 3;
    assert!(
        (1..=steps).all(|step| validated.contains(&step) == (step % 4 == 0 || step % per_epoch == 0)),
        "{validated:?}"
    );

    // The end of the second epoch, and the best two validations, which the best checkpoint is one of.
    let progress = checkpoint::open(&whole.join("last.safetensors")).unwrap().progress;
    let second = format!("epoch-2-step-{}.safetensors", 2 * per_epoch);
    assert!(early.contains(&second));
    let mut expected: Vec<String> = progress.top.iter().map(|kept| kept.file.clone()).chain([second.clone()]).collect();
    expected.sort();
    expected.dedup();
    assert_eq!((kept(&whole), progress.top.len()), (expected, 2));
    let best = progress.best.unwrap();
    assert!(progress.top[0].file.ends_with(&format!("-step-{}.safetensors", best.step)), "{:?}", progress.top);
    assert!(progress.top[0].score >= progress.top[1].score);

    // Whoever keeps less from now on loses nothing of what was kept before.
    config(&shop, 4, "validation_steps = 4\neval_on_start = true\nsave_top_k = 1");
    succeeds(&shop, &train("run", &["--resume"]));
    assert!(kept(&run).contains(&second), "{:?}", kept(&run));
    assert_eq!(checkpoint::open(&run.join("last.safetensors")).unwrap().progress.top.len(), 1);
}

#[test]
fn a_run_that_is_stopped_within_an_epoch_logs_and_keeps_what_one_does_that_was_left_alone() {
    let shop = Workshop::small();
    let more = "log_steps = 7\nvalidation_steps = 11\nsave_top_k = 3";
    config(&shop, 4, more);
    succeeds(&shop, &train("whole", &[]));
    let [whole, run] = ["whole", "run"].map(|name| shop.path(name));
    config(&shop, 4, &format!("{more}\ncheckpoint_steps = 1"));
    let mut stopped = shop.command(&train("run", &[]));
    let mut stopped = stopped.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(&mut stopped, || run.join("last.safetensors").is_file());
    assert!(Command::new("kill").args(["-TERM", &stopped.id().to_string()]).status().unwrap().success());
    let ended = stopped.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{}", words(&ended));
    config(&shop, 4, more);
    succeeds(&shop, &train("run", &["--resume"]));
    let bytes = |folder: &Path| std::fs::read(folder.join("last.safetensors")).unwrap();
    assert!(bytes(&whole) == bytes(&run), "other weights");
    assert_eq!(lines(&whole), lines(&run));
    assert_eq!((kept(&whole), kept(&run).len()), (kept(&run), 3));
}

#[test]
fn what_would_change_the_steps_so_far_is_refused_with_the_reason() {
    let shop = Workshop::small();
    shop.config(1);
    succeeds(&shop, &train("run", &[]));
    let refused = |said: &str| {
        let output = shop.run(&train("run", &["--resume"]));
        assert_eq!(output.status.code(), Some(2), "{}", words(&output));
        assert!(words(&output).contains(said), "{}", words(&output));
    };
    shop.config(2);
    refused(
        "planned for 1 epochs, the experiment file has 2: its schedule of the learning rate spreads over all epochs",
    );
    config(&shop, 1, "");
    let record =
        || ["experiment.toml", "provenance.json"].map(|name| std::fs::read(shop.path("run").join(name)).unwrap());
    let before = record();
    refused("it is of another experiment: it has `batch = 32`, the experiment file `batch = 8`");
    assert!(record() == before, "what was run is still on record");
}

/// Waits until `found` is, and fails rather than wait for ever.
fn wait_until(child: &mut Child, found: impl Fn() -> bool) {
    let begun = Instant::now();
    while !found() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it met anybody");
        assert!(begun.elapsed() < Duration::from_secs(300), "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_rank_that_waits_for_others_ends_at_once_when_it_is_terminated() {
    let shop = Workshop::small();
    shop.config(1);
    for rank in [0, 1] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // Rank 0 keeps the store itself, for which its port must be free; rank 1 finds one that never answers.
        let listener = (rank == 1).then_some(listener);
        let mut command = shop.command(&train("run", &[]));
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", "2").env("MASTER_PORT", address.port().to_string());
        let mut waiting = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        match &listener {
            None => wait_until(&mut waiting, || TcpStream::connect(address).is_ok()),
            Some(listener) => {
                listener.set_nonblocking(true).unwrap();
                wait_until(&mut waiting, || listener.accept().is_ok());
            }
        }
        assert!(Command::new("kill").args(["-TERM", &waiting.id().to_string()]).status().unwrap().success());
        let ended = waiting.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(75), "{}", words(&ended));
        let said = format!("interrupted while rank {rank} of 2 waited for the others at 127.0.0.1:{}", address.port());
        assert!(words(&ended).contains(&said), "{}", words(&ended));
    }
}
