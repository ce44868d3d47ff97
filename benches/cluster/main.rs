//! Many workers on one plan: how far from perfect balance they end, in a simulation of Ego4D on up to 1,000 workers; and what claims,
//! plans and stores cost as they grow, measured on the machine's file system.
//!
//! The simulation has a clock of its own and stands on the real code: the plan, its parts, and the order in which a worker asks.
//! `cargo bench --bench cluster -- simulation` or `-- costs` does one of both; a number after it, `-- costs 100000`, is the largest store.

#[path = "../support/mod.rs"]
mod support;

mod costs;
mod ego4d;
mod simulation;

use egofx::shard::Shard;

use simulation::{Cluster, Outcome, Preemptions};
use support::{Fallible, head, row};

/// Units of the largest store, unless another number is given: each unit is synced, as in a run.
const LARGEST: usize = 10_000;
/// Workers.
const WORKERS: [u32; 6] = [1, 4, 16, 64, 256, 1000];
/// How often a node is taken from a worker, in the mean.
const PREEMPTED_SEC: f64 = 7200.0;

fn main() -> Fallible {
    let chosen = |part: &str| !std::env::args().any(|a| ["simulation", "costs"].contains(&&*a) && a != part);
    if chosen("simulation") {
        simulate()?;
    }
    if chosen("costs") {
        let largest = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(LARGEST);
        costs::measure(largest)?;
    }
    Ok(())
}

fn simulate() -> Fallible {
    let costs = ego4d::costs()?;
    let hours = costs.iter().sum::<f64>() / 3600.0;
    println!("{} videos, {hours:.0} h, the longest of {:.2} h", costs.len(), costs[0] / 3600.0);
    head("One worker of four is four times slower");
    let slow_one = |steal| Cluster { speeds: vec![0.25, 1.0, 1.0, 1.0], steal, preemptions: None };
    let (alone, shared) = (slow_one(false).run(&costs), slow_one(true).run(&costs));
    balance("time over perfect balance, each its own part", &alone);
    balance("time over perfect balance, shared: at most 1.15", &shared);
    head("Every tenth node four times slower, each stopped about once in two hours");
    for workers in WORKERS {
        let slow = |worker: u32| if worker % 10 == 9 { 0.25 } else { 1.0 };
        let speeds: Vec<f64> = (0..workers).map(slow).collect();
        let run = |steal, every_sec: Option<f64>| {
            let preemptions = every_sec.map(|every_sec| Preemptions { every_sec, suspended: 0.25, seed: 3 });
            Cluster { speeds: speeds.clone(), steal, preemptions }.run(&costs)
        };
        let (alone, shared) = (run(false, Some(PREEMPTED_SEC)), run(true, Some(PREEMPTED_SEC)));
        let slowest = speeds.iter().copied().fold(1.0, f64::min);
        let longest_sec = costs[0] / simulation::SPEED / slowest;
        row(&format!("{workers} workers"), "", "");
        balance("  time over perfect balance, each its own part", &alone);
        balance("  time over perfect balance, shared", &shared);
        balance("  the same where nobody is stopped", &run(true, None));
        let longest = format!("{:.3}", longest_sec / shared.perfect_sec);
        row("    the longest video on a slowest node, over perfect balance", &longest, "");
        row("    longest own part over the mean", &format!("{:.3}", widest_part(&costs, workers)), "");
        row("    computed twice", &shared.twice.to_string(), &format!("of {} videos", costs.len()));
        row("    taken over from dead or stopped workers", &shared.taken_over.to_string(), "");
        let per_video = |count: u64| format!("{:.2}", count as f64 / costs.len() as f64);
        row("    claims asked for, per video", &per_video(shared.asked), &format!("{} in all", shared.asked));
        row("    claims read while waiting, per video", &per_video(shared.read), "");
        row("    looks at the ledgers of all parts, per video", &per_video(shared.looked), "");
    }
    Ok(())
}

fn balance(promise: &str, outcome: &Outcome) {
    row(
        promise,
        &format!("{:.3}", outcome.makespan_sec / outcome.perfect_sec),
        &format!("{:.1} h", outcome.makespan_sec / 3600.0),
    );
}

/// The costliest part over the mean of all.
fn widest_part(costs: &[f64], workers: u32) -> f64 {
    let part = |index| {
        let shard = Shard::new(index, workers).expect("an index from 1 to the count");
        let (own, _) = egofx::shard::split(costs.to_vec(), shard, |cost| *cost);
        own.iter().sum::<f64>()
    };
    let parts: Vec<f64> = (1..=workers).map(part).collect();
    parts.iter().copied().fold(0.0, f64::max) * f64::from(workers) / parts.iter().sum::<f64>()
}
