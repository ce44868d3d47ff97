//! A page as one HTML file that loads nothing, from nowhere.
//!
//! Not for what is shown. Invariants: the only scripts and styles that a browser accepts are those of this program, by their hashes;
//! text is escaped where it is put in: by `maud` in HTML, by [`json_in_html`] in data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::frame::Frame;
use super::parts::{checks, map, run, scores, videos};
use super::view::View;

/// What the file says that it was made by.
pub const GENERATOR: &str = "egofx report";

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
/// Chart.js, see `assets/README.md`.
const CHARTS: &str = include_str!("assets/chart.umd.min.js");

/// The page.
pub fn html(view: &View) -> String {
    // Else a browser's tools would look for a map of the sources.
    let charts = CHARTS.split("//# sourceMappingURL").next().unwrap_or(CHARTS);
    let title = format!("{} · egofx report", view.path);
    let policy = policy(&[charts, SCRIPT]);
    let meta = [("generator", GENERATOR), ("color-scheme", "light dark")];
    Frame { title: &title, policy: &policy, style: STYLE, meta: &meta }.around(&html! {
        (body(view))
        script type="application/json" id="data" { (PreEscaped(json_in_html(&Data::of(view)))) }
        script { (PreEscaped(charts)) }
        script { (PreEscaped(SCRIPT)) }
    })
}

fn body(view: &View) -> Markup {
    let mut places = vec![("run", "What was run"), ("checks", "What looks wrong")];
    places.extend(view.scores.as_ref().map(|_| ("scores", "Predictions")));
    places.extend([("map", "Map of rows"), ("videos", "Videos")]);
    html! {
        a.skip href="#main" { "Skip to the content" }
        header {
            h1 { (view.path) }
            nav aria-label="Sections" { ul { @for (id, title) in &places { li { a href={ "#" (id) } { (title) } } } } }
        }
        main #main {
            @if !view.notes.is_empty() {
                ul.notes { @for note in &view.notes { li { (note) } } }
            }
            (run(view))
            (checks(view))
            @if let Some(found) = &view.scores { (scores(found)) }
            (map(view))
            (videos(view))
        }
        footer { p { "Written by egofx " (view.egofx_version) ". Charts by Chart.js (MIT licence)." } }
    }
}

/// What a browser may do with the page: show images that are in it, and run `scripts`.
fn policy(scripts: &[&str]) -> String {
    let hashes: Vec<String> = scripts.iter().map(|script| hash(script)).collect();
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hashes.join(" ")
    )
}

fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// What the script is told.
#[derive(Serialize)]
struct Data<'v> {
    names: &'v [String],
    sets: Vec<SetData<'v>>,
    /// The element of each video that is shown, by name.
    shown: Vec<&'v str>,
}

#[derive(Serialize)]
struct SetData<'v> {
    /// x, y, number of the video, second.
    points: Vec<[f64; 4]>,
    norms: &'v super::Histogram,
    cosines: Option<&'v super::Histogram>,
}

impl<'v> Data<'v> {
    fn of(view: &'v View) -> Self {
        // Four digits are more than a screen shows.
        let short = |value: f64| format!("{value:.3e}").parse().unwrap_or(0.0);
        let point = |point: &super::Point| {
            [short(point.x), short(point.y), point.video as f64, (point.sec * 100.0).round() / 100.0]
        };
        let set = |set: &'v super::SetView| SetData {
            points: set.map.points.iter().map(point).collect(),
            norms: &set.norms,
            cosines: set.against.as_ref().map(|against| &against.cosines),
        };
        let shown = view.videos.iter().map(|video| video.video_uid.as_str()).collect();
        Self { names: &view.names, sets: view.sets.iter().map(set).collect(), shown }
    }
}

/// JSON that cannot end the element that it stands in.
fn json_in_html(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_cannot_end_its_element() {
        let text = json_in_html(&["</script><script>alert(1)</script>", "<!--", "a & b"]);
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, ["</script><script>alert(1)</script>", "<!--", "a & b"]);
    }

    #[test]
    fn the_scripts_that_are_accepted_cannot_end_their_elements_and_load_nothing() {
        for text in [CHARTS, SCRIPT, STYLE] {
            assert!(!text.contains("</script") && !text.contains("</style") && !text.contains("<!--"));
        }
        for word in ["fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval("] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert!(!STYLE.contains("url("));
        let policy = policy(&["a", "b"]);
        assert!(
            policy.starts_with("default-src 'none'; img-src data:; style-src 'sha256-") && !policy.contains("unsafe")
        );
        assert!(policy.contains("'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='"), "{policy}");
    }
}
