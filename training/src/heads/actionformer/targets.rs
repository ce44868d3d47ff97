//! What every point of the pyramid should predict, from the annotated events of a clip.
//!
//! Not for the loss. A point predicts the shortest event that is near its centre and as long as its level is for.

pub use egofx::heads::actionformer::FeatureGrid;
use tch::{Device, Kind, Tensor};

use super::{ActionFormerError, Settings};

/// Events that are longer than the shortest by at most this many steps share its points.
const TIE_STEPS: f64 = 1e-3;

/// An annotated event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// Where it starts, in steps.
    pub start: f32,
    /// Where it ends, in steps.
    pub end: f32,
    /// Its class, from 0.
    pub class: i64,
}

/// What the points of a batch should predict.
#[derive(Debug)]
pub struct Targets {
    /// 1 for the classes of the point's event, `[B, P, classes]`; several where events of one length share it, or all that may
    /// have it do ([`all_candidates`](super::Variant::all_candidates)).
    pub classes: Tensor,
    /// Distances to start and end in strides of the level, `[B, P, 2]`; 0 at points without event.
    pub offsets: Tensor,
    /// Points within the clip that have an event, `[B, P]`, boolean.
    pub positive: Tensor,
}

impl Targets {
    /// Assigns the events of each clip to points, `[P, 4]`; `mask`: which points lie within their clip, `[B, P]`. Works
    /// on the device of the points. `label_points` of the original.
    ///
    /// # Errors
    /// An event of a class that the network does not have; a mask of another shape.
    pub fn new(
        points: &Tensor,
        mask: &Tensor,
        events: &[Vec<Event>],
        settings: &Settings,
    ) -> Result<Self, ActionFormerError> {
        let expected = [events.len() as i64, points.size()[0]];
        if mask.size() != expected {
            let expected = format!("{expected:?}, by events and points");
            return Err(ActionFormerError::Shape { what: "a mask", found: mask.size(), expected });
        }
        let events = Padded::new(events, settings.classes, points.device())?;
        Ok(assigned(&Columns::new(points), mask, &events, settings))
    }

    /// The same with `of` each tensor in its place.
    #[must_use]
    pub fn map(self, of: impl Fn(Tensor) -> Tensor) -> Self {
        Self { classes: of(self.classes), offsets: of(self.offsets), positive: of(self.positive) }
    }

    /// How many points have an event. Waits for the device; on the CPU it costs nothing.
    pub fn positives(&self) -> i64 {
        self.positive.sum(Kind::Int64).int64_value(&[])
    }
}

/// The columns of points, each `[P, 1]`.
struct Columns {
    place: Tensor,
    least: Tensor,
    most: Tensor,
    stride: Tensor,
}

impl Columns {
    fn new(points: &Tensor) -> Self {
        let column = |index| points.narrow(1, index, 1);
        Self { place: column(0), least: column(1), most: column(2), stride: column(3) }
    }
}

/// Events of all clips, padded to the most that one has.
struct Padded {
    /// `[B, 1, N]`, like the next.
    start: Tensor,
    end: Tensor,
    /// Which are events, `[B, 1, N]`.
    real: Tensor,
    /// `[B, N, classes]`.
    one_hot: Tensor,
}

impl Padded {
    fn new(events: &[Vec<Event>], classes: i64, device: Device) -> Result<Self, ActionFormerError> {
        let outside = |event: &&Event| !(0..classes).contains(&event.class);
        if let Some(event) = events.iter().flatten().find(outside) {
            return Err(ActionFormerError::Class { class: event.class, classes });
        }
        let most = events.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let padding = Event { start: 0.0, end: 0.0, class: -1 };
        let padded = |clip: &Vec<Event>| clip.iter().copied().chain(std::iter::repeat(padding)).take(most).collect();
        let rows: Vec<Event> = events.iter().flat_map(|clip| -> Vec<Event> { padded(clip) }).collect();
        let shape = [events.len() as i64, 1, most as i64];
        let edges = |edge: fn(&Event) -> f32| {
            Tensor::from_slice(&rows.iter().map(edge).collect::<Vec<_>>()).view(shape).to_device(device)
        };
        let class = Tensor::from_slice(&rows.iter().map(|event| event.class).collect::<Vec<_>>());
        let class = class.view(shape).to_device(device);
        let one_hot = class.transpose(1, 2).eq_tensor(&Tensor::arange(classes, (Kind::Int64, device)));
        Ok(Self {
            start: edges(|event| event.start),
            end: edges(|event| event.end),
            real: class.ge(0),
            one_hot: one_hot.to_kind(Kind::Float),
        })
    }
}

fn assigned(points: &Columns, mask: &Tensor, events: &Padded, settings: &Settings) -> Targets {
    // All `[B, P, N]`.
    let (left, right) = (&points.place - &events.start, &events.end - &points.place);
    let candidate = near_centre(points, events, settings.centre_radius)
        .logical_and(&in_range(points, &left.maximum(&right)))
        .logical_and(&events.real);
    let lengths = (&events.end - &events.start).masked_fill(&candidate.logical_not(), f64::INFINITY);
    let (shortest, which) = lengths.min_dim(2, true);
    let sharing = if settings.variant.all_candidates {
        candidate
    } else {
        lengths.le_tensor(&(&shortest + TIE_STEPS)).logical_and(&lengths.isfinite())
    };
    let has_event = shortest.isfinite();
    let offsets = Tensor::cat(&[left.gather(2, &which, false), right.gather(2, &which, false)], 2) / &points.stride;
    Targets {
        classes: sharing.to_kind(Kind::Float).matmul(&events.one_hot).clamp_max(1.0),
        offsets: offsets * &has_event,
        positive: has_event.squeeze_dim(2).logical_and(mask),
    }
}

/// Whether a point lies within an event and within `radius` strides of its centre, `[B, P, N]`.
fn near_centre(points: &Columns, events: &Padded, radius: f64) -> Tensor {
    let (centre, reach) = ((&events.start + &events.end) * 0.5, &points.stride * radius);
    let behind_start = &points.place - (&centre - &reach).maximum(&events.start);
    let before_end = (&centre + &reach).minimum(&events.end) - &points.place;
    behind_start.minimum(&before_end).gt(0.0)
}

/// Whether the farther end is as far away as the level is for, `[B, P, N]`.
fn in_range(points: &Columns, farther: &Tensor) -> Tensor {
    farther.ge_tensor(&points.least).logical_and(&farther.le_tensor(&points.most))
}

#[cfg(test)]
mod tests {
    use super::super::points;
    use super::*;

    #[test]
    fn seconds_and_steps_are_each_others_inverse() {
        let grid = FeatureGrid { fps: 30.0, stride_frames: 16.0, window_frames: 16.0 };
        assert_eq!((grid.step_from_sec(2.0), grid.step_from_sec(9.5), grid.step_from_sec(0.0)), (3.25, 17.3125, -0.5));
        assert_eq!((grid.sec_from_step(3.25), grid.sec_from_step(17.3125), grid.sec_from_step(-0.5)), (2.0, 9.5, 0.0));
    }

    fn targets(events: &[Vec<Event>]) -> Targets {
        let points = points::of_level(0, 16, [0.0, 100.0], Device::Cpu);
        let mask = Tensor::ones([events.len() as i64, 16], (Kind::Bool, Device::Cpu));
        Targets::new(&points, &mask, events, &super::super::samples::settings()).unwrap()
    }

    fn event(start: f32, end: f32, class: i64) -> Event {
        Event { start, end, class }
    }

    #[test]
    fn the_shortest_event_wins_and_equal_ones_share_the_point() {
        let found =
            targets(&[vec![event(0.0, 10.0, 0), event(4.0, 6.5, 1), event(4.0, 6.5005, 2), event(4.0, 6.5, 1)]]);
        assert_eq!(Vec::<f32>::try_from(found.classes.get(0).get(5)).unwrap(), [0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(Vec::<f32>::try_from(found.offsets.get(0).get(5)).unwrap(), [1.0, 1.5]);
        // At 4 the short events only start, so that the long one has it.
        assert_eq!(Vec::<f32>::try_from(found.classes.get(0).get(4)).unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(found.positives(), 3, "4 to 6, at most 1.5 away from a centre");
    }

    #[test]
    fn clips_without_events_have_no_positive_points() {
        let found = targets(&[vec![], vec![event(2.0, 8.0, 4)]]);
        assert_eq!(found.positives(), 3);
        assert_eq!(found.positive.get(0).any().int64_value(&[]), 0);
        let none = targets(&[vec![]]);
        assert_eq!((none.positives(), none.offsets.abs().max().double_value(&[])), (0, 0.0));
    }

    #[test]
    fn classes_that_the_network_lacks_are_refused() {
        let points = points::of_level(0, 4, [0.0, 100.0], Device::Cpu);
        let mask = Tensor::ones([1, 4], (Kind::Bool, Device::Cpu));
        let settings = super::super::samples::settings();
        let error = Targets::new(&points, &mask, &[vec![event(0.0, 2.0, 5)]], &settings).unwrap_err();
        assert_eq!(error.to_string(), "an event is of class 5, and there are 5 classes, from 0");
        let error = Targets::new(&points, &mask, &[], &settings).unwrap_err();
        assert_eq!(error.to_string(), "a mask of shape [1, 4], expected [0, 4], by events and points");
    }
}
