//! Clips that cannot be read: counted, and others in their places where there can be any.
//!
//! Not for reading them. Invariant: no clip is replaced without being counted, and none by anything but a clip.

use std::sync::{Mutex, PoisonError};

use super::error::ClipError;
use crate::error::TrainError;
use crate::rng::Generator;
use crate::rng::below;

/// Clips that fail one after the other before that is an error.
const TRIES: usize = 16;
/// Reasons that are kept for people.
const EXAMPLES: usize = 3;

/// What was replaced so far.
#[derive(Debug, Default)]
pub struct Replaced(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    count: usize,
    reasons: Vec<String>,
}

impl Replaced {
    /// What `read` makes of `row`, or of another of `count` rows where that fails.
    ///
    /// # Errors
    /// [`TrainError::Clip`]: so many clips fail in a row that there is more wrong than a clip. [`TrainError::Frames`]: a
    /// decoder crashed, which says nothing of a clip; a run that was resumed would learn something else than this one.
    pub fn or_another<T>(
        &self,
        row: usize,
        count: usize,
        draw: &mut Generator,
        mut read: impl FnMut(usize, &mut Generator) -> Result<T, ClipError>,
    ) -> Result<(usize, T), TrainError> {
        let mut row = row;
        let mut last = None;
        for _ in 0..TRIES {
            match read(row, draw) {
                Ok(found) => return Ok((row, found)),
                Err(error) => {
                    last = Some(self.note(error)?);
                    row = below(draw, count);
                }
            }
        }
        Err(TrainError::Clip { tries: TRIES, why: last.unwrap_or_default() })
    }

    /// Counts a clip that cannot be read, and says why that is.
    ///
    /// # Errors
    /// [`TrainError::Frames`]: a decoder crashed, which says nothing of the clip.
    pub fn note(&self, error: ClipError) -> Result<String, TrainError> {
        if error.is_crash() {
            return Err(error.into());
        }
        let why = error.to_string();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.count += 1;
        if seen.reasons.len() < EXAMPLES {
            seen.reasons.push(why.clone());
        }
        Ok(why)
    }

    /// How many clips were replaced since this was last asked, and the first reasons.
    pub fn take(&self) -> (usize, Vec<String>) {
        let seen = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (seen.count, seen.reasons)
    }
}

/// What a person should know of the samples that are not as they were asked for.
pub struct Account {
    /// What nobody has been told yet of what was left out when the data was opened.
    left_out: Mutex<Vec<String>>,
    /// Clips to learn from that others took the place of.
    pub replaced: Replaced,
    /// Samples to validate on that nothing can take the place of.
    pub unread: Replaced,
    /// What becomes of these, in words.
    unread_are: &'static str,
}

impl Account {
    /// With what was left out when the data was opened, and what becomes of `unread` samples.
    pub fn new(left_out: Vec<String>, unread_are: &'static str) -> Self {
        Self { left_out: Mutex::new(left_out), replaced: Replaced::default(), unread: Replaced::default(), unread_are }
    }

    /// What happened since this was last asked.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = std::mem::take(&mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner));
        for (what, seen) in
            [("clips could not be read and were replaced by others", &self.replaced), (self.unread_are, &self.unread)]
        {
            let (count, reasons) = seen.take();
            if count > 0 {
                remarks.push(format!("{count} {what}: {}", reasons.join("; ")));
            }
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, generator};

    fn broken(row: usize) -> ClipError {
        ClipError::Video { path: format!("{row}.mp4").into(), why: "no moov atom".into() }
    }

    #[test]
    fn a_broken_clip_is_counted_and_another_takes_its_place() {
        let replaced = Replaced::default();
        let mut draw = generator(3, Purpose::Weights);
        let read = |row: usize, _: &mut Generator| if row == 7 { Err(broken(row)) } else { Ok(row * 10) };
        let (row, found) = replaced.or_another(7, 20, &mut draw, read).unwrap();
        assert!(row != 7 && found == row * 10);
        assert_eq!(replaced.or_another(3, 20, &mut draw, read).unwrap(), (3, 30));
        assert_eq!(replaced.take(), (1, vec!["7.mp4: no moov atom".to_owned()]));
        assert_eq!(replaced.take().0, 0);
    }

    #[test]
    fn a_crash_is_an_error_and_no_broken_clip() {
        let replaced = Replaced::default();
        let mut draw = generator(3, Purpose::Weights);
        let crash = || ClipError::Crashed { path: "7.mp4".into(), why: "ffmpeg was killed by signal 9".into() };
        let error = replaced.or_another(7, 20, &mut draw, |_, _| Err::<(), _>(crash())).unwrap_err().to_string();
        assert!(error.starts_with("7.mp4: ffmpeg was killed by signal 9"), "{error}");
        assert!(replaced.note(crash()).is_err() && replaced.take().0 == 0);
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
