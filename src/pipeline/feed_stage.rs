//! The feed: offers videos to the decoders, the own part first, then those of others that nobody has, longest first.
//!
//! Says of the video that it offers that it will be probed soon. Not for claiming them: a decoder does, at the moment in which it
//! begins. Invariant: no decoder is idle while a video is free.

use crossbeam_channel::{Sender, bounded};

use super::Run;
use super::account::Control;
use super::sharing::VideoTasks;
use crate::ids::TaskId;
use crate::plan::Job;

/// A video that a decoder may begin with.
pub struct Offer<'p> {
    /// The video, with all tasks that the plan has for it.
    pub job: &'p Job,
    /// Those that are offered.
    pub wanted: VideoTasks<'p>,
    /// Dropped by the decoder when it has claimed the video, or has not got it: what comes next depends on that.
    pub answer: Sender<()>,
}

/// Offers until there is nothing more to do, or the run is to end.
pub fn run<'p>(run: Run<'p>, jobs: &Sender<Offer<'p>>, control: &Control) {
    let plan = run.plan;
    let videos: Vec<&Job> = plan.jobs.iter().chain(&plan.others).collect();
    let feed = |job: usize, wanted: VideoTasks<'p>| {
        // Fetched while the decoders are at others. Of those of other parts most will be at somebody's.
        videos[job].path.iter().filter(|_| wanted.own).for_each(|path| run.source.prefetch(path));
        let (answer, answered) = bounded(0);
        let offered = jobs.send(Offer { job: videos[job], wanted, answer }).is_ok();
        let _ = answered.recv();
        offered && !control.stopping()
    };
    let own = plan.jobs.len();
    match run.sharing {
        Some(sharing) => {
            let tasks: Vec<&[TaskId]> = videos.iter().map(|job| &job.tasks[..]).collect();
            sharing.offer(plan, &tasks, own, control, feed);
        }
        None => drop((0..own).all(|job| feed(job, VideoTasks { tasks: &videos[job].tasks, own: true, again: true }))),
    }
}
