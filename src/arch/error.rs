//! What can be wrong with a config or with a state dict's shapes.
//!
//! Not for names that are missing or unknown: see [`Differences`](super::Differences).

/// A size that no network has.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{name} = {found}, expected {expected}")]
pub struct ConfigError {
    /// The key, as in an experiment file.
    pub name: &'static str,
    /// Its value.
    pub found: f64,
    /// What it may be.
    pub expected: &'static str,
}

impl ConfigError {
    /// An error about the key `name`, unless `holds`.
    ///
    /// # Errors
    /// The one that is described.
    pub fn unless(holds: bool, name: &'static str, found: f64, expected: &'static str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self { name, found, expected }) }
    }

    /// An error about the first of these keys whose value is 0.
    ///
    /// # Errors
    /// The one that is described.
    pub fn unless_positive(counts: impl IntoIterator<Item = (&'static str, usize)>) -> Result<(), Self> {
        let mut counts = counts.into_iter();
        counts.try_for_each(|(name, count)| Self::unless(count > 0, name, count as f64, "1 or more"))
    }
}

/// A state dict whose sizes cannot be read, or contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{checkpoint} is no {architecture} checkpoint: {why}")]
pub struct ShapeError {
    /// Name of the file.
    pub checkpoint: String,
    /// The architecture that its names are of.
    pub architecture: String,
    /// What was expected and what was found.
    pub why: String,
}
