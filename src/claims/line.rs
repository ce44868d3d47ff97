//! In which order a worker asks for work that several share: its own part first, then what others left, then what becomes free.
//!
//! A decision and nothing else: it knows no file and no clock, so that a simulation makes the same one as a run. Not for asking, nor
//! for finding out in whose hands something is. Invariant: a worker neither pauses nor ends while something that it may take is in
//! nobody's hands.

use std::collections::VecDeque;

use super::hands::Hands;

/// What a worker can see of the work. Items are numbered: those of its own part first, then those of others, each in the order in which
/// they are to be begun.
pub trait Sight {
    /// Whether items of others are taken too.
    fn steals(&self) -> bool;
    /// Whether `item` is known to be done, without a look.
    fn is_done(&self, item: usize) -> bool;
    /// Looks anew what is done.
    fn look(&self);
    /// In whose hands `item` is; of something that is done, anything.
    fn hands(&self, item: usize) -> Hands;
}

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It asks for an item, and begins with it if it gets it.
    Ask {
        /// Which.
        item: usize,
        /// Whether it asks for the first time.
        first: bool,
    },
    /// It pauses, for others are at the rest, and asks again what to do.
    Pause,
    /// It ends: all is done, or in the hands of workers that live.
    End,
}

/// How far a worker is.
#[derive(Debug)]
pub struct Line {
    own: usize,
    others: usize,
    next: usize,
    /// Whether items of others are taken too, once that has mattered.
    steals: Option<bool>,
    /// What was asked for, and was not known to be done at the last look.
    left: Vec<usize>,
    /// How far it was when all that it had asked for was looked at.
    seen: usize,
    /// What was free at the last look, and was not asked for since.
    free: VecDeque<usize>,
}

impl Line {
    /// Of a worker whose part has `own` items, beside `others`.
    pub fn new(own: usize, others: usize) -> Self {
        Self { own, others, next: 0, steals: None, left: Vec::new(), seen: 0, free: VecDeque::new() }
    }

    /// Whether `item` is of the worker's own part.
    pub fn is_own(&self, item: usize) -> bool {
        item < self.own
    }

    /// What the worker does next, by what it sees.
    pub fn turn(&mut self, sight: &impl Sight) -> Turn {
        while self.next < self.end(sight) {
            let item = self.next;
            self.next += 1;
            if !sight.is_done(item) {
                self.left.push(item);
                return Turn::Ask { item, first: true };
            }
        }
        if let Some(item) = self.next_free(sight) {
            return Turn::Ask { item, first: false };
        }
        let waits = self.find_free(sight);
        match self.next_free(sight) {
            Some(item) => Turn::Ask { item, first: false },
            None if waits => Turn::Pause,
            None => Turn::End,
        }
    }

    fn end(&mut self, sight: &impl Sight) -> usize {
        if self.next < self.own {
            return self.own;
        }
        let steals = || {
            sight.look();
            sight.steals()
        };
        self.own + if *self.steals.get_or_insert_with(steals) { self.others } else { 0 }
    }

    fn next_free(&mut self, sight: &impl Sight) -> Option<usize> {
        std::iter::from_fn(|| self.free.pop_front()).find(|&item| !sight.is_done(item))
    }

    /// Finds what is free; says whether something else is waited for. A look is dear where there are many workers: what somebody is at
    /// is not done, so that one is needed only where a claim is gone, and once for what the worker has done itself.
    fn find_free(&mut self, sight: &impl Sight) -> bool {
        if self.seen < self.next {
            self.seen = self.next;
            sight.look();
        }
        self.left.retain(|&item| !sight.is_done(item));
        let mut hands: Vec<(usize, Hands)> = self.left.iter().map(|&item| (item, sight.hands(item))).collect();
        if hands.iter().any(|(_, hands)| *hands == Hands::Free) {
            sight.look();
            hands.retain(|(item, _)| !sight.is_done(*item));
        }
        self.free = hands.iter().filter(|(_, hands)| *hands == Hands::Free).map(|(item, _)| *item).collect();
        hands.iter().any(|(item, hands)| hands.are_waited_for(self.is_own(*item)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::*;

    /// Workers of equal parts on a clock of steps.
    struct World {
        costs: Vec<u32>,
        done: RefCell<Vec<bool>>,
        /// Who is at it.
        claims: RefCell<Vec<Option<usize>>>,
        made: RefCell<Vec<u32>>,
        steals: bool,
    }

    struct Worker {
        line: Line,
        /// Its own items, then those of others.
        items: Vec<usize>,
        known: RefCell<Vec<bool>>,
        at: Option<(usize, u32)>,
        slow: u32,
        ended: bool,
    }

    struct View<'w> {
        world: &'w World,
        worker: &'w Worker,
        number: usize,
    }

    impl Sight for View<'_> {
        fn steals(&self) -> bool {
            self.world.steals
        }

        fn is_done(&self, item: usize) -> bool {
            self.worker.known.borrow()[self.worker.items[item]]
        }

        fn look(&self) {
            self.worker.known.replace(self.world.done.borrow().clone());
        }

        fn hands(&self, item: usize) -> Hands {
            match self.world.claims.borrow()[self.worker.items[item]] {
                None => Hands::Free,
                Some(other) if other == self.number => Hands::Closed,
                Some(_) => Hands::Alive,
            }
        }
    }

    impl World {
        fn new(costs: Vec<u32>, steals: bool) -> Self {
            let none = vec![None; costs.len()];
            let (done, made) = (vec![false; costs.len()], vec![0; costs.len()]);
            Self { costs, done: done.into(), claims: none.into(), made: made.into(), steals }
        }

        fn worker(&self, number: usize, count: usize, slow: u32) -> Worker {
            let (own, others): (Vec<usize>, Vec<usize>) =
                (0..self.costs.len()).partition(|item| item % count == number);
            let known = vec![false; self.costs.len()].into();
            let line = Line::new(own.len(), others.len());
            Worker { line, items: [own, others].concat(), known, at: None, slow, ended: false }
        }

        /// What nobody is at and is not done, of what the worker may take.
        fn free(&self, worker: &Worker) -> Vec<usize> {
            let all = if self.steals { worker.items.len() } else { worker.line.own };
            let (claims, done) = (self.claims.borrow(), self.done.borrow());
            worker.items[..all].iter().copied().filter(|&item| claims[item].is_none() && !done[item]).collect()
        }

        /// Lets a worker without work decide until it has some.
        fn decide(&self, worker: &mut Worker, number: usize) {
            while !worker.ended && worker.at.is_none() {
                let mut line = std::mem::replace(&mut worker.line, Line::new(0, 0));
                let turn = line.turn(&View { world: self, worker, number });
                worker.line = line;
                let Turn::Ask { item, .. } = turn else {
                    assert_eq!(self.free(worker), [0; 0], "worker {number}: {turn:?} while something is free");
                    worker.ended = turn == Turn::End;
                    return;
                };
                let item = worker.items[item];
                // As `take` of a run: a claim that is had is looked behind.
                if self.claims.borrow()[item].is_none() && !self.done.borrow()[item] {
                    self.claims.borrow_mut()[item] = Some(number);
                    worker.at = Some((item, self.costs[item] * worker.slow));
                }
            }
        }

        fn step(&self, worker: &mut Worker) {
            let Some((item, left)) = worker.at else { return };
            worker.at = Some((item, left - 1)).filter(|_| left > 1);
            if worker.at.is_none() {
                self.done.borrow_mut()[item] = true;
                self.claims.borrow_mut()[item] = None;
                self.made.borrow_mut()[item] += 1;
            }
        }

        fn is_done(&self) -> bool {
            self.done.borrow().iter().all(|done| *done)
        }
    }

    /// Numbers from a fixed seed.
    fn numbers() -> impl FnMut(u32) -> u32 {
        let state = Cell::new(11_u64);
        move |below| {
            state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
            (state.get() >> 33) as u32 % below
        }
    }

    #[test]
    fn nobody_idles_while_something_is_unclaimed_and_each_item_is_made_once() {
        let mut number = numbers();
        for round in 0..200 {
            let (count, items) = (1 + number(6) as usize, number(40) as usize);
            let mut costs: Vec<u32> = (0..items).map(|_| 1 + number(20)).collect();
            costs.sort_unstable_by(|a, b| b.cmp(a));
            let world = World::new(costs, true);
            let mut workers: Vec<Worker> = (0..count).map(|i| world.worker(i, count, 1 + number(4))).collect();
            while !world.is_done() {
                let killed = number(40) as usize;
                for (i, worker) in workers.iter_mut().enumerate() {
                    // Killed and begun anew: what it was at is nobody's.
                    if i == killed {
                        worker.at.inspect(|(item, _)| world.claims.borrow_mut()[*item] = None);
                        *worker = world.worker(i, count, worker.slow);
                    }
                    world.decide(worker, i);
                }
                workers.iter_mut().for_each(|worker| world.step(worker));
            }
            assert!(world.made.borrow().iter().all(|made| *made == 1), "round {round}");
        }
    }

    #[test]
    fn who_does_not_steal_does_its_part_in_order_and_ends() {
        let world = World::new(vec![1; 10], false);
        let mut worker = world.worker(1, 3, 1);
        let mut made = BTreeSet::new();
        while !worker.ended {
            world.decide(&mut worker, 1);
            made.extend(worker.at.map(|(item, _)| item));
            world.step(&mut worker);
        }
        assert_eq!(made.into_iter().collect::<Vec<_>>(), [1, 4, 7]);
    }

    #[test]
    fn own_items_in_the_hands_of_others_are_waited_for_and_those_of_others_are_not() {
        let world = World::new(vec![1; 2], true);
        let mut worker = world.worker(0, 2, 1);
        world.claims.borrow_mut()[1] = Some(1);
        world.done.borrow_mut()[0] = true;
        world.decide(&mut worker, 0);
        assert!(worker.ended, "item 1 is another's, whose worker lives");
        let world = World::new(vec![1; 2], true);
        let mut worker = world.worker(0, 2, 1);
        world.claims.borrow_mut()[0] = Some(1);
        world.done.borrow_mut()[1] = true;
        world.decide(&mut worker, 0);
        assert!(!worker.ended && worker.at.is_none(), "item 0 is of its part");
        world.claims.borrow_mut()[0] = None;
        world.decide(&mut worker, 0);
        assert_eq!(worker.at, Some((0, 1)), "its worker has died");
    }
}
