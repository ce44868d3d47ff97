//! One of N equal parts of the work, each written by its own run.
//!
//! Invariant: `1 <= index <= count`.

pub mod auto;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

/// Part `index` of `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A text that is not a part such as `2/8`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a shard, expected I/N with 1 <= I <= N, such as 2/8")]
pub struct ShardError(String);

impl Shard {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// `None` unless `1 <= index <= count`.
    pub fn new(index: u32, count: u32) -> Option<Self> {
        (1..=count).contains(&index).then_some(Self { index, count })
    }

    /// Which part, from 1.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub fn count(self) -> u32 {
        self.count
    }

    /// `2-of-8`: the name of the files of this shard.
    pub fn stem(self) -> String {
        format!("{}-of-{}", self.index, self.count)
    }

    /// The reverse of [`stem`](Self::stem).
    pub fn from_stem(stem: &str) -> Option<Self> {
        let (index, count) = stem.split_once("-of-")?;
        Self::new(index.parse().ok()?, count.parse().ok()?)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parts = text.split_once('/').and_then(|(i, n)| Self::new(i.trim().parse().ok()?, n.trim().parse().ok()?));
        parts.ok_or_else(|| ShardError(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// The jobs of one shard, and those of all others: each job, longest first, goes to the shard that has least to do so far.
pub fn split<T>(jobs: Vec<T>, shard: Shard, cost_sec: impl Fn(&T) -> f64) -> (Vec<T>, Vec<T>) {
    let mut owners = owners(&jobs, shard.count(), cost_sec).into_iter();
    jobs.into_iter().partition(|_| owners.next() == Some(shard.index()))
}

/// For each of `jobs`, longest first, the index of the shard that it goes to.
pub fn owners<T>(jobs: &[T], count: u32, cost_sec: impl Fn(&T) -> f64) -> Vec<u32> {
    // Of numbers that are not negative, those that are greater have greater bits.
    let mut loads: BinaryHeap<Reverse<(u64, u32)>> =
        (1..=count).map(|index| Reverse((0.0_f64.to_bits(), index))).collect();
    let owner = |job: &T| {
        let mut least = loads.peek_mut().expect("there is at least one shard");
        let Reverse((load, index)) = *least;
        // A job of unknown length still costs something, or all of them would fall to one shard.
        *least = Reverse(((f64::from_bits(load) + cost_sec(job).max(1.0)).to_bits(), index));
        index
    };
    jobs.iter().map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule, by the letter.
    #[test]
    fn each_job_goes_to_the_first_of_the_shards_that_have_least_to_do() {
        let costs: Vec<f64> = (0..500_u32).map(|i| f64::from(i * 7919 % 61) - 1.0).collect();
        for count in [1, 2, 7, 600] {
            let mut loads = vec![0.0_f64; count as usize];
            let mut expected = vec![Vec::new(); count as usize];
            for (job, cost) in costs.iter().enumerate() {
                let least = (0..loads.len()).min_by(|&a, &b| loads[a].total_cmp(&loads[b])).unwrap();
                loads[least] += cost.max(1.0);
                expected[least].push(job);
            }
            for (index, expected) in (1..).zip(expected) {
                let (own, others) =
                    split((0..costs.len()).collect(), Shard::new(index, count).unwrap(), |&job| costs[job]);
                assert_eq!((&own, own.len() + others.len()), (&expected, costs.len()), "{index}/{count}");
            }
        }
    }

    #[test]
    fn shards_are_parsed_and_shown() {
        for text in ["1/1", "2/8", "8/8"] {
            let shard: Shard = text.parse().unwrap();
            assert_eq!(shard.to_string(), text);
            assert_eq!(Shard::from_stem(&shard.stem()), Some(shard));
        }
        for bad in ["", "0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
        assert_eq!(Shard::from_stem("index"), None);
    }
}
