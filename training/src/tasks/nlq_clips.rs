//! NLQ learnt clip by clip: a sample to learn from is a clip with a few of its queries.
//!
//! Not for samples and features, which `egofx::heads::nlq` opens, nor for scores, which are those of [`Nlq`]. Predictions are
//! for single queries. Which queries are learnt together is drawn once for all epochs, and is the same for all seeds.

use egofx::compat::Compat;
use egofx::heads::Submission;
use egofx::heads::actionformer::FeatureGrid;
use egofx::metric::Window;

use super::nlq::{self, Nlq};
use crate::error::TrainError;
use crate::learner::Task;
use crate::rng::{self, Generator, Purpose};
use crate::sources::{Fold, Sources};

/// What groups are drawn by.
const SEED: u64 = 1234567891;

/// What an experiment says of the files, and of the groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What is opened.
    pub nlq: nlq::Settings,
    /// Where the steps of a clip lie in time.
    pub frames: FeatureGrid,
    /// Rows of a clip from one step to the next.
    pub row_stride: usize,
    /// Steps of a clip that are learnt at once, at most.
    pub max_length: usize,
    /// Queries that are learnt together, at most.
    pub max_queries: usize,
    /// Share of an event of which more than this must be seen where a clip is too long to be learnt at once.
    pub truncation_threshold: f64,
}

/// Queries with features, in groups to learn from.
pub struct NlqClips {
    nlq: Nlq,
    groups: Vec<Vec<usize>>,
}

impl NlqClips {
    /// The queries.
    pub fn nlq(&self) -> &Nlq {
        &self.nlq
    }

    /// Queries about one clip that are learnt together.
    pub fn group(&self, number: usize) -> &[usize] {
        &self.groups[number]
    }

    /// The true window of a query in seconds of its clip, cut to it.
    pub fn window(&self, query: usize) -> [f64; 2] {
        window(&self.nlq, query)
    }
}

fn window(nlq: &Nlq, query: usize) -> [f64; 2] {
    let sample = nlq.sample(query);
    sample.window.map(|sec| sec.clamp(0.0, sample.span.duration_sec()))
}

impl Task for NlqClips {
    const NAME: &'static str = <Nlq as Task>::NAME;
    const ABOUT: &'static str = <Nlq as Task>::ABOUT;
    const READS: &'static [&'static str] = <Nlq as Task>::READS;

    type Settings = Settings;
    type Sample = usize;
    type Prediction = Vec<Window>;

    fn open(wanted: &Settings, compat: Compat, sources: &Sources) -> Result<Self, TrainError> {
        let nlq = <Nlq as Task>::open(&wanted.nlq, compat, sources)?;
        nlq.expect_rows_of_clips()?;
        let groups = groups(&nlq, wanted)?;
        Ok(Self { nlq, groups })
    }

    fn folds(&self) -> Vec<Fold> {
        let of_queries = Task::folds(&self.nlq);
        of_queries.into_iter().map(|fold| Fold { train: (0..self.groups.len()).collect(), ..fold }).collect()
    }

    fn samples(&self) -> Vec<usize> {
        Task::samples(&self.nlq)
    }

    fn has_truths(&self) -> bool {
        self.nlq.has_truths()
    }

    fn score(&self, predictions: &[(usize, Vec<Window>)]) -> Result<Vec<(String, f64)>, TrainError> {
        self.nlq.score(predictions)
    }

    fn submission(&self, predictions: &[(usize, Vec<Window>)]) -> Result<Submission, TrainError> {
        Task::submission(&self.nlq, predictions)
    }
}

/// The queries to learn from, clip by clip; those whose window is empty are left out.
fn groups(nlq: &Nlq, settings: &Settings) -> Result<Vec<Vec<usize>>, TrainError> {
    let learnt = Task::folds(nlq).into_iter().flat_map(|fold| fold.train);
    let mut learnt: Vec<usize> = learnt.filter(|&query| window(nlq, query)[0] < window(nlq, query)[1]).collect();
    let clip = |query: usize| &nlq.sample(query).clip_uid;
    learnt.sort_by(|&a, &b| clip(a).as_str().cmp(clip(b).as_str()));
    let mut draw = rng::generator(SEED, Purpose::Order { epoch: 0 });
    let mut groups = Vec::new();
    for queries in learnt.chunk_by(|&a, &b| clip(a) == clip(b)) {
        let steps = nlq.row_count(queries[0])?.div_ceil(settings.row_stride.max(1));
        if steps > settings.max_length {
            queries.iter().try_for_each(|&query| expect_seen(nlq, query, settings))?;
        }
        let steps = steps.min(settings.max_length);
        let events: Vec<[f64; 2]> = queries.iter().map(|&query| window(nlq, query)).collect();
        let drawn = grouped(&events, span_sec(steps, &settings.frames), settings.max_queries.max(1), &mut draw);
        groups.extend(drawn.into_iter().map(|group| group.into_iter().map(|place| queries[place]).collect()));
    }
    Ok(groups)
}

/// That a part of its clip may hold more than the least share of a query's event.
fn expect_seen(nlq: &Nlq, query: usize, settings: &Settings) -> Result<(), TrainError> {
    let [start_sec, end_sec] = window(nlq, query);
    let (most_sec, threshold) = (span_sec(settings.max_length + 1, &settings.frames), settings.truncation_threshold);
    if most_sec > threshold * (end_sec - start_sec) {
        return Ok(());
    }
    let sample = nlq.sample(query);
    let why = format!(
        "query {} of clip {} is about {start_sec:.1} to {end_sec:.1} s: of {} steps, {most_sec:.1} s, that are learnt \
         at once, no more than {threshold} of it would be seen; raise model.max_length, or lower model.truncation_threshold",
        sample.query_id, sample.clip_uid, settings.max_length
    );
    Err(TrainError::Batch { head: "NLQ by clips", why })
}

/// Seconds that so many steps see.
fn span_sec(steps: usize, grid: &FeatureGrid) -> f64 {
    let frames = steps.saturating_sub(1) as f64 * f64::from(grid.stride_frames) + f64::from(grid.window_frames);
    frames / f64::from(grid.fps)
}

/// Places of events that are learnt together. The earliest event that is left opens a window of that many seconds; those that
/// lie in it join, and where they are more than `most`, so many are drawn of them, the first or not.
fn grouped(events: &[[f64; 2]], span_sec: f64, most: usize, draw: &mut Generator) -> Vec<Vec<usize>> {
    let mut free: Vec<usize> = (0..events.len()).collect();
    free.sort_by(|&a, &b| events[a][0].total_cmp(&events[b][0]));
    let mut groups = Vec::new();
    while let Some(&first) = free.first() {
        let until = events[first][0] + span_sec;
        let joins = |&place: &usize| place == first || events[place][1] <= until;
        let mut group: Vec<usize> = free.iter().copied().filter(joins).collect();
        if group.len() > most {
            rng::shuffle(&mut group, draw);
            group.truncate(most);
        }
        free.retain(|place| !group.contains(place));
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 32.0 };

    /// The second clip of the original's small case.
    fn events() -> Vec<[f64; 2]> {
        let mut events: Vec<[f64; 2]> =
            (2..=10).rev().map(|n| [20.0 * f64::from(n), 20.0 * f64::from(n) + 3.5]).collect();
        events.push([5.0, 120.0]);
        events
    }

    fn groups_of(events: &[[f64; 2]], steps: usize) -> Vec<Vec<usize>> {
        let mut draw = rng::generator(1, Purpose::Weights);
        grouped(events, span_sec(steps, &GRID), 2, &mut draw)
    }

    #[test]
    fn in_short_windows_groups_are_the_originals() {
        let clip = [[1.2, 3.4], [0.0, 0.5], [49.0, 50.0]];
        assert_eq!(groups_of(&clip, 64), [vec![1, 0], vec![2]]);
        assert_eq!(groups_of(&clip, 92), [vec![1, 0], vec![2]], "the last one ends behind the window");
        assert_eq!(groups_of(&events(), 64), [vec![9], vec![8, 7], vec![6, 5], vec![4, 3], vec![2, 1], vec![0]]);
    }

    #[test]
    fn in_a_long_window_pairs_are_drawn_and_every_event_is_in_one_group() {
        let found = groups_of(&events(), 561);
        assert!(found.iter().all(|group| group.len() == 2) && found.len() == 5, "{found:?}");
        let mut all: Vec<usize> = found.iter().flatten().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert!(found.iter().any(|group| group != &[9, 8]), "{found:?}");
    }
}
