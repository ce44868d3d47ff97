//! The random crop of a clip in training: to the greatest length, or to a share of the clip.
//!
//! Not for padding. The same generator gives the same crops on every machine; they are not the original's, whose draws
//! come from Python. `truncate_feats` of the original.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::Rng;

use super::settings::Settings;
use super::targets::{Event, FeatureGrid};

/// Draws until a crop has an event; the last one is taken where none has.
const TRIALS: usize = 200;

/// A part of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// Its first feature.
    pub start: usize,
    /// Its number of features.
    pub length: usize,
    /// The events of which enough remains, cut to it, in steps from its start.
    pub events: Vec<Event>,
}

/// Crops a clip of `length` features. Clips longer than [`Settings::max_length`] are cropped to it, others to a share
/// that is drawn from [`Settings::crop_ratio`]. An event counts as cut where half a feature's window beyond the crop
/// ends, as the features see that far, or where the crop ends ([`tight_crops`](super::Variant::tight_crops)).
pub fn crop(
    length: usize,
    events: &[Event],
    grid: &FeatureGrid,
    settings: &Settings,
    generator: &mut Xoshiro256PlusPlus,
) -> Crop {
    let kept = kept_length(length, settings, generator);
    if kept == length {
        return Crop { start: 0, length, events: events.to_vec() };
    }
    let half_window = if settings.variant.tight_crops { 0.0 } else { grid.half_window_steps() };
    let mut found = Crop { start: 0, length: kept, events: Vec::new() };
    for _ in 0..TRIALS {
        found.start = between(generator, 0, length - kept);
        found.events = remaining(events, found.start, kept, half_window, settings.truncation_threshold);
        if events.is_empty() || !found.events.is_empty() {
            break;
        }
    }
    found
}

fn kept_length(length: usize, settings: &Settings, generator: &mut Xoshiro256PlusPlus) -> usize {
    let max_length = settings.max_length.unsigned_abs() as usize;
    if length > max_length {
        return max_length;
    }
    let [least, most] = settings.crop_ratio.map(|ratio| (ratio * length as f64).round_ties_even() as usize);
    between(generator, least.max(1), most.max(1).min(length))
}

/// What remains of the events in `length` features from `start`, and half a window more at both ends.
fn remaining(events: &[Event], start: usize, length: usize, half_window: f32, threshold: f64) -> Vec<Event> {
    let window = (start as f32 - half_window, (start + length) as f32 + half_window);
    let cut = |event: &Event| {
        let (left, right) = (event.start.max(window.0), event.end.min(window.1));
        // Of an event without length the share is no number, and it does not remain.
        let share = (right - left).max(0.0) / (event.end - event.start).abs();
        let shifted = Event { start: left - start as f32, end: right - start as f32, ..*event };
        (f64::from(share) >= f64::from(threshold as f32)).then_some(shifted)
    };
    events.iter().filter_map(cut).collect()
}

/// From `low` to `high`, both included; the high half of the product is uniform up to a part in 2^64 / width.
fn between(generator: &mut Xoshiro256PlusPlus, low: usize, high: usize) -> usize {
    let width = (high - low) as u128 + 1;
    low + ((u128::from(generator.next_u64()) * width) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::rand_core::SeedableRng;

    use super::super::{Variant, samples};
    use super::*;

    const GRID: FeatureGrid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 16.0 };

    fn crops(length: usize, events: &[Event], settings: &Settings) -> Vec<Crop> {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(3);
        (0..200).map(|_| crop(length, events, &GRID, settings, &mut generator)).collect()
    }

    #[test]
    fn long_clips_are_cropped_to_the_greatest_length_around_an_event() {
        let events = [Event { start: 10.0, end: 20.0, class: 1 }, Event { start: 150.0, end: 160.0, class: 2 }];
        let found = crops(200, &events, &samples::settings());
        assert!(found.iter().all(|crop| crop.length == 64 && crop.start <= 136 && !crop.events.is_empty()));
        assert!(found.iter().any(|crop| crop.start < 5) && found.iter().any(|crop| crop.start > 130));
        assert_eq!(found, crops(200, &events, &samples::settings()), "the same generator draws the same");
    }

    /// The first two are crops that OpenTAD drew.
    #[test]
    fn tight_crops_cut_events_where_their_rows_end() {
        let event = |start, end, class| Event { start, end, class };
        let events = [event(3.0, 20.0, 0), event(25.0, 45.5, 1), event(10.0, 49.0, 2)];
        let found = remaining(&events, 4, 46, 0.0, 0.3);
        assert_eq!(found, [event(0.0, 16.0, 0), event(21.0, 41.5, 1), event(6.0, 45.0, 2)]);
        assert_eq!(remaining(&events, 30, 64, 0.0, 0.3), [event(0.0, 15.5, 1), event(0.0, 19.0, 2)]);
        let variant = Variant { tight_crops: true, ..Variant::default() };
        let tight = Settings { variant, ..samples::settings() };
        let is_inside = |crop: &Crop| crop.events.iter().all(|one| one.start >= 0.0 && one.end <= crop.length as f32);
        let long = [event(0.0, 150.0, 0)];
        assert!(crops(200, &long, &tight).iter().all(is_inside));
        assert!(!crops(200, &long, &samples::settings()).iter().all(is_inside));
    }

    #[test]
    fn short_clips_keep_a_share_of_the_ratio() {
        let found = crops(25, &[], &samples::settings());
        let mut lengths: Vec<usize> = found.iter().map(|crop| crop.length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        assert_eq!(lengths, [22, 23, 24, 25], "0.9 of 25 is 22.5, which rounds to even");
        let whole = Settings { crop_ratio: [1.0, 1.0], ..samples::settings() };
        assert!(crops(25, &[], &whole).iter().all(|crop| (crop.start, crop.length) == (0, 25)));
    }

    #[test]
    fn events_are_cut_and_those_of_which_too_little_remains_are_dropped() {
        let event = |start, end, class| Event { start, end, class };
        let events = [event(0.0, 20.0, 0), event(12.0, 14.0, 1), event(0.0, 13.0, 2), event(15.0, 15.0, 3)];
        let found = remaining(&events, 10, 10, 0.5, 0.3);
        assert_eq!(found, [event(-0.5, 10.0, 0), event(2.0, 4.0, 1)], "of the third only 3.5 of 13 remain");
        assert_eq!(remaining(&events[2..3], 10, 10, 0.5, 0.25), [event(-0.5, 3.0, 2)]);
    }
}
