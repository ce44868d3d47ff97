//! `egofx-fuzz SECONDS [SEED] [TARGET...]`: mutated files for every parser of foreign bytes, for as long as asked.
//!
//! Each target is read in a process of its own, with limits of memory and time. An input by which that process ends is kept
//! in `fuzz/crashes/` and told with its seed and number; the next process goes on behind it. Ends with 1 if there was any.

#[path = "../../tests/it/support/fuzz/mod.rs"]
mod fuzz;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use egofx::metric::qfvs;
use egofx::{foreign, import, store, text};
use fuzz::{Input, TARGETS, Target};

/// Memory that an input may cost, in bytes.
const MOST_BYTES: u64 = 256 << 20;
/// Processor time that it may cost, in seconds.
const MOST_SEC: i64 = 2;
/// Time by the clock after which a process is taken to hang.
const SILENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [foreign::ARGUMENT] => serve(),
        ["work", name, seed, from, seconds] => work(name, seed, from, seconds),
        [seconds, ref rest @ ..] => campaign(seconds, rest),
        [] => {
            eprintln!("egofx-fuzz SECONDS [SEED] [TARGET...]");
            ExitCode::from(2)
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Reads files for other processes, as the program does.
fn serve() -> ExitCode {
    let served = foreign::serve(|what, path, name| match what {
        "inspect" => {
            let format = store::FORMATS.iter().find(|format| path.extension().is_some_and(|e| e == format.extension));
            let unit = (format.ok_or("no unit")?.read)(path).map_err(|error| error.to_string())?;
            Ok(unit.header.unit_uid.to_string().into_bytes())
        }
        qfvs::WHAT => qfvs::answer(path),
        text::WHAT => text::answer(path),
        _ => import::answer(what, path, name),
    });
    ExitCode::from(u8::from(served.is_err()))
}

/// What a process that reads leaves behind: the number of the input that it reads.
fn state(target: &str) -> PathBuf {
    root().join("fuzz/work").join(target).join("state")
}

/// Reads inputs of a target from number `from` on for some seconds.
fn work(name: &str, seed: &str, from: &str, seconds: &str) -> ExitCode {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else { return ExitCode::from(2) };
    let (Ok(seed), Ok(from), Ok(seconds)) = (seed.parse::<u64>(), from.parse::<u64>(), seconds.parse::<f64>()) else {
        return ExitCode::from(2);
    };
    foreign::isolate(Path::new("/proc/self/exe"));
    let data = root().join("tests/data");
    let (seeds, folder) = (target.seeds(&data), root().join("fuzz/work").join(name));
    limit_memory();
    let started = Instant::now();
    let mut number = from;
    while started.elapsed().as_secs_f64() < seconds {
        let path = target.write(&seeds, &folder, seed, number);
        if fs::write(state(name), number.to_string()).is_err() {
            return ExitCode::from(2);
        }
        limit_time();
        (target.read)(&Input { path: &path, data: &data, number });
        number += 1;
    }
    ExitCode::from(u8::from(fs::write(state(name), number.to_string()).is_err()))
}

fn limit_memory() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
    let used = line.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(1 << 20) * 1024;
    let limit = libc::rlimit { rlim_cur: used + MOST_BYTES, rlim_max: used + 4 * MOST_BYTES };
    // SAFETY: a structure of numbers that lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}

fn limit_time() {
    let at = |seconds| libc::timeval { tv_sec: seconds, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: at(0), it_value: at(MOST_SEC) };
    // SAFETY: as above, and no old timer is asked for.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) };
}

/// What came of a target.
#[derive(Default)]
struct Tally {
    executions: u64,
    findings: u64,
}

fn campaign(seconds: &str, rest: &[&str]) -> ExitCode {
    let Ok(seconds) = seconds.parse::<f64>() else {
        eprintln!("expected seconds, found {seconds:?}");
        return ExitCode::from(2);
    };
    let seed = rest.first().and_then(|seed| seed.parse().ok());
    let names = if seed.is_some() { &rest[1..] } else { rest };
    let seed = seed.unwrap_or_else(|| std::process::id().into());
    let targets: Vec<&Target> = TARGETS.iter().filter(|t| names.is_empty() || names.contains(&t.name)).collect();
    let each = seconds / targets.len().max(1) as f64;
    let mut all = Tally::default();
    for target in targets {
        match fuzz_one(target, seed, each) {
            Ok(Tally { executions, findings }) => {
                println!("{:<14} {executions:>8} executions  {findings} findings", target.name);
                all = Tally { executions: all.executions + executions, findings: all.findings + findings };
            }
            Err(error) => {
                eprintln!("{}: {error}", target.name);
                return ExitCode::from(2);
            }
        }
    }
    println!("{:<14} {:>8} executions  {} findings, seed {seed}", "all", all.executions, all.findings);
    ExitCode::from(u8::from(all.findings > 0))
}

fn fuzz_one(target: &Target, seed: u64, seconds: f64) -> io::Result<Tally> {
    let folder = root().join("fuzz/work").join(target.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let (started, mut tally, mut number) = (Instant::now(), Tally::default(), 0);
    loop {
        let left = seconds - started.elapsed().as_secs_f64();
        if left <= 0.0 {
            break;
        }
        let errors = folder.join("stderr");
        let child = Command::new("/proc/self/exe")
            .args(["work", target.name, &seed.to_string(), &number.to_string(), &left.to_string()])
            .stderr(File::create(&errors)?)
            .spawn()?;
        let ended = wait(child, target.name)?;
        let reached: u64 = fs::read_to_string(state(target.name))?.trim().parse().unwrap_or(number);
        tally.executions += reached - number;
        if ended.as_ref().is_some_and(ExitStatus::success) {
            break;
        }
        tally.findings += 1;
        keep(target, seed, reached, ended, &fs::read_to_string(&errors).unwrap_or_default())?;
        number = reached + 1;
    }
    fs::remove_dir_all(folder)?;
    Ok(tally)
}

/// Waits for a process; `None` if it hung and was ended.
fn wait(mut child: Child, name: &str) -> io::Result<Option<ExitStatus>> {
    let (mut last, mut since) = (String::new(), Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = fs::read_to_string(state(name)).unwrap_or_default();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > SILENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}

fn keep(target: &Target, seed: u64, number: u64, ended: Option<ExitStatus>, errors: &str) -> io::Result<()> {
    let crashes = root().join("fuzz/crashes");
    fs::create_dir_all(&crashes)?;
    let kept = crashes.join(format!("{}-{seed}-{number}-{}", target.name, target.file));
    fs::copy(root().join("fuzz/work").join(target.name).join(target.file), &kept)?;
    let how = ended.map_or_else(|| "hangs".to_owned(), |status| status.to_string());
    let said = errors.lines().filter(|line| !line.trim().is_empty()).take(3).collect::<Vec<_>>().join(" | ");
    println!("{}: seed {seed}, input {number}: {how}; {}; {said}", target.name, kept.display());
    Ok(())
}
