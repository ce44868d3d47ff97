//! What a person sees while a run goes: a bar for the steps, a line for each validation and epoch.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use egofx_train::fit::Event;
use egofx_train::measure::{LOSS, falls};

use super::tell;

const STYLE: &str = "{prefix} [{bar:30}] step {pos}/{len} {msg} {eta}";

static BEGUN: AtomicBool = AtomicBool::new(false);

/// Whether a run has begun in this process.
pub fn has_begun() -> bool {
    BEGUN.load(Ordering::SeqCst)
}

/// The bar of the epoch at hand.
pub struct Progress {
    bar: RefCell<ProgressBar>,
    /// The score that picks checkpoints, the only one that is shown: the others are in the run's files.
    select: String,
}

impl Progress {
    /// Without a bar yet.
    pub fn new(select: &str) -> Self {
        Self { bar: RefCell::new(ProgressBar::hidden()), select: select.to_owned() }
    }

    /// Announces a run.
    pub fn begin(&self, title: &str) {
        self.line(title);
    }

    /// Notes what happened, and shows it where this process `speaks`.
    pub fn show(&self, event: &Event, speaks: bool) {
        if matches!(event, Event::Started { .. }) {
            BEGUN.store(true, Ordering::SeqCst);
        }
        if speaks {
            self.tell(event);
        }
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
            Event::Stepped { step, steps, epoch, epochs, loss } => self.step(*step, *steps, *epoch, *epochs, *loss),
            Event::Validated { epoch, scores, is_best } => {
                let mark = if *is_best { "  best so far" } else { "" };
                let shown = scores.iter().filter(|(name, _)| name == LOSS || *name == self.select);
                let list: Vec<String> = shown.map(|(name, value)| format!("{name} {}", number(name, *value))).collect();
                self.line(&format!("epoch {epoch:.2}: validation {}{mark}", list.join(", ")));
            }
            Event::Epoch { epoch, loss, waited, samples, remarks } => {
                let rate = *samples as f64 / waited.total.as_secs_f64();
                let share = 100.0 * waited.share();
                self.line(&format!(
                    "epoch {epoch}: loss {loss:.4}, {rate:.0} samples/s, {share:.0} % of it waiting for data"
                ));
                remarks.iter().for_each(|remark| self.line(remark));
            }
        }
    }

    /// Away with the bar.
    pub fn finish(&self) {
        self.bar.borrow().finish_and_clear();
    }

    fn step(&self, step: u64, steps: u64, epoch: u64, epochs: u64, loss: f64) {
        if step == 1 {
            self.finish();
            let bar = ProgressBar::new(steps).with_prefix(format!("epoch {epoch}/{epochs}"));
            // The template is a constant that parses.
            let style = ProgressStyle::with_template(STYLE).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            *self.bar.borrow_mut() = bar;
        }
        let bar = self.bar.borrow();
        bar.set_message(format!("loss {loss:.4}"));
        bar.set_position(step);
    }

    fn line(&self, text: &str) {
        self.bar.borrow().suspend(|| tell(text));
    }
}

/// Fractions as percentages, losses and seconds as they are.
pub fn number(name: &str, value: f64) -> String {
    if falls(name) { format!("{value:.4}") } else { format!("{:.2}", 100.0 * value) }
}
