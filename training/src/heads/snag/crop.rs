//! The random crop of a clip that is too long to train on: one that keeps enough of every event.
//!
//! Not for padding, and not for clips that fit, which are never cropped. The draws are not the original's, which come from
//! Python.

use egofx::heads::actionformer::FeatureGrid;

use super::settings::{Settings, SnagError};
use super::targets::Event;
use crate::rng::{Generator, below};

/// Draws until a crop keeps the events.
const TRIALS: usize = 5000;

/// A part of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// Its first step.
    pub start: usize,
    /// Its number of steps.
    pub length: usize,
    /// The events, cut to it, in steps from its start.
    pub events: Vec<Event>,
}

/// Crops a clip of `length` steps to [`Settings::max_length`], if it is longer. An event counts as cut where half a
/// feature's window beyond the crop ends, as the features see that far.
///
/// # Errors
/// [`SnagError::NoCrop`] for events that no crop keeps.
pub fn crop(
    length: usize,
    events: &[Event],
    grid: &FeatureGrid,
    settings: &Settings,
    draw: &mut Generator,
) -> Result<Crop, SnagError> {
    let max_length = settings.max_length.unsigned_abs() as usize;
    if length <= max_length {
        return Ok(Crop { start: 0, length, events: events.to_vec() });
    }
    let threshold = settings.truncation_threshold;
    let drawn = (0..TRIALS).find_map(|_| {
        let start = below(draw, length - max_length + 1);
        let window = Window { start, length: max_length, beyond: grid.half_window_steps() };
        let kept = events.iter().map(|event| window.kept(event, threshold)).collect::<Option<Vec<_>>>()?;
        Some(Crop { start, length: max_length, events: kept })
    });
    drawn.ok_or(SnagError::NoCrop { length, max_length, threshold })
}

/// What a crop sees.
struct Window {
    start: usize,
    length: usize,
    /// Steps that its features see beyond their centres.
    beyond: f32,
}

impl Window {
    /// The event within it, from its start; nothing if no more than this share remains.
    fn kept(&self, event: &Event, threshold: f64) -> Option<Event> {
        let from = self.start as f32;
        let start = event.start.max(from - self.beyond);
        let end = event.end.min(from + self.length as f32 + self.beyond);
        let share = f64::from((end - start) / (event.end - event.start));
        (share > threshold).then_some(Event { start: start - from, end: end - from })
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::rng::{Purpose, generator};

    const GRID: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 32.0 };

    fn cropped(length: usize, events: &[Event]) -> Result<Crop, SnagError> {
        crop(length, events, &GRID, &samples::settings(), &mut generator(3, Purpose::Weights))
    }

    #[test]
    fn clips_that_fit_are_whole() {
        let events = [Event { start: -1.0, end: 5.0 }];
        assert_eq!(cropped(64, &events).unwrap(), Crop { start: 0, length: 64, events: events.to_vec() });
    }

    /// The last event of the original's small case, which it leaves whole at the end of a crop.
    #[test]
    fn a_crop_keeps_more_than_half_of_every_event() {
        let found = cropped(92, &[Event { start: 90.875, end: 92.75 }]).unwrap();
        assert!(found.start >= 27 && found.length == 64, "{found:?}");
        let whole = Window { start: 28, length: 64, beyond: 1.0 };
        let kept = whole.kept(&Event { start: 90.875, end: 92.75 }, 0.5);
        assert_eq!(kept, Some(Event { start: 62.875, end: 64.75 }));
        assert_eq!(whole.kept(&Event { start: 92.0, end: 94.0 }, 0.5), None, "half is not enough");
    }

    #[test]
    fn events_that_no_crop_keeps_are_an_error() {
        let error = cropped(561, &[Event { start: 8.375, end: 224.0 }]).unwrap_err().to_string();
        assert!(error.starts_with("no crop of 64 of 561 steps keeps more than 0.5 of each event"), "{error}");
    }
}
