//! What was run: the contract of each feature set, and how the run went.

use maud::{Markup, html};

use super::{bytes, grouped, plural};
use crate::page::time::clock;
use crate::page::view::{RunView, SetView, View};

/// The part.
pub fn run(view: &View) -> Markup {
    html! {
        section #run aria-labelledby="run-title" {
            h2 #run-title { "What was run" }
            @if let Some(run) = &view.run { (report(run)) } @else { p { "No report of a run lies beside the store." } }
            div.cards { @for set in &view.sets { (card(set)) } }
        }
    }
}

fn report(run: &RunView) -> Markup {
    let rate = |amount: f64| if run.elapsed_sec > 0.0 { amount / run.elapsed_sec } else { 0.0 };
    html! {
        dl.figures {
            div { dt { "device" } dd { (run.device) } }
            div { dt { "time" } dd { (clock(run.elapsed_sec)) } }
            div { dt { "rows computed" } dd { (grouped(run.rows)) } }
            div { dt { "rows a second" } dd { (format!("{:.1}", rate(run.rows as f64))) } }
            div { dt { "video decoded" } dd { (clock(run.video_sec)) } }
            div { dt { "of real time" } dd { (format!("{:.1} ×", rate(run.video_sec))) } }
            div { dt { "frames decoded" } dd { (grouped(run.frames_decoded)) } }
            @for (stage, share) in &run.stages {
                div { dt { (stage) " busy" } dd { (format!("{:.0} %", 100.0 * share)) } }
            }
        }
        @if run.interrupted { p.wrong { "The last run was stopped before its end." } }
        @if !run.failures.is_empty() {
            p.wrong { (plural(run.failures.len() as u64, "unit")) " failed." }
            details { summary { "Failures" } ul { @for failure in run.failures.iter().take(50) {
                li { (failure.feature_set) ", " (failure.unit_uid) ": " (failure.why) }
            } } }
        }
        @if !run.remarks.is_empty() {
            details { summary { "Remarks about videos (" (run.remarks.len()) ")" } ul { @for remark in run.remarks.iter().take(50) { li { (remark) } } } }
        }
    }
}

fn card(set: &SetView) -> Markup {
    let contract = &set.contract;
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    html! {
        article.card {
            h3 { (contract.feature_set) }
            p { (plural(set.rows, "row")) " of " (plural(contract.dim as u64, "number")) " in " (plural(set.committed as u64, "unit"))
                @if set.committed < set.planned { ", " (set.planned - set.committed) " of " (set.planned) " planned are not there" }
                "; " (bytes(set.bytes)) }
            dl {
                div { dt { "model" } dd { (contract.backbone) } }
                div { dt { "checkpoint" } dd { (contract.checkpoint) } }
                div { dt { "precision" } dd { (contract.precision) ", stored as " (format!("{:?}", contract.dtype).to_lowercase()) } }
                div { dt { "computed by" } dd { @if set.providers.is_empty() { "nothing yet" } @else { (set.providers.join(", ")) } } }
                div { dt { "rows" } dd { (contract.row_kind.name()) ", grid " (contract.grid) @if contract.rows_per_sec > 0.0 { ", " (format!("{:.3}", contract.rows_per_sec)) " a second" } } }
                div { dt { "compat" } dd { (contract.compat) } }
                div { dt { "graph" } dd { code title=(contract.onnx_sha256) { (short(&contract.onnx_sha256)) } } }
                div { dt { "fingerprint" } dd { code title=(contract.fingerprint) { (short(&contract.fingerprint)) } } }
            }
            details { summary { "Recipe" } pre { (contract.recipe) } }
        }
    }
}
