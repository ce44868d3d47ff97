//! `egofx search --html`: what was found, as one page with thumbnails.
//!
//! Not for making thumbnails. Invariants: the page loads nothing and runs nothing; texts of others stay texts.

use std::collections::BTreeMap;
use std::fmt::Write;

use egofx::manifest::Manifest;
use egofx::search::{Hit, Moment};
use egofx::thumbnails::{Request, Thumbnailer, data_uri};

use super::search_output::Answer;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
    <title>egofx search</title>\n<style>\n\
    body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; background: #fff }\n\
    h2 { font-size: 1.2em; margin: 1.5em 0 .6em; overflow-wrap: anywhere }\n\
    ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(12em, 1fr)); gap: 1em; list-style: none; padding: 0 }\n\
    li { overflow-wrap: anywhere }\n\
    img, .none { display: block; width: 100%; aspect-ratio: 16 / 9; object-fit: contain; background: #eee }\n\
    .none { display: grid; place-items: center; color: #666 }\n\
    small { color: #555; display: block }\n\
    </style>\n</head>\n<body>\n<h1>egofx search</h1>\n";

/// A JPEG for each moment of each answer, where there is one.
pub type Images = Vec<Vec<Option<Vec<u8>>>>;

/// Frames of the best windows, out of the manifest's videos; and words on what could not be had.
pub fn images(answers: &[Answer], manifest: &Manifest, thumbnailer: &Thumbnailer) -> (Images, Vec<String>) {
    let mut images: Images = answers.iter().map(|answer| vec![None; answer.hits.len()]).collect();
    let mut places: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    for (answer, hits) in answers.iter().map(|answer| &answer.hits).enumerate() {
        for (rank, hit) in hits.iter().enumerate() {
            places.entry(&hit.moment.video_uid).or_default().push((answer, rank));
        }
    }
    let (mut requests, mut wanted, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for (uid, places) in places {
        let video = manifest.videos.iter().find(|video| video.uid.as_str() == uid);
        let Some((video, path)) = video.and_then(|video| Some((video, video.path.clone()?))) else {
            said.push(format!("{uid}: the manifest has no file of it"));
            continue;
        };
        let secs = places.iter().map(|&(answer, rank)| answers[answer].hits[rank].moment.best_sec).collect();
        requests.push(Request { path, fps: video.fps, secs });
        wanted.push(places);
    }
    for (strip, places) in thumbnailer.strips(&requests).into_iter().zip(wanted) {
        said.extend(strip.why);
        places.into_iter().zip(strip.images).for_each(|((answer, rank), image)| images[answer][rank] = image);
    }
    (images, said)
}

/// The page.
pub fn page(answers: &[Answer], stores: &[String], images: &Images) -> String {
    let mut page = HEAD.to_owned();
    for (answer, images) in answers.iter().zip(images) {
        let asked = answer.text.as_ref().or(answer.like.as_ref()).map_or("", String::as_str);
        let query = answer.query_id.as_ref().map(|id| format!("{}: ", escaped(id))).unwrap_or_default();
        page += &format!("<h2>{query}{}</h2>\n<ol>\n", escaped(asked));
        for (hit, image) in answer.hits.iter().zip(images) {
            page += &item(hit, &stores[hit.store], image.as_deref());
        }
        page += "</ol>\n";
    }
    page + "</body>\n</html>\n"
}

fn item(Hit { moment, .. }: &Hit, store: &str, image: Option<&[u8]>) -> String {
    let Moment { video_uid, clip_uid, start_sec, end_sec, score, windows, .. } = moment;
    let image = match image {
        Some(jpeg) => format!("<img src=\"{}\" alt=\"\">", data_uri(jpeg)),
        None => "<span class=\"none\">no image</span>".to_owned(),
    };
    let clip = clip_uid.as_ref().map(|clip| format!(", clip {}", escaped(clip))).unwrap_or_default();
    format!(
        "<li>{image}<b>{score:.4}</b> {} to {}<small>{}{clip}</small><small>{start_sec:.2} to {end_sec:.2} s, windows: {windows}, \
         {}</small></li>\n",
        clock(*start_sec),
        clock(*end_sec),
        escaped(video_uid),
        escaped(store)
    )
}

/// `1:02:03`.
fn clock(sec: f64) -> String {
    let sec = sec.max(0.0) as u64;
    format!("{}:{:02}:{:02}", sec / 3600, sec / 60 % 60, sec % 60)
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => drop(write!(safe, "&#{};", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
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
        let answers = [Answer { query_id: Some("q\"1".into()), text, like: None, hits }];
        let page = page(&answers, &["out/<i>".into()], &vec![vec![Some(vec![255, 216, 255]), None]]);
        assert!(
            page.contains("<h2>q&#34;1: &#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62; &#38; &#39;x&#39;</h2>"),
            "{page}"
        );
        assert!(page.contains("v&#60;b&#62;, clip c&#38;d") && page.contains("out/&#60;i&#62;"), "{page}");
        assert!(
            page.contains("1:02:03 to 1:02:05") && page.contains("<img src=\"data:image/jpeg;base64,/9j/\""),
            "{page}"
        );
        assert_eq!((page.matches("no image").count(), page.matches("<script").count()), (1, 0));
    }
}
