//! What a run tells of itself while it goes on, out of what it counts.
//!
//! Not for writing it down, see `claims`. Invariant: who looks waits for nobody and has nobody wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::account::{Control, StageStats};
use super::sharing::Tally;
use crate::meter::{Activity, StageShare};

/// Looks by which the rate is told: one alone is that of a moment.
const LOOKS: usize = 9;

/// Looks at a run again and again.
pub struct ActivityWatch {
    control: Arc<Control>,
    tally: Tally,
    /// Seconds and rows at the last looks.
    seen: VecDeque<(f64, u64)>,
}

impl ActivityWatch {
    /// At the run that `control` holds, which shares its work if there is a `tally`.
    pub fn new(control: &Arc<Control>, tally: Option<Tally>) -> Self {
        Self { control: control.clone(), tally: tally.unwrap_or_default(), seen: VecDeque::new() }
    }

    /// How the run is now.
    pub fn look(&mut self) -> Activity {
        let counters = &self.control.counters;
        let (elapsed_sec, rows) = (counters.elapsed().as_secs_f64(), counters.rows.load(Relaxed));
        let share = |stats: StageStats| StageShare { stage: stats.stage.into(), busy_share: stats.busy_share };
        let stages = counters.stages(elapsed_sec).into_iter().map(share).collect();
        let [taken_units, taken_over, computed_twice] = self
            .tally
            .read(|tally| [tally.taken_units, tally.taken_over, tally.computed_twice].map(|count| count as u64));
        let rows_per_sec = self.rate(elapsed_sec, rows);
        let committed = self.control.counters.committed.load(Relaxed);
        Activity { elapsed_sec, committed, rows, rows_per_sec, stages, taken_units, taken_over, computed_twice }
    }

    fn rate(&mut self, sec: f64, rows: u64) -> f64 {
        let (since, before) = self.seen.front().copied().unwrap_or_default();
        self.seen.push_back((sec, rows));
        if self.seen.len() > LOOKS {
            self.seen.pop_front();
        }
        if sec > since { rows.saturating_sub(before) as f64 / (sec - since) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::account::{Counters, Stage};
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_looks() {
        let mut watch = ActivityWatch::new(&Arc::default(), None);
        assert_eq!(watch.rate(0.0, 0), 0.0);
        assert_eq!(watch.rate(10.0, 100), 10.0);
        for look in 2..=LOOKS + 1 {
            watch.rate(10.0 * look as f64, 100);
        }
        assert_eq!(watch.rate(110.0, 120), 20.0 / 90.0, "what is long ago does not count");
    }

    #[test]
    fn a_stage_is_busy_with_what_it_has_not_done_yet() {
        let control = Arc::new(Control::default());
        let mut watch = ActivityWatch::new(&control, None);
        Counters::add(&control.counters.rows, 7);
        let (during, after) = control.counters.time(Stage::Decode, || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            (watch.look(), std::thread::sleep(std::time::Duration::from_millis(50)))
        });
        let () = after;
        assert!(during.busy("decode").is_some_and(|share| share > 0.5), "{during:?}");
        assert_eq!((during.busy("infer"), during.rows), (Some(0.0), 7));
        let stages = control.counters.stages(1.0);
        assert!(stages[0].busy_sec >= 0.1 && stages[1].busy_sec == 0.0, "{stages:?}");
    }
}
