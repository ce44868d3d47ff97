//! STA, short-term object interaction anticipation: `fho_sta_train.json`, `fho_sta_val.json` and the test file.
//!
//! A unit is what the official baseline sees before a contact: the 32 frames that end with the annotated one, which names the clip. A query
//! is an object that is touched next, with verb, noun, box and the seconds to the contact; the test has none. Frames are those
//! of the whole video, at 30 a second. Not for single frames, which are `egofx frames --of sta`.

use std::collections::HashMap;

use serde::Deserialize;

use super::builder::{Builder, Extent, NO_CLIP, Unit, name_of, split_of};
use super::json::{self, Cell};
use super::{Benchmark, BenchmarkError, Built, Need, Needs, Sources};
use crate::ids::ClipUid;
use crate::queries::Query;

pub(super) const BENCHMARK: Benchmark = Benchmark {
    name: "sta",
    about: "the frames before each contact of Ego4D's short-term anticipation, with the objects",
    needs: Needs {
        annotations: Need::Required("fho_sta_train.json, fho_sta_val.json or the test file (--annotations FILE)"),
        videos: super::PRESENT_ONLY,
    },
    build,
};

const COLUMNS: [&str; 7] = ["frame", "verb", "noun", "verb_category_id", "noun_category_id", "time_to_contact", "box"];

/// Frames that the official SlowFast baseline takes, the annotated one among them; StillFast takes the last 16 of them.
const SEEN: f64 = 32.0;
/// Frames a second of Ego4D's annotations.
const FPS: f64 = 30.0;

#[derive(Deserialize)]
struct File {
    info: Option<Info>,
    annotations: Vec<Annotation>,
    #[serde(default)]
    verb_categories: Vec<Category>,
    #[serde(default)]
    noun_categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Info {
    split: Option<String>,
}

#[derive(Deserialize)]
struct Category {
    #[serde(default)]
    id: Cell,
    name: String,
}

/// Releases name the video by one key, or the other, or both.
#[derive(Deserialize)]
struct Annotation {
    uid: String,
    video_uid: Option<String>,
    video_id: Option<String>,
    frame: f64,
    #[serde(default)]
    objects: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    verb_category_id: Cell,
    #[serde(default)]
    noun_category_id: Cell,
    #[serde(default)]
    time_to_contact: Cell,
    #[serde(default, rename = "box")]
    corners: Option<Vec<Cell>>,
}

type Names<'f> = HashMap<&'f str, &'f str>;

fn build(sources: &Sources) -> Result<Built, BenchmarkError> {
    let mut builder = Builder::new(BENCHMARK.name, &COLUMNS);
    for path in BENCHMARK.annotations(sources)? {
        let file: File = json::read(path)?;
        let split = split_of(path, file.info.as_ref().and_then(|info| info.split.as_deref()));
        let [verbs, nouns] = [&file.verb_categories, &file.noun_categories].map(|list| names(list));
        for (number, annotation) in file.annotations.iter().enumerate() {
            let at = format!("{}: annotations[{number}]", name_of(path));
            let Some(clip_uid) = add_clip(&mut builder, &at, annotation, split) else {
                let objects = annotation.objects.iter().flatten();
                objects.for_each(|_| builder.tally.drop(NO_CLIP, &at));
                continue;
            };
            add_objects(&mut builder, &at, (annotation, &clip_uid, split), (&verbs, &nouns));
        }
    }
    builder.finish(sources)
}

fn names(categories: &[Category]) -> Names<'_> {
    categories.iter().map(|category| (category.id.as_str(), category.name.as_str())).collect()
}

fn add_clip(builder: &mut Builder, at: &str, annotation: &Annotation, split: &str) -> Option<ClipUid> {
    let Annotation { uid, frame, video_uid, video_id, .. } = annotation;
    if *frame < 0.0 || frame.fract() != 0.0 {
        builder.tally.drop("annotations whose frame is no number of one", format_args!("{at}: {frame}"));
        return None;
    }
    let end = frame + 1.0;
    let extent = Extent::Seconds(Some((end - SEEN).max(0.0) / FPS), Some(end / FPS));
    let video = video_uid.as_deref().or(video_id.as_deref()).unwrap_or_default();
    builder.unit(at, &Unit { video_uid: video, clip_uid: uid, extent, split })
}

fn add_objects(
    builder: &mut Builder,
    at: &str,
    (annotation, clip_uid, split): (&Annotation, &ClipUid, &str),
    (verbs, nouns): (&Names<'_>, &Names<'_>),
) {
    let frame = annotation.frame.to_string();
    let (start_sec, end_sec) = (None, None);
    let Some(objects) = &annotation.objects else {
        let query = Query { id: clip_uid.as_str(), clip_uid, text: "", start_sec, end_sec };
        return builder.query(at, query, &[split, &frame, "", "", "", "", "", ""]);
    };
    for (k, object) in objects.iter().enumerate() {
        let at = format!("{at}.objects[{k}]");
        let [verb_id, noun_id] = [&object.verb_category_id, &object.noun_category_id].map(Cell::as_str);
        let [verb, noun] = [verbs.get(verb_id), nouns.get(noun_id)].map(|name| name.copied().unwrap_or_default());
        if verb.is_empty() || noun.is_empty() {
            builder.tally.keep("objects whose verb or noun has no name", format_args!("{at}: {verb_id}, {noun_id}"));
        }
        let corners: Vec<&str> = object.corners.iter().flatten().map(Cell::as_str).collect();
        let (id, text) = (format!("{clip_uid}_{k}"), format!("{verb} {noun}"));
        let query = Query { id: &id, clip_uid, text: text.trim(), start_sec, end_sec };
        let time = object.time_to_contact.as_str();
        builder.query(&at, query, &[split, &frame, verb, noun, verb_id, noun_id, time, &corners.join(" ")]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{built, dropped, kept, lines};
    use super::*;

    #[test]
    fn a_clip_ends_with_its_frame_and_has_the_32_of_the_baseline() {
        let built = built(&BENCHMARK, &["fho_sta_val.json", "fho_sta_test_unannotated.json"]).unwrap();
        let seconds = |frame: f64| format!("{} {}", (frame - 31.0) / 30.0, (frame + 1.0) / 30.0);
        let expected = [
            format!("video-1 video-1_0004097 {} val", seconds(4097.0)),
            "video-1 video-1_0000010 0 0.36666666666666664 val".to_owned(),
            format!("video-2 video-2_0000090 {} test", seconds(90.0)),
        ];
        assert_eq!(lines(&built), expected);
        let queries = built.queries.as_ref().unwrap();
        let rows: Vec<_> = queries.iter().map(|query| (query.id, query.text)).collect();
        let expected = [
            ("video-1_0004097_0", "take knife"),
            ("video-1_0004097_1", "cut_(trim,_slice,_chop) onion"),
            ("video-1_0000010_0", "take"),
            ("video-2_0000090", ""),
        ];
        assert_eq!(rows, expected);
        let column = |name: &str| queries.column(name).unwrap().collect::<Vec<_>>();
        assert_eq!(column("frame"), ["4097", "4097", "10", "90"]);
        assert_eq!(column("time_to_contact"), ["0.7", "1.25", "0.5", ""]);
        assert_eq!(column("box")[..2], ["10.5 20 110.25 220", ""]);
        let reasons = [
            ("annotations whose frame is no number of one", 1),
            (NO_CLIP, 3),
            ("clips whose uid could not be a file's name", 1),
            ("clips whose uid names another interval already", 1),
        ];
        assert_eq!(dropped(&built), reasons);
        assert_eq!(kept(&built), [("objects whose verb or noun has no name", 1)]);
    }
}
