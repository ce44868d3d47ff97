//! `egofx search --html`: what was found, as one page with thumbnails.
//!
//! Not for making thumbnails. Invariants: the page loads nothing and runs nothing; texts of others stay texts.

use std::collections::BTreeMap;

use egofx::heads::spans::Span;
use egofx::manifest::Manifest;
use egofx::page::{Frame, clock};
use egofx::search::{Hit, Moment};
use egofx::thumbnails::{Request, Thumbnailer, data_uri};
use maud::{Markup, html};

use super::search_output::Answer;

/// Of the page; colours are the browser's own, light or dark.
const STYLE: &str = "\
    :root { color-scheme: light dark; }\n\
    body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }\n\
    h2 { font-size: 1.2em; margin: 1.5em 0 .6em; overflow-wrap: anywhere; }\n\
    ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(13em, 1fr)); gap: 1.2em 1em; list-style: none; padding: 0; }\n\
    li { overflow-wrap: anywhere; break-inside: avoid; }\n\
    img, .none { display: block; width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #8882; border-radius: .3em; }\n\
    .none { display: grid; place-items: center; }\n\
    .what { display: flex; justify-content: space-between; margin: .3em 0; font-variant-numeric: tabular-nums; }\n\
    small { display: block; opacity: .75; }\n";

/// Nothing is loaded, and nothing runs.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A JPEG for each moment of each answer and then for each span, where there is one.
pub type Images = Vec<Vec<Option<Vec<u8>>>>;

/// Frames of the best windows and of the middles of spans, out of the manifest's videos; and words on what could not be had.
pub fn images(answers: &[Answer], manifest: &Manifest, thumbnailer: &Thumbnailer) -> (Images, Vec<String>) {
    let shown: Vec<Vec<(&str, f64)>> = answers.iter().map(Answer::places).collect();
    let mut images: Images = shown.iter().map(|places| vec![None; places.len()]).collect();
    let mut places: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (answer, of_answer) in shown.iter().enumerate() {
        for (number, (video_uid, _)) in of_answer.iter().enumerate() {
            places.entry(video_uid).or_default().push((answer, number));
        }
    }
    let (mut requests, mut wanted, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for (uid, places) in places {
        let video = manifest.videos.iter().find(|video| video.uid.as_str() == uid);
        let Some((video, path)) = video.and_then(|video| Some((video, video.path.clone()?))) else {
            said.push(format!("{uid}: the manifest has no file of it"));
            continue;
        };
        let secs = places.iter().map(|&(answer, number)| shown[answer][number].1).collect();
        requests.push(Request { path, fps: video.fps, secs });
        wanted.push(places);
    }
    for (strip, places) in thumbnailer.strips(&requests).into_iter().zip(wanted) {
        said.extend(strip.why);
        places.into_iter().zip(strip.images).for_each(|((answer, number), image)| images[answer][number] = image);
    }
    (images, said)
}

/// The page.
pub fn page(answers: &[Answer], stores: &[String], images: &Images) -> String {
    Frame { title: "egofx search", policy: POLICY, style: STYLE, meta: &[] }.around(&html! {
        main {
            h1 { "egofx search" }
            @for (answer, images) in answers.iter().zip(images) {
                h2 { @if let Some(id) = &answer.query_id { (id) ": " } (asked(answer)) }
                ol {
                    @for (hit, image) in answer.hits.iter().zip(images) { (item(hit, stores, image.as_deref())) }
                }
                @if let Some(found) = &answer.spans {
                    h2 { "Spans: " (found.question) }
                    ol {
                        @for (span, image) in found.spans.iter().zip(&images[answer.hits.len()..]) {
                            (span_item(span, image.as_deref()))
                        }
                    }
                }
            }
        }
    })
}

fn asked(answer: &Answer) -> &str {
    answer.text.as_ref().or(answer.like.as_ref()).map_or("", String::as_str)
}

fn item(Hit { moment, store }: &Hit, stores: &[String], image: Option<&[u8]>) -> Markup {
    let Moment { video_uid, clip_uid, start_sec, end_sec, score, best_sec, .. } = moment;
    html! {
        li {
            (thumbnail(video_uid, *best_sec, image))
            div.what { span { (clock(*start_sec)) " to " (clock(*end_sec)) } b { (format!("{score:.4}")) } }
            small { (video_uid) }
            @if let Some(clip) = clip_uid.as_ref().filter(|clip| *clip != video_uid) { small { "clip " (clip) } }
            @if stores.len() > 1 { small { (stores[*store]) } }
        }
    }
}

fn span_item(Span { video_uid, clip_uid, start_sec, end_sec }: &Span, image: Option<&[u8]>) -> Markup {
    html! {
        li {
            (thumbnail(video_uid, (start_sec + end_sec) / 2.0, image))
            div.what { span { (clock(*start_sec)) " to " (clock(*end_sec)) } }
            small { (video_uid) }
            small { "clip " (clip_uid) }
        }
    }
}

fn thumbnail(video_uid: &str, sec: f64, image: Option<&[u8]>) -> Markup {
    html! {
        @match image {
            Some(jpeg) => img src=(data_uri(jpeg)) alt=(format!("{video_uid} at {}", clock(sec)));,
            None => span.none { "no image" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_stay_texts_and_moments_without_an_image_say_so() {
        let moment = Moment {
            video_uid: "v<b>".into(),
            clip_uid: Some("c&d".into()),
            start_sec: 3723.5,
            end_sec: 3725.25,
            score: 0.5,
            best_sec: 3724.0,
            windows: 3,
            row: 0,
        };
        let hits = vec![Hit { store: 0, moment: moment.clone() }, Hit { store: 0, moment }];
        let text = Some("<script>alert(\"1\")</script> & 'x'".to_owned());
        let answers = [Answer { query_id: Some("q\"1".into()), text, like: None, hits, spans: None }];
        let stores = ["out/<i>".to_owned(), "out/two".to_owned()];
        let page = page(&answers, &stores, &vec![vec![Some(vec![255, 216, 255]), None]]);
        let heading = "<h2>q&quot;1: &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; 'x'</h2>";
        assert!(page.contains(heading), "{page}");
        assert!(
            page.contains("v&lt;b&gt;") && page.contains("clip c&amp;d") && page.contains("out/&lt;i&gt;"),
            "{page}"
        );
        assert!(
            page.contains("1:02:03.5 to 1:02:05.3") && page.contains("<img src=\"data:image/jpeg;base64,/9j/\""),
            "{page}"
        );
        assert_eq!((page.matches("no image").count(), page.matches("<script").count()), (1, 0));
    }
}
