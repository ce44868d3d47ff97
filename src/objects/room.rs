//! Who may take how many bytes of a bounded cache, and in which order.
//!
//! Not for the files. Invariants: what is held never exceeds the bound; of those that somebody waits for, the one that was
//! begun first has the next room, and what nobody has asked for yet makes way for it.

use std::collections::{BTreeMap, BTreeSet};

/// The number of a copy: later ones have larger numbers.
pub type Number = u64;

/// The books of a cache.
#[derive(Debug)]
pub struct Room {
    bound: u64,
    held: BTreeMap<Number, u64>,
    /// Copies that somebody waits for and that have no room yet.
    waiting: BTreeSet<Number>,
}

impl Room {
    pub fn new(bound: u64) -> Self {
        Self { bound, held: BTreeMap::new(), waiting: BTreeSet::new() }
    }

    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// Whether copy `number` may have `bytes`, which it holds then. `is_asked_for`: somebody waits for it.
    pub fn take(&mut self, number: Number, bytes: u64, is_asked_for: bool) -> bool {
        if is_asked_for {
            self.waiting.insert(number);
        }
        let is_next = self.waiting.first().is_none_or(|first| *first == number);
        let fits = self.held.values().sum::<u64>().saturating_add(bytes) <= self.bound;
        if is_next && fits {
            self.waiting.remove(&number);
            self.held.insert(number, bytes);
        }
        is_next && fits
    }

    /// Whether it is the turn of copy `number`, for which others have to make way.
    pub fn is_next(&self, number: Number) -> bool {
        self.waiting.first() == Some(&number)
    }

    /// Gives back what copy `number` held or waited for.
    pub fn give_back(&mut self, number: Number) {
        self.held.remove(&number);
        self.waiting.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_kept_and_whoever_waits_longest_is_next() {
        let mut room = Room::new(10);
        assert!(room.take(1, 6, true));
        assert!(!room.take(2, 8, true) && room.is_next(2));
        assert!(!room.take(3, 2, true), "2 waits longer");
        assert!(!room.take(4, 2, false), "nobody has asked for it");
        room.give_back(1);
        assert!(room.take(2, 8, true) && room.take(3, 2, true) && !room.take(4, 1, false));
        room.give_back(2);
        assert!(room.take(4, 8, false) && !room.take(5, 3, true));
        room.give_back(5);
        assert!(!room.take(6, u64::MAX, true) && room.is_next(6), "no sum is too large");
    }
}
