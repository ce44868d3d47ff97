//! A cluster on a clock of its own: workers that take videos, are slow, killed and suspended.
//!
//! What a worker asks for next is decided by [`Line`], as in a run; who may have it, by the rules of `claims` with the usual limits. Not
//! simulated: the file server's own load, and failures of videos.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use egofx::claims::{Hands, Line, Sight, Turn, pause_after};
use egofx::shard::{Shard, split};

use crate::ego4d::Random;

/// Hours of video per hour of a worker of speed 1.
pub const SPEED: f64 = 10.0;
/// As `--claim-limit`, and its heartbeats.
const LIMIT: Duration = Duration::from_secs(120);
const LIMIT_SEC: f64 = 120.0;
const BEAT_SEC: f64 = LIMIT_SEC / 8.0;
/// An answer of the file server; and how many it takes to ask for a claim, to read one, to open a ledger.
const ANSWER_SEC: f64 = 0.001;
const ASKS: f64 = 6.0;
const READS: f64 = 4.0;
/// Until a job that was killed is started again, and for how long one is suspended: longer than the limit.
const REQUEUED_SEC: f64 = 300.0;
const SUSPENDED_SEC: f64 = 300.0;

/// What is simulated.
pub struct Cluster {
    /// Of each worker, 1 for most.
    pub speeds: Vec<f64>,
    pub steal: bool,
    pub preemptions: Option<Preemptions>,
}

/// Workers lose their machines.
pub struct Preemptions {
    /// How often each, in the mean.
    pub every_sec: f64,
    /// The share that is suspended and goes on; the others are killed and begun anew.
    pub suspended: f64,
    pub seed: u64,
}

/// What came of it.
pub struct Outcome {
    pub makespan_sec: f64,
    /// All work by the speeds of all, without losses.
    pub perfect_sec: f64,
    /// Videos that were computed although they were done.
    pub twice: u64,
    pub taken_over: u64,
    /// Claims asked for, read by those who wait, and looks at all ledgers.
    pub asked: u64,
    pub read: u64,
    pub looked: u64,
}

impl Cluster {
    /// Videos that cost so many seconds at speed 1 of a decoder, longest first.
    pub fn run(&self, costs: &[f64]) -> Outcome {
        let mut run = Run::new(self, costs);
        while run.left > 0 {
            let Some(Reverse((at, worker, event))) = run.events.pop() else { break };
            run.now = f64::from_bits(at);
            run.take(worker, event);
        }
        assert_eq!(run.left, 0, "videos are lost");
        let perfect_sec = costs.iter().sum::<f64>() / SPEED / self.speeds.iter().sum::<f64>();
        let Counts { twice, taken_over, asked, read, looked } = &run.counts;
        Outcome {
            makespan_sec: run.now,
            perfect_sec,
            twice: twice.get(),
            taken_over: taken_over.get(),
            asked: asked.get(),
            read: read.get(),
            looked: looked.get(),
        }
    }
}

#[derive(Default)]
struct Counts {
    twice: Cell<u64>,
    taken_over: Cell<u64>,
    asked: Cell<u64>,
    read: Cell<u64>,
    looked: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

/// What happens to a worker. The number is that of what it was last set to: an older one has been called off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Turn(u32),
    Finish(u32),
    Preempt,
    Restart,
    Resume,
}

/// A claim on a video.
#[derive(Clone, Copy)]
struct Claim {
    worker: usize,
    since: f64,
    /// When its heartbeat stopped.
    stopped: Option<f64>,
}

impl Claim {
    /// How long ago its worker was last heard of.
    fn silence(&self, now: f64) -> f64 {
        let beats = ((self.stopped.unwrap_or(now) - self.since) / BEAT_SEC).floor();
        now - (self.since + beats * BEAT_SEC)
    }
}

struct Worker {
    speed: f64,
    line: Line,
    /// Videos by their place in the line.
    items: Rc<Vec<u32>>,
    /// What it knows to be done.
    known: RefCell<Vec<bool>>,
    /// The video that it is at.
    at: Option<usize>,
    idle_since: f64,
    /// What it is set to, and for when.
    set: u32,
    due: f64,
    suspended_at: Option<f64>,
    down: bool,
    ended: bool,
}

struct Run<'c> {
    cluster: &'c Cluster,
    costs: &'c [f64],
    random: Random,
    now: f64,
    /// By the bits of their times, which grow with them.
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    workers: Vec<Worker>,
    done: Vec<bool>,
    left: usize,
    claims: Vec<Option<Claim>>,
    counts: Counts,
}

impl<'c> Run<'c> {
    fn new(cluster: &'c Cluster, costs: &'c [f64]) -> Self {
        let (workers, videos) = (cluster.speeds.len(), costs.len());
        let random = Random::new(cluster.preemptions.as_ref().map_or(0, |preemptions| preemptions.seed));
        let mut run = Self {
            cluster,
            costs,
            random,
            now: 0.0,
            events: BinaryHeap::new(),
            workers: Vec::new(),
            done: vec![false; videos],
            left: videos,
            claims: vec![None; videos],
            counts: Counts::default(),
        };
        for (number, &speed) in cluster.speeds.iter().enumerate() {
            let shard = Shard::new(number as u32 + 1, workers as u32).expect("an index from 1 to the count");
            let (own, others) = split((0..videos as u32).collect(), shard, |&video| costs[video as usize]);
            let line = Line::new(own.len(), others.len());
            let items = Rc::new([own, others].concat());
            let known = vec![false; videos].into();
            let (at, idle_since, set, due) = (None, 0.0, 0, 0.0);
            let (suspended_at, down, ended) = (None, false, false);
            let worker = Worker { speed, line, items, known, at, idle_since, set, due, suspended_at, down, ended };
            run.workers.push(worker);
            run.set(number, 0.0, Event::Turn);
            run.preempt_later(number);
        }
        run
    }

    fn schedule(&mut self, worker: usize, at: f64, event: Event) {
        self.events.push(Reverse((at.to_bits(), worker, event)));
    }

    /// Has the worker do this next, and nothing that it was set to before.
    fn set(&mut self, number: usize, after: f64, event: fn(u32) -> Event) {
        let at = self.now + after;
        let worker = &mut self.workers[number];
        (worker.set, worker.due) = (worker.set + 1, at);
        let event = event(worker.set);
        self.schedule(number, at, event);
    }

    fn preempt_later(&mut self, worker: usize) {
        let Some(preemptions) = &self.cluster.preemptions else { return };
        let at = self.now + self.random.interval(preemptions.every_sec);
        self.schedule(worker, at, Event::Preempt);
    }

    fn take(&mut self, number: usize, event: Event) {
        let worker = &self.workers[number];
        match event {
            Event::Turn(set) | Event::Finish(set) if set != worker.set || worker.down => {}
            Event::Turn(_) => self.turn(number),
            Event::Finish(_) => self.finish(number),
            Event::Preempt => self.preempt(number),
            Event::Restart => self.restart(number),
            Event::Resume => self.resume(number),
        }
    }

    fn turn(&mut self, number: usize) {
        let answers = Cell::new(0.0);
        let mut line = std::mem::replace(&mut self.workers[number].line, Line::new(0, 0));
        let turn = line.turn(&View { run: self, worker: &self.workers[number], answers: &answers });
        self.workers[number].line = line;
        match turn {
            Turn::Ask { item, .. } => {
                let video = self.workers[number].items[item] as usize;
                let granted = self.ask(number, video, &answers);
                self.workers[number].idle_since = self.now;
                let took = answers.get() * ANSWER_SEC;
                if granted {
                    self.workers[number].at = Some(video);
                    let work = self.costs[video] / SPEED / self.workers[number].speed;
                    self.set(number, took + work, Event::Finish);
                } else {
                    self.set(number, took, Event::Turn);
                }
            }
            Turn::Pause => {
                let took = answers.get() * ANSWER_SEC;
                let pause = pause_after(LIMIT, Duration::from_secs_f64(took)).as_secs_f64();
                self.set(number, took + pause, Event::Turn);
            }
            Turn::End => self.workers[number].ended = true,
        }
    }

    /// Whether the worker has the claim, and something to do.
    fn ask(&mut self, number: usize, video: usize, answers: &Cell<f64>) -> bool {
        count(&self.counts.asked);
        answers.set(answers.get() + ASKS);
        if let Some(claim) = self.claims[video] {
            if claim.silence(self.now) <= LIMIT_SEC {
                return false;
            }
            count(&self.counts.taken_over);
        }
        self.claims[video] = Some(Claim { worker: number, since: self.now, stopped: None });
        if !self.done[video] {
            return true;
        }
        // Its file is there: the ledgers say that it is done.
        View { run: self, worker: &self.workers[number], answers }.look();
        self.claims[video] = None;
        false
    }

    fn finish(&mut self, number: usize) {
        let Some(video) = self.workers[number].at.take() else { return };
        if self.done[video] {
            count(&self.counts.twice);
        } else {
            self.done[video] = true;
            self.left -= 1;
        }
        if self.claims[video].is_some_and(|claim| claim.worker == number) {
            self.claims[video] = None;
        }
        self.set(number, 0.0, Event::Turn);
    }

    fn preempt(&mut self, number: usize) {
        let suspended = self.cluster.preemptions.as_ref().map_or(0.0, |preemptions| preemptions.suspended);
        let is_suspended = self.random.unit() <= suspended;
        if self.workers[number].ended {
            return;
        }
        self.stop_heart(number, Some(self.now));
        let worker = &mut self.workers[number];
        worker.down = true;
        let now = self.now;
        if is_suspended {
            worker.suspended_at = Some(now);
            self.schedule(number, now + SUSPENDED_SEC, Event::Resume);
        } else {
            worker.at = None;
            self.schedule(number, now + REQUEUED_SEC, Event::Restart);
        }
    }

    fn stop_heart(&mut self, number: usize, stopped: Option<f64>) {
        let Some(video) = self.workers[number].at else { return };
        if let Some(claim) = self.claims[video].as_mut().filter(|claim| claim.worker == number) {
            claim.stopped = stopped;
        }
    }

    fn restart(&mut self, number: usize) {
        let done = self.done.clone();
        let worker = &mut self.workers[number];
        worker.down = false;
        let own = (0..worker.items.len()).take_while(|&item| worker.line.is_own(item)).count();
        worker.line = Line::new(own, worker.items.len() - own);
        worker.known.replace(done);
        worker.idle_since = self.now;
        self.set(number, 0.0, Event::Turn);
        self.preempt_later(number);
    }

    fn resume(&mut self, number: usize) {
        self.stop_heart(number, None);
        let worker = &mut self.workers[number];
        worker.down = false;
        let lost = worker.suspended_at.take().map_or(0.0, |at| self.now - at);
        let left = (worker.due + lost - self.now).max(0.0);
        let event = if worker.at.is_some() { Event::Finish } else { Event::Turn };
        self.set(number, left, event);
        self.preempt_later(number);
    }
}

/// What a worker sees; counts what it takes.
struct View<'v, 'c> {
    run: &'v Run<'c>,
    worker: &'v Worker,
    answers: &'v Cell<f64>,
}

impl Sight for View<'_, '_> {
    fn steals(&self) -> bool {
        self.run.cluster.steal
    }

    fn is_done(&self, item: usize) -> bool {
        self.worker.known.borrow()[self.worker.items[item] as usize]
    }

    fn look(&self) {
        count(&self.run.counts.looked);
        self.answers.set(self.answers.get() + self.run.workers.len() as f64);
        self.worker.known.borrow_mut().copy_from_slice(&self.run.done);
    }

    fn hands(&self, item: usize) -> Hands {
        count(&self.run.counts.read);
        self.answers.set(self.answers.get() + READS);
        let now = self.run.now;
        match &self.run.claims[self.worker.items[item] as usize] {
            None => Hands::Free,
            Some(claim) if claim.silence(now) > LIMIT_SEC => Hands::Free,
            Some(claim) if claim.silence(now) < now - self.worker.idle_since => Hands::Alive,
            Some(_) => Hands::Silent,
        }
    }
}
