//! The rows on a plane. The script draws the points; without one the page says what it would show.

use maud::{Markup, html};

use super::{grouped, plural};
use crate::page::view::{Map, SetView, View};

/// The part.
pub fn map(view: &View) -> Markup {
    html! {
        section #map aria-labelledby="map-title" {
            h2 #map-title { "Map of rows" }
            p { "Each point is a row, on the plane along which rows of its feature set vary most (two principal components). Neighbours look alike to the model." }
            p.controls {
                label for="colour" { "Colour by " }
                select #colour { option value="video" { "video" } option value="time" { "time" } }
            }
            div.cards { @for (at, set) in view.sets.iter().enumerate() { (card(at, set)) } }
        }
    }
}

fn card(at: usize, set: &SetView) -> Markup {
    let map = &set.map;
    let name = &set.contract.feature_set;
    html! {
        article.card.wide {
            h3 { (name) }
            @if map.points.is_empty() { p { "No row has features." } } @else {
                p { (sampled(map, set.rows)) " The axes hold " (percent(map.explained[0])) " and " (percent(map.explained[1])) " of their variance." }
                div.map tabindex="0" role="group" data-map=(at) aria-describedby={ "map-help-" (at) }
                    aria-label={ "Map of " (map.points.len()) " rows of " (name) } {
                    canvas id={ "map-" (at) } aria-hidden="true" {}
                }
                p.help id={ "map-help-" (at) } { "Point at a row, or walk from row to row with the arrow keys; Home and End lead to the first and the last." }
                div.selected id={ "selected-" (at) } aria-live="polite" { p { "No row is selected." } }
                details.points data-table=(at) { summary { "The points as a table" } }
            }
        }
    }
}

fn sampled(map: &Map, rows: u64) -> String {
    let shown = plural(map.points.len() as u64, "row");
    match map.every {
        1 => format!("{shown}."),
        every => format!("{shown} of {}: one in {every}, by which the plane is found too.", grouped(rows)),
    }
}

fn percent(share: f64) -> String {
    if share < 0.1 { format!("{:.1} %", 100.0 * share) } else { format!("{:.0} %", 100.0 * share) }
}
