//! What a builder left out, or kept though it is odd: counted by reason, with the first examples.
//!
//! Not for errors that end a run. Nothing that a source lists is missing from its results without a count here.

use std::fmt::Display;

use serde::Serialize;

/// How many examples of each reason are kept.
const EXAMPLES: usize = 3;

/// All findings of one build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// What is in the annotations and not in the results.
    pub dropped: Vec<Finding>,
    /// What is in the results as it was annotated, though it needs a decision later.
    pub kept: Vec<Finding>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What these entries are, in the plural: `queries without a text`.
    pub reason: &'static str,
    /// How many there are.
    pub count: usize,
    /// Where the first ones stand, with what was found.
    pub examples: Vec<String>,
}

impl Tally {
    /// Counts an entry that is left out.
    pub(super) fn drop(&mut self, reason: &'static str, example: impl Display) {
        count(&mut self.dropped, reason, example);
    }

    /// Counts an entry that is odd and stays.
    pub(super) fn keep(&mut self, reason: &'static str, example: impl Display) {
        count(&mut self.kept, reason, example);
    }

    /// How many entries were left out for any reason.
    pub fn num_dropped(&self) -> usize {
        self.dropped.iter().map(|finding| finding.count).sum()
    }
}

fn count(findings: &mut Vec<Finding>, reason: &'static str, example: impl Display) {
    let at = findings.iter().position(|finding| finding.reason == reason).unwrap_or(findings.len());
    if at == findings.len() {
        findings.push(Finding { reason, count: 0, examples: Vec::new() });
    }
    let finding = &mut findings[at];
    finding.count += 1;
    // Examples are put into words only where they are kept: a source may have millions of rows.
    if finding.examples.len() < EXAMPLES {
        finding.examples.push(example.to_string());
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}", self.reason, self.count, self.examples.join("; "))?;
        match self.count - self.examples.len() {
            0 => f.write_str(")"),
            more => write!(f, "; and {more} more)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_and_the_first_examples_kept() {
        let mut tally = Tally::default();
        (0..5).for_each(|at| tally.drop("rows of another length", format_args!("line {at}")));
        tally.drop("rows without a text", "line 9");
        tally.keep("empty windows", "line 1");
        let texts: Vec<_> = tally.dropped.iter().map(Finding::to_string).collect();
        assert_eq!(texts[0], "rows of another length: 5 (line 0; line 1; line 2; and 2 more)");
        assert_eq!(texts[1], "rows without a text: 1 (line 9)");
        assert_eq!((tally.num_dropped(), tally.kept[0].count), (6, 1));
    }
}
