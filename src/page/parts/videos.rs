//! The videos: all of them in numbers, and those that are shown with time lines, thumbnails and similarities.

use maud::{Markup, html};

use super::timeline::{axis, spans, unit};
use super::{grouped, plural};
use crate::page::time::clock;
use crate::page::view::{Similarity, VideoLine, VideoView, View};

/// Lines of the table and videos in detail that are on one page.
const LINES: usize = 25;
const DETAILS: usize = 5;

/// The part.
pub fn videos(view: &View) -> Markup {
    html! {
        section #videos aria-labelledby="videos-title" {
            h2 #videos-title { "Videos" }
            (table(view))
            @if view.videos.len() < view.all_videos {
                p { (view.videos.len()) " of " (grouped(view.all_videos as u64)) " videos are shown in detail, those first of which something is missing." }
            }
            (legend(view.scores.is_some()))
            div #details data-pages=(DETAILS) data-of="videos in detail" {
                @for (at, video) in view.videos.iter().enumerate() { (detail(at, video)) }
            }
        }
    }
}

fn table(view: &View) -> Markup {
    html! {
        table {
            caption { (plural(view.all_videos as u64, "video"))
                @if view.lines.len() < view.all_videos { ", the first " (grouped(view.lines.len() as u64)) " by name" } }
            thead { tr { @for name in ["video", "units", "rows", "padded", "missing"] { th scope="col" { (name) } } } }
            tbody #lines data-pages=(LINES) data-of="videos" { @for line in &view.lines { (row(line)) } }
        }
    }
}

fn row(line: &VideoLine) -> Markup {
    let is_wrong = line.missing > 0 || line.committed < line.planned;
    html! {
        tr.bad[is_wrong] data-item {
            th scope="row" { @match line.shown { Some(at) => a href={ "#video-" (at) } { (line.video_uid) }, None => (line.video_uid) } }
            td.number { (line.committed) @if line.committed < line.planned { " of " (line.planned) } }
            td.number { (grouped(line.rows)) } td.number { (grouped(line.padded)) } td.number { (grouped(line.missing)) }
        }
    }
}

fn legend(with_spans: bool) -> Markup {
    let kinds = [("rows", "rows"), ("padded", "padded"), ("missing", "without features"), ("absent", "not there")];
    let windows = [("truth", "true"), ("best", "predicted first"), ("predicted", "predicted next")];
    html! {
        ul.legend aria-label="Colours of time lines" {
            @for (class, words) in kinds.iter().chain(windows.iter().filter(|_| with_spans)) {
                li { svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" {} } (words) }
            }
        }
    }
}

fn detail(at: usize, video: &VideoView) -> Markup {
    html! {
        article.card.wide id={ "video-" (at) } data-item tabindex="-1" {
            h3 { (video.video_uid) }
            div.lanes {
                @for lane in &video.lanes { (unit(lane, video.end_sec)) }
                @if video.more_lanes > 0 { p { "and " (plural(video.more_lanes as u64, "unit")) " more" } }
                @for lane in &video.spans { (spans(lane, video.end_sec)) }
                @if video.more_spans > 0 { p { "and " (plural(video.more_spans as u64, "line")) " of predictions more" } }
                @if video.end_sec > 0.0 { (axis(video.end_sec)) }
            }
            (strip(at, video))
            @if !video.similarities.is_empty() {
                div.matrices { @for similarity in &video.similarities { (matrix(similarity)) } }
            }
        }
    }
}

fn strip(at: usize, video: &VideoView) -> Markup {
    html! {
        @if !video.thumbnails.is_empty() {
            ul.strip id={ "strip-" (at) } tabindex="0" aria-label={ "Thumbnails of " (video.video_uid) } {
                @for thumbnail in &video.thumbnails {
                    li { img src=(thumbnail.uri) data-sec=(thumbnail.sec) alt={ "Frame at " (clock(thumbnail.sec)) };
                        span { (clock(thumbnail.sec)) } }
                }
            }
        }
        @if let Some(why) = &video.no_thumbnails { p.help { "Thumbnails: " (why) "." } }
    }
}

fn matrix(similarity: &Similarity) -> Markup {
    let [least, greatest] = similarity.range.map(|cosine| format!("{cosine:.3}"));
    let words = format!("Cosines between {} of {}", plural(similarity.rows as u64, "row"), similarity.set);
    html! {
        figure.matrix {
            img src=(similarity.uri) width="256" height="256"
                alt={ (words) ", from " (least) " to " (greatest) ", each row against each, time from left to right and from top to bottom" };
            figcaption { (words) ": " (least) " (dark) to " (greatest) " (bright)"
                @if let Some([from, to]) = similarity.range_sec { ", " (clock(from)) " to " (clock(to)) } }
        }
    }
}
