//! What looks wrong: the findings about the rows of each feature set, and how they differ from those of another store.

use maud::{Markup, html};

use super::{grouped, plural};
use crate::page::view::{AgainstView, Check, Histogram, SetView, View};

/// The part.
pub fn checks(view: &View) -> Markup {
    html! {
        section #checks aria-labelledby="checks-title" {
            h2 #checks-title { "What looks wrong" }
            div.cards { @for (at, set) in view.sets.iter().enumerate() { (card(at, set)) } }
        }
    }
}

fn card(at: usize, set: &SetView) -> Markup {
    let wrong = set.checks.iter().filter(|check| check.is_wrong).count();
    html! {
        article.card.wide {
            h3 { (set.contract.feature_set) }
            @if wrong == 0 { p.fine { "Nothing: " (plural(set.checks.len() as u64, "check")) " found nothing." } }
            @else { p.wrong { (plural(wrong as u64, "finding")) "." } }
            table {
                caption { "Checks of " (plural(set.rows, "row")) }
                thead { tr { th scope="col" { "looked for" } th scope="col" { "found" } th scope="col" { "where" } } }
                tbody { @for check in &set.checks { (finding(check)) } }
            }
            @if !set.norms.counts.is_empty() { (chart(&format!("norms-{at}"), "Norms of rows", &set.norms)) }
            @if let Some(against) = &set.against { (drift(at, against)) }
        }
    }
}

fn finding(check: &Check) -> Markup {
    html! {
        tr.bad[check.is_wrong] {
            th scope="row" { (check.what) }
            td.number { @if check.is_wrong { span.mark aria-hidden="true" { "! " } } (grouped(check.count as u64)) }
            td { @if check.examples.is_empty() { "–" } @else { ul.plain { @for example in &check.examples { li { (example) } } } } }
        }
    }
}

/// A histogram: drawn by the script, and as a table.
fn chart(id: &str, title: &str, histogram: &Histogram) -> Markup {
    let all: usize = histogram.counts.iter().sum();
    html! {
        figure {
            div.chart { canvas id=(id) role="img" aria-label={ (title) ": " (all) " values in " (histogram.counts.len()) " bins; the table below has the numbers" } {} }
            figcaption { (title) }
            details {
                summary { "As a table" }
                table { thead { tr { th scope="col" { "value" } th scope="col" { "rows" } } } tbody {
                    @for (label, count) in histogram.labels.iter().zip(&histogram.counts) {
                        tr { th scope="row" { (label) } td.number { (count) } }
                    }
                } }
            }
        }
    }
}

fn drift(at: usize, against: &AgainstView) -> Markup {
    let cosine = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.6}"));
    html! {
        h4 { "Against " (against.path) }
        @if let Some(why) = &against.why_not { p.wrong { "Not compared: " (why) "." } } @else {
            dl.figures {
                div { dt { "rows compared" } dd { (grouped(against.compared as u64)) } }
                div { dt { "only here" } dd { (grouped(against.only_here as u64)) } }
                div { dt { "only there" } dd { (grouped(against.only_there as u64)) } }
                div { dt { "least cosine" } dd { (cosine(against.least)) } }
                div { dt { "median cosine" } dd { (cosine(against.median)) } }
            }
            @if against.compared > 0 {
                (chart(&format!("cosines-{at}"), "Cosines with rows of the same time", &against.cosines))
                @if !against.worst.is_empty() {
                    p { "Rows that differ most, with their cosines:" }
                    ul.plain { @for worst in &against.worst { li { (worst) } } }
                }
            }
        }
    }
}
