//! Work that several runs share: who does what next, who has done what, and whose work is to be taken over.
//!
//! Not for how claims are held, see `claims`. Invariant: a run begins nothing that it knows to be another's or to be done; where it
//! cannot know, work is done twice and committed once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::account::{Control, SharedReport};
use super::message::UnitKey;
use crate::claims::{self, Claims, Hands, Line, Sight, Steal, Taken, Turn};
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

    /// What is known of `units`. A look opens the ledgers of all parts: most units are nobody's before they are ours, and without a file
    /// they are in no ledger.
    fn look_for<'u>(&self, units: impl IntoIterator<Item = &'u UnitUid>) -> MutexGuard<'_, LedgerWatch> {
        let watch = lock(&self.watch);
        let unknown: Vec<&UnitUid> = units.into_iter().filter(|uid| !watch.is_new(uid)).collect();
        if !watch.has_file_of(&unknown) {
            return watch;
        }
        drop(watch);
        self.look()
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

    /// Offers `videos`, of which the first `own` are of this run's part, in the order in which a run asks for them, see [`Line`]: until
    /// there is nothing more to do, the run is to end, or `feed` says `false` to a video's number and tasks.
    pub fn offer<'p>(
        &self,
        plan: &'p Plan,
        videos: &[&'p [TaskId]],
        own: usize,
        control: &Control,
        mut feed: impl FnMut(usize, VideoTasks<'p>) -> bool,
    ) {
        let mut line = Line::new(own, videos.len() - own);
        let mut seen = Seen { sharing: self, plan, videos, idle_since: Instant::now() };
        while !control.stopping() {
            let begun = Instant::now();
            match line.turn(&seen) {
                Turn::Ask { item, first } => {
                    let own = line.is_own(item);
                    if !feed(item, VideoTasks { tasks: videos[item], own, again: own && first }) {
                        return;
                    }
                    seen.idle_since = Instant::now();
                }
                Turn::Pause => self.pause(begun.elapsed(), control),
                Turn::End => return,
            }
        }
    }

    /// Waits from one look at what others are at, which `took` so long, to the next.
    fn pause(&self, took: Duration, control: &Control) {
        let length = self.sets.values().map(|shared| shared.claims.pause_after(took)).max().unwrap_or_default();
        claims::pause(length, || control.stopping());
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
        if lock(&self.open).contains_key(&name) || !self.is_open(plan, tasks) {
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
        let watch = shared.look_for(tasks.iter().flat_map(|&task| plan[task].units()));
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
        self.sets[set].look_for([unit_uid]).is_new(unit_uid)
    }

    /// Whether some unit of `tasks`, which are of one feature set, is not known to be committed.
    fn is_open(&self, plan: &Plan, tasks: &[TaskId]) -> bool {
        let Some(&first) = tasks.first() else { return false };
        let watch = lock(&self.sets[plan[first].set].watch);
        tasks.iter().flat_map(|&task| plan[task].units()).any(|uid| !watch.is_new(uid))
    }

    /// In whose hands `tasks` are, which are of one feature set, for somebody who waits since `begun`.
    fn hands(&self, plan: &Plan, tasks: &[TaskId], begun: Instant) -> Hands {
        let Some(first) = tasks.first().map(|&task| &plan[task]) else { return Hands::Closed };
        let name = (first.set, first.video_uid.clone());
        if lock(&self.open).contains_key(&name) || lock(&self.given_up).contains(&name) {
            return Hands::Closed;
        }
        self.sets[name.0].claims.hands(name.1.as_str(), begun)
    }
}

/// Videos, as a run sees them that shares them with others and has had nothing to do since `idle_since`.
struct Seen<'s, 'p> {
    sharing: &'s Sharing,
    plan: &'p Plan,
    videos: &'s [&'p [TaskId]],
    idle_since: Instant,
}

impl<'p> Seen<'_, 'p> {
    /// The tasks of a video that are not all known to be done, by feature set.
    fn open(&self, video: usize) -> impl Iterator<Item = &'p [TaskId]> {
        let plan = self.plan;
        let sets = self.videos[video].chunk_by(move |a, b| plan[*a].set == plan[*b].set);
        sets.filter(|tasks| self.sharing.is_open(plan, tasks))
    }
}

impl Sight for Seen<'_, '_> {
    fn steals(&self) -> bool {
        match self.sharing.steal {
            Steal::Always => true,
            Steal::OnceSeen => self.sharing.sets.values().any(|shared| lock(&shared.watch).has_other_parts()),
            Steal::Never => false,
        }
    }

    fn is_done(&self, video: usize) -> bool {
        self.open(video).next().is_none()
    }

    fn look(&self) {
        self.sharing.sets.values().for_each(|shared| drop(shared.look()));
    }

    fn hands(&self, video: usize) -> Hands {
        let hands = self.open(video).map(|tasks| self.sharing.hands(self.plan, tasks, self.idle_since));
        hands.max().unwrap_or(Hands::Closed)
    }
}

/// A poisoned lock holds whole entries all the same: they change in one go.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
