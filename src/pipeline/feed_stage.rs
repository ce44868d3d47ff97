//! The feed: offers videos to the decoders, the own part first, then those of others that nobody has, longest first.
//!
//! Says of the video that it offers that it will be probed soon. Not for claiming them: a decoder does, at the moment in which it
//! begins. Invariant: no decoder is idle while a video is free.

use crossbeam_channel::Sender;

use super::Run;
use super::account::Control;
use super::sharing::VideoTasks;
use crate::plan::Job;

/// A video that a decoder may begin with.
pub struct Offer<'p> {
    /// The video, with all tasks that the plan has for it.
    pub job: &'p Job,
    /// Those that are offered.
    pub wanted: VideoTasks<'p>,
}

/// Offers until there is nothing more to do, or the run is to end.
pub fn run<'p>(run: Run<'p>, jobs: &Sender<Offer<'p>>, control: &Control) {
    let feed = |offer: Offer<'p>| {
        // Fetched while the decoders are at others. Of those of other parts most will be at somebody's.
        offer.job.path.iter().filter(|_| offer.wanted.own).for_each(|path| run.source.prefetch(path));
        jobs.send(offer).is_ok() && !control.stopping()
    };
    let own = offers(&run.plan.jobs, true);
    if !own.clone().all(feed) {
        return;
    }
    let Some(sharing) = run.sharing else { return };
    let others = offers(if sharing.steals() { &run.plan.others } else { &[] }, false);
    if !others.clone().all(feed) {
        return;
    }
    let all: Vec<Offer> = own.chain(others).collect();
    let videos: Vec<VideoTasks> = all.iter().map(|offer| offer.wanted).collect();
    while let Some(free) = sharing.wait(run.plan, &videos, control) {
        for wanted in free {
            let is_of = |offer: &&Offer| std::ptr::eq(offer.wanted.tasks, wanted.tasks);
            let Some(offer) = all.iter().find(is_of) else { continue };
            if !feed(Offer { job: offer.job, wanted }) {
                return;
            }
        }
    }
}

fn offers(jobs: &[Job], own: bool) -> impl Iterator<Item = Offer<'_>> + Clone {
    jobs.iter().map(move |job| Offer { job, wanted: VideoTasks { tasks: &job.tasks, own, again: own } })
}
