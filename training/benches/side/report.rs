//! Rounds of two sides in turn, by the clock and by processor time, as a line of a table.
//!
//! Apart from the other side's process, which not every benchmark shows like this. Where others use the machine, processor time says
//! more than the clock; with several threads it counts those that wait as well.

use std::time::Instant;

use serde_json::json;

use crate::side::{Fallible, Theirs, median};

const ROUNDS: usize = 5;

/// How long some steps took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: f64,
    processor: f64,
}

/// Times `steps` steps of both sides in turn, after one of each that does not count, and prints a line.
pub fn rounds(
    (what, items): (&str, f64),
    steps: usize,
    mut ours: impl FnMut(usize) -> Fallible<()>,
    theirs: &mut Theirs,
) -> Fallible<()> {
    ours(1)?;
    theirs.ask(&json!(1).to_string())?;
    let (mut rounds, mut in_kernel) = (Vec::new(), 0.0);
    for _ in 0..ROUNDS {
        let (before, start) = (processor_sec(), Instant::now());
        ours(steps)?;
        let (after, wall) = (processor_sec(), start.elapsed().as_secs_f64());
        in_kernel += after[1] - before[1];
        let here = Took { wall, processor: after.iter().sum::<f64>() - before.iter().sum::<f64>() };
        let answer = theirs.ask(&steps.to_string())?;
        let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"));
        rounds.push((here, Took { wall: number("seconds")?, processor: number("processor")? }));
    }
    let rate = |took: &dyn Fn(&(Took, Took)) -> f64| median(rounds.iter().map(|round| items / took(round)));
    let ratios = |of: fn(&Took) -> f64| rounds.iter().map(move |(here, there)| of(there) / of(here));
    let shown = |of: fn(&Took) -> f64| {
        let list: Vec<String> = ratios(of).map(|ratio| format!("{ratio:.2}")).collect();
        format!("{:.2} ({})", median(ratios(of)), list.join(" "))
    };
    let used: f64 = rounds.iter().map(|(here, _)| here.processor).sum();
    println!("{what} {:>9.2} {:>9.2}", rate(&|round| round.0.wall), rate(&|round| round.1.wall));
    println!("    by the clock {}, by processor time {}", shown(|took| took.wall), shown(|took| took.processor));
    println!(
        "    ours: {used:.1} s of processor, of them {in_kernel:.1} s in the kernel; {} MB at most so far",
        peak_mb()
    );
    Ok(())
}

/// User and system time of this process, its threads included and not its children.
fn processor_sec() -> [f64; 2] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name of the program, which may have blanks: utime and stime are the fields 14 and 15, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [11, 12].map(|at| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(f64::NAN) / 100.0)
}

/// Most memory of this process.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
}
