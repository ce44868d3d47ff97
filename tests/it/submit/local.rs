//! Parts as processes of this machine.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{EXTRACT, bash, has_words, hostile, printed, read, small};
use crate::extract::shards::{BOTH, has_all, shop};
use crate::support::{Workshop, finish, signal, wait_for};

/// The processes of egofx that do part `part` in the shop.
fn runs_of(shop: &Workshop, part: &str) -> Vec<u32> {
    let is_one = |folder: &PathBuf| {
        let here = fs::read_link(folder.join("cwd")).is_ok_and(|cwd| cwd == shop.path("").canonicalize().unwrap());
        let program = fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.ends_with("egofx"));
        let words = fs::read(folder.join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        here && program && words.windows(2).any(|pair| pair == [b"--shard", part.as_bytes()])
    };
    let folders = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    folders.filter(is_one).filter_map(|folder| folder.file_name()?.to_str()?.parse().ok()).collect()
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

fn start(shop: &Workshop, flags: &str, command: &str) -> Child {
    let submit = format!("submit local {flags} --now -- {command} --ffmpeg ./ffmpeg.sh");
    // A shell cannot trap what was ignored when it began, as SIGINT is below a script's background.
    let mut program = shop.command("env", &format!("--default-signal=INT {} {submit}", env!("CARGO_BIN_EXE_egofx")));
    program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn the_script_that_is_printed_runs_all_parts_with_the_words_that_were_given() {
    let shop = hostile();
    let text = printed(&shop, "local --shards 2 --parallel 1");
    let (code, said) = bash(&shop, &text, &[]);
    assert_eq!(code, Some(0), "{said}");
    for part in [1, 2] {
        has_words(&read(&shop.path(&format!("out $(x)/logs/{part}.log"))), &format!("{part}/2"));
    }
    shop.script("words.sh", "#!/bin/sh\ncase \"$*\" in *1/2) exit 75 ;; *) exit 1 ;; esac\n");
    let (code, said) = bash(&shop, &text, &[]);
    assert_eq!(code, Some(1), "what failed counts more than what is to be called again: {said}");
    assert_eq!(said.matches("part 1/2: stopped or killed (exit code 75), begun again").count(), 3, "{said}");
    assert_eq!(said.matches("part 2/2: ").count(), 1, "{said}");
}

#[test]
fn a_part_that_is_killed_is_begun_again_and_the_store_is_whole() {
    let shop = shop();
    shop.counting_ffmpeg();
    shop.hold();
    let all = start(&shop, "--shards 3", &format!("{BOTH} -o out"));
    wait_for("all parts have begun", 60, || (1..=3).all(|part| runs_of(&shop, &format!("{part}/3")).len() == 1));
    wait_for("a decoder has begun", 60, || shop.path("first").exists());
    let killed = runs_of(&shop, "2/3")[0];
    kill(killed);
    wait_for("it is begun again", 60, || runs_of(&shop, "2/3").first().is_some_and(|&pid| pid != killed));
    shop.release();
    finish(all).ends_with(0).says(&["part 2/3: stopped or killed (exit code 137), begun again, 1 of at most 3 times"]);
    has_all(&shop, "out");
    shop.egofx(&format!("submit local --missing -- {BOTH} -o out")).ends_with(0).says(&["nothing is left to submit"]);
    assert_eq!(shop.live_processes(), [""; 0]);
}

#[test]
fn signals_are_handed_on_to_the_parts_which_end_politely() {
    let shop = small();
    shop.counting_ffmpeg();
    for (name, code) in [("TERM", 75), ("INT", 130)] {
        shop.hold();
        let all = start(&shop, "--shards 2", EXTRACT);
        wait_for("all parts are at work", 60, || {
            (1..=2).all(|part| {
                let log = fs::read_to_string(shop.path(&format!("out/logs/{part}.log"))).unwrap_or_default();
                runs_of(&shop, &format!("{part}/2")).len() == 1 && !log.contains("stopping")
            }) && shop.path("first").exists()
        });
        signal(&all, name);
        wait_for("both parts are told", 60, || {
            (1..=2).all(|part| runs_of(&shop, &format!("{part}/2")).is_empty() || told(&shop, part))
        });
        shop.release();
        finish(all).ends_with(code);
        assert_eq!(shop.live_processes(), [""; 0], "after {name}");
        let _ = fs::remove_dir_all(shop.path("out"));
    }
}

fn told(shop: &Workshop, part: u32) -> bool {
    read(&shop.path(&format!("out/logs/{part}.log"))).contains("stopping: what is in flight")
}
