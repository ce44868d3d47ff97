//! What every point of SnAG's pyramid should predict of a query: its event, where the point is near and its level is for it.
//!
//! Not for the loss. A query has one event, so that no two compete for a point.

use tch::Tensor;

use super::Settings;

/// The event that a query is about, in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Where it starts.
    pub start: f32,
    /// Where it ends.
    pub end: f32,
}

/// What the points of a batch should predict.
#[derive(Debug)]
pub struct Targets {
    /// Points of the clip that have the event, `[N, P]`, boolean.
    pub positive: Tensor,
    /// Distances to start and end in strides of the level, `[N, P, 2]`; 0 at other points.
    pub offsets: Tensor,
}

impl Targets {
    /// Assigns the event of each query to points, `[P, 4]`; `mask`: which points lie within their clip, `[N, P]`. Works on
    /// the device of the points.
    pub fn new(points: &Tensor, mask: &Tensor, events: &[Event], settings: &Settings) -> Self {
        let column = |index: i64| points.select(1, index);
        let (place, least, most, stride) = (column(0), column(1), column(2), column(3));
        let edges = |edge: fn(&Event) -> f32| {
            let edges: Vec<f32> = events.iter().map(edge).collect();
            Tensor::from_slice(&edges).view([-1, 1]).to_device(points.device())
        };
        let (start, end) = (edges(|event| event.start), edges(|event| event.end));
        let (centre, reach) = ((&start + &end) * 0.5, &stride * settings.centre_radius);
        let (left, right) = (&place - &start, &end - &place);
        let behind = &place - (&centre - &reach).maximum(&start);
        let before = (&centre + &reach).minimum(&end) - &place;
        let farther = left.maximum(&right);
        let in_range = farther.ge_tensor(&least).logical_and(&farther.lt_tensor(&most));
        let positive = behind.minimum(&before).gt(0.0).logical_and(&in_range).logical_and(mask);
        let offsets = Tensor::stack(&[left / &stride, right / &stride], -1) * positive.unsqueeze(-1);
        Self { positive, offsets }
    }

    /// The same with `of` each tensor in its place.
    #[must_use]
    pub fn map(self, of: impl Fn(Tensor) -> Tensor) -> Self {
        Self { positive: of(self.positive), offsets: of(self.offsets) }
    }

    /// How many points have an event. Waits for the device; on the CPU it costs nothing.
    pub fn positives(&self) -> i64 {
        self.positive.sum(tch::Kind::Int64).int64_value(&[])
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::super::samples;
    use super::*;
    use crate::heads::actionformer::points;

    fn positive(events: &[Event], level: usize, range: [f64; 2]) -> Vec<bool> {
        let points = points::of_level(level, 16, range, Device::Cpu);
        let mask = Tensor::ones([events.len() as i64, 16], (Kind::Bool, Device::Cpu));
        let found = Targets::new(&points, &mask, events, &samples::settings());
        Vec::try_from(found.positive.view(-1)).unwrap()
    }

    #[test]
    fn points_within_the_event_and_near_its_centre_have_it() {
        let found = positive(&[Event { start: 4.0, end: 11.0 }], 0, [0.0, 100.0]);
        let places: Vec<usize> = (0..16).filter(|&place| found[place]).collect();
        assert_eq!(places, [7, 8], "6 and 9 lie 1.5 away, which is too far");
        let ends = positive(&[Event { start: 7.0, end: 8.0 }], 0, [0.0, 100.0]);
        assert!(!ends.contains(&true), "ends of an event do not lie within it");
    }

    #[test]
    fn the_greatest_distance_belongs_to_the_next_level() {
        let event = [Event { start: 4.0, end: 11.0 }];
        assert!(!positive(&event, 0, [0.0, 4.0])[7] && positive(&event, 0, [4.0, 16.0])[7], "4 before, 4 behind");
    }
}
