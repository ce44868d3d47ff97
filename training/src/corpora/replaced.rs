//! Clips that cannot be read: counted, and others in their places where there can be any.
//!
//! Not for reading them. Invariant: no clip is replaced without being counted, and none by anything but a clip.

use std::sync::Mutex;

use super::frames::ClipError;
use crate::draws::below;
use crate::error::TrainError;
use crate::learner::Draw;

/// Clips that fail one after the other before that is an error.
const TRIES: usize = 16;
/// Reasons that are kept for people.
const EXAMPLES: usize = 3;

/// What was replaced so far.
#[derive(Default)]
pub struct Replaced(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    count: usize,
    reasons: Vec<String>,
}

impl Replaced {
    /// What `read` makes of `row`, or of another of `count` rows where that fails.
    ///
    /// # Errors
    /// [`TrainError::Clip`]: so many clips fail in a row that there is more wrong than a clip.
    pub fn or_another<T>(
        &self,
        row: usize,
        count: usize,
        draw: &mut Draw,
        mut read: impl FnMut(usize, &mut Draw) -> Result<T, ClipError>,
    ) -> Result<(usize, T), TrainError> {
        let mut row = row;
        let mut last = None;
        for _ in 0..TRIES {
            match read(row, draw) {
                Ok(found) => return Ok((row, found)),
                Err(error) => {
                    self.note(&error);
                    last = Some(error);
                    row = below(draw, count);
                }
            }
        }
        let why = last.map(|error| error.to_string()).unwrap_or_default();
        Err(TrainError::Clip { tries: TRIES, why })
    }

    /// Counts a clip that nothing takes the place of.
    pub fn note(&self, error: &ClipError) {
        let mut seen = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.count += 1;
        if seen.reasons.len() < EXAMPLES {
            seen.reasons.push(error.to_string());
        }
    }

    /// How many clips were replaced since this was last asked, and the first reasons.
    pub fn take(&self) -> (usize, Vec<String>) {
        let seen = std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        (seen.count, seen.reasons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::{Purpose, generator};

    fn broken(row: usize) -> ClipError {
        ClipError::Video { path: format!("{row}.mp4").into(), why: "no moov atom".into() }
    }

    #[test]
    fn a_broken_clip_is_counted_and_another_takes_its_place() {
        let replaced = Replaced::default();
        let mut draw = generator(3, Purpose::Weights);
        let read = |row: usize, _: &mut Draw| if row == 7 { Err(broken(row)) } else { Ok(row * 10) };
        let (row, found) = replaced.or_another(7, 20, &mut draw, read).unwrap();
        assert!(row != 7 && found == row * 10);
        assert_eq!(replaced.or_another(3, 20, &mut draw, read).unwrap(), (3, 30));
        assert_eq!(replaced.take(), (1, vec!["7.mp4: no moov atom".to_owned()]));
        assert_eq!(replaced.take().0, 0);
    }

    #[test]
    fn if_every_clip_is_broken_that_is_an_error() {
        let replaced = Replaced::default();
        let mut draw = generator(3, Purpose::Weights);
        let error = replaced.or_another(0, 5, &mut draw, |row, _| Err::<(), _>(broken(row))).unwrap_err().to_string();
        assert!(error.starts_with("16 clips in a row cannot be read, the last one: "), "{error}");
        assert_eq!(replaced.take().0, 16);
    }
}
