//! How far a long piece of work is: counters that the work counts up and others read, the line that says it to people, and what
//! a run tells of itself to other processes.
//!
//! Not for printing, and not for counting what a pipeline knows of its stages. Invariant: a line is made of numbers alone, so that the
//! same numbers give the same line.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

/// Counters of a piece of work that goes unit by unit. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    rows: AtomicU64,
}

impl Meter {
    /// So many units more are to be done.
    pub fn expect(&self, units: usize) {
        self.0.all.fetch_add(units as u64, Relaxed);
    }

    /// A unit is done, with that many rows.
    pub fn done(&self, rows: u64) {
        self.0.done.fetch_add(1, Relaxed);
        self.0.rows.fetch_add(rows, Relaxed);
    }

    /// A unit came to nothing; it counts as done too.
    pub fn failed(&self) {
        self.0.done.fetch_add(1, Relaxed);
        self.0.failed.fetch_add(1, Relaxed);
    }

    /// Where the work stands after so many seconds; its parts are called `units`, in the plural.
    pub fn pace(&self, units: &'static str, elapsed_sec: f64) -> Pace {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let Counts { all, done, failed, rows } = &*self.0;
        Pace {
            units,
            done: get(done),
            all: get(all),
            failed: get(failed),
            amount: Amount { what: "rows", gone: get(rows) as f64, whole: None },
            elapsed_sec,
            since: Since::default(),
            bottleneck: None,
        }
    }
}

/// Where a piece of work stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// What its parts are, in the plural.
    pub units: &'static str,
    /// Parts done, failed ones among them.
    pub done: u64,
    /// Parts in all.
    pub all: u64,
    /// Parts that came to nothing.
    pub failed: u64,
    /// What the parts consist of.
    pub amount: Amount,
    /// Seconds since the beginning.
    pub elapsed_sec: f64,
    /// From when on the rate counts.
    pub since: Since,
    /// The stage that the others wait for, and the share of its time in which it works.
    pub bottleneck: Option<(&'static str, f64)>,
}

/// How much of what the parts of a work consist of is gone through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amount {
    /// What is counted, in the plural: `rows`, `s of video`, `steps`.
    pub what: &'static str,
    /// Gone through.
    pub gone: f64,
    /// In all, if that is known.
    pub whole: Option<f64>,
}

/// A moment of the work, from which on a rate counts; by default its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Since {
    /// Seconds since the beginning.
    pub sec: f64,
    /// Parts done by then.
    pub done: f64,
    /// Amount gone through by then.
    pub gone: f64,
}

impl Pace {
    /// This moment.
    pub fn now(&self) -> Since {
        Since { sec: self.elapsed_sec, done: self.done as f64, gone: self.amount.gone }
    }

    fn per_sec(&self, grown: f64) -> f64 {
        let sec = self.elapsed_sec - self.since.sec;
        if sec > 0.0 { grown / sec } else { 0.0 }
    }

    /// What is gone through in a second.
    pub fn rate(&self) -> f64 {
        self.per_sec(self.amount.gone - self.since.gone)
    }

    /// Seconds that the rest takes at this rate; nothing before anything is done.
    pub fn left_sec(&self) -> Option<f64> {
        let (rest, rate) = match self.amount.whole {
            Some(whole) => (whole - self.amount.gone, self.rate()),
            None => (self.all.saturating_sub(self.done) as f64, self.per_sec(self.done as f64 - self.since.done)),
        };
        (rate > 0.0).then(|| rest.max(0.0) / rate)
    }
}

impl Display for Pace {
    /// `12 of 340 units, 3 failed, 9312 of 120000 rows, 55.1 rows/s, 34 min left; bottleneck: decode, 93 % busy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, done, all, failed, amount: Amount { what, gone, whole }, .. } = self;
        write!(f, "{done} of {all} {units}")?;
        if *failed > 0 {
            write!(f, ", {failed} failed")?;
        }
        match whole {
            Some(whole) => write!(f, ", {gone:.0} of {whole:.0} {what}")?,
            None if *gone > 0.0 => write!(f, ", {gone:.0} {what}")?,
            None => {}
        }
        if self.rate() > 0.0 {
            write!(f, ", {:.1} {what}/s", self.rate())?;
        }
        if let Some(sec) = self.left_sec() {
            write!(f, ", {} left", span(sec))?;
        }
        match self.bottleneck {
            Some((stage, busy)) => write!(f, "; bottleneck: {stage}, {:.0} % busy", 100.0 * busy),
            None => Ok(()),
        }
    }
}

/// How a run is, in few numbers, which it tells while it goes on; those that are in its report have the same names there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// Seconds since it began.
    pub elapsed_sec: f64,
    /// Units that it committed.
    pub committed: u64,
    /// Rows that it computed.
    pub rows: u64,
    /// Rows per second of late; of a report, all the time.
    pub rows_per_sec: f64,
    /// How busy its stages are.
    pub stages: Vec<StageShare>,
    /// Units of other parts that it committed.
    pub taken_units: u64,
    /// Videos that it took over from runs that had died, or whose heartbeat had stopped.
    pub taken_over: u64,
    /// Units that it computed although another run was first.
    pub computed_twice: u64,
}

/// How busy a stage is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageShare {
    /// Its name.
    pub stage: String,
    /// The share of its threads' time in which it works, since the run began.
    pub busy_share: f64,
}

impl Activity {
    /// How busy the stage `stage` is.
    pub fn busy(&self, stage: &str) -> Option<f64> {
        self.stages.iter().find(|share| share.stage == stage).map(|share| share.busy_share)
    }
}

/// An interval of time in two units at most: `45 s`, `34 min`, `2 h 10 min`, `1 d 3 h`.
fn span(sec: f64) -> String {
    let minutes = (sec / 60.0).round() as u64;
    match (sec, minutes) {
        (sec, _) if sec < 90.0 => format!("{sec:.0} s"),
        (_, minutes @ ..60) => format!("{minutes} min"),
        (_, minutes @ 60..1440) => format!("{} h {} min", minutes / 60, minutes % 60),
        (_, minutes) => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace() -> Pace {
        Pace {
            units: "units",
            done: 12,
            all: 340,
            failed: 3,
            amount: Amount { what: "rows", gone: 9312.0, whole: Some(120_000.0) },
            elapsed_sec: 169.0,
            since: Since::default(),
            bottleneck: Some(("decode", 0.934)),
        }
    }

    #[test]
    fn a_line_says_how_much_is_done_how_fast_and_how_long_it_takes() {
        let line =
            "12 of 340 units, 3 failed, 9312 of 120000 rows, 55.1 rows/s, 33 min left; bottleneck: decode, 93 % busy";
        assert_eq!(pace().to_string(), line);
        let idle = Pace { failed: 0, bottleneck: None, elapsed_sec: 0.0, ..pace() };
        assert_eq!(idle.to_string(), "12 of 340 units, 9312 of 120000 rows", "no rate in no time");
    }

    /// What was done before a resumed run began, or while it slept, tells nothing of the rest.
    #[test]
    fn the_rate_is_that_of_late() {
        let since = Since { sec: 109.0, done: 10.0, gone: 9012.0 };
        let recent = Pace { since, ..pace() };
        assert_eq!((recent.rate(), recent.left_sec()), (5.0, Some((120_000.0 - 9312.0) / 5.0)));
        let stuck = Pace { since: Since { gone: 9312.0, ..since }, ..pace() };
        assert_eq!((stuck.rate(), stuck.left_sec()), (0.0, None));
        assert_eq!(recent.now(), Since { sec: 169.0, done: 12.0, gone: 9312.0 });
    }

    #[test]
    fn a_meter_counts_units_and_rows_of_all_its_clones() {
        let meter = Meter::default();
        assert_eq!(meter.pace("units", 1.0).to_string(), "0 of 0 units");
        meter.expect(4);
        meter.clone().done(30);
        meter.failed();
        let pace = meter.pace("units", 10.0);
        assert_eq!(pace.to_string(), "2 of 4 units, 1 failed, 30 rows, 3.0 rows/s, 10 s left");
    }

    #[test]
    fn time_is_told_in_two_units_at_most() {
        for (sec, text) in [
            (0.2, "0 s"),
            (89.0, "89 s"),
            (95.0, "2 min"),
            (3569.0, "59 min"),
            (3580.0, "1 h 0 min"),
            (7800.0, "2 h 10 min"),
            (97_200.0, "1 d 3 h"),
        ] {
            assert_eq!(span(sec), text);
        }
    }
}
