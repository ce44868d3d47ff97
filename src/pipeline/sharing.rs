//! Work that several runs share: who does what next, who has done what, and whose work is to be taken over.
//!
//! Not for how claims are held, see `claims`. Invariant: a run begins nothing that it knows to be another's or to be done; where it
//! cannot know, work is done twice and committed once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::account::{Control, SharedReport};
use super::message::UnitKey;
use crate::claims::{self, Claims, Hands, Steal, Taken};
use crate::feature_set::PerSet;
use crate::ids::{SetId, TaskId, UnitUid, VideoUid};
use crate::plan::Plan;
use crate::store::LedgerWatch;

/// What one run shares with others.
pub struct Sharing {
    sets: PerSet<Shared>,
    open: Mutex<HashMap<Name, Open>>,
    /// What this run has failed at, or could not claim.
    given_up: Mutex<HashSet<Name>>,
    steal: Steal,
    tally: Tally,
}

/// What came of sharing so far. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<Mutex<SharedReport>>);

impl Tally {
    /// What can be read off it now.
    pub(super) fn read<T>(&self, of: impl FnOnce(&SharedReport) -> T) -> T {
        of(&lock(&self.0))
    }

    fn change(&self, change: impl FnOnce(&mut SharedReport)) {
        change(&mut lock(&self.0));
    }
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was committed.
    Committed,
    /// It was computed, and another run had committed it before.
    Elsewhere,
    /// It failed.
    Failed,
}

/// A feature set's claims, and its ledgers.
pub struct Shared {
    /// The claims, by video.
    pub claims: Claims,
    watch: Mutex<LedgerWatch>,
}

/// What is claimed: what a feature set wants of a video.
type Name = (SetId, VideoUid);

/// A claim of this run.
struct Open {
    units: usize,
    failed: bool,
}

/// Tasks of one video.
#[derive(Debug, Clone, Copy)]
pub struct VideoTasks<'p> {
    /// The tasks.
    pub tasks: &'p [TaskId],
    /// Whether it is of this run's own part.
    pub own: bool,
    /// Whether it is tried even if somebody failed at it before this run.
    pub again: bool,
}

impl Shared {
    /// Of the store that `watch` watches.
    pub fn new(claims: Claims, watch: LedgerWatch) -> Self {
        Self { claims, watch: Mutex::new(watch) }
    }

    fn look(&self) -> MutexGuard<'_, LedgerWatch> {
        let mut watch = lock(&self.watch);
        if let Err(error) = watch.look() {
            log::warn!("what other runs have done cannot be seen: {error}");
        }
        watch
    }
}

impl Sharing {
    /// With what is shared of each feature set.
    pub fn new(sets: PerSet<Shared>, steal: Steal) -> Self {
        Self { sets, open: Mutex::default(), given_up: Mutex::default(), steal, tally: Tally::default() }
    }

    /// What came of it so far, also for others to look at.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Whether work of other parts is done too, by what is known now.
    pub fn steals(&self) -> bool {
        match self.steal {
            Steal::Always => true,
            Steal::OnceSeen => self.sets.values().any(|shared| shared.look().has_other_parts()),
            Steal::Never => false,
        }
    }

    /// Those of the tasks of `wanted` that are this run's to do now.
    pub fn take(&self, plan: &Plan, wanted: VideoTasks) -> Vec<TaskId> {
        let same_set = |a: &TaskId, b: &TaskId| plan[*a].set == plan[*b].set;
        wanted.tasks.chunk_by(same_set).flat_map(|tasks| self.take_of_set(plan, tasks, wanted)).collect()
    }

    /// `tasks` are of one feature set.
    fn take_of_set(&self, plan: &Plan, tasks: &[TaskId], wanted: VideoTasks) -> Vec<TaskId> {
        let Some(first) = tasks.first().map(|&task| &plan[task]) else { return Vec::new() };
        let (shared, name) = (&self.sets[first.set], (first.set, first.video_uid.clone()));
        if lock(&self.open).contains_key(&name) {
            return Vec::new();
        }
        match shared.claims.take(name.1.as_str(), wanted.again) {
            Ok(Taken::Ours { over }) => {
                self.tally.change(|tally| tally.taken_over += usize::from(over));
                if over {
                    log::info!("{}: taken over from a run that has died, or whose heartbeat had stopped", name.1);
                }
            }
            Ok(Taken::Others(claim)) => {
                log::debug!("{}: left to {claim}", name.1);
                return Vec::new();
            }
            // Without claims, work of one's own may be done twice, and that of others need not be.
            Err(error) => {
                log::warn!("{error}");
                if !wanted.own {
                    lock(&self.given_up).insert(name);
                    return Vec::new();
                }
            }
        }
        let watch = shared.look();
        let units = |task: TaskId| plan[task].units().into_iter().filter(|uid| !watch.is_new(uid)).count();
        let todo: Vec<TaskId> = tasks.iter().copied().filter(|&task| units(task) > 0).collect();
        drop(watch);
        if todo.is_empty() {
            shared.claims.give_back(name.1.as_str(), false);
            return todo;
        }
        let units = todo.iter().map(|&task| plan[task].units().len()).sum();
        lock(&self.open).insert(name, Open { units, failed: false });
        todo
    }

    /// Notes what became of a unit; the last one of a video frees its claim.
    pub fn settle(&self, plan: &Plan, (task, unit): UnitKey, settled: Settled) {
        self.tally.change(|tally| match settled {
            Settled::Committed if !plan.is_own(task) => {
                tally.taken.insert((plan[task].set, plan[task].units()[unit].clone()));
                tally.taken_units = tally.taken.len();
            }
            Settled::Elsewhere => tally.computed_twice += 1,
            Settled::Failed if !plan.is_own(task) => tally.failed_of_others += 1,
            Settled::Committed | Settled::Failed => {}
        });
        self.close(plan, task, settled == Settled::Failed);
    }

    /// What came of it, for a run that committed `committed` units in all.
    pub fn report(&self, plan: &Plan, committed: usize) -> SharedReport {
        let is_new = |set: SetId, uid: &UnitUid| lock(&self.sets[set].watch).is_new(uid);
        self.sets.values().for_each(|shared| drop(shared.look()));
        let new = plan.own().iter().flat_map(|task| task.units().into_iter().map(|uid| (task.set, uid)));
        let new = new.filter(|(set, uid)| is_new(*set, uid)).count();
        let report = self.tally.read(SharedReport::clone);
        SharedReport { made_elsewhere: new.saturating_sub(committed - report.taken_units), ..report }
    }

    fn close(&self, plan: &Plan, task: TaskId, failed: bool) {
        let name = (plan[task].set, plan[task].video_uid.clone());
        let mut all = lock(&self.open);
        let Some(open) = all.get_mut(&name) else { return };
        (open.units, open.failed) = (open.units.saturating_sub(1), open.failed || failed);
        if open.units == 0 {
            let failed = open.failed;
            all.remove(&name);
            drop(all);
            if failed {
                lock(&self.given_up).insert(name.clone());
            }
            self.sets[name.0].claims.give_back(name.1.as_str(), failed);
        }
    }

    /// Whether another run has committed the unit since this one began.
    pub fn made_elsewhere(&self, set: SetId, unit_uid: &UnitUid) -> bool {
        let shared = &self.sets[set];
        // Most units are nobody's before they are ours, and then no ledger needs to be read.
        let published = lock(&shared.watch).has_file(unit_uid);
        published && shared.look().is_new(unit_uid)
    }

    /// Waits until some of `videos` are free: those whose worker has died, and of those that were given back what is not done. `None`
    /// if none will be: all are done, have failed, or are in the hands of runs that live. Videos of the own part are waited for
    /// until they are done.
    pub fn wait<'p>(&self, plan: &Plan, videos: &[VideoTasks<'p>], control: &Control) -> Option<Vec<VideoTasks<'p>>> {
        let begun = Instant::now();
        while !control.stopping() {
            let todo = self.todo(plan, videos);
            let hands = |(wanted, tasks): (VideoTasks<'p>, Vec<TaskId>)| {
                let hands: Vec<Hands> = tasks.iter().map(|&task| self.hands(plan, task, begun)).collect();
                (wanted, hands)
            };
            let left: Vec<(VideoTasks, Vec<Hands>)> = todo.into_iter().map(hands).collect();
            let free = left.iter().filter(|(_, hands)| hands.contains(&Hands::Free));
            let free: Vec<VideoTasks> = free.map(|(wanted, _)| VideoTasks { again: false, ..*wanted }).collect();
            if !free.is_empty() {
                return Some(free);
            }
            let waits =
                |(wanted, hands): &(VideoTasks, Vec<Hands>)| hands.iter().any(|hands| hands.are_waited_for(wanted.own));
            if !left.iter().any(waits) {
                return None;
            }
            let length = self.sets.values().map(|shared| shared.claims.pause()).max().unwrap_or_default();
            claims::pause(length, || control.stopping());
        }
        None
    }

    /// The videos of which something is not committed, with a task of each feature set of which that is so.
    fn todo<'p>(&self, plan: &Plan, videos: &[VideoTasks<'p>]) -> Vec<(VideoTasks<'p>, Vec<TaskId>)> {
        let watches: PerSet<_> = self.sets.values().map(Shared::look).collect();
        let is_open = |task: &TaskId| plan[*task].units().into_iter().any(|uid| !watches[plan[*task].set].is_new(uid));
        let open = |wanted: &VideoTasks<'p>| {
            let sets = wanted.tasks.chunk_by(|a, b| plan[*a].set == plan[*b].set);
            (*wanted, sets.filter_map(|tasks| tasks.iter().copied().find(is_open)).collect::<Vec<TaskId>>())
        };
        videos.iter().map(open).filter(|(_, tasks)| !tasks.is_empty()).collect()
    }

    /// In whose hands `task` is, for somebody who waits since `begun`.
    fn hands(&self, plan: &Plan, task: TaskId, begun: Instant) -> Hands {
        let name = (plan[task].set, plan[task].video_uid.clone());
        if lock(&self.open).contains_key(&name) || lock(&self.given_up).contains(&name) {
            return Hands::Closed;
        }
        self.sets[name.0].claims.hands(name.1.as_str(), begun)
    }
}

/// A poisoned lock holds whole entries all the same: they change in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
