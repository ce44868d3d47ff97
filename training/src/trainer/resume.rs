//! Going on from a checkpoint: what of the experiment may have changed since.
//!
//! Not for reading the file. Invariant: a run that goes on computes what it would have computed if it had been planned so from the
//! beginning.

use std::path::Path;

use crate::error::TrainError;
use crate::experiment::Experiment;

/// Refuses to go on from a checkpoint at `path`, which is of the experiment `saved`, with the experiment `wanted`.
pub(super) fn expect_same(path: &Path, saved: &Experiment, wanted: &Experiment) -> Result<(), TrainError> {
    let refused = |why: String| Err(TrainError::Resume { path: path.to_owned(), why });
    let (before, now) = (saved.train.epochs, wanted.train.epochs);
    if let Some((found, wanted)) = difference(&plain(saved), &plain(wanted)) {
        return refused(format!("it is of another experiment: it has `{found}`, the experiment file `{wanted}`"));
    }
    if now < before {
        return refused(format!(
            "it was planned for {before} epochs, the experiment file has {now}: there can only be more"
        ));
    }
    if now > before && wanted.train.schedule_epochs.is_none() && wanted.train.schedule.depends_on_total() {
        return refused(format!(
            "it was planned for {before} epochs, the experiment file has {now}: its schedule of the learning rate spreads over \
             all epochs, so all steps so far would have had other rates. Set train.epochs = {before} to go on, or begin a new \
             run from these weights with --init"
        ));
    }
    Ok(())
}

/// The experiment without what changes nothing of a step.
fn plain(experiment: &Experiment) -> Experiment {
    let mut plain = experiment.clone();
    let train = &mut plain.train;
    train.epochs = 0;
    (train.log_steps, train.checkpoint_steps) = (None, None);
    (train.save_top_k, train.save_every_n_epochs) = (None, None);
    plain
}

/// The first lines in which two experiments differ.
fn difference(one: &Experiment, other: &Experiment) -> Option<(String, String)> {
    if one == other {
        return None;
    }
    let (one, other) = (one.to_toml(), other.to_toml());
    let (mut one, mut other) = (one.lines(), other.lines());
    loop {
        // One of them may go on where the other ends.
        let (found, wanted) = (one.next(), other.next());
        if found != wanted {
            return Some((found.unwrap_or_default().to_owned(), wanted.unwrap_or_default().to_owned()));
        }
        found?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::tests::TEXT;

    #[test]
    fn more_epochs_need_a_schedule_that_does_not_spread_over_them() {
        let parsed = |epochs: &str| {
            let text = TEXT.replace("epochs = 3", epochs);
            let falling = text.replace("kind = \"constant\"", "kind = \"linear\"\nwarmup = { steps = 0 }");
            Experiment::parse(&falling).unwrap()
        };
        let goes_on = |saved, wanted| expect_same(Path::new("x"), &parsed(saved), &parsed(wanted)).is_ok();
        assert!(!goes_on("epochs = 3", "epochs = 4"));
        assert!(goes_on("epochs = 3\nschedule_epochs = 9", "epochs = 4\nschedule_epochs = 9"));
        assert!(!goes_on("epochs = 3\nschedule_epochs = 9", "epochs = 4\nschedule_epochs = 8"));
    }

    #[test]
    fn an_experiment_that_goes_on_where_another_ends_is_another() {
        let parsed = |more: &str| Experiment::parse(&format!("{TEXT}\n{more}")).unwrap();
        let (one, other) = (parsed(""), parsed("[z]\nlast = 1"));
        assert_eq!(difference(&one, &one), None);
        assert!(difference(&one, &other).is_some() && difference(&other, &one).is_some());
    }
}
