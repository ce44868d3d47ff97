//! Videos that several runs share: which one a run may begin with next, and whose it is.
//!
//! Not for transcoding them. Invariant: a run begins nothing that it knows to be another's or to be made; and an output gets its
//! name while its claim is fresh, so that no two runs put outputs of one video in place at the same time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::TranscodeError;
use super::record::{self, Record};
use super::task::{Task, Transcoder};
use crate::claims::{self, Claims, Hands, Sight, Steal, Taken, Terms, Turn};
use crate::ids::VideoUid;
use crate::shard::Shard;
use crate::store::disk;

/// What a run shares with those of other parts.
pub(super) struct Sharing {
    claims: Claims,
    steal: Steal,
    locks: PathBuf,
    shard: Shard,
}

/// A video that a run may begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer<'t> {
    /// The video.
    pub task: &'t Task,
    /// Whether it is of the run's own part.
    pub own: bool,
    /// Whether it is tried even if somebody failed at it before this run.
    again: bool,
}

/// What a run may do about a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// Make it; `over` tells that it was taken over from a run that has died, or is taken for dead.
    Make {
        /// Whether it was.
        over: bool,
    },
    /// Nothing: another run has made it.
    Made,
    /// Nothing for now: another run is at it, or nobody knows.
    Leave,
}

/// What a run does one after the other: its own part, what others left, what becomes free while it waits.
pub(super) struct Line<'t> {
    own: &'t [Task],
    others: &'t [Task],
    sharing: Option<&'t Sharing>,
    transcoder: &'t Transcoder,
    /// Own videos that have a record at the beginning: what it says is compared with the files byte for byte.
    recorded: HashSet<&'t VideoUid>,
    order: Mutex<claims::Line>,
    settled: Mutex<HashSet<&'t VideoUid>>,
}

/// The parts that were ever at work in the output folder `out`.
pub fn parts(out: &Path) -> Vec<Shard> {
    parts_in(&record::locks(out))
}

fn parts_in(locks: &Path) -> Vec<Shard> {
    let names = disk::names_in(locks).unwrap_or_default();
    names.iter().filter_map(|name| Shard::from_stem(name.split_once('.')?.0)).collect()
}

impl Sharing {
    /// Of part `shard` of the output folder `out`.
    ///
    /// # Errors
    /// [`TranscodeError::Claims`].
    pub fn open(out: &Path, shard: Shard, terms: Terms) -> Result<Self, TranscodeError> {
        let claims = Claims::on(terms, &record::claims(out))?;
        Ok(Self { claims, steal: terms.steal, locks: record::locks(out), shard })
    }

    /// Whether videos of other parts are made too, by what is known now.
    fn steals(&self) -> bool {
        match self.steal {
            Steal::Always => true,
            Steal::OnceSeen => self.has_other_parts(),
            Steal::Never => false,
        }
    }

    /// Whether another part of as many was at work in the same folder, at any time.
    fn has_other_parts(&self) -> bool {
        let is_other = |part: &Shard| part.count() == self.shard.count() && *part != self.shard;
        parts_in(&self.locks).iter().any(is_other)
    }

    /// Whether the output of `video_uid` may be put in place: nobody has taken it over, nor does within the next moments.
    pub fn is_ours(&self, video_uid: &VideoUid) -> bool {
        self.claims.renew(video_uid.as_str()) != Some(false)
    }

    /// Frees the claim of `video_uid`, or leaves word that this run has `failed` at it.
    pub fn give_back(&self, video_uid: &VideoUid, failed: bool) {
        self.claims.give_back(video_uid.as_str(), failed);
    }
}

impl<'t> Line<'t> {
    /// Of the parts `own` and `others`.
    pub fn new(transcoder: &'t Transcoder, own: &'t [Task], others: &'t [Task], sharing: Option<&'t Sharing>) -> Self {
        let is_recorded = |uid: &&VideoUid| record::path(&transcoder.out, uid).exists();
        let recorded = own.iter().map(|task| &task.video_uid).filter(is_recorded).collect();
        let order = Mutex::new(claims::Line::new(own.len(), others.len()));
        Self { own, others, sharing, transcoder, recorded, order, settled: Mutex::default() }
    }

    /// What may be begun next. Where other runs are at the rest, waits until it is free; `None` if there is nothing more to do, or
    /// somebody is `stopping`.
    pub fn next(&self, stopping: &impl Fn() -> bool) -> Option<Offer<'t>> {
        let idle_since = Instant::now();
        while !stopping() {
            let begun = Instant::now();
            let turn = lock(&self.order).turn(&Seen { line: self, idle_since });
            match (turn, self.sharing) {
                (Turn::Ask { item, first }, _) => {
                    let own = item < self.own.len();
                    return Some(Offer { task: self.task(item), own, again: own && first });
                }
                (Turn::Pause, Some(sharing)) => claims::pause(sharing.claims.pause_after(begun.elapsed()), stopping),
                (Turn::Pause | Turn::End, _) => return None,
            }
        }
        None
    }

    fn task(&self, item: usize) -> &'t Task {
        self.own.get(item).unwrap_or_else(|| &self.others[item - self.own.len()])
    }

    /// Asks for the claim of what is offered.
    pub fn ask(&self, offer: Offer<'t>) -> Grant {
        let Some(sharing) = self.sharing else { return Grant::Make { over: false } };
        let uid = &offer.task.video_uid;
        let is_made = || !self.was_recorded(uid) && self.seems_made(offer.task);
        if is_made() {
            return Grant::Made;
        }
        match sharing.claims.take(uid.as_str(), offer.again) {
            // Others may have made it between the two, or another thread of this run.
            Ok(Taken::Ours { .. }) if self.is_settled(offer.task) || is_made() => {
                sharing.give_back(uid, false);
                Grant::Made
            }
            Ok(Taken::Ours { over }) => Grant::Make { over },
            Ok(Taken::Others(claim)) => {
                log::debug!("{uid}: left to {claim}");
                Grant::Leave
            }
            // Without claims, work of one's own may be done twice, and that of others need not be.
            Err(error) => {
                log::warn!("{error}");
                if offer.own {
                    return Grant::Make { over: false };
                }
                self.settle(offer.task);
                Grant::Leave
            }
        }
    }

    /// Whether `video_uid` is of the own part and had a record at the beginning.
    pub fn was_recorded(&self, video_uid: &VideoUid) -> bool {
        self.recorded.contains(video_uid)
    }

    /// Notes, before its claim is given back, that this run is done with `task`, whatever became of it; `false` if that is no news.
    pub fn settle(&self, task: &'t Task) -> bool {
        lock(&self.settled).insert(&task.video_uid)
    }

    fn is_settled(&self, task: &Task) -> bool {
        lock(&self.settled).contains(&task.video_uid)
    }

    /// Whether an output is there that has the settings and lengths of its record: whoever made it has proved it.
    fn seems_made(&self, task: &Task) -> bool {
        let Ok(Some(record)) = Record::read(&self.transcoder.out, &task.video_uid) else { return false };
        record.difference(&self.transcoder.settings.fields()).is_none()
            && record.has_lengths(task.path.as_deref(), &self.transcoder.out)
    }
}

/// The videos of a line, as a thread sees them that has had nothing to do since `idle_since`.
struct Seen<'l, 't> {
    line: &'l Line<'t>,
    idle_since: Instant,
}

impl Sight for Seen<'_, '_> {
    fn steals(&self) -> bool {
        self.line.sharing.is_some_and(Sharing::steals)
    }

    fn is_done(&self, item: usize) -> bool {
        self.line.is_settled(self.line.task(item))
    }

    /// Whether a video is made says its record, for which is looked when it is asked for.
    fn look(&self) {}

    fn hands(&self, item: usize) -> Hands {
        let name = self.line.task(item).video_uid.as_str();
        match self.line.sharing {
            // Another thread of this run is at it, and goes on itself should it lose it.
            Some(sharing) if sharing.claims.is_ours(name) => Hands::Closed,
            Some(sharing) => sharing.claims.hands(name, self.idle_since),
            None => Hands::Closed,
        }
    }
}

/// A thread that panicked has left what it locked as it was.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
