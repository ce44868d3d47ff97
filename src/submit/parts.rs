//! Which parts of a plan are to be run, and how engines write that: `1-3,7`.
//!
//! Invariant: all of them are between 1 and the count, ascending, each once.

use std::fmt;

/// Parts of a plan of `count` parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// How many parts the plan has.
    pub count: u32,
    chosen: Vec<u32>,
}

impl Parts {
    /// All of `count`.
    pub fn all(count: u32) -> Self {
        Self { count, chosen: (1..=count).collect() }
    }

    /// Those of `count` that `wanted` names.
    pub fn only(count: u32, wanted: impl IntoIterator<Item = u32>) -> Self {
        let mut chosen: Vec<u32> = wanted.into_iter().filter(|part| (1..=count).contains(part)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        Self { count, chosen }
    }

    /// The parts, ascending.
    pub fn list(&self) -> &[u32] {
        &self.chosen
    }

    /// Whether these are all parts of the plan.
    pub fn is_all(&self) -> bool {
        self.chosen.len() == self.count as usize
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ranges(&self.chosen))
    }
}

/// Ascending numbers as engines take them: `1-3,7`.
pub(super) fn ranges(numbers: &[u32]) -> String {
    let range = |run: &[u32]| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    };
    numbers.chunk_by(|a, b| a + 1 == *b).map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_as_ranges() {
        assert_eq!(Parts::all(16).to_string(), "1-16");
        assert_eq!(Parts::all(1).to_string(), "1");
        let some = Parts::only(9, [7, 2, 3, 9, 2, 10, 0]);
        assert_eq!((some.to_string().as_str(), some.list(), some.is_all()), ("2-3,7,9", &[2, 3, 7, 9][..], false));
    }
}
