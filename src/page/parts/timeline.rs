//! Time lines: bars of rows, of true windows and of predicted ones, and the axis below.
//!
//! Invariant: a bar says in words what it shows.

use maud::{Markup, html};

use super::plural;
use crate::page::time::clock;
use crate::page::view::{Lane, RunKind, SpanLane};

/// Units of a bar's drawing along its video.
const WIDTH: f64 = 1000.0;

/// A place on a bar, with a tenth of a unit.
fn at(sec: f64, end_sec: f64) -> f64 {
    (10.0 * WIDTH * (sec / end_sec).clamp(0.0, 1.0)).round() / 10.0
}

/// A part of a bar, at least so wide that it is seen.
fn part(class: &str, [from, to]: [f64; 2], end_sec: f64, (y, height): (u32, u32), title: &str) -> Markup {
    let (from, to) = (at(from, end_sec), at(to, end_sec));
    html! { rect class=(class) x=(from) y=(y) width=((to - from).max(1.5)) height=(height) { title { (title) } } }
}

/// The line of a unit.
pub fn unit(lane: &Lane, end_sec: f64) -> Markup {
    let label = said(lane);
    html! {
        div.lane {
            span.name { (lane.unit_uid) small { (lane.set) } }
            @if end_sec > 0.0 {
                svg viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(label) {
                    (part("span", lane.span, end_sec, (0, 10), &label))
                    @if lane.absent.is_some() { (part("absent", lane.span, end_sec, (0, 10), &label)) }
                    @for run in &lane.runs {
                        (part(class(run.kind), [run.from_sec, run.to_sec], end_sec, (1, 8),
                            &format!("{} from {} to {}", words(run.kind), clock(run.from_sec), clock(run.to_sec))))
                    }
                }
            }
            span.said { (label) }
        }
    }
}

fn said(lane: &Lane) -> String {
    if let Some(why) = &lane.absent {
        return why.clone();
    }
    let mut words = vec![plural(lane.rows as u64, "row")];
    let more = [(lane.padded, "padded"), (lane.missing, "missing")];
    words.extend(more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
    words.extend((lane.gaps > 0).then(|| plural(lane.gaps as u64, "gap")));
    words.join(", ")
}

fn class(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Rows => "rows",
        RunKind::Padded => "padded",
        RunKind::Missing => "missing",
    }
}

fn words(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Rows => "rows",
        RunKind::Padded => "padded rows",
        RunKind::Missing => "rows without features",
    }
}

/// What is true of a query or a label, above what was predicted.
pub fn spans(lane: &SpanLane, end_sec: f64) -> Markup {
    let clocks = |windows: &[[f64; 2]]| {
        windows.iter().map(|[from, to]| format!("{} to {}", clock(*from), clock(*to))).collect::<Vec<_>>().join("; ")
    };
    let (truths, predicted) = (clocks(&lane.truths), clocks(&lane.predicted));
    let predicted = if predicted.is_empty() { "nothing".to_owned() } else { predicted };
    let label = format!("{}: true {truths}; predicted {predicted}", lane.text);
    html! {
        div.lane {
            span.name { (lane.text) small { (lane.clip_uid) } }
            svg viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label=(label) {
                @for window in &lane.truths { (part("truth", *window, end_sec, (0, 7), &format!("true, {}", clocks(&[*window])))) }
                @for (rank, window) in lane.predicted.iter().enumerate().rev() {
                    (part(if rank == 0 { "best" } else { "predicted" }, *window, end_sec, (9, 7), &format!("predicted, rank {}, {}", rank + 1, clocks(&[*window]))))
                }
            }
            span.said { "overlap " (if lane.overlap.is_nan() { "0/0".to_owned() } else { format!("{:.2}", lane.overlap) }) }
        }
    }
}

/// The axis below the bars.
pub fn axis(end_sec: f64) -> Markup {
    html! {
        div.lane.axis aria-hidden="true" {
            span.name {}
            div.ticks { @for quarter in 0..=4 { span { (clock(end_sec * f64::from(quarter) / 4.0)) } } }
            span.said {}
        }
    }
}
