//! What a person sees while a run goes: a bar for the steps, a line for each validation and epoch, and without a terminal a
//! line a minute.

use std::cell::{Cell, RefCell};

use indicatif::{ProgressBar, ProgressStyle};

use egofx_train::error::TrainError;
use egofx_train::scores::{LOSS, lower_is_better};
use egofx_train::trainer::context::{Event, Pace};

use super::heartbeat::{Heartbeat, MINUTE, Status};
use super::{Failed, tell, tell_without_terminal};

const STYLE: &str = "{prefix} [{bar:30}] step {pos}/{len} {msg} {eta}";

/// The bar of the epoch at hand.
pub struct Progress {
    /// Whether a run has begun.
    begun: Cell<bool>,
    bar: RefCell<ProgressBar>,
    heartbeat: Option<Heartbeat>,
    /// The epoch at hand, as `epoch 3/30`; empty before the first.
    epoch: RefCell<String>,
    /// The score that picks checkpoints, the only one that is shown: the others are in the run's files.
    select: String,
}

impl Progress {
    /// Without a bar yet; a process that does not `speak` shows nothing.
    pub fn new(select: &str, speaks: bool) -> Self {
        let heartbeat = speaks.then(|| Heartbeat::every(MINUTE, tell_without_terminal));
        let bar = RefCell::new(ProgressBar::hidden());
        Self { begun: Cell::new(false), bar, heartbeat, epoch: RefCell::default(), select: select.to_owned() }
    }

    /// Announces a run.
    pub fn begin(&self, title: &str) {
        self.line(title);
    }

    /// Notes what happened, and shows it where this process speaks.
    pub fn show(&self, event: &Event) {
        if matches!(event, Event::Started { .. }) {
            self.begun.set(true);
        }
        if self.heartbeat.is_some() {
            self.tell(event);
        }
    }

    /// `error` as what ends the command: of a run that had begun, or of one that could not begin.
    pub fn failure(&self, error: TrainError) -> anyhow::Error {
        if self.begun.get() { Failed(error).into() } else { error.into() }
    }

    fn tell(&self, event: &Event) {
        match event {
            Event::Started { train, validation, parameters, epoch, remarks } => {
                let done = if *epoch > 0 { format!("; goes on after epoch {epoch}") } else { String::new() };
                self.line(&format!(
                    "{train} samples to learn from, {validation} to validate on; {parameters} weights{done}"
                ));
                remarks.iter().for_each(|remark| self.line(remark));
            }
            Event::Stepped { step, steps, epoch, epochs, loss, lr, pace } => {
                let more = format!("loss {loss:.4}, lr {lr:.1e}, {}", speed(pace));
                self.step([*step, *steps], [*epoch, *epochs], more);
            }
            Event::Predicted { done, total } => self.predicted(*done, *total),
            Event::Validated { epoch, scores, is_best } => {
                let mark = if *is_best { "  best so far" } else { "" };
                let shown = scores.iter().filter(|(name, _)| name == LOSS || *name == self.select);
                let list: Vec<String> = shown.map(|(name, value)| format!("{name} {}", number(name, *value))).collect();
                self.line(&format!("epoch {epoch:.2}: validation {}{mark}", list.join(", ")));
            }
            Event::Epoch { epoch, loss, pace, remarks } => {
                self.line(&format!("epoch {epoch}: loss {loss:.4}, {}", speed(pace)));
                remarks.iter().for_each(|remark| self.line(remark));
            }
        }
    }

    /// Away with the bar.
    pub fn finish(&self) {
        self.bar.borrow().finish_and_clear();
    }

    fn step(&self, [step, steps]: [u64; 2], [epoch, epochs]: [u64; 2], more: String) {
        if step == 1 {
            self.finish();
            let bar = ProgressBar::new(steps).with_prefix(format!("epoch {epoch}/{epochs}"));
            // The template is a constant that parses.
            let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            *self.bar.borrow_mut() = bar;
        }
        let bar = self.bar.borrow();
        bar.set_message(more.clone());
        bar.set_position(step);
        let what = format!("epoch {epoch}/{epochs}");
        self.epoch.replace(what.clone());
        let later = (epochs - epoch) * steps;
        self.note(Status { what, done: step, total: steps, unit: "steps", more, later });
    }

    fn predicted(&self, done: u64, total: u64) {
        let epoch = self.epoch.borrow();
        let what = if epoch.is_empty() { "predicting".to_owned() } else { format!("{epoch}, validating") };
        self.note(Status { what, done, total, unit: "samples", more: String::new(), later: 0 });
    }

    fn note(&self, status: Status) {
        self.heartbeat.iter().for_each(|heartbeat| heartbeat.note(status.clone()));
    }

    fn line(&self, text: &str) {
        self.bar.borrow().suspend(|| tell(text));
    }
}

/// Samples a second, or seconds a step where these would round to nothing, and the share of the time that was waited for batches.
fn speed(pace: &Pace) -> String {
    let (rate, share) = (pace.samples_per_sec(), 100.0 * pace.waited.share());
    let rate = match rate {
        rate if rate >= 10.0 => format!("{rate:.0} samples/s"),
        rate if rate >= 1.0 => format!("{rate:.1} samples/s"),
        rate if rate > 0.0 => format!("{:.1} s a step", pace.sec_per_step()),
        // An epoch that was interrupted after its last step.
        _ => return "no step was left".to_owned(),
    };
    format!("{rate}, {share:.0} % of it waiting for data")
}

/// Fractions as percentages, losses and seconds as they are.
pub fn number(name: &str, value: f64) -> String {
    if lower_is_better(name) { format!("{value:.4}") } else { format!("{:.2}", 100.0 * value) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use egofx_train::loader::Waited;

    use super::*;

    #[test]
    fn slow_steps_are_told_in_seconds() {
        let pace = |samples, sec| {
            let waited = Waited { total: Duration::from_secs(sec), waiting: Duration::from_secs(sec / 4) };
            speed(&Pace { steps: 2, samples, waited })
        };
        assert_eq!(pace(400, 8), "50 samples/s, 25 % of it waiting for data");
        assert_eq!(pace(16, 8), "2.0 samples/s, 25 % of it waiting for data");
        assert_eq!(pace(2, 100), "50.0 s a step, 25 % of it waiting for data");
        assert_eq!(speed(&Pace::default()), "no step was left");
    }
}
