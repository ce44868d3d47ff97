//! What predictions came to: the evaluator's numbers.

use maud::{Markup, html};

use super::plural;
use crate::page::view::ScoresView;

/// The part.
pub fn scores(found: &ScoresView) -> Markup {
    let value = |value: f64| if value.is_nan() { "NaN".to_owned() } else { format!("{:.2}", 100.0 * value) };
    html! {
        section #scores aria-labelledby="scores-title" {
            h2 #scores-title { "Predictions: " (found.benchmark.to_uppercase()) }
            p { (found.coverage) ". Windows are drawn on the time lines of the videos below." }
            @if found.clips_elsewhere > 0 {
                p { (plural(found.clips_elsewhere as u64, "clip")) " with predictions: in none of the videos that are shown." }
            }
            @for note in &found.notes { p { "Note: " (note) } }
            table.scores {
                caption { "As egofx eval " (found.benchmark) " computes them, in percent" }
                thead { tr { th scope="col" { "score" } th scope="col" { "%" } } }
                tbody { @for (name, score) in &found.scores { tr { th scope="row" { (name) } td.number { (value(*score)) } } } }
            }
        }
    }
}
