//! How the learning rate changes while a head is trained.
//!
//! Not for the rate itself or for parameters that have a rate of their own. Invariant: the factor of a step is a
//! function of its number alone, so that a run that was resumed goes on as if it had never stopped.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// What the base rate is multiplied with, step by step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// One, always.
    Constant {},
    /// After the warm-up linearly to 0 over all steps that are left: `get_linear_schedule_with_warmup` of HuggingFace.
    /// NLQ has no warm-up, so that its first step has the full rate.
    Linear {
        /// How long the rate rises.
        warmup: Warmup,
    },
    /// After the warm-up half a cosine, down to `floor`: QFVS (two epochs of warm-up, floor 0.001), EgoTaskQA and the
    /// pretraining of EgoVLPv2 (a tenth of all steps, floor 0), ActionFormer (five epochs). Steps beyond the last rise
    /// again, as in HuggingFace's `get_cosine_schedule_with_warmup`.
    Cosine {
        /// How long the rate rises.
        warmup: Warmup,
        /// The factor of the last step.
        floor: f64,
        /// Whether the last step of the warm-up has the full rate, and not only the first one behind it (OpenTAD).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        full_within_warmup: bool,
    },
    /// Multiplied with `factor` after every so many epochs: torch's `StepLR`, stepped by epoch (VSGN).
    StepEpochs {
        /// Epochs between two changes, at least 1.
        every: u64,
        /// What each of them multiplies with.
        factor: f64,
    },
    /// Multiplied with `factor` once so many epochs are done: torch's `MultiStepLR` (the pretraining of EgoVLP).
    MilestoneEpochs {
        /// Epochs after which there is a change.
        epochs: Vec<u64>,
        /// What each of them multiplies with.
        factor: f64,
    },
}

/// How long the rate rises linearly from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// So many epochs.
    Epochs(f64),
    /// This share of all steps.
    Share(f64),
}

impl Warmup {
    /// Its steps; not always a whole number.
    fn steps(self, steps_per_epoch: u64, total_steps: u64) -> f64 {
        match self {
            Self::Steps(steps) => steps as f64,
            Self::Epochs(epochs) => epochs * steps_per_epoch as f64,
            Self::Share(share) => (share * total_steps as f64).floor(),
        }
    }
}

/// Where a step lies: in the warm-up, with the part of it that is done, or behind it, with the part that is done of all
/// that follows.
enum Progress {
    Rising(f64),
    Falling(f64),
}

impl Schedule {
    /// Refuses what makes a rate that is no number.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), String> {
        let (warmup, factor) = match self {
            Self::Constant {} => return Ok(()),
            Self::Linear { warmup } => (Some(*warmup), ("floor", 0.0)),
            Self::Cosine { warmup, floor, .. } => (Some(*warmup), ("floor", *floor)),
            Self::StepEpochs { every: 0, .. } => {
                return Err("train.schedule.every is 0, expected at least 1".to_owned());
            }
            Self::StepEpochs { factor, .. } | Self::MilestoneEpochs { factor, .. } => (None, ("factor", *factor)),
        };
        let length = match warmup {
            Some(Warmup::Epochs(length) | Warmup::Share(length)) => length,
            Some(Warmup::Steps(_)) | None => 0.0,
        };
        let found = [factor, ("warmup", length)].into_iter().find(|(_, found)| !(found.is_finite() && *found >= 0.0));
        found.map_or(Ok(()), |(key, found)| Err(format!("train.schedule.{key} is {found}, expected 0 or more")))
    }

    /// Whether the factor of a step depends on how many steps there will be.
    pub fn depends_on_total(&self) -> bool {
        matches!(self, Self::Linear { .. } | Self::Cosine { .. })
    }

    /// The factor of the base rate for the step number `step`, from 0, of `total_steps`.
    pub fn factor(&self, step: u64, steps_per_epoch: u64, total_steps: u64) -> f64 {
        let progress = |warmup: Warmup, full_within: bool| {
            let warmup_steps = warmup.steps(steps_per_epoch, total_steps);
            progress(step as f64, warmup_steps, warmup_steps - f64::from(full_within), total_steps)
        };
        let epochs_done = step / steps_per_epoch.max(1);
        match self {
            Self::Constant {} => 1.0,
            Self::Linear { warmup } => match progress(*warmup, false) {
                Progress::Rising(part) => part,
                Progress::Falling(part) => (1.0 - part).max(0.0),
            },
            Self::Cosine { warmup, floor, full_within_warmup } => match progress(*warmup, *full_within_warmup) {
                Progress::Rising(part) => part,
                Progress::Falling(part) => floor + (1.0 - floor) * 0.5 * (1.0 + (PI * part).cos()),
            },
            Self::StepEpochs { every, factor } => factor.powf((epochs_done / every.max(&1)) as f64),
            Self::MilestoneEpochs { epochs, factor } => {
                factor.powf(epochs.iter().filter(|&&epoch| epoch <= epochs_done).count() as f64)
            }
        }
    }
}

/// Where a step lies; at the step `full_at` of the warm-up, or behind it, the rise is complete.
fn progress(step: f64, warmup_steps: f64, full_at: f64, total_steps: u64) -> Progress {
    if step < warmup_steps {
        return Progress::Rising((step / full_at.max(1.0)).min(1.0));
    }
    Progress::Falling((step - warmup_steps) / (total_steps as f64 - warmup_steps).max(1.0))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Sums of a few products in `f64`; near its zero a cosine has no more digits than that.
    const TOLERANCE: f64 = 1e-12;

    fn expected() -> Value {
        serde_json::from_str(include_str!("../tests/data/schedules/expected.json")).unwrap()
    }

    #[track_caller]
    fn close(found: f64, expected: &Value, what: impl std::fmt::Display) {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1e-4), "{what}: {found}, not {expected}");
    }

    #[test]
    fn qfvs_has_the_original_rates() {
        let schedule = Schedule::Cosine { warmup: Warmup::Epochs(2.0), floor: 1e-3, full_within_warmup: false };
        let expected = &expected()["qfvs"];
        let [steps, epochs] = ["steps_per_epoch", "epochs"].map(|key| expected[key].as_u64().unwrap());
        for sample in expected["samples"].as_array().unwrap() {
            let step = sample["step"].as_u64().unwrap();
            let rate = 1e-5 * schedule.factor(step, steps, steps * epochs);
            close(rate, &sample["lr"], step);
            close(rate * crate::heads::qfvs::lr_scale(&[8, 16]), &sample["weights_lr"], step);
            close(rate * crate::heads::qfvs::lr_scale(&[8]), &sample["bias_lr"], step);
        }
    }

    #[test]
    fn nlq_falls_from_the_full_rate_to_nothing() {
        let expected = &expected()["nlq"];
        let total = expected["total_steps"].as_u64().unwrap();
        let rate = |step| expected["init_lr"].as_f64().unwrap() * schedule().factor(step, 1, total);
        (0..).zip(expected["lr"].as_array().unwrap()).for_each(|(step, lr)| close(rate(step), lr, step));
        assert_eq!(rate(total), 0.0);
        assert_eq!(rate(total + 3), 0.0);
    }

    fn schedule() -> Schedule {
        Schedule::Linear { warmup: Warmup::Steps(0) }
    }

    #[test]
    fn cosines_are_those_of_the_original() {
        for case in expected()["cosine"].as_array().unwrap() {
            let [total, warmup] = ["total", "warmup"].map(|key| case[key].as_u64().unwrap());
            let schedule = Schedule::Cosine { warmup: Warmup::Steps(warmup), floor: 0.0, full_within_warmup: false };
            for (step, value) in (0..).zip(case["multiplier_by_step"].as_array().unwrap()) {
                close(schedule.factor(step, 1, total), value, format_args!("step {step} of {total}"));
            }
        }
    }

    /// Twenty of twenty-five epochs, after a warm-up whose last step has the full rate.
    #[test]
    fn opentad_stops_before_its_cosine_ends() {
        let info: Value = serde_json::from_str(include_str!("../tests/data/opentad/info.json")).unwrap();
        let expected = &info["schedule"];
        let [steps, epochs] = ["steps_per_epoch", "end_epoch"].map(|key| expected[key].as_u64().unwrap());
        let schedule = Schedule::Cosine { warmup: Warmup::Epochs(5.0), floor: 1e-8, full_within_warmup: true };
        for (step, value) in (0..).zip(expected["lr"].as_array().unwrap()) {
            close(schedule.factor(step, steps, steps * 25), value, format_args!("step {step}"));
        }
        close(schedule.factor(steps * epochs - 1, steps, steps * 25), &expected["lr_of_last_step"], "the last step");
    }

    #[test]
    fn warm_ups_by_share_and_by_epoch_are_warm_ups_by_step() {
        let factor = |warmup, step| Schedule::Linear { warmup }.factor(step, 20, 103);
        for step in 0..103 {
            assert_eq!(factor(Warmup::Share(0.1), step), factor(Warmup::Steps(10), step));
            assert_eq!(factor(Warmup::Epochs(0.5), step), factor(Warmup::Steps(10), step));
        }
    }

    #[test]
    fn rates_that_change_by_epoch_change_when_the_epoch_is_done() {
        let milestones = Schedule::MilestoneEpochs { epochs: vec![60, 80], factor: 0.1 };
        for sample in expected()["v1_epoch_lr"].as_array().unwrap() {
            let epoch = sample["after_epoch"].as_u64().unwrap();
            close(2e-4 * milestones.factor(epoch * 7, 7, 700), &sample["lr"], epoch);
        }
        let steps = Schedule::StepEpochs { every: 15, factor: 0.5 };
        let factors = [0, 15 * 7 - 1, 15 * 7, 30 * 7 - 1, 30 * 7].map(|step| steps.factor(step, 7, 700));
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn settings_read_back_and_unknown_keys_are_refused() {
        let read = |text: &str| toml::from_str::<Schedule>(text);
        let text = "kind = \"cosine\"\nfloor = 0.001\nwarmup = { epochs = 2.0 }\n";
        let schedule = read(text).unwrap();
        let expected = Schedule::Cosine { warmup: Warmup::Epochs(2.0), floor: 1e-3, full_within_warmup: false };
        assert_eq!(schedule, expected);
        assert!(!toml::to_string(&schedule).unwrap().contains("full_within_warmup"));
        assert_eq!(read(&toml::to_string(&schedule).unwrap()).unwrap(), schedule);
        assert_eq!(read("kind = \"constant\"").unwrap().factor(5, 1, 10), 1.0);
        for text in ["kind = \"constant\"\nfloor = 1.0", "kind = \"cosine\"\nfloor = 0.0", "kind = \"linear\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
